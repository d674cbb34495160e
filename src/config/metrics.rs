//! What an operator alerts on: which configuration is in force, and whether the file is refused.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::watch::{Condition, Handle};

/// The metrics of the configuration. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    generation: Gauge,
    loaded: Gauge,
    errors: Gauge,
    warnings: Gauge,
}

impl Metrics {
    /// Registers them; [`show`](Self::show) fills them.
    pub fn register(page: &mut Registry) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_config_generation",
            "The configuration in force, counted from 1 at the start",
            metrics.generation.clone(),
        );
        page.register(
            "landfall_config_loaded_timestamp_seconds",
            "When the configuration in force was loaded, in seconds since 1970",
            metrics.loaded.clone(),
        );
        page.register(
            "landfall_config_errors",
            "Errors for which the file is refused; 0 while what it says is in force",
            metrics.errors.clone(),
        );
        page.register(
            "landfall_config_warnings",
            "Warnings about the file as it was last read",
            metrics.warnings.clone(),
        );
        metrics
    }

    /// Shows how the last look at the file went.
    pub fn show(&self, handle: &Handle) {
        let snapshot = handle.snapshot();
        self.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        self.loaded.set(snapshot.loaded.as_second());
        let condition = handle.condition();
        let (Condition::InForce(problems) | Condition::Refused { problems, .. }) = &*condition;
        for (gauge, number) in
            [(&self.errors, problems.errors().count()), (&self.warnings, problems.warnings().count())]
        {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}
