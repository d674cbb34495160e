//! What ends the life of answers before their time: a notification that something changed, other credentials, and
//! a registry that is back.
//!
//! Nothing is searched or removed then. Every answer carries the [`Epoch`] of the moment when its look-up began, and
//! whoever looks at it compares: so an answer that was under way when the change was told is outdated as well.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelValue;
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::domain::settings::CacheLife;

use super::verdict_cache::Generation;

/// So many invalidations are told apart at one registry. An answer that is older than all of them counts as
/// invalidated: at a registry where so much changes, a day-old answer is no loss.
const NOTICES: usize = 4096;

/// What changed at a registry. Names are compared as a whole: a repository is not its namesakes below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Something of this digest, in whatever repository: it came, it went, it was scanned.
    Digest(Digest),
    /// What this tag means.
    Tag(Repository, Tag),
    /// Anything in this repository.
    Repository(Repository),
    /// Anything.
    Registry,
}

/// [`Scope`], as metrics tell it.
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

/// How far things had come when a look-up began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    notices: u32,
    returns: u32,
    credentials: u64,
}

/// How far things have come at one registry.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// How many invalidations there were; changed under the lock of `notices` only.
    noticed: AtomicU32,
    notices: RwLock<Notices>,
    /// How often it came back after it was down.
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
    /// The same, oldest first, and those that a newer one of the same scope replaced.
    order: VecDeque<(u32, Scope)>,
    /// Up to this number everything is invalidated.
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
    /// That of a registry about which nothing is known; what ends answers is counted there, too.
    pub fn new(generation: &Generation) -> Self {
        Self { generation: generation.clone(), ..Self::default() }
    }

    /// To be taken before anything is asked.
    pub fn epoch(&self) -> Epoch {
        Epoch {
            notices: self.noticed.load(Ordering::Acquire),
            returns: self.returns.load(Ordering::Acquire),
            credentials: self.credentials.load(Ordering::Acquire),
        }
    }

    /// Outdates what was learned, and what is being learned, of this scope.
    pub fn invalidate(&self, scope: Scope) {
        let mut notices = self.notices.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.noticed.load(Ordering::Acquire).wrapping_add(1);
        notices.add(number, scope);
        self.noticed.store(number, Ordering::Release);
        self.generation.bump();
    }

    /// Was nothing at all invalidated since?
    pub fn is_quiet(&self, epoch: Epoch) -> bool {
        epoch.notices == self.noticed.load(Ordering::Acquire)
    }

    /// Was any of these scopes invalidated since?
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

    /// The registry is known to be down or closed to us, or is not.
    pub fn notice_down(&self, down: bool) {
        if self.down.load(Ordering::Acquire) == down || self.down.swap(down, Ordering::AcqRel) == down {
            return;
        }
        if !down {
            self.returns.fetch_add(1, Ordering::AcqRel);
        }
        self.generation.bump();
    }

    /// Has it come back since from being down?
    pub fn returned(&self, epoch: Epoch) -> bool {
        epoch.returns != self.returns.load(Ordering::Acquire)
    }

    /// The credentials have this version. True: they had another one before.
    pub fn notice_credentials(&self, version: u64) -> bool {
        // Every question passes here; hardly one has news.
        let news = self.credentials.load(Ordering::Acquire) != version;
        if news {
            self.credentials.store(version, Ordering::Release);
            self.generation.bump();
        }
        news
    }

    /// Are the credentials other ones since?
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
