//! The Observatory: one per process, kept in step with the settings.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry as Page;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::domain::case::Routed;
use crate::domain::error_chain::error_chain;
use crate::domain::evidence::{Ask, Observation, Query, Reachability, TagDigest};
use crate::domain::image::Repository;
use crate::domain::name::{RegistryName, Site};
use crate::domain::registry::SharedRegistry;
use crate::domain::settings::Settings;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::{ClientError, Tasks};

use super::blobs::Blobs;
use super::cached_answer::{CachedAnswer, Served};
use super::damage::Damages;
use super::fair_queue::{Asker, Share};
use super::invalidation::{Scope, View};
use super::lookup::{Accept, Lookups, Start, Terms};
use super::metrics::{BackgroundTask, CacheResult, Metrics};
use super::question::{Aspect, Question, UpstreamId, What, unanswered};
use super::upstream::{Deps, Source, Upstream, no_scans};
use super::verdict_cache::Generation;

/// A stale answer that was served without waiting is refreshed after this long.
const REFRESH_STALE: Duration = Duration::from_secs(1);

/// Asks the registries, and caches what they answered.
///
/// There is one per process, shared behind an `Arc`; [`judge`](Self::judge) and [`admission`](Self::admission) are its
/// purpose. It spawns look-ups, so it needs a tokio runtime. A long-lived one needs [`watch`](Self::watch) beside it:
/// without probes, only Pods find out which registry is down, and when it is up again.
pub struct Observatory {
    pub(super) upstreams: ArcSwap<Upstreams>,
    pub(super) lookups: Arc<Lookups>,
    /// What looks at layers share.
    pub(super) blobs: Arc<Blobs>,
    /// What they found.
    pub(super) damages: Damages,
    /// Wakes [`watch`](Self::watch): the registries may have changed.
    pub(super) adopted: Notify,
    /// Held while the upstreams are replaced.
    adopting: Mutex<()>,
    next_id: AtomicU32,
    pub(super) deps: Deps,
}

/// One snapshot of what can be asked and on which terms. It serves one judgement.
pub(super) struct Upstreams {
    pub upstreams: HashMap<RegistryName, Arc<Upstream>>,
    /// The registries that a route names. The others are never asked, so they are not probed.
    routed: HashSet<RegistryName>,
    pub terms: Terms,
    /// Our site.
    pub site: Site,
}

impl Upstreams {
    /// Does a route name this registry, and is this still its upstream?
    pub fn is_current(&self, upstream: &Upstream) -> bool {
        let current = self.upstreams.get(&upstream.registry.name);
        self.is_routed(upstream) && current.is_some_and(|current| current.id == upstream.id)
    }

    /// Does a route name it?
    pub fn is_routed(&self, upstream: &Upstream) -> bool {
        self.routed.contains(&upstream.registry.name)
    }

    /// Who answers this query?
    pub fn address<'a>(&'a self, routed: &'a Routed, query: Query) -> Address<'a> {
        let place = match query {
            Query::Presence(ix, _) | Query::Children(ix, _) | Query::Scan(ix, ..) | Query::Reachable(ix) => {
                routed.place(ix)
            }
            Query::TagDigest(_) => routed.primary().map(|(_, place)| place),
        };
        let upstream = place.and_then(|place| self.upstreams.get(&place.registry.name));
        let Some((place, upstream)) = place.zip(upstream) else { return Address::Nowhere };
        let question = match query {
            Query::Presence(_, wanted) => Question::presence(upstream.id, routed, place, wanted),
            Query::Children(_, digest) => Question::children(upstream.id, place, digest),
            Query::Scan(..)
                if matches!(*upstream.source, Source::Distribution(_))
                    && upstream.unavailable().is_none() =>
            {
                return Address::NoScans;
            }
            Query::Scan(_, digest, detail) => Question::scan(upstream.id, place, digest, detail),
            Query::TagDigest(_) => Question::meaning(upstream.id, routed, place),
            Query::Reachable(_) => return Address::Memory(upstream, &place.repository),
        };
        Address::Registry(upstream, question)
    }
}

