//! The API server that `KUBECONFIG` names, and the proxy by which it is asked, as kubectl decides.
//!
//! kube reads the file, but compares `NO_PROXY` with the address of the proxy instead of the API server's, lets it except
//! a `proxy-url`, too, and fails on lists that Go accepts. So the proxy is decided here.

use kube::Config;
use kube::config::{AuthInfo, ExecAuthCluster, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::domain::proxy::{Proxies, Proxy};

use super::ClusterError;

/// How the API server of the current context is asked, and by which proxy: the file's `proxy-url`, else the one of the
/// environment.
pub(super) fn read(file: Kubeconfig, environment: &Proxies) -> Result<(Config, Option<Proxy>), ClusterError> {
    let wrong = |source| ClusterError::Kubeconfig { source };
    let name = file.current_context.ok_or_else(|| wrong(KubeconfigError::CurrentContextNotSet))?;
    let mut contexts = file.contexts.into_iter().filter(|context| context.name == name);
    let context = contexts.next().and_then(|context| context.context);
    let context = context.ok_or_else(|| wrong(KubeconfigError::LoadContext(name)))?;
    let mut clusters = file.clusters.into_iter().filter(|cluster| cluster.name == context.cluster);
    let cluster = clusters.next().and_then(|cluster| cluster.cluster);
    let cluster = cluster.ok_or_else(|| wrong(KubeconfigError::LoadClusterOfContext(context.cluster)))?;
    let mut users = file.auth_infos.into_iter().filter(|user| Some(&user.name) == context.user.as_ref());
    // kubectl, too, goes on without a user.
    let mut user: AuthInfo = users.next().and_then(|user| user.auth_info).unwrap_or_default();

    let for_plugins = ExecAuthCluster::try_from(&cluster).map_err(wrong)?;
    let authorities = for_plugins.certificate_authority_data.clone().map(|pem| {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        certificates.map(|found| found.iter().map(|certificate| certificate.to_vec()).collect())
    });
    if let Some(exec) = &mut user.exec
        && exec.provide_cluster_info
    {
        exec.cluster = Some(for_plugins);
    }
    let server = cluster.server.ok_or_else(|| wrong(KubeconfigError::MissingClusterUrl))?;
    let proxy = match cluster.proxy_url.filter(|url| !url.is_empty()) {
        // `NO_PROXY` does not apply to it.
        Some(url) => Some(Proxy::parse(&url).ok_or(ClusterError::ProxyUrl)?),
        None => server.parse().ok().and_then(|url| environment.of_url(&url)).cloned(),
    };
    let mut config =
        Config::new(server.parse().map_err(|error| wrong(KubeconfigError::ParseClusterUrl(error)))?);
    config.root_cert = authorities.transpose().map_err(|_| ClusterError::Authorities)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name;
    config.auth_info = user;
    if let Some(namespace) = context.namespace {
        config.default_namespace = namespace;
    }
    config.proxy_url = match &proxy {
        // kube's `socks5` lets the proxy look names up.
        Some(proxy) => {
            let url = proxy.url().as_str().replacen("socks5h://", "socks5://", 1);
            Some(url.parse().map_err(|_| ClusterError::ProxyUrl)?)
        }
        None => None,
    };
    Ok((config, proxy))
}
