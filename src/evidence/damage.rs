//! What looks at the copies of images found damaged: the registry says that the manifest is there, and no node can pull the
//! image.
//!
//! It is that of one repository: a registry may hold a layer in one and not in another, and whoever owns one repository must not
//! decide about the images of others.
//!
//! Damage lies over the answers of the registry until a look finds the image whole, or until the registry's configuration
//! changes. A push does not end it: a registry that has the manifest takes no layer again.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;
use crate::domain::evidence::{Observation, Presence};
use crate::domain::image::Repository;
use crate::domain::name::RegistryName;

/// The most damaged manifests that are remembered: some 3 MB. Beyond it the oldest is forgotten.
const MOST: usize = 10_000;

/// What is wrong with an image whose manifest is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Damage {
    /// This layer or config of it is lost.
    LayerMissing(Digest),
    /// The registry does not serve it, whatever it says of it.
    PullFailed,
}

/// One damaged manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// Where.
    pub registry: RegistryName,
    /// Where there.
    pub repository: Repository,
    /// The manifest.
    pub digest: Digest,
    /// What is wrong with it.
    pub damage: Damage,
    /// When that was first seen.
    pub seen: Timestamp,
}

/// The damaged manifests of all registries.
#[derive(Debug, Default)]
pub(super) struct Damages {
    /// How many there are: nearly always none, and then nobody takes the lock.
    count: AtomicUsize,
    table: RwLock<Table>,
}

type Table = HashMap<RegistryName, HashMap<Digest, BTreeMap<Repository, (Damage, Timestamp)>>>;

impl Damages {
    pub fn get(&self, registry: &RegistryName, repository: &Repository, digest: &Digest) -> Option<Damage> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(registry)?.get(digest)?.get(repository).map(|(damage, _)| *damage)
    }

    /// The answer of this registry, with what is known to be damaged.
    pub fn over(&self, registry: &RegistryName, repository: &Repository, answer: Observation) -> Observation {
        let Observation::Presence(Presence::Present { digest, .. }) = &answer else { return answer };
        let digest = *digest;
        match self.get(registry, repository, &digest) {
            None => answer,
            Some(Damage::LayerMissing(layer)) => {
                Observation::Presence(Presence::LayerMissing { digest, layer: Box::new(layer) })
            }
            Some(Damage::PullFailed) => Observation::Presence(Presence::PullFailed { digest }),
        }
    }

    /// Remembers damage. The same damage keeps the time when it was first seen. True: something changed.
    pub fn put(&self, damaged: Damaged) -> bool {
        let Damaged { registry, repository, digest, damage, seen } = damaged;
        let mut table = self.write();
        let held = table.get(&registry).and_then(|of| of.get(&digest)?.get(&repository)).copied();
        let seen = match held {
            Some((same, first)) if same == damage && first <= seen => return false,
            Some((same, first)) if same == damage => first.min(seen),
            Some(_) => seen,
            None => {
                if total(&table) >= MOST {
                    forget_oldest(&mut table);
                }
                seen
            }
        };
        table.entry(registry).or_default().entry(digest).or_default().insert(repository, (damage, seen));
        self.count.store(total(&table), Ordering::Release);
        held.is_none_or(|(before, _)| before != damage)
    }

    /// Forgets damage. True: there was some.
    pub fn remove(&self, registry: &RegistryName, repository: &Repository, digest: &Digest) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut table = self.write();
        let removed = take_out(&mut table, registry, repository, digest);
        self.count.store(total(&table), Ordering::Release);
        removed
    }

    /// Puts the damage at these registries in the place of what is known of them; damage at others is left out. True: something
    /// changed.
    pub fn replace(&self, registries: &[&RegistryName], with: impl Iterator<Item = Damaged>) -> bool {
        let mut table = self.write();
        let mut new = Table::new();
        for Damaged { registry, repository, digest, damage, seen } in with.take(MOST) {
            if registries.contains(&&registry) {
                new.entry(registry)
                    .or_default()
                    .entry(digest)
                    .or_default()
                    .insert(repository, (damage, seen));
            }
        }
        let mut changed = false;
        for registry in registries {
            let new = new.remove(*registry).filter(|of| !of.is_empty());
            changed |= table.get(*registry) != new.as_ref();
            match new {
                Some(new) => drop(table.insert((*registry).clone(), new)),
                None => drop(table.remove(*registry)),
            }
        }
        self.count.store(total(&table), Ordering::Release);
        changed
    }

    /// Forgets the damage at all other registries.
    pub fn keep(&self, keeps: impl Fn(&RegistryName) -> bool) {
        let mut table = self.write();
        table.retain(|registry, _| keeps(registry));
        self.count.store(total(&table), Ordering::Release);
    }

    /// All of them, in the order of registries and digests.
    pub fn all(&self) -> Vec<Damaged> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Damaged> = each(&table).collect();
        all.sort_by(|a, b| {
            (&a.registry, a.digest, &a.repository).cmp(&(&b.registry, b.digest, &b.repository))
        });
        all
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total(table: &Table) -> usize {
    table.values().flat_map(HashMap::values).map(BTreeMap::len).sum()
}

