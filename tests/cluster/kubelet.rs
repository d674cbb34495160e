//! What a kubelet is asked for: the logs of its Pods. (`helm test` prints them.)

use std::fs;
use std::sync::Arc;

use landfall::facade::demo::world::authority::{Authority, Validity};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::plane::Plane;

/// Answers the API server for as long as this runtime runs; says at which port.
pub async fn serve(plane: &'static Plane) -> u16 {
    let here = plane.net.here();
    // Nobody has told the API server whom to trust, so it trusts anybody.
    let identity = Authority::new("node").unwrap().issue(&[&here.to_string()], Validity::Current).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind((here, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever asks wrongly gets nothing.
            tokio::spawn(answer(plane, tls.clone(), stream));
        }
    });
    port
}

/// `GET /containerLogs/NAMESPACE/POD/CONTAINER?…`
async fn answer(plane: &Plane, tls: TlsAcceptor, stream: TcpStream) -> Option<()> {
    let mut stream = tls.accept(stream).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let path = std::str::from_utf8(&head).ok()?.split(' ').nth(1)?;
    let log = match path.split(['/', '?']).collect::<Vec<_>>()[..] {
        ["", "containerLogs", _, pod, ..] => fs::read(plane.log(pod)).ok()?,
        _ => return None,
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        log.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&log).await.ok()?;
    stream.shutdown().await.ok()
}
