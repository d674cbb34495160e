//! What looks at layers share: the blobs that were seen a moment ago, what manifests list, and looks in progress.
//!
//! Images share layers, so each blob is asked for once, however many images list it, and however many look at it at once.
//! Only what is there is shared: a registry may hold a blob in one repository and not in another.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::{Depth, Layer, SingleFlight, Tasks};

use super::invalidation::{Epoch, View};
use super::question::UpstreamId;
use super::upstream::Upstream;

/// The most blobs that are remembered as seen, of all registries: some 12 MB.
const MOST_SEEN: usize = 64 * 1024;

/// The most layers in all remembered lists, some 5 MB. What a manifest lists never changes.
const MOST_LISTED: usize = 64 * 1024;

/// Of so many registries the blob that was served last is known.
const MOST_SERVED: usize = 256;

/// How a blob stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    /// It is there, with the listed size where the storage told one.
    There,
    /// It is not there, or not whole.
    Gone,
    /// Twice it was announced, and the connection broke before its first byte.
    Cut,
    /// Twice the registry refused the question for good.
    Refused(Arc<str>),
}

/// See the module's documentation.
pub(super) struct Blobs {
    seen: Mutex<Young<(UpstreamId, Digest), Seen>>,
    lists: Mutex<Young<Digest, Arc<[Layer]>>>,
    /// The blob of each registry whose first byte arrived last.
    served: Mutex<Young<UpstreamId, (Repository, Digest)>>,
    flights: SingleFlight<(UpstreamId, Digest, Depth), (), Result<Stands, Unknown>>,
}

/// When and how a blob was seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    depth: Depth,
    at: Instant,
    epoch: Epoch,
}

/// A look that others wait for as well, or that others began.
pub(super) enum Shared {
    /// The caller began it.
    Own(Result<Stands, Unknown>),
    /// Somebody else did, perhaps in another repository.
    Others(Result<Stands, Unknown>),
}

impl Blobs {
    pub fn new(tasks: Tasks) -> Self {
        Self {
            seen: Mutex::new(Young::new(MOST_SEEN)),
            lists: Mutex::new(Young::new(MOST_LISTED)),
            served: Mutex::new(Young::new(MOST_SERVED)),
            flights: SingleFlight::new(tasks),
        }
    }

    /// Was this blob seen at least so deep there, for at most `cache.present`, and not before something there changed?
    pub fn is_seen(&self, upstream: &Upstream, blob: &Digest, depth: Depth, view: &View<'_>) -> bool {
        let seen = lock(&self.seen).get(&(upstream.id, *blob));
        seen.is_some_and(|Seen { depth: by, at, epoch }| {
            let outdated = view.epochs.invalidated(epoch, []) || view.epochs.returned(epoch);
            by >= depth && view.now.saturating_duration_since(at) < view.life.present && !outdated
        })
    }

    /// The blob of this registry whose first byte arrived last.
    pub fn served(&self, upstream: &Upstream) -> Option<(Repository, Digest)> {
        lock(&self.served).get(&upstream.id)
    }

    /// The first byte of this blob arrived.
    pub fn serve(&self, upstream: &Upstream, repository: &Repository, blob: Digest) {
        lock(&self.served).put(upstream.id, (repository.clone(), blob), 1);
    }

    /// Remembers that a blob was seen. A deeper look that still counts is kept.
    pub fn see(&self, upstream: &Upstream, blob: &Digest, depth: Depth, epoch: Epoch, view: &View<'_>) {
        if !self.is_seen(upstream, blob, depth, view) {
            lock(&self.seen).put((upstream.id, *blob), Seen { depth, at: view.now, epoch }, 1);
        }
    }

    /// What this manifest lists, if it was read.
    pub fn list(&self, manifest: &Digest) -> Option<Arc<[Layer]>> {
        lock(&self.lists).get(manifest)
    }

    /// Remembers what this manifest lists.
    pub fn put_list(&self, manifest: Digest, layers: Arc<[Layer]>) {
        let weight = layers.len() + 1;
        lock(&self.lists).put(manifest, layers, weight);
    }

    /// Looks at a blob, or joins who does.
    pub async fn look<F>(&self, upstream: &Upstream, blob: &Digest, depth: Depth, look: F) -> Shared
    where
        F: Future<Output = Result<Stands, Unknown>> + Send + 'static,
    {
        let joined =
            self.flights.join_or_start(&(upstream.id, *blob, depth), (), |()| true, || Ok::<_, ()>(look));
        let ended = || Unknown::new(Cause::Internal, "Landfall's own look ended: it is shutting down");
        match joined {
            Ok(crate::registry::Joined::Started(flight)) => {
                Shared::Own(flight.result().await.unwrap_or_else(|| Err(ended())))
            }
            Ok(crate::registry::Joined::Running(flight)) => {
                Shared::Others(flight.result().await.unwrap_or_else(|| Err(ended())))
            }
            Err(()) => Shared::Own(Err(ended())),
        }
    }
}

/// A map within a bound: when half of it is new, the older half is dropped.
struct Young<K, V> {
    half: usize,
    weight: usize,
    new: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq + Copy, V: Clone> Young<K, V> {
    fn new(most: usize) -> Self {
        Self { half: most / 2, weight: 0, new: HashMap::new(), old: HashMap::new() }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.new.get(key).or_else(|| self.old.get(key)).cloned()
    }

    fn put(&mut self, key: K, value: V, weight: usize) {
        if self.new.insert(key, value).is_none() {
            self.weight += weight;
        }
        if self.weight >= self.half {
            self.weight = 0;
            self.old = std::mem::take(&mut self.new);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_are_kept_and_there_is_a_bound() {
        let mut young = Young::new(100);
        for n in 0..1000_usize {
            young.put(n, n, 1);
            assert!(young.new.len() + young.old.len() <= 100);
            assert!((n.saturating_sub(49)..=n).all(|n| young.get(&n) == Some(n)), "{n}");
        }
        assert_eq!(young.get(&0), None);
        for n in 0..50 {
            young.put(7, n, 1);
        }
        assert_eq!((young.get(&7), young.get(&999)), (Some(49), Some(999)), "the same one takes no room");
    }
}
