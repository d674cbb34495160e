//! The endpoints of a Service: where calls of the API server arrive.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};

use super::{Cluster, ClusterError, call};

/// The endpoints behind one port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backends {
    /// There is no such Service.
    NoService,
    /// The Service does not have that port. These are the ports that it has.
    NoPort(Vec<i32>),
    /// The endpoints that are ready.
    Some(Vec<Backend>),
}

/// One endpoint that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The name of the Pod, if the endpoint is a Pod.
    pub pod: Option<String>,
    /// The address and the port.
    pub address: SocketAddr,
}

impl Cluster {
    /// The ready endpoints behind this port of a Service.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn backends(&self, namespace: &str, name: &str, port: u16) -> Result<Backends, ClusterError> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let what = || format!("read Service `{name}` of namespace `{namespace}`");
        let Some(service) = call(what, services.get_opt(name)).await? else { return Ok(Backends::NoService) };
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let Some(named) = ports.iter().find(|known| known.port == i32::from(port)) else {
            return Ok(Backends::NoPort(ports.iter().map(|port| port.port).collect()));
        };
        let port = named.name.as_deref().unwrap_or_default();
        Ok(Backends::Some(self.endpoints_at(namespace, name, port).await?))
    }

    /// The ready endpoints of a Service at its port of this name. It needs only the right to list EndpointSlices.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn endpoints_at(
        &self,
        namespace: &str,
        name: &str,
        port: &str,
    ) -> Result<Vec<Backend>, ClusterError> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let what = || format!("list the EndpointSlices of Service `{name}` of namespace `{namespace}`");
        let slices = call(what, slices.list(&of_service)).await?;
        Ok(slices.items.iter().flat_map(|slice| ready(slice, port)).collect())
    }
}

/// The ready endpoints of one slice, at the port of this name.
fn ready(slice: &EndpointSlice, port: &str) -> Vec<Backend> {
    let mut ports = slice.ports.iter().flatten();
    let port = ports.find(|known| known.name.as_deref().unwrap_or_default() == port);
    let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else { return Vec::new() };
    // The API: "nil should be interpreted as true".
    let is_ready = |conditions: Option<bool>| conditions.unwrap_or(true);
    let endpoints = slice
        .endpoints
        .iter()
        .filter(|endpoint| is_ready(endpoint.conditions.as_ref().and_then(|conditions| conditions.ready)));
    let backend = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
        Some(Backend { pod, address: SocketAddr::new(address, port) })
    };
    endpoints.filter_map(backend).collect()
}
