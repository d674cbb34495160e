//! Policies: what security teams require, and how several of them come together for one namespace.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::finding::{Action, FindingKind, PolicyKey};
pub use super::name::PolicyName;
use super::pattern::ImagePattern;
use super::scan::Requirement;

/// The action for each policy key. `on_missing` and `on_unknown` are never `Accept`, `on_vulnerable` and
/// `on_unrouted` never `Fallback`: the configuration's own types see to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Actions {
    /// Missing, ChildMissing, ProxyCache, Refused, PullFailed.
    pub on_missing: Action,
    /// Stale.
    pub on_stale: Action,
    /// Unreachable, Unauthorized, RateLimited, Deadline, Unproved.
    pub on_unknown: Action,
    /// Unscanned, ScanPending, ScanFailed, ScannerDown, ScanExpired.
    pub on_unscanned: Action,
    /// Vulnerable.
    pub on_vulnerable: Action,
    /// NotRouted, and Unparsable at the validating door.
    pub on_unrouted: Action,
}

/// What applies to an image: the actions and the scan requirement, gaps already filled from `defaults`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What is done about each finding.
    pub actions: Actions,
    /// What a scan must show.
    pub scan: Requirement,
}

/// Does a policy act, or only report?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// Its actions apply.
    Enforce,
    /// It is judged apart and reported, and never denies.
    Observe,
}

/// A LandingPolicy, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// The namespaces it speaks for.
    pub selector: Selector,
    /// Enforce or Observe.
    pub enforcement: Enforcement,
    /// What it requires, gaps filled from `defaults`.
    pub rules: Rules,
    /// What it lets pass for a time.
    pub exceptions: Vec<Exception>,
}

/// Findings that a policy does not hold against some images until a date: there, `defaults` apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The images, by their primary name.
    pub images: Vec<ImagePattern>,
    /// The findings.
    pub findings: Vec<FindingKind>,
    /// The first moment at which it no longer holds.
    pub until: Timestamp,
    /// Why, for people.
    pub reason: Box<str>,
}

/// The label that the API server puts on every namespace and keeps: its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The labels of a namespace, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    known: BTreeMap<String, String>,
    others: Others,
}

/// What is to be thought of labels that are not among the known ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Others {
    /// There are none.
    #[default]
    Absent,
    /// There may be any.
    Unknown,
}

impl Labels {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These, and nobody knows which others.
    #[must_use]
    pub fn at_least(known: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { known: known.into_iter().collect(), others: Others::Unknown }
    }
}

/// Exactly these.
impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(labels: I) -> Self {
        Self { known: labels.into_iter().collect(), others: Others::Absent }
    }
}

/// Exactly these.
impl<const N: usize> From<[(String, String); N]> for Labels {
    fn from(labels: [(String, String); N]) -> Self {
        labels.into_iter().collect()
    }
}

/// A label selector as Kubernetes has it: all requirements must hold; none selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The requirements (`matchLabels` reads as `In` with one value).
    pub requirements: Vec<LabelRequirement>,
}

/// One requirement of a [`Selector`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: Box<str>,
    /// What must hold of its value.
    pub test: LabelTest,
}

/// What a requirement asks of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelTest {
    /// Present with one of these values.
    In(Vec<Box<str>>),
    /// Absent, or present with none of these values.
    NotIn(Vec<Box<str>>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

/// What applies in one namespace: `defaults`, or the enforcing policies that select it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regime {
    /// What applies where no policy enforces, and where an exception lifts one.
    pub defaults: Arc<Rules>,
    /// The enforcing policies; for each finding the strictest of their actions counts.
    pub enforcing: Vec<Arc<Policy>>,
}

impl Actions {
    /// What is done about a finding.
    #[must_use]
    pub fn on(&self, finding: FindingKind) -> Action {
        match finding.key() {
            PolicyKey::OnMissing => self.on_missing,
            PolicyKey::OnStale => self.on_stale,
            PolicyKey::OnUnknown => self.on_unknown,
            PolicyKey::OnUnscanned => self.on_unscanned,
            PolicyKey::OnVulnerable => self.on_vulnerable,
            PolicyKey::OnUnrouted => self.on_unrouted,
        }
    }
}

