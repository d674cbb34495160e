//! The metrics of requests, by registry and outcome.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Page, Unit};

use crate::domain::name::RegistryName;
use crate::domain::unknown::{Cause, Unknown};

use super::answer::Answer;

/// The metrics of all registry clients; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    duration: Family<ByRegistry, Histogram, fn() -> Histogram>,
    requests: Family<ByOutcome, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRegistry {
    registry: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    registry: String,
    outcome: Outcome,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Success,
    Redirect,
    NotFound,
    Refused,
    Unauthorized,
    Forbidden,
    RateLimited,
    /// It was not sent: our own budget is spent.
    Spent,
    ClientError,
    ServerError,
    Connect,
    Tls,
    Broken,
    Malformed,
    Deadline,
    /// Our own task ended before there was an answer.
    Internal,
}

impl Outcome {
    fn of(result: &Result<Answer, Unknown>) -> Self {
        match result {
            Ok(answer) => match answer.status.as_u16() {
                401 => Self::Unauthorized,
                403 => Self::Forbidden,
                404 => Self::NotFound,
                412 => Self::Refused,
                429 => Self::RateLimited,
                ..300 => Self::Success,
                300..400 => Self::Redirect,
                400..500 => Self::ClientError,
                500.. => Self::ServerError,
            },
            Err(unknown) => match unknown.cause {
                Cause::Connect | Cause::BreakerOpen | Cause::Drained => Self::Connect,
                Cause::Tls => Self::Tls,
                Cause::Broken => Self::Broken,
                Cause::ServerError | Cause::Unavailable { .. } => Self::ServerError,
                Cause::NotRegistry | Cause::WrongDigest | Cause::TooLarge => Self::Malformed,
                Cause::Redirect => Self::Redirect,
                Cause::Unauthorized => Self::Unauthorized,
                Cause::Forbidden => Self::Forbidden,
                Cause::RateLimited { .. } => Self::RateLimited,
                Cause::Spent { .. } => Self::Spent,
                Cause::Deadline | Cause::Overloaded => Self::Deadline,
                Cause::Internal => Self::Internal,
            },
        }
    }
}

impl Metrics {
    /// Registers the families on the metrics page.
    pub fn register(page: &mut Page) -> Self {
        // From a local answer in a millisecond to the longest budget there is.
        let buckets: fn() -> Histogram =
            || Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let duration = Family::new_with_constructor(buckets);
        let requests = Family::default();
        page.register_with_unit(
            "landfall_registry_request_duration",
            "How long requests to a registry took, authentication and redirects included",
            Unit::Seconds,
            duration.clone(),
        );
        page.register(
            "landfall_registry_requests",
            "Requests to a registry, by how they ended",
            requests.clone(),
        );
        Self { duration, requests }
    }

    pub(super) fn observe(&self, name: &RegistryName, result: &Result<Answer, Unknown>, took: Duration) {
        let registry = name.to_string();
        let outcome = Outcome::of(result);
        self.duration.get_or_create(&ByRegistry { registry: registry.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&ByOutcome { registry, outcome }).inc();
    }
}
