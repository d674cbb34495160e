//! Which policies select each namespace, remembered: to match the selectors of two hundred policies would cost a review half
//! as much again as to judge its Pod.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::policy::{Labels, Policy};
use crate::domain::settings::Settings;

/// The most namespaces that are remembered. Beyond that, all are forgotten.
const MOST: usize = 8_192;

/// The policies that select one namespace, in the order of the settings.
pub(super) type Selected = Arc<[Arc<Policy>]>;

/// The policies that select each namespace.
#[derive(Debug, Default)]
pub(super) struct Selections(RwLock<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// The settings whose policies they are.
    settings: Option<Arc<Settings>>,
    of: HashMap<Box<str>, (Arc<Labels>, Selected)>,
}

impl Selections {
    /// Returns the policies of these settings that select the namespace with these labels, enforcing and observing ones.
    /// Settings and labels are compared by address: as long as we hold them, nothing else has theirs.
    pub(super) fn of(&self, settings: &Arc<Settings>, namespace: &str, labels: &Arc<Labels>) -> Selected {
        if settings.policies.is_empty() {
            return Arc::default();
        }
        let remembered = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, selected)) = remembered.of.get(namespace)
            && remembered.settings.as_ref().is_some_and(|known| Arc::ptr_eq(known, settings))
            && Arc::ptr_eq(known, labels)
        {
            return selected.clone();
        }
        drop(remembered);
        let selected: Selected = settings.selecting(labels).cloned().collect();
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_current = remembered.settings.as_ref().is_some_and(|known| Arc::ptr_eq(known, settings));
        if !is_current || remembered.of.len() >= MOST {
            *remembered = Remembered { settings: Some(settings.clone()), of: HashMap::new() };
        }
        remembered.of.insert(namespace.into(), (labels.clone(), selected.clone()));
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{LabelRequirement, LabelTest, Selector};
    use crate::domain::settings::sample;

    fn settings(tiers: &[&str]) -> Arc<Settings> {
        let policy = |tier: &&str| {
            let test = LabelTest::In(vec![(*tier).into()]);
            let selector = Selector::new(vec![LabelRequirement { key: "tier".into(), test }]);
            Arc::new(sample::policy(tier, selector))
        };
        let mut settings = sample::settings(std::time::Duration::from_secs(1));
        settings.policies = tiers.iter().map(policy).collect();
        Arc::new(settings)
    }

    fn labels(tier: &str) -> Arc<Labels> {
        Arc::new(Labels::from([("tier".to_owned(), tier.to_owned())]))
    }

    #[test]
    fn other_labels_and_other_settings_are_matched_anew() {
        let (selections, first) = (Selections::default(), settings(&["a", "b"]));
        let names = |settings: &Arc<Settings>, labels: &Arc<Labels>| -> Vec<String> {
            selections.of(settings, "shop", labels).iter().map(|policy| policy.name.to_string()).collect()
        };
        let (a, b) = (labels("a"), labels("b"));
        assert_eq!(names(&first, &a), ["a"]);
        assert!(Arc::ptr_eq(&selections.of(&first, "shop", &a), &selections.of(&first, "shop", &a)));
        assert_eq!(names(&first, &b), ["b"]);
        assert_eq!(names(&first, &labels("c")), [""; 0]);
        let second = settings(&["b"]);
        assert_eq!(names(&second, &a), [""; 0]);
        assert_eq!((names(&second, &b), names(&first, &a)), (vec!["b".to_owned()], vec!["a".to_owned()]));
        assert!(selections.of(&settings(&[]), "shop", &a).is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let (selections, settings) = (Selections::default(), settings(&["a"]));
        for n in 0..3 * MOST {
            selections.of(&settings, &format!("ns-{n}"), &labels("a"));
            assert!(selections.0.read().unwrap().of.len() <= MOST);
        }
    }
}
