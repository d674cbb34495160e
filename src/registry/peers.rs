//! Sends to other replicas of our own: their addresses are known, and their certificates are for the name of our Service.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use ::http::{Method, StatusCode};
use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use super::http;

/// The most time for one request.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a replica was not reached.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody is trusted: no certificate is known yet.
    #[error("no certificate authority of our own is known: {0}")]
    Trust(String),
    /// It gave no answer.
    #[error("no answer")]
    Http(#[source] reqwest::Error),
    /// It answered something else than 2xx.
    #[error("answered {0}")]
    Status(StatusCode),
}

/// The clients for other replicas: one for each address.
#[derive(Debug)]
pub struct Peers {
    /// The name that is in their certificates.
    name: Box<str>,
    trusted: Vec<CertificateDer<'static>>,
    clients: HashMap<SocketAddr, reqwest::Client>,
}

impl Peers {
    /// For replicas whose certificates are for this name. Nobody is trusted yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), trusted: Vec::new(), clients: HashMap::new() }
    }

    /// Only these addresses are asked from now on, and only who shows one of these certificates, or one that they signed.
    pub fn keep(&mut self, addresses: &[SocketAddr], trusted: Vec<CertificateDer<'static>>) {
        if self.trusted != trusted {
            self.clients.clear();
            self.trusted = trusted;
        }
        self.clients.retain(|address, _| addresses.contains(address));
    }

    /// A request to post this body to a replica. It does nothing until it is polled.
    ///
    /// # Errors
    /// As [`PeerError`] says; the future, too.
    pub fn post(
        &mut self,
        address: SocketAddr,
        path: &str,
        authorization: HeaderValue,
        body: Bytes,
    ) -> Result<impl Future<Output = Result<(), PeerError>> + Send + use<>, PeerError> {
        let client = match self.clients.get(&address) {
            Some(client) => client.clone(),
            None => {
                let client =
                    http::peer(&self.name, address, self.trusted.clone()).map_err(PeerError::Trust)?;
                self.clients.insert(address, client.clone());
                client
            }
        };
        let url = format!("https://{}:{}{path}", self.name, address.port());
        let request = client
            .request(Method::POST, url)
            .timeout(PATIENCE)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        Ok(async move {
            let status = request.send().await.map_err(PeerError::Http)?.status();
            if status.is_success() { Ok(()) } else { Err(PeerError::Status(status)) }
        })
    }
}
