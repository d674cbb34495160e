//! What is asked of a registry as a whole: is it there, does it know us, did it say anything at all?

use http::Method;
use tokio::time::Instant;

use crate::domain::evidence::Unknown;

use super::answer::Answer;
use super::client::{Client, Door, Request};

/// What `/v2/` answers is `{}`.
const LIMIT: usize = 64 * 1024;

impl Client {
    /// `GET /v2/`.
    ///
    /// # Errors
    /// There was no answer that can be read.
    pub async fn greet(&self, door: Door<'_>, deadline: Instant) -> Result<Answer, Unknown> {
        let request = Request {
            method: Method::GET,
            path_and_query: "/v2/",
            door,
            accept: None,
            body: None,
            body_limit: LIMIT,
        };
        self.send(request, deadline).await
    }

    /// When the registry began to answer a request for the last time, whether or not there was time for the whole of
    /// it: what gives that much is slow, and not silent.
    #[must_use]
    pub fn heard(&self) -> Option<Instant> {
        self.transport.heard()
    }

    /// Which content of its credentials' files it uses: another number, another content.
    pub async fn credentials_version(&self) -> u64 {
        self.credentials.version().await
    }
}
