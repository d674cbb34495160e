//! Hot reload: the file is read again and again, and a good text becomes the next snapshot.
//!
//! Its content is compared, because the kubelet replaces the symlink `..data` under the mount of a ConfigMap: a watch on
//! the file would see nothing after the first replacement. A bad file changes nothing but [`Handle::condition`].

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::{Files, Loaded, Problems, parse, unreadable};
use crate::domain::settings::Settings;

/// The last good configuration.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What it says.
    pub settings: Arc<Settings>,
    /// Counts from 1; grows with every change.
    pub generation: u64,
    /// When it was loaded.
    pub loaded: Timestamp,
}

/// The result of the last look at the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The snapshot is what the file says, with these warnings.
    InForce(Problems),
    /// The file is refused, and the snapshot is older.
    Refused {
        /// What is wrong with it.
        problems: Problems,
        /// Since when it is refused.
        since: Timestamp,
    },
}

/// What others see of the configuration. It is cheap to clone and never waits.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Published>);

#[derive(Debug)]
struct Published {
    snapshot: ArcSwap<Snapshot>,
    condition: ArcSwap<Condition>,
}

impl Handle {
    /// The last good configuration.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// The result of the last look at the file.
    #[must_use]
    pub fn condition(&self) -> Arc<Condition> {
        self.0.condition.load_full()
    }
}

/// The result of one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The file says what the snapshot says.
    Unchanged,
    /// The file said something new, which is the snapshot now.
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
    /// The text of the snapshot.
    text: String,
    /// A text that stays refused until somebody edits it.
    refused: Option<String>,
    handle: Handle,
}

/// A text and what became of it.
struct Judged {
    text: String,
    result: Result<Loaded, Problems>,
    /// Whether it is refused whatever files there are.
    hopeless: bool,
}

impl Watch {
    /// Loads the file for the first time. It blocks.
    ///
    /// # Errors
    /// Every problem of the file: without a first snapshot there is nothing to serve with.
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
        Ok(Self { path, files, clock, text, refused: None, handle })
    }

    /// What it publishes to.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Looks once. A new text is parsed on a thread that may block: a thousand routes take long enough to delay every
    /// admission on the same worker.
    pub async fn poll(&mut self) -> Polled {
        let name = self.path.display().to_string();
        let read = tokio::fs::read_to_string(&self.path).await;
        let (files, now) = (self.files, (self.clock)());
        let judged = match read {
            Ok(text) if text == self.text && !self.is_refused() => return Polled::Unchanged,
            Ok(text) if self.refused.as_ref() == Some(&text) => return Polled::Refused,
            Ok(text) => {
                let file = name.clone();
                spawn_blocking(move || judge(text, &file, files, now)).await.map_err(io::Error::other)
            }
            Err(error) => Err(error),
        };
        self.refused = None;
        match judged {
            Ok(Judged { text, result: Ok(loaded), .. }) => self.accept(text, loaded, now),
            Ok(Judged { text, result: Err(problems), hopeless }) => {
                self.refused = hopeless.then_some(text);
                self.refuse(problems, now)
            }
            Err(error) => self.refuse(unreadable(name, &error), now),
        }
    }

    fn accept(&mut self, text: String, Loaded { settings, warnings }: Loaded, now: Timestamp) -> Polled {
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

    fn refuse(&self, problems: Problems, now: Timestamp) -> Polled {
        let since = match &**self.handle.0.condition.load() {
            Condition::Refused { since, .. } => *since,
            Condition::InForce(_) => now,
        };
        self.handle.0.condition.store(Arc::new(Condition::Refused { problems, since }));
        Polled::Refused
    }

    fn is_refused(&self) -> bool {
        matches!(**self.handle.0.condition.load(), Condition::Refused { .. })
    }
}

/// Parses a text. One that is refused only because a file that it names is missing may be good a moment later, so it is
/// parsed again at the next poll; any other refused text is not.
fn judge(text: String, name: &str, files: Files, now: Timestamp) -> Judged {
    let result = parse(&text, name, files, now);
    let hopeless = result.is_err() && parse(&text, name, Files::Skip, now).is_err();
    Judged { text, result, hopeless }
}
