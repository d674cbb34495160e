//! Policies: what security teams require, and how several policies apply to one namespace.

pub mod bounds;
mod selector;
pub mod words;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::finding::{Action, FindingKind, PolicyKey};
use super::name::PolicyName;
use super::pattern::ImagePattern;
use super::scan::Requirement;

pub use selector::{
    LabelRequirement, LabelTest, Labels, NAMESPACE_NAME, SYSTEM_NAMESPACES, Selector, SelectorId, VALIDATE,
};

/// The action for each policy key. `on_missing` and `on_unknown` are never `Accept`; `on_vulnerable` and
/// `on_unrouted` are never `Fallback`. The types of the configuration ensure this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Actions {
    /// For Missing, ChildMissing, LayerMissing, ProxyCache, Refused and PullFailed.
    pub on_missing: Action,
    /// For Stale: the local tag is another digest than the primary's.
    pub on_stale: Action,
    /// For Unreachable, Unauthorized, RateLimited, Deadline and TooMany.
    pub on_unknown: OnUnknown,
    /// For Unproved: the local tag could not be compared with the primary's.
    pub on_unproved: Action,
    /// For Unscanned, ScanPending, ScanFailed, ScannerDown and ScanExpired.
    pub on_unscanned: Action,
    /// For Unscannable: no scanner there can scan its kind.
    pub on_unscannable: OnUnscannable,
    /// For Vulnerable: the scan found something too severe.
    pub on_vulnerable: Action,
    /// For NotRouted, and for Unparsable at the validating door.
    pub on_unrouted: Action,
}

/// The action for what could not be learned, and whether the rules themselves state it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnUnknown {
    /// The rules state this action.
    Stated(Action),
    /// The rules leave it out, and `defaults` have this action. It counts only in rules that block nothing: what a policy
    /// blocks must not be opened by keeping us from looking.
    Inherited(Action),
}

/// The action for what no scanner can scan, and whether it is stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnUnscannable {
    /// The rules, or the `defaults` that they inherit, state this action.
    Stated(Action),
    /// Nobody states it: that of Unscanned where the rules always require a scan, else `Accept`.
    Derived(Action),
}

/// The rules for an image: the actions, the scan requirement and the exceptions. Keys that a policy leaves out are already filled from
/// `defaults`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The action for each finding.
    pub actions: Actions,
    /// What a scan must show.
    pub scan: Requirement,
    /// Findings that these rules allow for some images until a date. They are not inherited.
    pub exceptions: Vec<Exception>,
}

/// Whether a policy acts or only reports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, strum::Display,
)]
pub enum Enforcement {
    /// The policy's actions apply.
    Enforce,
    /// The policy is judged separately and its result is reported. It never denies.
    Observe,
}

/// A LandingPolicy with all its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The `metadata.name` of the policy.
    pub name: PolicyName,
    /// The namespaces to which the policy applies.
    pub selector: Selector,
    /// Whether the policy acts or only reports.
    pub enforcement: Enforcement,
    /// What the policy requires. Keys that it leaves out are filled from `defaults`.
    pub rules: Rules,
    /// Whom a developer may ask: denials show it.
    pub contact: Option<Box<str>>,
    /// Whether a developer is warned where the policy only reports and would deny his Pod.
    pub warning: Warning,
    /// Where the policy only reports for some time, although it is to act.
    pub break_glass: Option<BreakGlass>,
}

/// Whether a developer sees what a reporting policy would have denied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Warning {
    /// He does not.
    #[default]
    Withheld,
    /// The answer to his request has a warning.
    Sent,
}

/// Somebody has opened a policy for some time, in an emergency: it only reports what it would have denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// The first moment at which the policy acts again.
    pub until: Timestamp,
    /// The namespaces, by name; empty: all that the policy selects.
    pub namespaces: Vec<Box<str>>,
    /// Why; for people and the audit log.
    pub reason: Box<str>,
}

