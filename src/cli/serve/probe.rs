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

/// One line, and one for each registry: indented, so that the page stays one of conditions.
fn condition(reports: &[Report], asked: bool) -> Condition {
    let good = reports.iter().filter(|report| report.health.is_good()).count();
    let state = match (asked, good == reports.len()) {
        (false, _) => State::Unready,
        (true, false) => State::Degraded,
        (true, true) => State::Good,
    };
    let mut message = format!("{good} of {} are well", reports.len());
    for Report { registry, health, detail, .. } in reports {
        let sign = if health.is_good() { '+' } else { '!' };
        message += &format!("\n    [{sign}] {registry}: {health:?}: {detail}");
    }
    Condition { state, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::registry::RegistryName;

    #[test]
    fn readiness_waits_for_probes_and_not_for_registries() {
        let report = |name: &str, health| Report {
            registry: RegistryName::new(name),
            health,
            detail: "seen so".into(),
            cause: None,
        };
        let mut reports = vec![report("ams", Health::Up), report("fra", Health::Unprobed)];
        assert_eq!(condition(&reports, false).state, State::Unready);
        reports[1].health = Health::Down;
        let down = condition(&reports, true);
        assert_eq!(down.state, State::Degraded);
        assert_eq!(down.message, "1 of 2 are well\n    [+] ams: Up: seen so\n    [!] fra: Down: seen so");
        reports[1].health = Health::Up;
        assert_eq!(condition(&reports, true).state, State::Good);
        // One that came with new settings takes nobody out of service.
        reports[1].health = Health::Unprobed;
        assert_eq!(condition(&reports, true).state, State::Degraded);
        assert_eq!(condition(&[], true).state, State::Good);
    }
}
