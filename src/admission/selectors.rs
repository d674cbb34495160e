//! The selectors that the validating door knows: those of the policies in force, and for some minutes those that were.
//!
//! The API server has one entry for each selector, and the leader adds and removes them. It may call by a selector whose
//! last policy has just gone: that must deny nobody. A selector that was never known here may be that of a policy that
//! this replica has not seen yet: that must let nobody in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::domain::policy::SelectorId;
use crate::domain::settings::Settings;

/// How long a selector is known after its last policy has gone: longer than it takes until another leader has removed its
/// entry.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The most such selectors.
const MOST: u64 = 1024;

/// The selectors of the policies in force, and those that were in force a moment ago. A clone is a handle to the same.
#[derive(Debug, Clone)]
pub struct Selectors {
    /// The snapshot that was seen last.
    last: Arc<Mutex<Arc<Settings>>>,
    gone: Cache<SelectorId, ()>,
}

impl Selectors {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let gone = Cache::builder().max_capacity(MOST).time_to_live(REMEMBERED).build();
        Self { last: Arc::new(Mutex::new(settings)), gone }
    }

    /// Notices that other settings are in force. Call it after every change: what no call has shown is not known when it
    /// is gone.
    pub fn notice(&self, settings: &Arc<Settings>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&last, settings) {
            return;
        }
        for policy in &last.policies {
            self.gone.insert(policy.selector.id(), ());
        }
        *last = settings.clone();
    }

    /// Whether a policy in force has this selector, or one had it a moment ago.
    pub(super) fn knows(&self, selector: SelectorId, settings: &Arc<Settings>) -> bool {
        let in_force = settings.policies.iter().any(|policy| policy.selector.id() == selector);
        in_force || {
            // These settings may have come into force just now.
            self.notice(settings);
            self.gone.contains_key(&selector)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{LabelRequirement, LabelTest, Selector};
    use crate::domain::settings::sample;

    fn selector(key: &str) -> Selector {
        Selector::new(vec![LabelRequirement { key: key.into(), test: LabelTest::Exists }])
    }

    fn settings(keys: &[&str]) -> Arc<Settings> {
        let policy = |key: &&str| Arc::new(sample::policy(key, selector(key)));
        let policies = keys.iter().map(policy).collect();
        Arc::new(sample::settings(Duration::from_secs(1)).with_policies(policies))
    }

    #[test]
    fn a_selector_is_known_while_a_policy_has_it_and_some_minutes_longer() {
        let (both, one, none) = (settings(&["a", "b"]), settings(&["b"]), settings(&[]));
        let (a, b, never) = (selector("a").id(), selector("b").id(), selector("c").id());
        let known = Selectors::new(both.clone());
        assert!(known.knows(a, &both) && known.knows(b, &both) && !known.knows(never, &both));
        // A review may come before anybody has noticed that the policy is gone.
        assert!(known.knows(a, &one) && known.knows(b, &one));
        known.notice(&none);
        assert!(known.knows(a, &none) && known.knows(b, &none) && !known.knows(never, &none));
        let restarted = Selectors::new(none.clone());
        assert!(!restarted.knows(a, &none), "a replica that never saw it");
    }
}
