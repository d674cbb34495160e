//! The metrics of the configuration: which one is in force, and whether the file is refused.

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
    /// Registers them; [`show`](Self::show) sets them.
    pub fn register(page: &mut Registry) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_config_generation",
            "Number of the configuration in force: 1 at the start, one more with every change",
            metrics.generation.clone(),
        );
        page.register(
            "landfall_config_loaded_timestamp_seconds",
            "When the configuration in force was loaded, in seconds since 1970",
            metrics.loaded.clone(),
        );
        page.register(
            "landfall_config_errors",
            "Errors in the file, for which it is refused; 0 while the file is in force",
            metrics.errors.clone(),
        );
        page.register(
            "landfall_config_warnings",
            "Warnings about the file, as last read",
            metrics.warnings.clone(),
        );
        metrics
    }

    /// Shows the result of the last reading of the file.
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
