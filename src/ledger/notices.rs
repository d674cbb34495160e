//! Events on the owners of Pods: each at most once in half an hour, and not many at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Event, EventReason, EventRecorder, ObjectRef, Severity};
use crate::domain::gap::GapKey;

/// For how long the same is not told again.
const QUIET: Duration = Duration::from_mins(30);

/// How many notices are remembered.
const MOST: usize = 4_096;

/// How many notices may be told at once. One more comes with each second.
const BURST: u32 = 30;

/// Tells owners. A clone shares what was told.
#[derive(Debug, Clone)]
pub struct Notices {
    events: EventRecorder,
    state: Arc<Mutex<State>>,
}

type Told = (ObjectRef, GapKey, EventReason);

#[derive(Debug)]
struct State {
    told: HashMap<Told, Instant>,
    /// When the bucket was empty, if tokens had always come once a second.
    empty_at: Instant,
}

impl Notices {
    /// With nothing told yet.
    #[must_use]
    pub fn new(events: EventRecorder) -> Self {
        let state = State { told: HashMap::new(), empty_at: Instant::now() };
        let notices = Self { events, state: Arc::new(Mutex::new(state)) };
        notices.fill();
        notices
    }

    fn fill(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Duration::from_secs(BURST.into());
        state.empty_at = state.empty_at.checked_sub(full).unwrap_or(state.empty_at);
    }

    /// Tells the owner, unless it was told a while ago or too much is told now. It never waits.
    pub fn tell(
        &self,
        owner: &ObjectRef,
        key: &GapKey,
        reason: EventReason,
        message: impl FnOnce() -> String,
    ) {
        if !self.may_tell((owner.clone(), key.clone(), reason)) {
            return;
        }
        let severity = match reason {
            EventReason::GapClosed => Severity::Normal,
            _ => Severity::Warning,
        };
        self.events.record(Event { about: owner.clone(), severity, reason, message: message() });
    }

    fn may_tell(&self, what: Told) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.get(&what).is_some_and(|at| now.duration_since(*at) < QUIET) {
            return false;
        }
        if state.told.len() >= MOST {
            state.told.retain(|_, at| now.duration_since(*at) < QUIET);
        }
        let second = Duration::from_secs(1);
        let oldest = now.checked_sub(second * BURST).unwrap_or(now);
        let empty_at = state.empty_at.max(oldest);
        if state.told.len() >= MOST || now.duration_since(empty_at) < second {
            return false;
        }
        state.empty_at = empty_at + second;
        state.told.insert(what, now);
        true
    }
}
