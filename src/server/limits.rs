//! The bounds of a listener, each with its reason. They hold on all ports.
//!
//! Two questions decide the numbers. What can somebody do who may only reach the port, or only create Pods? And what does
//! an API server do on its worst day? A replica has 128 MiB. About 20 of them are its own before anybody calls, and reviews
//! are decoded in what is left.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Connections in all. A peer may have as many as are free, so one peer alone has at most half of them (`shares.rs`). An
/// API server keeps 25 idle connections and opens one more for each further call at the same time, of which it makes 200
/// by default (`--max-mutating-requests-inflight`); some of them may call through one tunnel. An idle connection takes
/// some 20 KiB.
const CONNECTIONS: usize = 1024;
/// Connections in all at the port of the validating door. It is called once more for each Pod of a namespace with an
/// enforcing policy, and for updates that change an image.
const VALIDATE_CONNECTIONS: usize = 512;
/// A body there. An update has the Pod twice, before and after it. Pods are seldom longer than 1 MiB; a review that is longer
/// than this is refused, and so the request is denied.
const VALIDATE_BODY: usize = 10 * MIB;
/// Memory for small bodies there, and for all heads.
const VALIDATE_SMALL_BODIES: usize = 8 * MIB;
/// Memory for other bodies there: two of the largest. What both doors may take leaves 24 MiB of 128 to decode reviews.
const VALIDATE_LARGE_BODIES: usize = 20 * MIB;
/// Connections in all at the admin port. A kubelet and two Prometheus need three.
const ADMIN_CONNECTIONS: usize = 64;
/// Connections in all at the port of notifications. A Harbor opens one for each event at a time.
const HOOKS_CONNECTIONS: usize = 128;
/// A body there. Harbor sends one or two KiB; a retention run names each artifact that it has deleted.
const HOOKS_BODY: usize = MIB;
/// Memory for small bodies there, and for all heads.
const HOOKS_SMALL_BODIES: usize = 2 * MIB;
/// Memory for other bodies there.
const HOOKS_LARGE_BODIES: usize = 4 * MIB;
/// The time for a request there. A notification is answered before anything follows from it.
const HOOKS_REQUEST: Duration = Duration::from_secs(10);
/// From `accept` to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// From `accept` to the head of the first request. Go may dial once too often and keep a connection that it has not used:
/// it takes the end of such a connection for what it is, and loses no request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Between two requests, and for the head of every request but the first: in hyper it is the same timer. Never less than
/// 120 s: Go keeps idle connections for 90 s and does not repeat a POST that meets a closed connection.
const IDLE: Duration = Duration::from_secs(150);
/// How long a peer may take no byte of what we send. hyper itself waits for ever.
const STALL: Duration = Duration::from_secs(10);
/// The head of a request: HTTP/1.1 (431 beyond), and each request of h2. An API server sends less than 1 KiB.
const HEAD: usize = 16 * KIB;
/// A body. Go writes `<` as six bytes, so the review of a Pod that fits into etcd can be that long.
const BODY: usize = 20 * MIB;
/// A body up to this size is small. Nearly all Pods are: their median is 5 KiB.
const SMALL_BODY: usize = 256 * KIB;
/// Memory for small bodies, and for all heads. Large bodies take none of it, so they cannot keep ordinary reviews out: two
/// API servers with 200 reviews of 20 KiB each take 8 MiB. No peer takes more than half of it.
const SMALL_BODIES: usize = 16 * MIB;
/// Memory for bodies that are not small: two of the largest. No peer takes more than half of it.
const LARGE_BODIES: usize = 40 * MIB;
/// The time that any body has, before its rate counts. More than a small body takes on a bad day of ours: it also runs while
/// we get no processor.
const GRACE: Duration = Duration::from_secs(3);
/// The least bytes a second of a body after that. A body of 20 MiB must come much faster to be answered in time; the bound
/// is for those who send one byte now and then.
const RATE: usize = 128 * KIB;
/// From the head of a request to its answer. It is a last resort: the doors have shorter deadlines of their own, and the
/// API server waits at most 30 s.
const REQUEST: Duration = Duration::from_secs(30);
/// Answers on one HTTP/1.1 connection. Then it is closed, so that new replicas get their share of the calls.
const RECYCLE_ANSWERS: u32 = 10_000;
/// The age (± 20 %) after which the next answer of a connection is the last, for the same reason. It is not closed for its
/// age while idle.
const RECYCLE_AGE: Duration = Duration::from_secs(300);
/// For requests in flight, when the drain stops to accept connections, or an h2 connection was told to go.
const FINISH: Duration = Duration::from_secs(30);

