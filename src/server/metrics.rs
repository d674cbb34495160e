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

/// One label and its value, from a closed set.
type Label = [(&'static str, &'static str); 1];

/// The metrics. A clone counts the same.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    /// Open connections, including those in their handshake.
    pub connections: Gauge,
    /// How often a connection had to wait because of [`Limits::connections`](super::Limits::connections).
    pub connection_cap_reached: Counter,
    /// Requests that got 503 because of [`Limits::bodies`](super::Limits::bodies).
    pub bodies_refused: Counter,
    /// 1 while draining.
    pub draining: Gauge,
    /// The end of the certificate that is served, in seconds since 1970.
    pub certificate_not_after: Gauge,
    /// Requests in which a door panicked without catching it.
    pub panics: Counter,
    handshake_failures: Family<Label, Counter>,
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
        registry.register("landfall_http_requests", "Answers by class of status code", requests);
        registry.register("landfall_connections", "Open connections", metrics.connections.clone());
        registry.register(
            "landfall_connection_cap_reached",
            "How often a new connection had to wait until another one ended",
            metrics.connection_cap_reached.clone(),
        );
        registry.register(
            "landfall_tls_handshake_failures",
            "TLS handshakes that failed",
            metrics.handshake_failures.clone(),
        );
        registry.register(
            "landfall_http_bodies_refused",
            "Requests that got 503 because there was no room for their body",
            metrics.bodies_refused.clone(),
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
