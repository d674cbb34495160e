//! Webhooks of somebody else.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::plane::Plane;

/// Who signs its certificate.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Serves these answers under this certificate, on the port that is given back.
pub async fn serve(plane: &Plane, params: &CertificateParams, signer: &Authority, answers: Router) -> u16 {
    let key = KeyPair::generate().unwrap();
    let certificate = params.clone().signed_by(&key, signer).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    listen(plane.net.here(), Arc::new(config), answers).await
}

/// Serves these answers by TLS at an address, on the port that is given back.
pub async fn listen(address: Ipv4Addr, config: Arc<ServerConfig>, answers: Router) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(accept(listener, TlsAcceptor::from(config), answers));
    port
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, answers: Router) {
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, answers) = (tls.clone(), answers.clone());
        tokio::spawn(async move {
            // The API server may hang up on a certificate that it does not like.
            let Ok(socket) = tls.accept(socket).await else { return };
            let server = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(answers);
            drop(server.serve_connection(TokioIo::new(socket), service).await);
        });
    }
}