/// Who answers a query.
pub(super) enum Address<'a> {
    /// Nobody: its registry is no longer configured.
    Nowhere,
    /// Nobody need be asked: this kind of registry has no scans. That holds as long as it is configured as it is.
    NoScans,
    /// Our own memory of this registry's health.
    Memory(&'a Arc<Upstream>, &'a Repository),
    /// This registry, or the cache of its answers.
    Registry(&'a Arc<Upstream>, Question),
}

/// A registry that cannot be asked as it is configured.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Which one.
    pub registry: RegistryName,
    /// Why not.
    pub error: ClientError,
}

/// On whose behalf questions are asked, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Whose share of the look-ups is used.
    pub share: Share,
    /// The namespace of the Pod: look-ups queue fairly by namespace.
    pub namespace: &'a str,
    /// At this moment each open question counts as unanswered.
    pub deadline: Instant,
    /// Whether answers from the cache count.
    pub answers: Answers,
}

/// Which answers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Those of the cache too, for as long as they are fresh.
    Cached,
    /// Only those of look-ups that begin from now on. What the registries say then is cached for everybody.
    New,
}

/// What the cache has for a query.
pub(super) enum CacheLookup {
    Hit(Served),
    Miss(Miss),
}

/// A question that must be asked, and the stale answer that is held.
pub(super) struct Miss {
    upstream: Arc<Upstream>,
    question: Question,
    stale: Option<Arc<CachedAnswer>>,
}

impl Observatory {
    /// An Observatory for these settings, with its metrics on `page`. A registry whose client cannot be made is no
    /// error here: see [`problems`](Self::problems). It reads CA files and credentials: call it where blocking is
    /// allowed.
    #[must_use]
    pub fn new(settings: &Settings, page: &mut Page) -> Self {
        let (generation, tasks) = (Generation::default(), Tasks::default());
        let metrics = Metrics::register(page);
        let lookups = Arc::new(Lookups::new(metrics, generation.clone(), tasks.clone()));
        let none = Upstreams {
            upstreams: HashMap::new(),
            routed: HashSet::new(),
            terms: terms(settings),
            site: settings.site.clone(),
        };
        let observatory = Self {
            upstreams: ArcSwap::from_pointee(none),
            lookups,
            blobs: Arc::new(Blobs::new(tasks.clone())),
            damages: Damages::default(),
            adopted: Notify::new(),
            adopting: Mutex::default(),
            next_id: AtomicU32::new(0),
            deps: Deps { requests: crate::registry::Metrics::register(page), tasks, generation },
        };
        observatory.adopt(settings);
        observatory
    }

    /// Adopts a new snapshot of the settings. A registry that did not change keeps its client and its answers. A
    /// registry that changed in any way starts anew: answers under the old configuration no longer count. A client
    /// that could not be made is tried again. It reads files: call it where blocking is allowed.
    pub fn adopt(&self, settings: &Settings) {
        let _adopting = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.upstreams.load_full();
        let in_flight = settings.budget.in_flight;
        let upstream = |registry: &SharedRegistry| {
            let kept = old
                .upstreams
                .get(&registry.name)
                .filter(|upstream| upstream.registry == *registry && upstream.source.client().is_ok());
            Arc::new(match kept {
                Some(upstream) => upstream.with_budget(in_flight),
                None => self.new_upstream(registry, in_flight),
            })
        };
        let upstreams: HashMap<_, _> =
            settings.registries.iter().map(|(name, registry)| (name.clone(), upstream(registry))).collect();
        let kept: Vec<UpstreamId> = upstreams.values().map(|upstream| upstream.id).collect();
        let routed = settings.routes.iter().flat_map(|route| {
            let replicas = route.replicas.iter().map(|replica| &replica.registry);
            std::iter::once(&route.primary).chain(replicas).map(|registry| registry.name.clone())
        });
        let routed = routed.collect();
        let (terms, site) = (terms(settings), settings.site.clone());
        self.upstreams.store(Arc::new(Upstreams { upstreams, routed, terms, site }));
        self.adopted.notify_one();
        let new = &self.upstreams.load().upstreams;
        self.damages.keep(|name| match (old.upstreams.get(name), new.get(name)) {
            (Some(old), Some(new)) => old.registry == new.registry,
            _ => false,
        });
        let size = self.lookups.answers.adopt(&settings.cache, |id| !kept.contains(&id));
        self.lookups.metrics.cache_size(size);
        self.deps.generation.bump();
    }