/// The bounds of a listener. The defaults are for production; tests change one at a time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections. A peer that has as many as are free gets no more.
    pub connections: usize,
    /// The time for a TLS handshake.
    pub handshake: Duration,
    /// The time from `accept` to the head of the first request.
    pub first_request: Duration,
    /// The time between two requests.
    pub idle: Duration,
    /// The time in which a peer must take some of what we send.
    pub stall: Duration,
    /// The size of the head of a request, in bytes. A larger one gets 431.
    pub head: usize,
    /// The size of a body, in bytes. A larger one gets 413.
    pub body: usize,
    /// The size up to which a body is small.
    pub small_body: usize,
    /// The memory for small bodies and heads, from their arrival to their answers. What is beyond gets 503.
    pub small_bodies: usize,
    /// The memory for all other bodies.
    pub large_bodies: usize,
    /// The time that a body has, before its rate counts.
    pub grace: Duration,
    /// The least bytes a second of a body after that. A slower one gets 408.
    pub rate: usize,
    /// The time for a request, from its head to its answer.
    pub request: Duration,
    /// The number of answers on one HTTP/1.1 connection.
    pub recycle_answers: u32,
    /// The age of a connection (± 20 %) after which its next answer is the last.
    pub recycle_age: Duration,
    /// The time for requests that are in flight when their connection must end.
    pub finish: Duration,
}

impl Limits {
    /// How often an h2 connection is pinged, and how long the answer may take. HTTP/1.1 has no ping.
    pub(super) const PING_EVERY: Duration = Duration::from_secs(30);
    pub(super) const PING_ANSWER: Duration = Duration::from_secs(15);
    /// The number of requests at the same time on one h2 connection. Their heads may be complete before we count them.
    pub(super) const STREAMS: u32 = 32;
    /// What an h2 peer may send before we have read what came before: of one request, and of all on a connection. hyper's
    /// default is 1 MiB, which is 512 MiB for the share of one peer.
    pub(super) const WINDOW: u32 = 64 * 1024;
    /// What hyper keeps of answers that an h2 peer does not take yet, for each request.
    pub(super) const SEND_BUFFER: usize = 16 * KIB;
    /// How long a connection that never asked may take to say goodbye.
    pub(super) const GOODBYE: Duration = Duration::from_secs(1);
    /// The pause after an `accept` that failed, most often because no file descriptor is free.
    pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

    /// The bounds of the port of the validating door.
    #[must_use]
    pub fn validate() -> Self {
        Self {
            connections: VALIDATE_CONNECTIONS,
            body: VALIDATE_BODY,
            small_bodies: VALIDATE_SMALL_BODIES,
            large_bodies: VALIDATE_LARGE_BODIES,
            ..Self::default()
        }
    }

    /// The bounds of the port of notifications.
    #[must_use]
    pub fn hooks() -> Self {
        Self {
            connections: HOOKS_CONNECTIONS,
            body: HOOKS_BODY,
            small_bodies: HOOKS_SMALL_BODIES,
            large_bodies: HOOKS_LARGE_BODIES,
            request: HOOKS_REQUEST,
            ..Self::default()
        }
    }

    /// The bounds of the admin port. Nobody sends it a body.
    pub fn admin() -> Self {
        Self {
            connections: ADMIN_CONNECTIONS,
            body: KIB,
            small_bodies: 4 * MIB,
            large_bodies: 8 * MIB,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            handshake: HANDSHAKE,
            first_request: FIRST_REQUEST,
            idle: IDLE,
            stall: STALL,
            head: HEAD,
            body: BODY,
            small_body: SMALL_BODY,
            small_bodies: SMALL_BODIES,
            large_bodies: LARGE_BODIES,
            grace: GRACE,
            rate: RATE,
            request: REQUEST,
            recycle_answers: RECYCLE_ANSWERS,
            recycle_age: RECYCLE_AGE,
            finish: FINISH,
        }
    }
}
