//! What a new Pod with each image would get, for the people of each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::needs::Users;
use crate::cluster::{ObjectRef, Owners};
use crate::domain::case::{Case, Subject};
use crate::domain::finding::{Action, Finding};
use crate::domain::gap::{GapKey, gaps};
use crate::domain::name::RegistryName;
use crate::domain::verdict::{Ruling, Verdict};

/// How the images of all namespaces stand.
#[derive(Debug, Default)]
pub struct Standings {
    /// How many images of each namespace are as they should be, and how many are left alone.
    pub namespaces: BTreeMap<Box<str>, Tally>,
    /// The others.
    pub lacking: Vec<Standing>,
    /// Whether everything was read. If not, a namespace that is absent may still lack something.
    pub whole: bool,
}

/// How many images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// They are served by this site.
    pub passed: u32,
    /// Landfall leaves them alone.
    pub skipped: u32,
}

/// What a new Pod with one image would get.
#[derive(Debug)]
pub enum Outcome {
    /// The copy of this site.
    Passed,
    /// What it asks for: Landfall leaves it alone.
    Skipped,
    /// Something is lacking.
    Lacks(Box<Standing>),
}

/// An image of which something is lacking.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The image as Pods write it.
    pub written: Box<str>,
    /// The finding that decided.
    pub finding: Finding,
    /// Whether the Pod would be denied; else another copy, or this one in spite of it, would be used.
    pub ruling: Ruling,
    /// The registry of the finding.
    pub place: Option<RegistryName>,
    /// The gap, where it is one.
    pub gap: Option<GapKey>,
    /// The namespaces whose Pods use it.
    pub namespaces: BTreeSet<Box<str>>,
    /// The first of the owners of these Pods.
    pub owners: Vec<Arc<ObjectRef>>,
}

impl Outcome {
    pub(super) fn of(case: &Case, verdict: &Verdict, users: &Users) -> Self {
        match verdict.ruling {
            Ruling::Local { .. } => return Self::Passed,
            Ruling::Keep(_) => return Self::Skipped,
            Ruling::Accepted { .. } | Ruling::Fallback { .. } | Ruling::Deny => {}
        }
        // The strictest, and of these the first. The primary itself is accepted without any.
        let strictest = |found: Option<Action>, finding: &Finding| found.max(Some(finding.action));
        let action = verdict.findings.iter().fold(None, strictest);
        let Some(finding) = verdict.findings.iter().find(|finding| Some(finding.action) == action) else {
            return Self::Passed;
        };
        let place = match (&case.subject, finding.place) {
            (Subject::Routed(routed), Some(ix)) => routed.place(ix).map(|place| place.registry.name.clone()),
            _ => None,
        };
        let gap = gaps(case, verdict).into_iter().find(|gap| Some(&gap.key.registry) == place.as_ref());
        Self::Lacks(Box::new(Standing {
            written: case.written.clone(),
            finding: finding.clone(),
            ruling: verdict.ruling.clone(),
            place,
            gap: gap.map(|gap| gap.key),
            namespaces: users.namespaces.clone(),
            owners: users.owners.clone(),
        }))
    }
}

impl Standings {
    pub(super) fn add(&mut self, outcome: Outcome, users: &Users) {
        let (passed, skipped) = match outcome {
            Outcome::Lacks(standing) => return self.lacking.push(*standing),
            Outcome::Passed => (1, 0),
            Outcome::Skipped => (0, 1),
        };
        for namespace in &users.namespaces {
            let tally = self.namespaces.entry(namespace.clone()).or_default();
            tally.passed += passed;
            tally.skipped += skipped;
        }
    }

    /// Puts Deployments in the place of ReplicaSets, and CronJobs in that of Jobs, where they are known.
    pub(super) fn name_owners(&mut self, owners: &Owners) {
        for standing in &mut self.lacking {
            for owner in &mut standing.owners {
                if let Some(known) = owners.known(owner) {
                    *owner = Arc::new(known);
                }
            }
            standing.owners.sort();
            standing.owners.dedup();
        }
    }
}