    /// Tries again to make the clients of [`problems`](Self::problems): a missing CA file may be there by now. All
    /// other registries, their answers and the cached verdicts stay as they are; a generation begins only if a
    /// registry became usable. True if one did. It reads files: call it where blocking is allowed.
    pub fn retry_unusable(&self) -> bool {
        let _adopting = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.upstreams.load_full();
        let (mut upstreams, mut changed, mut usable) = (old.upstreams.clone(), false, false);
        for upstream in old.upstreams.values() {
            let Err(error) = upstream.source.client() else { continue };
            let next = self.new_upstream(&upstream.registry, upstream.in_flight());
            match next.source.client() {
                Ok(_) => usable = true,
                // No answer of an unusable registry is cached, nor any verdict that rests on one.
                Err(next) if error_chain(next) == error_chain(error) => continue,
                Err(_) => {}
            }
            changed = true;
            upstreams.insert(next.registry.name.clone(), Arc::new(next));
        }
        if changed {
            let (routed, terms, site) = (old.routed.clone(), old.terms, old.site.clone());
            self.upstreams.store(Arc::new(Upstreams { upstreams, routed, terms, site }));
            self.adopted.notify_one();
        }
        if usable {
            self.deps.generation.bump();
        }
        usable
    }

    fn new_upstream(&self, registry: &SharedRegistry, in_flight: u32) -> Upstream {
        let id = UpstreamId(self.next_id.fetch_add(1, Ordering::Relaxed));
        Upstream::new(id, registry, in_flight, &self.deps)
    }

    /// Something changed at this registry: cached answers of this scope, and those of look-ups in progress, are
    /// outdated, and are looked up again when they are needed. Of a scan only the freshness ends: the last finished
    /// scan counts until another finishes. A registry that is not configured is ignored.
    pub fn invalidate(&self, registry: &RegistryName, scope: Scope) {
        let upstreams = self.upstreams.load();
        let Some(upstream) = upstreams.upstreams.get(registry) else { return };
        self.lookups.metrics.invalidated(upstream, scope.kind());
        upstream.invalidate(scope);
        self.deps.generation.bump();
    }

    /// Cached verdicts count no longer: what answers say has changed.
    pub(super) fn outdate_verdicts(&self) {
        self.deps.generation.bump();
    }

