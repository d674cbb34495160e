//! From an object to what is in force because of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Held, Instead, Reading};
use crate::cluster::PolicyObject;
use crate::config;
use crate::domain::finding::Action;
use crate::domain::name::PolicyName;
use crate::domain::policy::bounds::EMERGENCY;
use crate::domain::policy::{
    Actions, Enforcement, LabelRequirement, LabelTest, NAMESPACE_NAME, OnUnknown, OnUnscannable, Policy,
    Rules, SYSTEM_NAMESPACES, Selector, Warning,
};
use crate::domain::scan::{Allowlist, Required, Requirement, Severity};

/// What the meaning of an object depends on, beside its own text.
pub(super) struct Reader<'a> {
    /// What a policy leaves out.
    pub(super) defaults: &'a Rules,
    /// `exclude.namespaces` of the file.
    pub(super) excluded: &'a [Box<str>],
    /// Our own namespace.
    pub(super) own_namespace: &'a str,
    pub(super) now: Timestamp,
}

impl Reader<'_> {
    /// Reads an object. `before` is what this very object meant before; `again`: also where its text is the same.
    pub(super) fn read(&self, object: &Arc<PolicyObject>, before: Option<Held>, again: bool) -> Held {
        let same = before.as_ref().is_some_and(|before| {
            before.object.generation == object.generation
                && before.policy.is_some()
                && before.due.is_none_or(|due| self.now < due)
        });
        if let (Some(before), true, false) = (&before, same, again) {
            let is_good = before.good.as_ref().is_some_and(|good| good.generation == object.generation);
            let good = if is_good { Some(object.clone()) } else { before.good.clone() };
            return Held { object: object.clone(), good, ..before.clone() };
        }
        let name = object.name.as_str();
        let parse = |text: &str| config::policy(text, name, self.defaults, &[], self.now);
        let (policy, reading, good) = match parse(&object.text) {
            Ok((policy, warnings)) => (policy, Reading::Accepted(warnings), Some(object.clone())),
            Err(problems) => {
                let good = before.as_ref().and_then(|before| before.good.clone());
                let earlier =
                    good.as_ref().and_then(|good| Some((good.generation, parse(&good.text).ok()?.0)));
                match earlier {
                    Some((generation, policy)) => {
                        (policy, Reading::Refused(problems, Instead::Earlier(generation)), good)
                    }
                    None => (
                        Arc::new(self.strictest(object)),
                        Reading::Refused(problems, Instead::Strictest),
                        None,
                    ),
                }
            }
        };
        let due = self.due(&policy);
        // The same policy stays the same value: who compares by pointer sees no change.
        let kept = before.and_then(|before| before.policy).filter(|before| *before == policy);
        Held { object: object.clone(), policy: Some(kept.unwrap_or(policy)), reading, good, due }
    }

    /// The next moment at which time alone changes what is said of a policy.
    fn due(&self, policy: &Policy) -> Option<Timestamp> {
        let exceptions = policy.rules.exceptions.iter().map(|exception| exception.until);
        // From a day before its end a break-glass is no longer warned of.
        let glass = policy.break_glass.iter().map(|glass| glass.until);
        exceptions
            .chain(glass.clone().filter_map(|until| until.checked_sub(EMERGENCY).ok()))
            .chain(glass)
            .filter(|until| self.now < *until)
            .min()
    }

    /// What a text is taken for that nobody here could ever understand: everything is blocked in all namespaces that it may
    /// mean. It only reports where that much is clear.
    fn strictest(&self, object: &PolicyObject) -> Policy {
        let document: Value = serde_json::from_str(&object.text).unwrap_or_default();
        let enforcement = match document.pointer("/spec/enforcement").and_then(Value::as_str) {
            Some("Observe") => Enforcement::Observe,
            _ => Enforcement::Enforce,
        };
        let part =
            |key: &str| self.part(key, document.pointer(&format!("/spec/{key}")).unwrap_or(&Value::Null));
        let selector = match document.pointer("/spec/namespaceSelector") {
            Some(_) => part("namespaceSelector").map(|policy| policy.selector.clone()),
            None => None,
        };
        let scan = part("scan").map(|policy| policy.rules.scan.clone());
        Policy {
            name: PolicyName::new(object.name.as_str()),
            selector: selector.unwrap_or_else(|| self.everywhere()),
            enforcement,
            rules: Rules {
                actions: Actions {
                    on_missing: Action::Block,
                    on_stale: Action::Block,
                    on_unknown: OnUnknown::Stated(Action::Block),
                    on_unproved: Action::Block,
                    on_unscanned: Action::Block,
                    on_unscannable: OnUnscannable::Stated(Action::Block),
                    on_vulnerable: Action::Block,
                    on_unrouted: Action::Block,
                },
                scan: Requirement { required: Required::Always, ..scan.unwrap_or_else(no_scan_suffices) },
                exceptions: Vec::new(),
            },
            contact: document.pointer("/spec/contact").and_then(Value::as_str).map(Box::from),
            warning: Warning::Withheld,
            break_glass: None,
        }
    }

    /// A policy that states nothing but this one key, where that much can be understood.
    fn part(&self, key: &str, value: &Value) -> Option<Arc<Policy>> {
        let mut spec = Map::from_iter([
            ("namespaceSelector".to_owned(), json!({})),
            ("enforcement".to_owned(), json!("Enforce")),
        ]);
        spec.insert(key.to_owned(), value.clone());
        let alone = json!({"metadata": {"name": "part"}, "spec": spec});
        config::policy(&alone.to_string(), "part", self.defaults, &[], self.now)
            .ok()
            .map(|(policy, _)| policy)
    }

    /// All namespaces but those that Landfall leaves alone.
    fn everywhere(&self) -> Selector {
        let system = SYSTEM_NAMESPACES.into_iter().map(Box::from);
        let left_alone =
            system.chain([self.own_namespace.into()]).chain(self.excluded.iter().cloned()).collect();
        Selector::new(vec![LabelRequirement {
            key: NAMESPACE_NAME.into(),
            test: LabelTest::NotIn(left_alone),
        }])
    }
}

/// Where it cannot be understood what a scan must show.
fn no_scan_suffices() -> Requirement {
    Requirement {
        required: Required::Always,
        max_severity: Some(Severity::None),
        max_age: Some(Duration::ZERO),
        ignore: Arc::default(),
        allowlist: Allowlist::Disregarded,
    }
}
