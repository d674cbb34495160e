//! Looks at layers: whether an image whose manifest is there can be pulled. No Pod waits for them.
//!
//! A layer counts as lost only if a GET says so, as a node would ask, and the registry still says that the manifest is there.
//! What cannot be learned changes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::domain::case::Place;
use crate::domain::digest::Digest;
use crate::domain::evidence::{Layers, Presence};
use crate::domain::image::Repository;
use crate::domain::name::RegistryName;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::{Blob, Depth, Layer, Listed, Target};

use super::blobs::{Blobs, Shared, Stands};
use super::damage::{Damage, Damaged};
use super::fair_queue::Asker;
use super::invalidation::{Scope, View};
use super::lookup::{Lookups, Terms};
use super::metrics::BlobResult;
use super::observatory::Observatory;
use super::question::{Question, What};
use super::upstream::Upstream;

/// So many other blobs are asked for where one is announced and not sent.
const WITNESSES: usize = 3;

/// How closely layers are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    /// Each by a HEAD, which a registry may answer from a cache, and one that was not looked at so closely yet by its first byte.
    Sample,
    /// Each by its first byte.
    Deep,
}

/// Whether nodes can pull an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pullable {
    /// Its manifest and all its layers are served.
    Yes,
    /// They are not: this is remembered now, as by [`Observatory::damage`].
    Damaged(Damage),
    /// The registry says to everybody that it does not have it.
    Absent,
    /// It could not be learned. Nothing is remembered.
    Unknown(Unknown),
}

/// Whether a look may rest on what others saw a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Shared,
    Fresh,
}

/// What a look found.
enum Found {
    Whole(u64),
    Lost(Digest),
    /// The registry says that it has it, and refuses to serve it, for this reason.
    Unserved(Arc<str>),
    Absent,
}

impl Observatory {
    /// Looks at the layers of a manifest, one request after the other, with a small share of the registry's `inFlight`. Blobs
    /// that were seen a moment ago are not asked for again. An index has no layers: look at its children.
    ///
    /// What it finds lost is remembered as damage, and the damage of an image that it finds whole is forgotten. A damaged image
    /// is always looked at deeply and without memory, so that no look finds it whole that is not as close as the one that found
    /// it damaged. At the deadline the answer is `Unknown`.
    pub async fn layers(&self, place: &Place, digest: Digest, look: Look, deadline: Instant) -> Layers {
        let name = &place.registry.name;
        let repository = &place.repository;
        let damaged = self.damages.get(name, repository, &digest).is_some();
        let (look, memory) = if damaged { (Look::Deep, Memory::Fresh) } else { (look, Memory::Shared) };
        match self.found(place, digest, look, memory, deadline).await {
            Ok(Found::Whole(bytes)) => {
                if damaged {
                    self.mended((name, repository), &digest);
                }
                Layers::Complete { bytes }
            }
            Ok(Found::Lost(layer)) => {
                self.damage((name, repository), digest, Damage::LayerMissing(layer), Timestamp::now());
                Layers::Lost(layer)
            }
            Ok(Found::Unserved(why)) => Layers::Unknown(Unknown::new(Cause::NotRegistry, why)),
            Ok(Found::Absent) => Layers::Absent,
            Err(unknown) => Layers::Unknown(unknown),
        }
    }

    /// Looks, deeply and without memory, whether nodes can pull an image that they say they cannot pull. What it finds damaged is
    /// remembered, and the damage of an image that it finds whole is forgotten. Of an index it looks at the list alone: look at
    /// its children as well.
    pub async fn pullable(&self, place: &Place, digest: Digest, deadline: Instant) -> Pullable {
        let name = &place.registry.name;
        let damage = match self.found(place, digest, Look::Deep, Memory::Fresh, deadline).await {
            Ok(Found::Whole(_)) => {
                self.mended((name, &place.repository), &digest);
                return Pullable::Yes;
            }
            Ok(Found::Lost(layer)) => Damage::LayerMissing(layer),
            Ok(Found::Unserved(why)) => {
                tracing::warn!(registry.name = %name, image.digest = %digest, why = &*why, "the registry does not serve what it says to have");
                Damage::PullFailed
            }
            Ok(Found::Absent) => return Pullable::Absent,
            Err(unknown) => return Pullable::Unknown(unknown),
        };
        self.damage((name, &place.repository), digest, damage, Timestamp::now());
        Pullable::Damaged(damage)
    }