impl BreakGlass {
    /// Whether the policy is open in this namespace at `now`.
    #[must_use]
    pub fn opens(&self, namespace: &str, now: Timestamp) -> bool {
        now < self.until
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|one| **one == *namespace))
    }
}

impl Policy {
    /// Whether the policy acts in this namespace at `now`, or only reports.
    #[must_use]
    pub fn enforcement(&self, namespace: &str, now: Timestamp) -> Enforcement {
        match &self.break_glass {
            Some(glass) if glass.opens(namespace, now) => Enforcement::Observe,
            _ => self.enforcement,
        }
    }
}

/// Findings that are allowed for some images until a date. For these, `defaults` apply instead of the policy. In `defaults`
/// themselves, each has its mildest action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The images, by their primary name.
    pub images: Vec<ImagePattern>,
    /// The findings that are allowed.
    pub findings: Vec<FindingKind>,
    /// The first moment at which the exception no longer applies.
    pub until: Timestamp,
    /// Why the exception was made; for people.
    pub reason: Box<str>,
}

/// The rules of one namespace: `defaults`, or the enforcing policies that select it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regime {
    /// The rules where no policy enforces, and where an exception of a policy applies.
    pub defaults: Arc<Rules>,
    /// The enforcing policies. For each finding the strictest of their actions counts.
    pub enforcing: Vec<Arc<Policy>>,
}

impl Regime {
    /// Whether both are the same rules. Policies are compared by address: within one snapshot of the settings equal ones are the
    /// same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.defaults, &other.defaults)
            && self.enforcing.len() == other.enforcing.len()
            && self.enforcing.iter().zip(&other.enforcing).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl Actions {
    /// Returns the action for a finding.
    #[must_use]
    pub fn on(&self, finding: FindingKind) -> Action {
        match finding.key() {
            PolicyKey::OnMissing => self.on_missing,
            PolicyKey::OnStale => self.on_stale,
            PolicyKey::OnUnknown => self.unknown(),
            PolicyKey::OnUnproved => self.on_unproved,
            PolicyKey::OnUnscanned => self.on_unscanned,
            PolicyKey::OnUnscannable => self.unscannable(),
            PolicyKey::OnVulnerable => self.on_vulnerable,
            PolicyKey::OnUnrouted => self.on_unrouted,
        }
    }

    /// Returns the action for what could not be learned. Rules that block anything and do not state it block that, too.
    #[must_use]
    pub fn unknown(&self) -> Action {
        match self.on_unknown {
            OnUnknown::Inherited(_) if self.blocks_known() => Action::Block,
            OnUnknown::Stated(action) | OnUnknown::Inherited(action) => action,
        }
    }

    /// Returns the action for what no scanner can scan.
    #[must_use]
    pub fn unscannable(&self) -> Action {
        match self.on_unscannable {
            OnUnscannable::Stated(action) | OnUnscannable::Derived(action) => action,
        }
    }

    /// Whether any finding that says what is known is blocked.
    #[must_use]
    pub fn blocks_known(&self) -> bool {
        let Self {
            on_missing,
            on_stale,
            on_unknown: _,
            on_unproved,
            on_unscanned,
            on_unscannable: _,
            on_vulnerable,
            on_unrouted,
        } = *self;
        let unscannable = self.unscannable();
        [on_missing, on_stale, on_unproved, on_unscanned, unscannable, on_vulnerable, on_unrouted]
            .contains(&Action::Block)
    }
}

impl Default for Actions {
    /// The built-in actions, which never deny a Pod.
    fn default() -> Self {
        Self {
            on_missing: Action::Fallback,
            on_stale: Action::Fallback,
            on_unknown: OnUnknown::Stated(Action::Fallback),
            on_unproved: Action::Fallback,
            on_unscanned: Action::Fallback,
            on_unscannable: OnUnscannable::Derived(Action::Accept),
            on_vulnerable: Action::Accept,
            on_unrouted: Action::Accept,
        }
    }
}

impl Actions {
    /// The mildest action for each finding.
    const MILDEST: Self = Self {
        on_missing: Action::Fallback,
        on_stale: Action::Accept,
        on_unknown: OnUnknown::Stated(Action::Fallback),
        on_unproved: Action::Accept,
        on_unscanned: Action::Accept,
        on_unscannable: OnUnscannable::Stated(Action::Accept),
        on_vulnerable: Action::Accept,
        on_unrouted: Action::Accept,
    };
}

/// A set of findings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FindingSet(u32);

impl FindingSet {
    /// Adds a finding to the set.
    pub fn insert(&mut self, finding: FindingKind) {
        self.0 |= 1 << finding as u32;
    }

