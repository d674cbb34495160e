//! What the process itself counts. Every other module owns and registers its own.

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Why a connection never got as far as HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandshakeFailure {
    /// The peer took too long.
    Timeout,
    /// The peer went away: a TCP probe does this.
    Closed,
    /// The peer and we disagree: version, trust, protocol.
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

/// One label and its value, from a closed set.
type Label = [(&'static str, &'static str); 1];

/// The metrics of the process and of its listener. A clone is a handle to the same.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    /// Connections open now, their handshakes included.
    pub connections: Gauge,
    /// How often a connection had to wait because as many as allowed were open.
    pub connection_cap_reached: Counter,
    /// Requests answered 503 because there was no room for their bodies.
    pub bodies_refused: Counter,
    /// 1 from the signal on.
    pub draining: Gauge,
    /// When the served certificate ends, in seconds since 1970.
    pub certificate_not_after: Gauge,
    /// Requests that panicked outside the doors' own net.
    pub panics: Counter,
    handshake_failures: Family<Label, Counter>,
    // Taken out of their family once: the hot path adds, and looks nothing up.
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
            connection_cap_reached: Counter::default(),
            bodies_refused: Counter::default(),
            draining: Gauge::default(),
            certificate_not_after: Gauge::default(),
            panics: Counter::default(),
            handshake_failures: Family::default(),
            success: of("2xx"),
            redirect: of("3xx"),
            client: of("4xx"),
            server: of("5xx"),
        };
        registry.register("landfall_http_requests", "Answers by class of status", requests);
        registry.register("landfall_connections", "Connections open now", metrics.connections.clone());
        registry.register(
            "landfall_connection_cap_reached",
            "How often a new connection had to wait for another one to end",
            metrics.connection_cap_reached.clone(),
        );
        registry.register(
            "landfall_tls_handshake_failures",
            "Connections that never got as far as HTTP",
            metrics.handshake_failures.clone(),
        );
        registry.register(
            "landfall_http_bodies_refused",
            "Requests answered 503 because the bodies in flight left no room for theirs",
            metrics.bodies_refused.clone(),
        );
        registry.register("landfall_http_panics", "Requests that panicked", metrics.panics.clone());
        registry.register("landfall_draining", "1 while leaving", metrics.draining.clone());
        registry.register(
            "landfall_certificate_expiry_timestamp_seconds",
            "When the served certificate ends, in seconds since 1970; 0 while there is none",
            metrics.certificate_not_after.clone(),
        );
        metrics
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
