//! What the certificates show of themselves.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Authorities;
use super::rotation::Step;

/// The metrics of self-managed certificates. A clone is a handle to the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    authority: Gauge,
    leading: Gauge,
    step: Family<[(&'static str, &'static str); 1], Gauge>,
    published: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            authority: Gauge::default(),
            leading: Gauge::default(),
            step: Family::default(),
            published: Counter::default(),
        };
        registry.register(
            "landfall_certificate_authority_expiry_timestamp_seconds",
            "When the authority that signs our certificates ends, in seconds since 1970; 0 while there is none",
            metrics.authority.clone(),
        );
        registry.register(
            "landfall_leader",
            "1 while this replica rotates the certificates",
            metrics.leading.clone(),
        );
        registry.register(
            "landfall_certificate_rotation_step",
            "1 for the step that rotation is at as the leader sees it, else 0",
            metrics.step.clone(),
        );
        registry.register(
            "landfall_ca_bundle_writes",
            "How often this replica wrote the caBundle: by rotation, and whenever something overwrote it",
            metrics.published.clone(),
        );
        metrics
    }

    /// What a look showed.
    pub fn saw(&self, authorities: &Authorities) {
        let end = authorities.current.as_ref().map_or(0, |one| one.certificate().not_after().as_second());
        self.authority.set(end);
    }

    /// Whether we lead, and where rotation is.
    pub fn leads(&self, step: Option<&Step>) {
        self.leading.set(step.is_some().into());
        for word in Step::ALL {
            let is_now = step.is_some_and(|step| step.as_str() == word);
            self.step.get_or_create(&[("step", word)]).set(is_now.into());
        }
        if step == Some(&Step::Publish) {
            self.published.inc();
        }
    }
}