    /// The generation of the evidence. It changes whenever answers are outdated before their TTL. A verdict that is
    /// kept counts only while this is what it was before the judgement began.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.deps.generation.current()
    }

    /// The registries that cannot be asked as they are configured. Each question to one of them is answered
    /// `Unknown`, with this cause.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let upstreams = self.upstreams.load();
        let mut problems: Vec<Problem> = upstreams
            .upstreams
            .values()
            .filter_map(|upstream| {
                let error = upstream.source.client().err()?.clone();
                Some(Problem { registry: upstream.registry.name.clone(), error })
            })
            .collect();
        problems.sort_by(|a, b| a.registry.cmp(&b.registry));
        problems
    }

    /// Cancels every look-up, of tokens and of Harbor's facts as well, and waits for their tasks. Callers that wait
    /// for an answer get `Unknown`. For shutdown.
    pub async fn close(&self) {
        self.lookups.close().await;
    }

    /// What is known of a query without asking anybody.
    pub(super) fn look_in_cache(
        &self,
        upstreams: &Upstreams,
        routed: &Routed,
        query: Query,
        now: Instant,
    ) -> CacheLookup {
        match upstreams.address(routed, query) {
            Address::Nowhere => not_configured(query, now),
            Address::NoScans => hit(Observation::Scan(no_scans()), now + upstreams.terms.life.remember),
            Address::Memory(upstream, repository) => {
                hit(Observation::Reachable(upstream.reachability(repository, now)), now)
            }
            Address::Registry(upstream, question) if query == Query::TagDigest(Ask::Remembered) => {
                self.remembered_meaning(upstreams, upstream, question, now)
            }
            Address::Registry(upstream, question) => self.cached(upstreams, upstream, question, now),
        }
    }

    /// What is known of a query without asking anybody, where only new answers count: what an index lists, which never
    /// changes, what cannot be asked, and what is asked from memory alone.
    pub(super) fn look_past_cache(
        &self,
        upstreams: &Upstreams,
        routed: &Routed,
        query: Query,
        now: Instant,
    ) -> CacheLookup {
        let is_asked = matches!(query, Query::Presence(..) | Query::Scan(..) | Query::TagDigest(Ask::Now));
        match upstreams.address(routed, query) {
            Address::Registry(upstream, question) if is_asked && upstream.unavailable().is_none() => {
                CacheLookup::Miss(Miss { upstream: upstream.clone(), question, stale: None })
            }
            _ => self.look_in_cache(upstreams, routed, query, now),
        }
    }

    /// What the cache knows of a tag, however old. A stale answer is looked up in the background, for later callers.
    fn remembered_meaning(
        &self,
        upstreams: &Upstreams,
        upstream: &Arc<Upstream>,
        question: Question,
        now: Instant,
    ) -> CacheLookup {
        let view = upstream.view(now, &upstreams.terms.life);
        let cached = self.lookups.answers.get(&question);
        if !cached.as_ref().is_some_and(|cached| self.is_fresh(upstream, cached, &view, upstreams)) {
            self.lookups.look_up_later(upstream, question, upstreams.terms, BackgroundTask::Proof);
        }
        match cached.and_then(|cached| cached.meaning(&view)) {
            Some(meaning) => {
                let fresh_until = meaning.fresh_until.max(now + REFRESH_STALE);
                CacheLookup::Hit(Served { fresh_until, ..meaning })
            }
            None => hit(Observation::TagDigest(TagDigest::NotRemembered), now + REFRESH_STALE),
        }
    }

    fn cached(
        &self,
        upstreams: &Upstreams,
        upstream: &Arc<Upstream>,
        question: Question,
        now: Instant,
    ) -> CacheLookup {
        let repository = question.repository.clone();
        let hit = |served: Served| CacheLookup::Hit(self.completed(upstream, &repository, served));
        let (view, aspect) = (upstream.view(now, &upstreams.terms.life), question.aspect());
        let cached = self.lookups.answers.get(&question);
        if let Some(unknown) = upstream.unavailable() {
            return hit(CachedAnswer::serve_unknown(aspect, unknown, cached.as_ref(), &view));
        }
        match cached {
            Some(cached) if self.is_fresh(upstream, &cached, &view, upstreams) => {
                self.lookups.metrics.requested(aspect, CacheResult::Fresh);
                hit(cached.serve(&view))
            }
            Some(cached) if is_told_at_start(upstream, &cached, &view) => {
                let is_due = cached.is_due_since_start(now);
                if is_due {
                    let task = BackgroundTask::Renewal;
                    self.lookups.look_up_later(upstream, question, upstreams.terms, task);
                }
                let result = if is_due { CacheResult::Stale } else { CacheResult::Fresh };
                self.lookups.metrics.requested(aspect, result);
                hit(Served { fresh_until: now + REFRESH_STALE, ..cached.serve(&view) })
            }
            stale => {
                let result = if stale.is_some() { CacheResult::Stale } else { CacheResult::Miss };
                self.lookups.metrics.requested(aspect, result);
                CacheLookup::Miss(Miss { upstream: upstream.clone(), question, stale })
            }
        }
    }

    /// Is this answer served without asking? If it is popular and near its end, its renewal starts here.
    fn is_fresh(
        &self,
        upstream: &Arc<Upstream>,
        cached: &CachedAnswer,
        view: &View<'_>,
        upstreams: &Upstreams,
    ) -> bool {
        if cached.is_unknown() {
            // The registry may be back: that outdates the answer.
            upstream.phase(view.now);
        }
        let fresh = cached.is_fresh(view);
        if fresh && cached.count_hit_and_check_due(view) {
            self.lookups.renew(upstream, cached, upstreams.terms);
        }
        fresh
    }

    /// Asks, and waits until the deadline. The look-up goes on after it.
    pub(super) async fn ask(&self, upstreams: &Upstreams, miss: Miss, asking: Asking<'_>) -> Served {
        let (upstream, repository) = (miss.upstream.clone(), miss.question.repository.clone());
        let served = self.answer(upstreams, miss, asking).await;
        self.completed(&upstream, &repository, served)
    }

    /// The answer with what is known beside it: that there is a scanner, and that the copy is damaged.
    fn completed(&self, upstream: &Upstream, repository: &Repository, served: Served) -> Served {
        let observation = upstream.with_scanner(served.observation);
        Served { observation: self.damages.over(&upstream.registry.name, repository, observation), ..served }
    }

    async fn answer(&self, upstreams: &Upstreams, miss: Miss, asking: Asking<'_>) -> Served {
        let Miss { upstream, question, stale } = miss;
        let aspect = question.aspect();
        let view = || upstream.view(Instant::now(), &upstreams.terms.life);
        let unknown = |unknown| CachedAnswer::serve_unknown(aspect, unknown, stale.as_ref(), &view());
        let began = Instant::now();
        if began >= asking.deadline {
            return unknown(late(&upstream));
        }
        let asker = Asker::Pods(asking.share, asking.namespace.into());
        let accept = match asking.answers {
            Answers::Cached => Accept::Fresh,
            Answers::New => Accept::OnlyNewer,
        };
        let flight =
            match self.lookups.join_or_start(&upstream, question, upstreams.terms, (accept, asker.clone())) {
                Start::Cached(cached) => return cached.serve(&view()),
                Start::Refused(why) => return unknown(why),
                Start::InProgress(flight) => flight,
            };
        let slow = stale.as_ref().filter(|stale| {
            let repository = &stale.question.repository;
            upstream.is_slow(repository, &asker)
                || stale.counts_at_start(&view()) && is_up(&upstream, repository)
        });
        if let Some(served) = slow.and_then(|stale| stale.told_at_once(&view())) {
            return served;
        }
        match timeout_at(asking.deadline, flight.result()).await {
            Ok(Some(cached)) if asking.answers == Answers::Cached => cached.serve(&view()),
            // A scan under way takes nothing away from the last one; a silence is told as what it is.
            Ok(Some(cached)) if cached.learned() >= began && !cached.is_unknown() => cached.serve(&view()),
            Ok(Some(cached)) if cached.learned() >= began => cached.serve_alone(&view()),
            // The look-up learned nothing, and a fresh answer of before is kept: whoever wants a new one does not get that.
            Ok(Some(_)) => {
                let detail = format!("`{}` gave no new answer", upstream.registry.name);
                unknown(Unknown::new(Cause::Deadline, detail))
            }
            Ok(None) => {
                let detail = "Landfall's own look-up ended without an answer: it is shutting down";
                unknown(Unknown::new(Cause::Internal, detail))
            }
            Err(_) => unknown(late(&upstream)),
        }
    }
}

