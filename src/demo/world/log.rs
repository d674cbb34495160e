//! The log of a registry: every request, and the most requests in flight at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};

/// The part of a registry that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathClass {
    /// `/v2/<name>/manifests/…`
    Manifests,
    /// `/v2/<name>/blobs/…`
    Blobs,
    /// `/v2/<name>/blobs/uploads/…`
    Uploads,
    /// Anything else under `/v2/`.
    V2,
    /// The token endpoint.
    Token,
    /// Harbor's `/api/…`.
    Api,
    /// None of these.
    Other,
}

impl PathClass {
    /// The class of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["v2", .., "manifests", _] => Self::Manifests,
            ["v2", .., "blobs", "uploads", _] => Self::Uploads,
            ["v2", .., "blobs", _] => Self::Blobs,
            ["v2", ..] => Self::V2,
            ["service", "token"] | ["token"] => Self::Token,
            ["api", ..] => Self::Api,
            _ => Self::Other,
        }
    }
}

/// The kind of a request's `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authorization {
    /// None.
    Absent,
    /// Basic.
    Basic,
    /// Bearer.
    Bearer,
    /// Something unreadable.
    Unreadable,
}

/// One request and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query as sent.
    pub path: String,
    /// The class of the path.
    pub class: PathClass,
    /// What authorization it carried.
    pub authorization: Authorization,
    /// The account that was recognised; `None`: anonymous, or not yet answered.
    pub user: Option<String>,
    /// The status of the answer; `None`: not answered (in flight, frozen, or the client went away).
    pub status: Option<StatusCode>,
}

/// The log of one registry.
#[derive(Default)]
pub(super) struct Log {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    requests: BTreeMap<u64, Request>,
    in_flight: usize,
    peak: usize,
}

/// A request that is being answered; it is in flight until it is dropped.
pub(super) struct Entry<'a> {
    log: &'a Log,
    at: u64,
}

impl Log {
    pub fn begin(&self, request: Request) -> Entry<'_> {
        let mut state = self.state();
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        let at = state.next;
        state.next += 1;
        state.requests.insert(at, request);
        Entry { log: self, at }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.values().cloned().collect()
    }

    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    pub fn peak(&self) -> usize {
        self.state().peak
    }

    /// Clears the requests. The peak starts again at the number that is in flight now.
    pub fn clear(&self) {
        let mut state = self.state();
        state.requests.clear();
        state.peak = state.in_flight;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry<'_> {
    pub fn recognised(&self, user: &str) {
        if let Some(request) = self.log.state().requests.get_mut(&self.at) {
            request.user = Some(user.into());
        }
    }

    pub fn answered(&self, status: StatusCode) {
        if let Some(request) = self.log.state().requests.get_mut(&self.at) {
            request.status = Some(status);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.log.state().in_flight -= 1;
    }
}
