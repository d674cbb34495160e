//! Policies: what security teams require, and how several of them come together for one namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::pattern::ImagePattern;
use super::registry::name;
use super::scan::Requirement;
use super::verdict::{Action, FindingKind};

name! {
    /// The name of an ImagePolicy.
    PolicyName
}

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

/// An ImagePolicy, complete.
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

/// The labels of a namespace.
pub type Labels = BTreeMap<String, String>;

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
