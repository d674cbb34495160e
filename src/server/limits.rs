//! The bounds of a listener and its connections.

use std::time::Duration;

/// The bounds of a listener. The defaults are for production; tests change one at a time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The number of open connections. Further ones wait in the kernel's queue. An API server keeps 25 idle ones and opens
    /// one more for each further call at the same time.
    pub connections: usize,
    /// The time for a TLS handshake.
    pub handshake: Duration,
    /// The time for the head of a request and between two requests: in hyper it is the same timer. Never less than 120 s:
    /// Go keeps idle connections for 90 s and does not repeat a POST that meets a closed connection.
    pub idle: Duration,
    /// The size of the head of a request, in bytes. A larger one gets 431.
    pub head: usize,
    /// The size of a body, in bytes. A larger one gets 413. A review holds object and oldObject, each up to 3 MiB.
    pub body: usize,
    /// The size of all bodies together, of all connections, from their arrival to their answers. What is beyond gets 503.
    pub bodies: usize,
    /// The time for a request, from its head to its answer. It is a last resort: the doors have shorter deadlines of their
    /// own, and the API server waits at most 30 s.
    pub request: Duration,
    /// The number of answers on one HTTP/1.1 connection, after which it is closed, so that new replicas get their share.
    pub recycle_answers: u32,
    /// The age of a connection (± 20 %) after which its next answer is the last. It is not closed for its age while idle.
    pub recycle_age: Duration,
    /// The time for requests that are in flight when the drain stops to accept connections.
    pub finish: Duration,
}

impl Limits {
    /// How often an h2 connection is pinged, and how long the answer may take. HTTP/1.1 has no ping.
    pub(super) const PING_EVERY: Duration = Duration::from_secs(30);
    pub(super) const PING_ANSWER: Duration = Duration::from_secs(15);
    /// The number of requests at the same time on one h2 connection.
    pub(super) const STREAMS: u32 = 100;
    /// The pause after an `accept` that failed, most often because no file descriptor is free.
    pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(150),
            head: 64 * 1024,
            body: 8 * 1024 * 1024,
            bodies: 64 * 1024 * 1024,
            request: Duration::from_secs(30),
            recycle_answers: 10_000,
            recycle_age: Duration::from_secs(300),
            finish: Duration::from_secs(30),
        }
    }
}