    /// Whether the set contains this finding.
    #[must_use]
    pub fn contains(self, finding: FindingKind) -> bool {
        self.0 & 1 << finding as u32 != 0
    }

    /// Whether the set contains no finding.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One set of rules that applies to an image, and the findings that it covers.
#[derive(Debug, Clone)]
pub struct PolicyView<'a> {
    /// The name of the policy; `None` for `defaults`.
    pub policy: Option<&'a PolicyName>,
    /// The rules of the policy, or the milder ones of an exception.
    pub rules: Cow<'a, Rules>,
    /// The findings that an exception of the policy allows for this image.
    excepted: FindingSet,
    covers: Covers,
}

/// Which findings a [`PolicyView`] covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Covers {
    /// All findings except the excepted ones.
    AllButExcepted,
    /// Only the excepted findings, with the milder of the policy's and the `defaults`' rules, or with the mildest actions
    /// where `defaults` except them.
    OnlyExcepted,
}

impl PolicyView<'_> {
    /// Returns the action for a finding; `None` where this view does not cover the finding.
    #[must_use]
    pub fn on(&self, finding: FindingKind) -> Option<Action> {
        let covered = match self.covers {
            Covers::AllButExcepted => !self.excepted.contains(finding),
            Covers::OnlyExcepted => self.excepted.contains(finding),
        };
        covered.then(|| self.rules.actions.on(finding))
    }

    /// Whether this is an enforcing policy that blocks what could not be learned.
    #[must_use]
    pub fn blocks_unknown(&self) -> bool {
        self.policy.is_some() && self.rules.actions.unknown() == Action::Block
    }
}

impl Regime {
    /// The rules of a namespace without an enforcing policy.
    #[must_use]
    pub fn of_defaults(defaults: Arc<Rules>) -> Self {
        Self { defaults, enforcing: Vec::new() }
    }

    /// The rules as if this policy alone enforced. An observing policy is judged by them.
    #[must_use]
    pub fn of_one(defaults: Arc<Rules>, policy: Arc<Policy>) -> Self {
        Self { defaults, enforcing: vec![policy] }
    }

    /// Whether any policy enforces here. Then the settings of admins and tenants cannot allow what it forbids.
    #[must_use]
    pub fn enforces(&self) -> bool {
        !self.enforcing.is_empty()
    }

    /// The exceptions that may apply: those of the enforcing policies, or of `defaults` where no policy enforces.
    pub fn exceptions(&self) -> impl Iterator<Item = &Exception> {
        let defaults = (!self.enforces()).then_some(&*self.defaults);
        let rules = self.enforcing.iter().map(|policy| &policy.rules).chain(defaults);
        rules.flat_map(|rules| &rules.exceptions)
    }

