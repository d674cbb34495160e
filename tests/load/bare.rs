//! The physical limit: TLS 1.3, HTTP/1.1, a partial borrowed decode and a patch, and not one line more.
//!
//! It decides nothing and remembers nothing. The path of a request says how many bytes of patch to answer with, so
//! that it writes as much as Landfall does for the same review; what its own operations leave over is filler.

use std::convert::Infallible;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::site::{CERTIFICATE, KEY};

/// Serves until whoever started it is gone.
pub async fn serve(folder: &Path) -> Result<()> {
    // Nothing is ever written there: it ends, whether well or not.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0)
    });
    let chain = vec![CertificateDer::from_pem_file(folder.join(CERTIFICATE))?];
    let key = PrivateKeyDer::from_pem_file(folder.join(KEY))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    // As Landfall's own log says it.
    eprintln!("{{\"listen\":\"{}\"}}", tcp.local_addr()?);
    loop {
        let (stream, _) = tcp.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let tls = acceptor.accept(stream).await?;
            http1::Builder::new().serve_connection(TokioIo::new(tls), service_fn(answer)).await?;
            anyhow::Ok(())
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let patch_bytes = head.uri.path().trim_start_matches('/').parse().unwrap_or(0);
    let answer = match body.collect().await {
        Ok(body) => review(&body.to_bytes(), patch_bytes),
        Err(error) => Err(error.into()),
    };
    let mut response = Response::default();
    match answer {
        Ok(answer) => *response.body_mut() = Full::from(answer),
        Err(_) => *response.status_mut() = http::StatusCode::BAD_REQUEST,
    }
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}

#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Admission<'a>,
}

#[derive(Deserialize)]
struct Admission<'a> {
    uid: &'a str,
    object: Pod<'a>,
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow, default)]
    init_containers: Vec<Container<'a>>,
    containers: Vec<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    image: &'a str,
}

#[derive(Serialize)]
struct Replace {
    op: &'static str,
    path: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reviewed<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Allowed<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Allowed<'a> {
    uid: &'a str,
    allowed: bool,
    patch_type: &'static str,
    patch: String,
}

fn review(body: &[u8], patch_bytes: usize) -> Result<Vec<u8>> {
    const DIGEST: &str = "@sha256:4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2";
    const FILLER: &[u8] = br#",{"op":"add","path":"/metadata/annotations/filler","value":""#;
    let review: Review = serde_json::from_slice(body)?;
    let spec = &review.request.object.spec;
    let mut operations = Vec::with_capacity(spec.init_containers.len() + spec.containers.len());
    for (field, containers) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
        for (index, container) in containers.iter().enumerate() {
            let Some(path) = container.image.strip_prefix("harbor.fra.example.com/") else { continue };
            let digest = if path.contains('@') { "" } else { DIGEST };
            operations.push(Replace {
                op: "replace",
                path: format!("/spec/{field}/{index}/image"),
                value: format!("harbor.ams.example.com/{path}{digest}"),
            });
        }
    }
    let mut patch = Vec::with_capacity(patch_bytes);
    serde_json::to_writer(&mut patch, &operations)?;
    patch.pop();
    patch.extend_from_slice(FILLER);
    patch.resize(patch.len().max(patch_bytes.checked_sub(3).context("a patch ends with `\"}]`")?), b'x');
    patch.extend_from_slice(b"\"}]");
    let response = Allowed {
        uid: review.request.uid,
        allowed: true,
        patch_type: "JSONPatch",
        patch: STANDARD.encode(&patch),
    };
    let reviewed = Reviewed { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response };
    Ok(serde_json::to_vec(&reviewed)?)
}
