//! The health of the registries, as a condition of this replica.
//!
//! Whether they answer is not what readiness waits for (a site must come up while the others are gone), only that each
//! has been asked once: a site that is down is then known to be down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::evidence::{Health, Observatory, Report};
use crate::server::{Condition, ConditionName, Conditions, State};

/// Probes the registries for as long as it is polled, and says how they are.
pub(super) async fn watch(observatory: Arc<Observatory>, conditions: Conditions) {
    // A registry that came with new settings takes nobody out of service that is in it.
    let asked = AtomicBool::new(false);
    let show = || {
        let reports = observatory.health();
        if reports.iter().all(|report| report.health != Health::Unprobed) {
            asked.store(true, Ordering::Relaxed);
        }
        conditions.set(ConditionName::Registries, condition(&reports, asked.load(Ordering::Relaxed)));
    };
    observatory.watch(show).await;
}

/// One line, and one for each registry.
fn condition(reports: &[Report], asked: bool) -> Condition {
    let good = reports.iter().filter(|report| report.health.is_good()).count();
    let state = match (asked, good == reports.len()) {
        (false, _) => State::Unready,
        (true, false) => State::Degraded,
        (true, true) => State::Good,
    };
    let mut message = format!("{good} of {} are well", reports.len());
    for Report { registry, health, detail } in reports {
        let sign = if health.is_good() { '+' } else { '!' };
        message += &format!("\n    [{sign}] {registry}: {health:?}: {detail}");
    }
    Condition { state, message }
}
