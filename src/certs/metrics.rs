//! The metrics of self-managed certificates.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use strum::VariantNames;

use super::Authorities;
use super::rotation::Step;

/// The metrics. A clone counts the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    authority: Gauge,
    step: Family<[(&'static str, &'static str); 1], Gauge>,
    published: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { authority: Gauge::default(), step: Family::default(), published: Counter::default() };
        registry.register(
            "landfall_certificate_authority_expiry_timestamp_seconds",
            "When the authority that signs our certificates ends, in seconds since 1970; 0 while there is none",
            metrics.authority.clone(),
        );
        registry.register(
            "landfall_certificate_rotation_step",
            "1 for the next step of rotation as the leader sees it, else 0",
            metrics.step.clone(),
        );
        registry.register(
            "landfall_ca_bundle_writes",
            "How often this replica wrote the caBundle: for a rotation, or because something overwrote it",
            metrics.published.clone(),
        );
        metrics
    }

    /// Shows what was read.
    pub fn saw(&self, authorities: &Authorities) {
        let end = authorities.current.as_ref().map_or(0, |one| one.certificate().not_after().as_second());
        self.authority.set(end);
    }

    /// Shows the next step of rotation; `None` in a replica that does not lead.
    pub fn rotation(&self, step: Option<&Step>) {
        for word in Step::VARIANTS {
            let is_now = step.is_some_and(|step| step.as_str() == *word);
            self.step.get_or_create(&[("step", *word)]).set(is_now.into());
        }
        if step == Some(&Step::Publish) {
            self.published.inc();
        }
    }
}