/// Is it told from the inventory without a place in the queue? A tag has one: it may have moved, so it is looked up at once,
/// as if a Pod waited for it.
fn is_told_at_start(upstream: &Upstream, cached: &CachedAnswer, view: &View<'_>) -> bool {
    let question = &cached.question;
    !matches!(question.what, What::Tag(_))
        && cached.counts_at_start(view)
        && is_up(upstream, &question.repository)
}

fn is_up(upstream: &Upstream, repository: &Repository) -> bool {
    upstream.reachability(repository, Instant::now()) == Reachability::Up
}

fn terms(settings: &Settings) -> Terms {
    Terms { life: settings.cache, attempt: settings.budget.attempt }
}

/// An answer that needs no cache.
fn hit(observation: Observation, fresh_until: Instant) -> CacheLookup {
    CacheLookup::Hit(Served { observation, age: Duration::ZERO, fresh_until })
}

fn late(upstream: &Upstream) -> Unknown {
    Unknown::new(Cause::Deadline, format!("`{}` did not answer in time", upstream.registry.name))
}

/// The Case was built from older settings, and its registry is no longer in ours.
fn not_configured(query: Query, now: Instant) -> CacheLookup {
    let unknown = Unknown::new(Cause::Drained, "the registry is no longer configured");
    let answer = match query {
        Query::Presence(..) => unanswered(Aspect::Presence, unknown),
        Query::Children(..) => unanswered(Aspect::Children, unknown),
        Query::Scan(..) => unanswered(Aspect::Scan, unknown),
        Query::TagDigest(Ask::Now) => unanswered(Aspect::TagDigest, unknown),
        Query::TagDigest(Ask::Remembered) => Observation::TagDigest(TagDigest::NotRemembered),
        Query::Reachable(_) => Observation::Reachable(Reachability::Down),
    };
    hit(answer, now)
}

#[cfg(test)]
mod tests;