impl Default for Actions {
    /// Built in: never rejects a Pod.
    fn default() -> Self {
        Self {
            on_missing: Action::Fallback,
            on_stale: Action::Fallback,
            on_unknown: Action::Fallback,
            on_unscanned: Action::Fallback,
            on_vulnerable: Action::Accept,
            on_unrouted: Action::Accept,
        }
    }
}

/// A set of findings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FindingSet(u32);

impl FindingSet {
    /// Adds one.
    pub fn insert(&mut self, finding: FindingKind) {
        self.0 |= 1 << finding as u32;
    }

    /// Is it in?
    #[must_use]
    pub fn contains(self, finding: FindingKind) -> bool {
        self.0 & 1 << finding as u32 != 0
    }

    /// Is none in?
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One set of rules that speaks in a Case, and the findings it speaks about.
#[derive(Debug, Clone)]
pub struct PolicyView<'a> {
    /// The policy; `None`: `defaults`.
    pub policy: Option<&'a PolicyName>,
    /// Its rules.
    pub rules: Cow<'a, Rules>,
    lifted: FindingSet,
    sense: Sense,
}

/// How a PolicyView's set of findings is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    /// It speaks about all but what an exception lifted.
    AllButLifted,
    /// It speaks about what an exception lifted only, with the milder of the policy and `defaults`.
    Lifted,
}

impl PolicyView<'_> {
    /// Its action for a finding; `None` where it does not speak about it.
    #[must_use]
    pub fn on(&self, finding: FindingKind) -> Option<Action> {
        let speaks = match self.sense {
            Sense::AllButLifted => !self.lifted.contains(finding),
            Sense::Lifted => self.lifted.contains(finding),
        };
        speaks.then(|| self.rules.actions.on(finding))
    }
}

impl Regime {
    /// `defaults` alone.
    #[must_use]
    pub fn of_defaults(defaults: Arc<Rules>) -> Self {
        Self { defaults, enforcing: Vec::new() }
    }

    /// One policy alone, as if it enforced: how an observing policy is judged.
    #[must_use]
    pub fn of_one(defaults: Arc<Rules>, policy: Arc<Policy>) -> Self {
        Self { defaults, enforcing: vec![policy] }
    }

    /// Does a policy enforce here? Then admins' and tenants' settings do not open what it closes.
    #[must_use]
    pub fn enforces(&self) -> bool {
        !self.enforcing.is_empty()
    }

    /// Everybody who speaks about an image: `defaults` alone where no policy enforces, else the enforcing policies.
    /// Of what an exception lifts from a policy, the milder of that policy and `defaults` speaks, so that an
    /// exception never makes anything stricter. The strictest of all counts, finding by finding.
    #[must_use]
    pub fn views(&self, primary_name: &str, now: Timestamp) -> Vec<PolicyView<'_>> {
        if !self.enforces() {
            let (rules, lifted) = (Cow::Borrowed(&*self.defaults), FindingSet::default());
            return vec![PolicyView { policy: None, rules, lifted, sense: Sense::AllButLifted }];
        }
        let mut views = Vec::with_capacity(self.enforcing.len());
        for policy in &self.enforcing {
            let (name, lifted) = (Some(&policy.name), policy.lifted(primary_name, now));
            let rules = Cow::Borrowed(&policy.rules);
            views.push(PolicyView { policy: name, rules, lifted, sense: Sense::AllButLifted });
            if !lifted.is_empty() {
                let rules = Cow::Owned(policy.rules.milder(&self.defaults));
                views.push(PolicyView { policy: name, rules, lifted, sense: Sense::Lifted });
            }
        }
        views
    }
}

impl Rules {
    /// The milder of two, key by key.
    fn milder(&self, other: &Self) -> Self {
        let (a, b) = (&self.actions, &other.actions);
        Self {
            actions: Actions {
                on_missing: a.on_missing.min(b.on_missing),
                on_stale: a.on_stale.min(b.on_stale),
                on_unknown: a.on_unknown.min(b.on_unknown),
                on_unscanned: a.on_unscanned.min(b.on_unscanned),
                on_vulnerable: a.on_vulnerable.min(b.on_vulnerable),
                on_unrouted: a.on_unrouted.min(b.on_unrouted),
            },
            scan: self.scan.milder(&other.scan),
        }
    }
}

