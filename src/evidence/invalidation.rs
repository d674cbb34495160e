//! What outdates answers before their TTL ends: a notification that something changed, other credentials, and a registry
//! that is back after it was down.
//!
//! Nothing is searched or removed then. Each answer carries the [`Epoch`] in which its look-up began, and readers compare
//! it with the current one. So answers of look-ups that were in progress during the change are outdated as well.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelValue;
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::domain::settings::CacheLife;

use super::verdict_cache::Generation;

/// How many invalidations are kept for one registry. An answer older than all of them counts as invalidated: where so much
/// changes, an old answer is no loss.
const NOTICES: usize = 4096;

/// What changed at a registry. A repository's name is compared as a whole: those below it are not included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This digest in any repository: it was pushed, deleted or scanned.
    Digest(Digest),
    /// The digest of this tag.
    Tag(Repository, Tag),
    /// Anything in this repository.
    Repository(Repository),
    /// Anything.
    Registry,
}

/// The kind of a [`Scope`], as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum ScopeKind {
    Digest,
    Tag,
    Repository,
    Registry,
}

impl Scope {
    pub(super) fn kind(&self) -> ScopeKind {
        match self {
            Self::Digest(_) => ScopeKind::Digest,
            Self::Tag(..) => ScopeKind::Tag,
            Self::Repository(_) => ScopeKind::Repository,
            Self::Registry => ScopeKind::Registry,
        }
    }
}

/// The state of [`Epochs`] when a look-up began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    notices: u32,
    returns: u32,
    credentials: u64,
}

/// Counters of what outdates answers at one registry. An answer compares its [`Epoch`] with them.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// How many invalidations there were. It is changed under the lock of `notices` only.
    noticed: AtomicU32,
    notices: RwLock<Notices>,
    /// How often the registry came back after it was down.
    returns: AtomicU32,
    down: AtomicBool,
    /// The version of the credentials.
    credentials: AtomicU64,
    generation: Generation,
}

#[derive(Debug, Default)]
struct Notices {
    /// The number of the last invalidation of each scope.
    last: HashMap<Scope, u32>,
    /// The same, oldest first, including those that a newer one of the same scope replaced.
    order: VecDeque<(u32, Scope)>,
    /// Everything up to this number is invalidated.
    floor: u32,
}

/// What decides whether an answer counts: the time, the settings, and what happened at its registry.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub now: Instant,
    pub life: &'a CacheLife,
    pub epochs: &'a Epochs,
}

impl Epochs {
    /// Epochs of a new registry. Each change also bumps `generation`, which outdates cached verdicts.
    pub fn new(generation: &Generation) -> Self {
        Self { generation: generation.clone(), ..Self::default() }
    }

    /// The current epoch. Take it before the registry is asked.
    pub fn epoch(&self) -> Epoch {
        Epoch {
            notices: self.noticed.load(Ordering::Acquire),
            returns: self.returns.load(Ordering::Acquire),
            credentials: self.credentials.load(Ordering::Acquire),
        }
    }

    /// Outdates all answers of this scope, those of look-ups in progress as well.
    pub fn invalidate(&self, scope: Scope) {
        let mut notices = self.notices.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.noticed.load(Ordering::Acquire).wrapping_add(1);
        notices.add(number, scope);
        self.noticed.store(number, Ordering::Release);
        self.generation.bump();
    }

    /// Was nothing invalidated since this epoch?
    pub fn is_quiet(&self, epoch: Epoch) -> bool {
        epoch.notices == self.noticed.load(Ordering::Acquire)
    }

    /// Was any of these scopes invalidated since this epoch?
    pub fn invalidated(&self, epoch: Epoch, scopes: impl IntoIterator<Item = Scope>) -> bool {
        if self.is_quiet(epoch) {
            return false;
        }
        let notices = self.notices.read().unwrap_or_else(PoisonError::into_inner);
        epoch.notices < notices.floor
            || scopes
                .into_iter()
                .any(|scope| notices.last.get(&scope).is_some_and(|number| *number > epoch.notices))
    }

    /// Records whether look-ups get through to the registry.
    pub fn notice_down(&self, down: bool) {
        if self.down.load(Ordering::Acquire) == down || self.down.swap(down, Ordering::AcqRel) == down {
            return;
        }
        if !down {
            self.returns.fetch_add(1, Ordering::AcqRel);
        }
        self.generation.bump();
    }