    /// From now on this manifest counts as damaged where the registry says that it is there, in this repository: `seen` is when that was found, by
    /// whichever replica. Cached verdicts end. It stands until [`mended`](Self::mended), or until the registry's configuration
    /// changes. A registry that is not configured is ignored.
    pub fn damage(
        &self,
        (registry, repository): (&RegistryName, &Repository),
        digest: Digest,
        damage: Damage,
        seen: Timestamp,
    ) {
        let upstreams = self.upstreams.load();
        let Some(upstream) = upstreams.upstreams.get(registry) else { return };
        let changed = self.damages.put(Damaged {
            registry: registry.clone(),
            repository: repository.clone(),
            digest,
            damage,
            seen,
        });
        // Settings that were adopted in between took the damage of a registry that changed away, and this is some of it.
        let is_same = |now: &Arc<Upstream>| now.registry == upstream.registry;
        if !self.upstreams.load().upstreams.get(registry).is_some_and(is_same) {
            self.damages.remove(registry, repository, &digest);
        }
        if changed {
            self.outdate_verdicts();
        }
    }

    /// This manifest was found whole: what the registry says of it counts again. Cached verdicts end.
    pub fn mended(&self, (registry, repository): (&RegistryName, &Repository), digest: &Digest) {
        if self.damages.remove(registry, repository, digest) {
            self.outdate_verdicts();
        }
    }

    /// All manifests that count as damaged, in the order of registries, digests and repositories.
    #[must_use]
    pub fn damages(&self) -> Vec<Damaged> {
        self.damages.all()
    }

    async fn found(
        &self,
        place: &Place,
        digest: Digest,
        look: Look,
        memory: Memory,
        deadline: Instant,
    ) -> Result<Found, Unknown> {
        let upstreams = self.upstreams.load_full();
        let upstream = upstreams
            .upstreams
            .get(&place.registry.name)
            .ok_or_else(|| Unknown::new(Cause::Drained, "the registry is no longer configured"))?;
        let looker = Looker {
            upstream: upstream.clone(),
            lookups: self.lookups.clone(),
            blobs: self.blobs.clone(),
            terms: upstreams.terms,
            repository: place.repository.clone(),
            deadline,
        };
        looker.found(digest, look, memory).await
    }
}

/// Who looks, on behalf of one caller.
#[derive(Clone)]
struct Looker {
    upstream: Arc<Upstream>,
    lookups: Arc<Lookups>,
    blobs: Arc<Blobs>,
    terms: Terms,
    repository: Repository,
    deadline: Instant,
}