impl Policy {
    /// What its exceptions lift for an image at a moment.
    #[must_use]
    pub fn lifted(&self, primary_name: &str, now: Timestamp) -> FindingSet {
        let mut lifted = FindingSet::default();
        self.exceptions
            .iter()
            .filter(|exception| now < exception.until)
            .filter(|exception| exception.images.iter().any(|image| image.matches_name(primary_name)))
            .flat_map(|exception| &exception.findings)
            .for_each(|finding| lifted.insert(*finding));
        lifted
    }
}

impl Selector {
    /// Does it select an object with these labels? What is not known of them is taken to be as it asks: a policy is not
    /// skipped because nobody could say whether it applies.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|LabelRequirement { key, test }| {
            let value = labels.known.get(&**key);
            if value.is_none() && labels.others == Others::Unknown {
                return true;
            }
            let among =
                |values: &[Box<str>]| value.is_some_and(|value| values.iter().any(|one| **one == **value));
            match test {
                LabelTest::In(values) => among(values),
                LabelTest::NotIn(values) => !among(values),
                LabelTest::Exists => value.is_some(),
                LabelTest::DoesNotExist => value.is_none(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scan::{Allowlist, Required};

    fn rules(on_stale: Action) -> Rules {
        Rules {
            actions: Actions { on_stale, ..Actions::default() },
            scan: Requirement {
                required: Required::Auto,
                max_severity: None,
                max_age: None,
                ignore: Arc::default(),
                allowlist: Allowlist::Honoured,
            },
        }
    }

    fn policy(name: &str, on_stale: Action, exceptions: Vec<Exception>) -> Arc<Policy> {
        Arc::new(Policy {
            name: PolicyName::new(name),
            selector: Selector::default(),
            enforcement: Enforcement::Enforce,
            rules: rules(on_stale),
            exceptions,
        })
    }

    fn strictest(regime: &Regime, image: &str, now: &str) -> Option<Action> {
        regime.views(image, now.parse().unwrap()).iter().filter_map(|view| view.on(FindingKind::Stale)).max()
    }

    #[test]
    fn an_exception_lifts_its_finding_from_its_own_policy_until_its_date() {
        let exception = Exception {
            images: vec![ImagePattern::new("fra.example/production/legacy/**").unwrap()],
            findings: vec![FindingKind::Stale],
            until: "2027-01-31T00:00:00Z".parse().unwrap(),
            reason: "TICKET-7".into(),
        };
        let defaults = Arc::new(rules(Action::Accept));
        let lenient = policy("lenient", Action::Fallback, vec![]);
        let strict = policy("strict", Action::Block, vec![exception]);
        let alone = Regime { defaults: defaults.clone(), enforcing: vec![strict.clone()] };
        let both = Regime { defaults, enforcing: vec![lenient, strict] };

        let (legacy, other) = ("fra.example/production/legacy/app", "fra.example/production/legacyapp");
        for (regime, image, now, expected) in [
            (&alone, legacy, "2027-01-30T23:59:59Z", Action::Accept),
            (&alone, legacy, "2027-01-31T00:00:00Z", Action::Block),
            (&alone, other, "2026-11-21T00:00:00Z", Action::Block),
            (&both, legacy, "2026-11-21T00:00:00Z", Action::Fallback),
        ] {
            assert_eq!(strictest(regime, image, now), Some(expected), "{image} {now}");
        }
    }

    #[test]
    fn selectors_read_as_in_kubernetes() {
        let labels = Labels::from([("tier".into(), "regulated".into())]);
        for (key, test, expected) in [
            ("tier", LabelTest::In(vec!["regulated".into()]), true),
            ("tier", LabelTest::In(vec!["open".into()]), false),
            ("zone", LabelTest::NotIn(vec!["x".into()]), true),
            ("tier", LabelTest::NotIn(vec!["regulated".into()]), false),
            ("tier", LabelTest::Exists, true),
            ("zone", LabelTest::DoesNotExist, true),
            ("zone", LabelTest::Exists, false),
        ] {
            let selector = Selector { requirements: vec![LabelRequirement { key: key.into(), test }] };
            assert_eq!(selector.matches(&labels), expected, "{selector:?}");
            let unknown = Labels::at_least([("tier".to_owned(), "regulated".to_owned())]);
            let (tier, selector) = (&*selector.requirements[0].key == "tier", &selector);
            assert_eq!(selector.matches(&unknown), expected || !tier, "{selector:?}: nobody knows its zone");
        }
        assert!(Selector::default().matches(&labels), "an empty selector selects everything");
    }
}
