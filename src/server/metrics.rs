//! The metrics of the process and of its listener. Every other module registers its own.

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandshakeFailure {
    /// It took too long.
    Timeout,
    /// The peer closed the connection, as a TCP probe does.
    Closed,
    /// The two sides do not agree on a version, or one does not trust the other.
    Tls,
}

impl HandshakeFailure {
    fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "Timeout",
            Self::Closed => "Closed",
            Self::Tls => "Tls",
        }
    }
}

/// Which socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// That of the mutating door.
    Webhook,
    /// That of the validating door.
    Validate,
    /// That of notifications.
    Hooks,
    Admin,
}

impl Port {
    const ALL: [Self; 4] = [Self::Webhook, Self::Validate, Self::Hooks, Self::Admin];

    fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "Webhook",
            Self::Validate => "Validate",
            Self::Hooks => "Hooks",
            Self::Admin => "Admin",
        }
    }
}

/// Why a connection was closed before its peer wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The peer would have more than is free.
    Share,
    /// No request came in time.
    FirstRequest,
    /// The peer took nothing of what was sent.
    Stalled,
}

impl Closed {
    const ALL: [Self; 3] = [Self::Share, Self::FirstRequest, Self::Stalled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Share => "Share",
            Self::FirstRequest => "FirstRequest",
            Self::Stalled => "Stalled",
        }
    }
}

/// Why a request did not reach the doors, or its answer not the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its body is larger than any may be.
    TooLarge,
    /// No memory is left for it.
    NoRoom,
    /// Its body comes too slowly.
    Slow,
    /// Its body ends early.
    Broken,
}

impl Refused {
    pub(super) const ALL: [Self; 4] = [Self::TooLarge, Self::NoRoom, Self::Slow, Self::Broken];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "TooLarge",
            Self::NoRoom => "NoRoom",
            Self::Slow => "Slow",
            Self::Broken => "Broken",
        }
    }
}

/// One label and its value, from a closed set.
type Label = [(&'static str, &'static str); 1];
/// A port and a reason.
type PortReason = [(&'static str, &'static str); 2];

/// The metrics. A clone counts the same.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    /// Open connections, including those in their handshake.
    pub connections: Gauge,
    /// 1 while draining.
    pub draining: Gauge,
    /// The end of the certificate that is served, in seconds since 1970.
    pub certificate_not_after: Gauge,
    /// Requests in which a door panicked without catching it.
    pub panics: Counter,
    port: Port,
    handshake_failures: Family<Label, Counter>,
    closed: Family<PortReason, Counter>,
    refused: Family<PortReason, Counter>,
    // Looked up in their family once, not for each request.
    success: Counter,
    redirect: Counter,
    client: Counter,
    server: Counter,
}

impl ServerMetrics {
    /// Registers them, and `landfall_build_info`.
    pub fn register(registry: &mut Registry) -> Self {
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION")),
            ("features", if cfg!(feature = "demo") { "demo" } else { "" }),
        ]);
        registry.register("landfall_build", "What was built", build);
        let requests = Family::<Label, Counter>::default();
        let of = |class| requests.get_or_create_owned(&[("class", class)]);
        let metrics = Self {
            connections: Gauge::default(),
            draining: Gauge::default(),
            certificate_not_after: Gauge::default(),
            panics: Counter::default(),
            port: Port::Webhook,
            handshake_failures: Family::default(),
            closed: Family::default(),
            refused: Family::default(),
            success: of("2xx"),
            redirect: of("3xx"),
            client: of("4xx"),
            server: of("5xx"),
        };
        // From zero on: an alert on an increase would not see the first of a series.
        for port in Port::ALL {
            let of_port = Self { port, ..metrics.clone() };
            for why in Closed::ALL {
                of_port.closed(why);
            }
            for why in Refused::ALL {
                of_port.refusals(why);
            }
        }
        registry.register("landfall_http_requests", "Answers by class of status code", requests);
        registry.register("landfall_connections", "Open connections", metrics.connections.clone());
        registry.register(
            "landfall_connections_refused",
            "Connections that were closed because of a bound",
            metrics.closed.clone(),
        );
        registry.register(
            "landfall_tls_handshake_failures",
            "TLS handshakes that failed",
            metrics.handshake_failures.clone(),
        );
        registry.register(
            "landfall_http_requests_refused",
            "Requests that were answered 413 (TooLarge), 503 (NoRoom), 408 (Slow) or 400 (Broken) because of their bodies or heads",
            metrics.refused.clone(),
        );
        registry.register(
            "landfall_http_panics",
            "Requests in which a door panicked",
            metrics.panics.clone(),
        );
        registry.register("landfall_draining", "1 while draining", metrics.draining.clone());
        registry.register(
            "landfall_certificate_expiry_timestamp_seconds",
            "When the certificate that is served ends, in seconds since 1970; 0 if there is none",
            metrics.certificate_not_after.clone(),
        );
        metrics
    }

    /// For the port of the validating door. What is refused there is counted apart, all else with the webhook's.
    #[must_use]
    pub fn validate(&self) -> Self {
        Self { port: Port::Validate, ..self.clone() }
    }

    /// For the port of notifications. What is refused there is counted apart; connections and answers are not counted with
    /// the webhook's.
    #[must_use]
    pub fn hooks(&self) -> Self {
        Self { port: Port::Hooks, ..self.admin() }
    }

    /// For the admin port. Only what is refused there is counted; connections and answers are those of the webhook.
    pub(super) fn admin(&self) -> Self {
        let [success, redirect, client, server] = std::array::from_fn(|_| Counter::default());
        let connections = Gauge::default();
        Self { port: Port::Admin, connections, success, redirect, client, server, ..self.clone() }
    }

    pub(super) fn closed(&self, why: Closed) -> Counter {
        self.closed.get_or_create_owned(&[("port", self.port.as_str()), ("reason", why.as_str())])
    }

    pub(super) fn refused(&self, why: Refused) {
        self.refusals(why).inc();
    }

    fn refusals(&self, why: Refused) -> Counter {
        self.refused.get_or_create_owned(&[("port", self.port.as_str()), ("reason", why.as_str())])
    }

    pub(super) fn answered(&self, status: StatusCode) {
        match status.as_u16() {
            ..300 => &self.success,
            300..400 => &self.redirect,
            400..500 => &self.client,
            500.. => &self.server,
        }
        .inc();
    }

    pub(super) fn handshake_failed(&self, reason: HandshakeFailure) {
        self.handshake_failures.get_or_create(&[("reason", reason.as_str())]).inc();
    }
}
