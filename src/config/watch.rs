//! Hot reload: the file is polled by content, and a good one becomes the next snapshot.
//!
//! By content, because the kubelet swaps the `..data` symlink under a ConfigMap's mount: a watch on the
//! file goes blind after the first swap. A bad file changes nothing but [`Handle::condition`].

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::{Files, Loaded, Problems, parse, unreadable};
use crate::domain::settings::Settings;

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What it says.
    pub settings: Arc<Settings>,
    /// Counts from 1; grows with every change.
    pub generation: u64,
    /// When it was loaded.
    pub loaded: Timestamp,
}

/// How the last look at the file went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// What is in force is what the file says; its warnings.
    InForce(Problems),
    /// The file is refused, and an older snapshot in force.
    Refused {
        /// What is wrong with it.
        problems: Problems,
        /// Since when it is refused.
        since: Timestamp,
    },
}

/// What everybody else sees of the configuration: cheap to clone, never waits.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Published>);

#[derive(Debug)]
struct Published {
    snapshot: ArcSwap<Snapshot>,
    condition: ArcSwap<Condition>,
}

impl Handle {
    /// The snapshot in force. One request takes it once.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// How the last look at the file went.
    #[must_use]
    pub fn condition(&self) -> Arc<Condition> {
        self.0.condition.load_full()
    }
}

/// What a poll came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The file says what is in force.
    Unchanged,
    /// It said something new, which is in force now.
    Published,
    /// It is refused.
    Refused,
}

/// Looks at one file again and again.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    files: Files,
    clock: fn() -> Timestamp,
    /// The text in force.
    text: String,
    handle: Handle,
}

impl Watch {
    /// Loads the file for the first time.
    ///
    /// # Errors
    /// Every problem of the file: without a first snapshot there is nothing to keep.
    pub fn open(path: PathBuf, files: Files, clock: fn() -> Timestamp) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(name.clone(), &error))?;
        let loaded = clock();
        let Loaded { settings, warnings } = parse(&text, &name, files, loaded)?;
        let snapshot = Snapshot { settings: Arc::new(settings), generation: 1, loaded };
        let handle = Handle(Arc::new(Published {
            snapshot: ArcSwap::from_pointee(snapshot),
            condition: ArcSwap::from_pointee(Condition::InForce(warnings)),
        }));
        Ok(Self { path, files, clock, text, handle })
    }

    /// What it publishes to.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Polls for ever; the caller spawns it, and drops it to stop.
    pub async fn run(mut self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.poll().await;
        }
    }

    /// Looks once.
    pub async fn poll(&mut self) -> Polled {
        let name = self.path.display().to_string();
        let read = tokio::fs::read_to_string(&self.path).await;
        let now = (self.clock)();
        let parsed = match read {
            Ok(text) if text == self.text && !self.is_refused() => return Polled::Unchanged,
            // A refused text is read again though it is the same: the files that it names may be there by now.
            Ok(text) => parse(&text, &name, self.files, now).map(|loaded| (text, loaded)),
            Err(error) => Err(unreadable(name, &error)),
        };
        match parsed {
            Ok((text, Loaded { settings, warnings })) => {
                self.handle.0.condition.store(Arc::new(Condition::InForce(warnings)));
                if text == self.text {
                    return Polled::Unchanged;
                }
                let generation = self.handle.0.snapshot.load().generation + 1;
                let snapshot = Snapshot { settings: Arc::new(settings), generation, loaded: now };
                self.handle.0.snapshot.store(Arc::new(snapshot));
                self.text = text;
                Polled::Published
            }
            Err(problems) => {
                let since = match &**self.handle.0.condition.load() {
                    Condition::Refused { since, .. } => *since,
                    Condition::InForce(_) => now,
                };
                self.handle.0.condition.store(Arc::new(Condition::Refused { problems, since }));
                Polled::Refused
            }
        }
    }

    fn is_refused(&self) -> bool {
        matches!(**self.handle.0.condition.load(), Condition::Refused { .. })
    }
}