impl Looker {
    async fn found(&self, manifest: Digest, look: Look, memory: Memory) -> Result<Found, Unknown> {
        if !self.is_known(manifest, memory) && !self.is_present(manifest).await? {
            return Ok(Found::Absent);
        }
        let layers = match self.list(manifest, memory).await? {
            Listed::Layers(layers) => layers,
            Listed::Refused(why) => return Ok(Found::Unserved(why)),
            Listed::Absent => {
                let why = "it answers HEAD for the manifest, and 404 to GET";
                return self.if_present(manifest, Found::Unserved(why.into())).await;
            }
        };
        // One that fails must not hide the others for ever.
        let mut order = layers.to_vec();
        fastrand::shuffle(&mut order);
        let is_new =
            |layer: &&Layer| !self.blobs.is_seen(&self.upstream, &layer.digest, Depth::Object, &self.view());
        let sample = order.iter().find(is_new).map(|layer| layer.digest);
        let mut cut = None;
        for layer in &order {
            let depth = match look {
                Look::Sample if sample != Some(layer.digest) => Depth::Header,
                Look::Sample | Look::Deep => Depth::Object,
            };
            let stands = match memory {
                Memory::Shared => self.shared(*layer, depth).await?,
                Memory::Fresh => self.blob(*layer, depth).await?,
            };
            match stands {
                Stands::There => {}
                Stands::Gone => return self.if_present(manifest, Found::Lost(layer.digest)).await,
                Stands::Refused(why) => return Ok(Found::Unserved(why)),
                Stands::Cut => cut = Some(layer.digest),
            }
        }
        if let Some(cut) = cut {
            self.witness(cut, &order).await?;
            return self.if_present(manifest, Found::Lost(cut)).await;
        }
        Ok(Found::Whole(layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add)))
    }

    /// Does the first byte of other blobs arrive, so that it is not something between us and the registry that cuts this one?
    ///
    /// # Errors
    /// Of none.
    async fn witness(&self, cut: Digest, layers: &[Layer]) -> Result<(), Unknown> {
        let ours = layers.iter().map(|layer| (self.repository.clone(), layer.digest));
        let others = self.blobs.served(&self.upstream).into_iter().chain(ours);
        for (repository, blob) in others.filter(|(_, blob)| *blob != cut).take(WITNESSES) {
            let looker = Self { repository, ..self.clone() };
            if let Blob::Present(_) = looker.once(blob, Depth::Object).await? {
                return Ok(());
            }
        }
        Err(Unknown::new(Cause::Broken, format!("the connection broke before the first byte of {cut}")))
    }

    /// What the manifest lists. It is read once, because Harbor counts each GET as a pull.
    async fn list(&self, manifest: Digest, memory: Memory) -> Result<Listed, Unknown> {
        if memory == Memory::Shared
            && let Some(layers) = self.blobs.list(&manifest)
        {
            return Ok(Listed::Layers(layers));
        }
        let mut listed = self.read(manifest).await?;
        if let Listed::Refused(_) = listed {
            listed = self.read(manifest).await?;
        }
        if let Listed::Layers(layers) = &listed {
            self.blobs.put_list(manifest, layers.clone());
        }
        Ok(listed)
    }

    async fn read(&self, manifest: Digest) -> Result<Listed, Unknown> {
        let looker = self.clone();
        self.ask(
            |deadline| async move { looker.upstream.listed(&looker.repository, &manifest, deadline).await },
        )
        .await
    }

    /// `found`, if the registry says that the manifest is there now: it may have been deleted while we looked.
    async fn if_present(&self, manifest: Digest, found: Found) -> Result<Found, Unknown> {
        Ok(if self.is_present(manifest).await? { found } else { Found::Absent })
    }

    /// Did a judgement learn a moment ago that the manifest is there?
    fn is_known(&self, manifest: Digest, memory: Memory) -> bool {
        let held = self.lookups.answers.get(&self.question(manifest));
        let known = held.is_some_and(|held| held.is_presence() && held.is_fresh(&self.view()));
        known && memory == Memory::Shared
    }

    /// Does the registry say that it holds the manifest?
    async fn is_present(&self, manifest: Digest) -> Result<bool, Unknown> {
        let looker = self.clone();
        let presence = self.ask(|deadline| async move {
            let target = Target::Digest(&manifest);
            match looker.upstream.presence(&looker.repository, target, deadline).await {
                Presence::Unknown(unknown) => Err(unknown),
                presence => Ok(presence),
            }
        });
        match presence.await? {
            Presence::Present { .. } | Presence::LayerMissing { .. } | Presence::PullFailed { .. } => {
                Ok(true)
            }
            Presence::Absent => {
                // What is cached of its presence has ended.
                let question = self.question(manifest);
                if self.lookups.answers.get(&question).is_some_and(|held| held.is_presence()) {
                    self.upstream.invalidate(Scope::Digest(manifest));
                }
                Ok(false)
            }
            Presence::ProxyCache { .. } => {
                // A GET would make it fetch the blob.
                let why = "a proxy cache fetches the layers that it lacks";
                Err(Unknown::new(Cause::NotRegistry, why))
            }
            Presence::Refused(why) => Err(Unknown::new(Cause::Forbidden, why)),
            Presence::Unknown(unknown) => Err(unknown),
        }
    }

    /// Looks at a blob, unless somebody did a moment ago or does now.
    async fn shared(&self, layer: Layer, depth: Depth) -> Result<Stands, Unknown> {
        if self.blobs.is_seen(&self.upstream, &layer.digest, depth, &self.view()) {
            self.lookups.metrics.looked(&self.upstream, BlobResult::Remembered);
            return Ok(Stands::There);
        }
        let looker = self.clone();
        let look = async move { looker.blob(layer, depth).await };
        let look = self.blobs.look(&self.upstream, &layer.digest, depth, look);
        match timeout_at(self.deadline, look).await.map_err(|_| self.late())? {
            Shared::Own(told) | Shared::Others(told @ Ok(Stands::There)) => told,
            Shared::Others(Err(unknown)) if is_of_the_registry(unknown.cause) => Err(unknown),
            // Another repository may lack what ours has, and another caller may have had less time.
            Shared::Others(_) => self.blob(layer, depth).await,
        }
    }

    /// Looks at a blob, as often as it takes to be sure.
    async fn blob(&self, layer: Layer, depth: Depth) -> Result<Stands, Unknown> {
        let epoch = self.upstream.epoch();
        let (mut by, mut told) = (depth, self.once(layer.digest, depth).await?);
        if told == Blob::Absent && depth == Depth::Header {
            // What counts is what a node would get.
            (by, told) = (Depth::Object, self.once(layer.digest, Depth::Object).await?);
        }
        if let Blob::Cut | Blob::Refused(_) = told {
            // A connection may break by accident.
            let before = std::mem::discriminant(&told);
            (by, told) = (Depth::Object, self.once(layer.digest, Depth::Object).await?);
            if let Blob::Cut | Blob::Refused(_) = told
                && std::mem::discriminant(&told) != before
            {
                let detail = format!("two answers for the first byte of {} differ", layer.digest);
                return Err(Unknown::new(Cause::Broken, detail));
            }
        }
        Ok(match told {
            // Nodes refuse what has another size.
            Blob::Present(Some(size)) if layer.size > 0 && size != layer.size => Stands::Gone,
            Blob::Present(_) => {
                if by == Depth::Object {
                    self.blobs.serve(&self.upstream, &self.repository, layer.digest);
                }
                self.blobs.see(&self.upstream, &layer.digest, by, epoch, &self.view());
                Stands::There
            }
            Blob::Absent => Stands::Gone,
            Blob::Cut => Stands::Cut,
            Blob::Refused(why) => Stands::Refused(why),
        })
    }

    async fn once(&self, blob: Digest, depth: Depth) -> Result<Blob, Unknown> {
        let looker = self.clone();
        let told =
            self.ask(|deadline| async move {
                looker.upstream.blob(&looker.repository, &blob, depth, deadline).await
            })
            .await;
        self.lookups.metrics.looked(&self.upstream, BlobResult::of(&told));
        told
    }

    /// Asks the registry, when it is the turn of a look.
    async fn ask<T, F>(&self, request: impl FnOnce(Instant) -> F) -> Result<T, Unknown>
    where
        F: Future<Output = Result<T, Unknown>>,
    {
        let late = |_| self.late();
        let upstream = &self.upstream;
        let _share = timeout_at(self.deadline, upstream.background.look()).await.map_err(late)?;
        if let Some(unknown) = upstream.not_well(&self.repository, Instant::now()) {
            return Err(unknown);
        }
        let (waits, queued) =
            (Instant::now(), upstream.join_queue(upstream.queue.next_id(), Asker::Background)?);
        let attempt =
            timeout_at(self.deadline, upstream.attempt(queued, &self.repository)).await.map_err(late)??;
        let began = Instant::now();
        self.lookups.metrics.queued(upstream, began - waits);
        let deadline = self.deadline.min(began + self.terms.attempt);
        let answer = timeout_at(deadline, request(deadline)).await.unwrap_or_else(|_| Err(self.late()));
        attempt.end_look(answer.as_ref().err());
        answer
    }

    fn question(&self, digest: Digest) -> Question {
        let (upstream, repository) = (self.upstream.id, self.repository.clone());
        Question { upstream, repository, what: What::Digest(digest) }
    }

    fn view(&self) -> View<'_> {
        self.upstream.view(Instant::now(), &self.terms.life)
    }

    fn late(&self) -> Unknown {
        let name = &self.upstream.registry.name;
        Unknown::new(Cause::Deadline, format!("`{name}` did not answer in time"))
    }
}

/// Does this cause hold for every repository and every caller?
fn is_of_the_registry(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Connect
            | Cause::Tls
            | Cause::Broken
            | Cause::ServerError
            | Cause::Unavailable { .. }
            | Cause::RateLimited { .. }
            | Cause::Spent { .. }
            | Cause::BreakerOpen
            | Cause::Drained
    )
}
