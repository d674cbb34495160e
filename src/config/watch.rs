//! Hot reload: the file is read again and again, and a valid new text becomes the next snapshot.
//!
//! The content is compared, because the kubelet replaces the `..data` symlink of a mounted ConfigMap: a watch on the file
//! notices nothing after the first replacement. A file with errors changes only [`Handle::condition`].

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
    /// Starts at 1 and grows with every change.
    pub generation: u64,
    /// When it was loaded.
    pub loaded: Timestamp,
}

/// The result of the last reading of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The file is in force; its warnings.
    InForce(Problems),
    /// The file is refused, and an older snapshot is in force.
    Refused {
        /// What is wrong with it.
        problems: Problems,
        /// Since when it is refused.
        since: Timestamp,
    },
}

/// Read access to the configuration in force: cheap to clone, never waits.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Published>);

#[derive(Debug)]
struct Published {
    snapshot: ArcSwap<Snapshot>,
    condition: ArcSwap<Condition>,
}

impl Handle {
    /// The snapshot in force. A request takes it once and uses it to its end.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// The result of the last reading of the file.
    #[must_use]
    pub fn condition(&self) -> Arc<Condition> {
        self.0.condition.load_full()
    }
}

/// The result of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The file is as it was.
    Unchanged,
    /// The file has changed, and is in force now.
    Published,
    /// The file is refused.
    Refused,
}

/// Reads one file again and again.
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

    /// A handle to what it publishes.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Polls for ever. The caller spawns it, and drops it to stop it.
    pub async fn run(mut self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.poll().await;
        }
    }

    /// Reads the file once.
    pub async fn poll(&mut self) -> Polled {
        let name = self.path.display().to_string();
        let read = tokio::fs::read_to_string(&self.path).await;
        let now = (self.clock)();
        let parsed = match read {
            Ok(text) if text == self.text && !self.is_refused() => return Polled::Unchanged,
            // A refused text is checked again even if it is the same: the files that it names may exist by now.
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