    /// Returns all rules that apply to an image: those of the enforcing policies, or `defaults` where no policy enforces.
    /// For each finding the strictest action of all views counts.
    ///
    /// For findings that an exception covers, the policy acts with the milder of its own action and that of `defaults`.
    /// So an exception never makes a result stricter. An exception of `defaults` sets the mildest action, but opens nothing that
    /// a policy blocks.
    ///
    /// ```
    /// # use landfall::facade::config::{self, Files};
    /// # use landfall::facade::domain::policy::Labels;
    /// # use landfall::facade::domain::finding::{Action, FindingKind};
    /// # let text = "site: ams
    /// # registries: {ams: {host: ams.example.com, site: ams, kind: harbor}}
    /// # routes: []
    /// # policies:
    /// # - metadata: {name: strict}
    /// #   spec: {namespaceSelector: {}, enforcement: Enforce, onMissing: Block, onStale: Block}
    /// # - metadata: {name: milder}
    /// #   spec: {namespaceSelector: {}, enforcement: Enforce, onMissing: Fallback}
    /// # ";
    /// # let now = "2026-11-21T12:00:00Z".parse()?;
    /// # let settings = config::parse(text, "site.yaml", Files::Skip, now)?.settings;
    /// // Policy `strict` says `onMissing: Block`, policy `milder` says `onMissing: Fallback`.
    /// let regime = settings.regime(&Labels::new(), now);
    /// let views = regime.views("ams.example.com/shop/web", now);
    /// let actions = views.iter().filter_map(|view| view.on(FindingKind::Missing));
    /// assert_eq!(actions.max(), Some(Action::Block), "the strictest action counts");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn views(&self, primary_name: &str, now: Timestamp) -> Vec<PolicyView<'_>> {
        if !self.enforces() {
            let (rules, excepted) = (Cow::Borrowed(&*self.defaults), self.defaults.lifted(primary_name, now));
            let mut views =
                vec![PolicyView { policy: None, rules, excepted, covers: Covers::AllButExcepted }];
            if !excepted.is_empty() {
                let rules = Cow::Owned(Rules { actions: Actions::MILDEST, ..Rules::clone(&self.defaults) });
                views.push(PolicyView { policy: None, rules, excepted, covers: Covers::OnlyExcepted });
            }
            return views;
        }
        let mut views = Vec::with_capacity(self.enforcing.len());
        for policy in &self.enforcing {
            let (name, excepted) = (Some(&policy.name), policy.rules.lifted(primary_name, now));
            let rules = Cow::Borrowed(&policy.rules);
            views.push(PolicyView { policy: name, rules, excepted, covers: Covers::AllButExcepted });
            if !excepted.is_empty() {
                let rules = Cow::Owned(policy.rules.milder(&self.defaults));
                views.push(PolicyView { policy: name, rules, excepted, covers: Covers::OnlyExcepted });
            }
        }
        views
    }
}

impl Rules {
    /// The milder of two sets of rules, key by key.
    fn milder(&self, other: &Self) -> Self {
        let (a, b) = (&self.actions, &other.actions);
        Self {
            actions: Actions {
                on_missing: a.on_missing.min(b.on_missing),
                on_stale: a.on_stale.min(b.on_stale),
                on_unknown: OnUnknown::Stated(a.unknown().min(b.unknown())),
                on_unproved: a.on_unproved.min(b.on_unproved),
                on_unscanned: a.on_unscanned.min(b.on_unscanned),
                on_unscannable: OnUnscannable::Stated(a.unscannable().min(b.unscannable())),
                on_vulnerable: a.on_vulnerable.min(b.on_vulnerable),
                on_unrouted: a.on_unrouted.min(b.on_unrouted),
            },
            scan: self.scan.milder(&other.scan),
            exceptions: Vec::new(),
        }
    }

    /// Returns the findings that the exceptions allow for an image at `now`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::sample;

    fn rules(on_stale: Action) -> Rules {
        Rules { actions: Actions { on_stale, ..Actions::default() }, ..sample::rules() }
    }

    fn policy(name: &str, on_stale: Action, exceptions: Vec<Exception>) -> Arc<Policy> {
        Arc::new(Policy {
            rules: Rules { exceptions, ..rules(on_stale) },
            ..sample::policy(name, Selector::default())
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
}