fn each(table: &Table) -> impl Iterator<Item = Damaged> {
    table.iter().flat_map(|(registry, of)| {
        of.iter().flat_map(move |(digest, of)| {
            of.iter().map(move |(repository, (damage, seen))| Damaged {
                registry: registry.clone(),
                repository: repository.clone(),
                digest: *digest,
                damage: *damage,
                seen: *seen,
            })
        })
    })
}

/// True: it was there.
fn take_out(table: &mut Table, registry: &RegistryName, repository: &Repository, digest: &Digest) -> bool {
    let Some(of) = table.get_mut(registry) else { return false };
    let removed = of.get_mut(digest).is_some_and(|of| of.remove(repository).is_some());
    of.retain(|_, of| !of.is_empty());
    removed
}

fn forget_oldest(table: &mut Table) {
    let Some(Damaged { registry, repository, digest, .. }) = each(table).min_by_key(|one| one.seen) else {
        return;
    };
    tracing::warn!(registry.name = %registry, image.digest = %digest, "too many damaged images: this one is forgotten");
    take_out(table, &registry, &repository, &digest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::Shape;

    fn digest(n: usize) -> Digest {
        format!("sha256:{n:064x}").parse().unwrap()
    }

    fn web() -> Repository {
        Repository::new("shop/web")
    }

    fn damaged(n: usize, damage: Damage, second: usize) -> Damaged {
        let seen = Timestamp::from_second(second.try_into().unwrap()).unwrap();
        Damaged { registry: RegistryName::new("ams"), repository: web(), digest: digest(n), damage, seen }
    }

    #[test]
    fn damage_lies_over_what_is_present_there_and_over_nothing_else() {
        let (damages, ams) = (Damages::default(), RegistryName::new("ams"));
        let present =
            |n| Observation::Presence(Presence::Present { digest: digest(n), shape: Shape::Manifest });
        assert!(damages.put(damaged(1, Damage::LayerMissing(digest(9)), 5)));
        assert!(damages.put(damaged(2, Damage::PullFailed, 6)));
        let lost =
            Observation::Presence(Presence::LayerMissing { digest: digest(1), layer: Box::new(digest(9)) });
        assert_eq!(damages.over(&ams, &web(), present(1)), lost);
        let failed = Observation::Presence(Presence::PullFailed { digest: digest(2) });
        assert_eq!(damages.over(&ams, &web(), present(2)), failed);
        assert_eq!(damages.over(&ams, &web(), present(3)), present(3));
        assert_eq!(damages.over(&RegistryName::new("fra"), &web(), present(1)), present(1));
        assert_eq!(damages.over(&ams, &Repository::new("own/web"), present(1)), present(1));
        for other in [Presence::Absent, Presence::ProxyCache { digest: digest(1), shape: Shape::Manifest }] {
            assert_eq!(
                damages.over(&ams, &web(), Observation::Presence(other.clone())),
                Observation::Presence(other)
            );
        }
        assert!(damages.remove(&ams, &web(), &digest(1)) && !damages.remove(&ams, &web(), &digest(1)));
        assert_eq!(damages.over(&ams, &web(), present(1)), present(1));
        damages.keep(|name| name != &ams);
        assert!(damages.all().is_empty() && damages.get(&ams, &web(), &digest(2)).is_none());
    }

    #[test]
    fn the_same_damage_keeps_its_first_time_and_other_damage_replaces_it() {
        let damages = Damages::default();
        let lost = |n| Damage::LayerMissing(digest(n));
        assert!(damages.put(damaged(1, lost(7), 5)));
        assert!(!damages.put(damaged(1, lost(7), 9)));
        assert_eq!(damages.all(), [damaged(1, lost(7), 5)]);
        assert!(!damages.put(damaged(1, lost(7), 3)), "it was seen earlier by another replica");
        assert_eq!(damages.all(), [damaged(1, lost(7), 3)]);
        assert!(damages.put(damaged(1, lost(8), 9)));
        assert_eq!(damages.all(), [damaged(1, lost(8), 9)]);
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten() {
        let damages = Damages::default();
        for n in 0..MOST + 2 {
            assert!(damages.put(damaged(n, Damage::PullFailed, n)));
        }
        let all = damages.all();
        assert_eq!(all.len(), MOST);
        assert_eq!(all.first().unwrap().digest, digest(2));
    }
}