    /// Did the registry come back since this epoch?
    pub fn returned(&self, epoch: Epoch) -> bool {
        epoch.returns != self.returns.load(Ordering::Acquire)
    }

    /// Records the version of the credentials. True: it changed.
    pub fn notice_credentials(&self, version: u64) -> bool {
        // Each question comes here, and hardly one brings a change: reading is cheaper than writing.
        let changed = self.credentials.load(Ordering::Acquire) != version;
        if changed {
            self.credentials.store(version, Ordering::Release);
            self.generation.bump();
        }
        changed
    }

    /// Did the credentials change since this epoch?
    pub fn rotated(&self, epoch: Epoch) -> bool {
        epoch.credentials != self.credentials.load(Ordering::Acquire)
    }
}

impl Notices {
    fn add(&mut self, number: u32, scope: Scope) {
        if scope == Scope::Registry {
            *self = Self { floor: number, ..Self::default() };
            return;
        }
        self.last.insert(scope.clone(), number);
        self.order.push_back((number, scope));
        while self.order.len() > NOTICES {
            let Some((number, scope)) = self.order.pop_front() else { return };
            if self.last.get(&scope) == Some(&number) {
                self.last.remove(&scope);
                self.floor = number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u32) -> Scope {
        let mut bytes = [0; 32];
        for (byte, part) in bytes.iter_mut().zip(n.to_be_bytes()) {
            *byte = part;
        }
        Scope::Digest(Digest::Sha256(bytes))
    }

    #[test]
    fn what_was_asked_before_is_outdated_and_what_was_asked_after_is_not() {
        let (epochs, scope) = (Epochs::default(), digest(1));
        let before = epochs.epoch();
        assert!(!epochs.invalidated(before, [scope.clone()]));
        epochs.invalidate(scope.clone());
        assert!(epochs.invalidated(before, [digest(2), scope.clone()]));
        assert!(!epochs.invalidated(before, [digest(2)]));
        let after = epochs.epoch();
        assert!(!epochs.invalidated(after, [scope.clone()]));
        epochs.invalidate(digest(2));
        assert!(!epochs.invalidated(after, [scope.clone()]));
        epochs.invalidate(Scope::Registry);
        assert!(epochs.invalidated(after, [scope.clone()]));
        assert!(!epochs.invalidated(epochs.epoch(), [scope]));
    }

    #[test]
    fn however_much_is_invalidated_nothing_that_was_is_forgotten_and_room_is_bounded() {
        let epochs = Epochs::default();
        let first = epochs.epoch();
        let count = u32::try_from(3 * NOTICES).unwrap();
        for n in 0..count {
            epochs.invalidate(digest(n));
            assert!(epochs.invalidated(first, [digest(n)]));
        }
        for n in [0, 1, count / 2, count - 1] {
            assert!(epochs.invalidated(first, [digest(n)]), "{n}");
        }
        let recent = epochs.epoch();
        epochs.invalidate(digest(count));
        assert!(!epochs.invalidated(recent, [digest(0)]), "what is recent is told apart");
        let notices = epochs.notices.read().unwrap();
        assert!(notices.last.len() <= NOTICES && notices.order.len() <= NOTICES);
    }

    #[test]
    fn the_same_scope_again_and_again_outdates_nothing_else() {
        let epochs = Epochs::default();
        let epoch = epochs.epoch();
        for _ in 0..3 * NOTICES {
            epochs.invalidate(digest(1));
        }
        assert!(epochs.invalidated(epoch, [digest(1)]));
        assert!(!epochs.invalidated(epoch, [digest(2)]));
    }

    #[test]
    fn a_return_is_told_once() {
        let epochs = Epochs::default();
        let epoch = epochs.epoch();
        epochs.notice_down(false);
        assert!(!epochs.returned(epoch));
        epochs.notice_down(true);
        assert!(!epochs.returned(epoch), "it is down");
        epochs.notice_down(false);
        assert!(epochs.returned(epoch));
        let epoch = epochs.epoch();
        epochs.notice_down(false);
        assert!(!epochs.returned(epoch));
    }
}
