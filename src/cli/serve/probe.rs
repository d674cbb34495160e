//! The condition `Registries`: the health of the registries.
//!
//! Readiness does not wait until they answer, because a site must be able to start while the others are down. It waits
//! until each has been probed once: then a site that is down is known to be down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::evidence::{Health, Observatory, Report};
use crate::server::{Condition, ConditionName, Conditions, State};

/// Probes the registries for as long as it is polled, and keeps the condition.
pub(super) async fn watch(observatory: Arc<Observatory>, conditions: Conditions) {
    // A registry that is new in the settings does not make a ready replica unready.
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

/// One line, and one for each registry, indented, so that a line without an indent is a condition.
fn condition(reports: &[Report], asked: bool) -> Condition {
    let good = reports.iter().filter(|report| report.health.is_good()).count();
    let state = match (asked, good == reports.len()) {
        (false, _) => State::Unready,
        (true, false) => State::Degraded,
        (true, true) => State::Good,
    };
    let mut message = format!("{good} of {} are well", reports.len());
    for report in reports {
        let Report { registry, health, .. } = report;
        let sign = if health.is_good() { '+' } else { '!' };
        message += &format!("\n    [{sign}] {registry}: {health:?}: {}", report.said());
    }
    Condition { state, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::RegistryName;

    #[test]
    fn readiness_waits_for_probes_and_not_for_registries() {
        let report = |name: &str, health| Report {
            registry: RegistryName::new(name),
            health,
            detail: "seen so".into(),
            cause: None,
            proxy: None,
        };
        let mut reports = vec![report("ams", Health::Up), report("fra", Health::Unprobed)];
        assert_eq!(condition(&reports, false).state, State::Unready);
        reports[1].health = Health::Down;
        let down = condition(&reports, true);
        assert_eq!(down.state, State::Degraded);
        assert_eq!(down.message, "1 of 2 are well\n    [+] ams: Up: seen so\n    [!] fra: Down: seen so");
        reports[1].proxy = Some("http://proxy.corp:3128".into());
        let message = condition(&reports, true).message;
        let line = "[!] fra: Down: seen so; asked through the proxy http://proxy.corp:3128";
        assert!(message.ends_with(line), "{message}");
        reports[1].health = Health::Up;
        assert_eq!(condition(&reports, true).state, State::Good);
        // One that is new in the settings.
        reports[1].health = Health::Unprobed;
        assert_eq!(condition(&reports, true).state, State::Degraded);
        assert_eq!(condition(&[], true).state, State::Good);
    }
}
