//! Policies from objects: every replica reads all of them, and the leader says in their status how they stand.
//!
//! ```text
//! LandingPolicies ─watch─► Seen ─┐
//! file: defaults ────────────────┴─ reading ─► Held ─┬─► controllers::settings: what the doors read
//!                                                    ├─► reporter: ConfigMap of replicas, status, events
//!                                                    └─► denied: numbers of denied Pods
//! ```
//!
//! An object that cannot be understood never opens what was closed: what it said before stays in force until the object is
//! gone. A replica that has never seen it otherwise takes it as the strictest policy there is.

mod controller;
mod denied;
mod metrics;
mod reading;
mod reporter;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::cluster::PolicyObject;
use crate::config::Problems;
use crate::domain::policy::Policy;

pub use controller::{PolicyController, Standing};
pub use denied::Denials;
pub use metrics::PolicyMetrics;
pub use reporter::{Reporter, ReporterNames};

/// How often we look whether an exception has ended, or the file has changed.
const TICK: Duration = Duration::from_secs(1);

/// An object, and what is in force because of it.
#[derive(Debug, Clone)]
pub struct Held {
    /// The object as it is now.
    pub object: Arc<PolicyObject>,
    /// What is in force; `None`: nothing, because there are too many policies.
    pub policy: Option<Arc<Policy>>,
    /// Whether that is what the object says.
    pub reading: Reading,
    /// The object when its text could be understood last. It is shared: a text may be long.
    good: Option<Arc<PolicyObject>>,
    /// The first moment at which it must be read again, because an exception or a break-glass ends then.
    due: Option<Timestamp>,
}

/// Whether an object could be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It could; with these warnings.
    Accepted(Problems),
    /// It could not, for these reasons.
    Refused(Problems, Instead),
    /// It was not looked at: there are too many policies.
    TooMany,
}

/// What is in force instead of an object that could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// What its text of this generation said.
    Earlier(i64),
    /// The strictest policy for the namespaces that it may mean.
    Strictest,
}

impl Held {
    fn too_many(object: &Arc<PolicyObject>) -> Self {
        Self { object: object.clone(), policy: None, reading: Reading::TooMany, good: None, due: None }
    }

    /// Whether nothing that a status says has changed.
    fn is_same(&self, other: &Self) -> bool {
        self.object == other.object && self.policy == other.policy && self.reading == other.reading
    }

    /// The generation that is in force, if it is one that the object has or had.
    pub fn generation(&self) -> Option<i64> {
        match self.reading {
            Reading::Accepted(_) => Some(self.object.generation),
            Reading::Refused(_, Instead::Earlier(generation)) => Some(generation),
            Reading::Refused(_, Instead::Strictest) | Reading::TooMany => None,
        }
    }
}
