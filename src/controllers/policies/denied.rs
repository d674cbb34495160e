//! How many Pods each policy has denied: counted in memory at the doors, and added to the status of the objects from time to
//! time, by every replica. Nobody at a door waits for it. A replica that is killed loses what it has not added yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Held;
use crate::cluster::{MOST_POLICIES, PolicyObject, PolicyObjects, Written};
use crate::domain::error_chain::error_chain;
use crate::domain::name::PolicyName;

/// How often the numbers are added to the objects.
const EVERY: Duration = Duration::from_secs(10);

/// How often an object is read again because another replica wrote it first.
const ATTEMPTS: u32 = 5;

/// How many policies are counted; the file may have some, too.
const MOST: usize = 2 * MOST_POLICIES;

/// Counts the Pods that policies have denied. A clone counts into the same numbers.
#[derive(Debug, Clone)]
pub struct Denials {
    tallies: Arc<Mutex<BTreeMap<PolicyName, Tally>>>,
    clock: fn() -> Timestamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    pods: u64,
    last: Timestamp,
}

impl Denials {
    /// With no Pod counted.
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self { tallies: Arc::default(), clock }
    }

    /// Counts one Pod that this policy has denied, or would have denied while it only reports.
    pub fn count(&self, policy: &PolicyName) {
        self.add(policy, Tally { pods: 1, last: (self.clock)() });
    }

    fn add(&self, policy: &PolicyName, more: Tally) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if tallies.len() >= MOST && !tallies.contains_key(policy) {
            return;
        }
        let tally = tallies.entry(policy.clone()).or_default();
        tally.pods = tally.pods.saturating_add(more.pods);
        tally.last = tally.last.max(more.last);
    }

    /// Adds the numbers to the objects for as long as it is polled.
    pub async fn run(self, objects: PolicyObjects, held: watch::Receiver<Arc<[Held]>>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let held = held.borrow().clone();
            self.fold(&objects, &held).await;
        }
    }

    /// Adds the numbers to the objects once. What could not be added is kept for the next time.
    pub async fn fold(&self, objects: &PolicyObjects, held: &[Held]) {
        let tallies = std::mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, tally) in tallies {
            // Of a policy of the file nobody keeps the number: it has no object.
            let Some(held) = held.iter().find(|held| held.object.name == name) else { continue };
            if !added(objects, &held.object, tally).await {
                self.add(&name, tally);
            }
        }
    }
}

/// Whether this was added to the object.
async fn added(objects: &PolicyObjects, object: &PolicyObject, tally: Tally) -> bool {
    for _ in 0..ATTEMPTS {
        match objects.add_denied(object, tally.pods, tally.last).await {
            Ok(Written::Done) => return true,
            Ok(Written::Outdated) => {}
            Err(error) => {
                tracing::warn!(error = error_chain(&error), policy = %object.name, "denied Pods are not counted yet");
                return false;
            }
        }
    }
    false
}
