//! Questions about a registry as a whole: does it answer `/v2/`, when did it last answer, which credentials are used.

use http::Method;
use tokio::time::Instant;

use crate::domain::proxy::Proxy;
use crate::domain::unknown::Unknown;

use super::answer::Answer;
use super::client::{Client, Endpoint, Request};

/// The body of `/v2/` is `{}`.
const LIMIT: usize = 64 * 1024;

impl Client {
    /// `GET /v2/`, as [`Endpoint::Base`] or [`Endpoint::Anonymous`].
    ///
    /// # Errors
    /// There was no answer that can be read.
    pub async fn base(&self, endpoint: Endpoint<'_>, deadline: Instant) -> Result<Answer, Unknown> {
        let request = Request {
            method: Method::GET,
            path_and_query: "/v2/",
            endpoint,
            accept: None,
            body: None,
            body_limit: LIMIT,
        };
        self.send(request, deadline).await
    }

    /// The proxy by which it is asked.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.transport.proxy()
    }

    /// When the registry last began to answer a request, even if the answer did not arrive as a whole in time: such
    /// a registry is slow, not unresponsive.
    #[must_use]
    pub fn last_response(&self) -> Option<Instant> {
        self.transport.last_response()
    }

    /// The version of the credentials' files. It changes whenever their content does. Reads the files, if the last
    /// read is two seconds old.
    pub async fn credentials_version(&self) -> u64 {
        self.credentials.version().await
    }
}
