//! The Observatory: one per process, in step with the settings.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry as Page;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::domain::case::Routed;
use crate::domain::evidence::{Ask, Cause, Observation, Query, Reachability, TagDigest, Unknown};
use crate::domain::registry::{RegistryName, SharedRegistry};
use crate::domain::settings::Settings;
use crate::registry::ClientError;

use super::cached_answer::{CachedAnswer, Told, View};
use super::invalidation::Scope;
use super::lookup::{Joined, Lookups, Terms};
use super::metrics::{CacheResult, Metrics};
use super::question::{Aspect, Question, unanswered};
use super::upstream::{Source, Upstream, UpstreamId, no_scans};
use super::verdict_cache::Generation;

/// What is not fresh, but is told all the same because nobody may be kept waiting for better, is looked for again
/// after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Asks the registries, and remembers what they answered.
///
/// One per process; [`judge`](Self::judge) and [`admission`](Self::admission) are what it is for. Share it behind an
/// `Arc`. Look-ups are spawned, so it is used inside a tokio runtime. Where it lives long, let [`watch`](Self::watch)
/// run beside it: without probes, it is Pods that find out what is down, and when it is up again.
pub struct Observatory {
    pub(super) upstreams: ArcSwap<Upstreams>,
    pub(super) lookups: Arc<Lookups>,
    /// Calls the prober: there may be other registries to look after.
    pub(super) adopted: Notify,
    requests: crate::registry::Metrics,
    next_station: AtomicU32,
    generation: Generation,
}

/// What there is to ask, and on what terms: one snapshot serves one judgement.
pub(super) struct Upstreams {
    pub upstreams: HashMap<RegistryName, Arc<Upstream>>,
    /// The registries that a route names. Nobody asks the others, so nobody probes them.
    named: HashSet<RegistryName>,
    pub terms: Terms,
}

impl Upstreams {
    /// Is it still the one that is asked under its name, for any route?
    pub fn tends(&self, upstream: &Upstream) -> bool {
        let current = self.upstreams.get(&upstream.registry.name);
        self.is_named(upstream) && current.is_some_and(|current| current.id == upstream.id)
    }

    /// Does a route name it?
    pub fn is_named(&self, upstream: &Upstream) -> bool {
        self.named.contains(&upstream.registry.name)
    }
}

/// A registry that cannot be asked as it is configured.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Which one.
    pub registry: RegistryName,
    /// Why not.
    pub error: ClientError,
}

/// What the memory makes of a query.
pub(super) enum Recalled {
    /// This is known.
    Told(Told),
    /// It must be asked.
    Lacking(Lacking),
}

/// A question that must be asked, whom, and what is remembered of it.
pub(super) struct Lacking {
    upstream: Arc<Upstream>,
    question: Question,
    stale: Option<Arc<CachedAnswer>>,
}

impl Observatory {
    /// An Observatory for these settings; its metrics go on the page. A registry whose client cannot be built is no
    /// error here: see [`problems`](Self::problems). It reads CA files and credentials: call it where blocking is
    /// allowed.
    #[must_use]
    pub fn new(settings: &Settings, page: &mut Page) -> Self {
        let generation = Generation::default();
        let lookups = Arc::new(Lookups::new(Metrics::register(page), generation.clone()));
        let observatory = Self {
            upstreams: ArcSwap::from_pointee(Upstreams {
                upstreams: HashMap::new(),
                named: HashSet::new(),
                terms: terms(settings),
            }),
            lookups,
            adopted: Notify::new(),
            requests: crate::registry::Metrics::register(page),
            next_station: AtomicU32::new(0),
            generation,
        };
        observatory.adopt(settings);
        observatory
    }

    /// Takes on a new snapshot of the settings. A registry that did not change keeps its client and what it said;
    /// one that did, in whatever way, starts anew, and nothing that was heard or asked under the old configuration
    /// counts. One whose client could not be built is tried again. It reads files: call it where blocking is allowed.
    pub fn adopt(&self, settings: &Settings) {
        let old = self.upstreams.load_full();
        let in_flight = settings.budget.in_flight;
        let upstream = |registry: &SharedRegistry| {
            let kept = old.upstreams.get(&registry.name).filter(|upstream| {
                upstream.registry == *registry && !matches!(*upstream.source, Source::Unusable(_))
            });
            Arc::new(match kept {
                Some(upstream) => upstream.with_budget(in_flight),
                None => {
                    let id = UpstreamId(self.next_station.fetch_add(1, Ordering::Relaxed));
                    Upstream::new(id, registry, in_flight, &self.requests, &self.generation)
                }
            })
        };
        let upstreams: HashMap<_, _> =
            settings.registries.iter().map(|(name, registry)| (name.clone(), upstream(registry))).collect();
        let kept: Vec<UpstreamId> = upstreams.values().map(|upstream| upstream.id).collect();
        let named = settings.routes.iter().flat_map(|route| {
            let replicas = route.replicas.iter().map(|replica| &replica.registry);
            std::iter::once(&route.primary).chain(replicas).map(|registry| registry.name.clone())
        });
        let named = named.collect();
        self.upstreams.store(Arc::new(Upstreams { upstreams, named, terms: terms(settings) }));
        self.adopted.notify_one();
        let stock = self.lookups.answers.adopt(&settings.cache, |id| !kept.contains(&id));
        self.lookups.metrics.stock(stock);
        self.generation.bump();
    }

    /// Something changed at this registry: what was learned of it, and what is being learned just now, counts no
    /// longer, and is asked again when somebody needs it. Of a scan only the freshness ends: the last finished one
    /// stays known until another finishes. A registry that is not configured has nothing to lose.
    pub fn invalidate(&self, registry: &RegistryName, scope: Scope) {
        let upstreams = self.upstreams.load();
        let Some(upstream) = upstreams.upstreams.get(registry) else { return };
        self.lookups.metrics.invalidated(upstream, scope.extent());
        upstream.invalidate(scope);
        self.generation.bump();
    }

    /// Counts what ended the life of answers before their time. A verdict that is kept beyond the judgement that gave
    /// it counts only as long as this stands where it stood before that judgement began.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.current()
    }

    /// The registries that cannot be asked as they are configured: every question about one is answered
    /// `Unknown`, with this cause.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let upstreams = self.upstreams.load();
        let mut problems: Vec<Problem> = upstreams
            .upstreams
            .values()
            .filter_map(|upstream| match &*upstream.source {
                Source::Unusable(error) => {
                    Some(Problem { registry: upstream.registry.name.clone(), error: error.clone() })
                }
                Source::Distribution(_) | Source::Harbor(_) => None,
            })
            .collect();
        problems.sort_by(|a, b| a.registry.cmp(&b.registry));
        problems
    }

    /// Ends every look-up and waits for its task; whoever waits for an answer gets `Unknown`. For shutdown.
    pub async fn close(&self) {
        self.lookups.close().await;
    }

    /// What is known of a query without asking anybody.
    pub(super) fn recall(
        &self,
        upstreams: &Upstreams,
        routed: &Routed,
        query: Query,
        now: Instant,
    ) -> Recalled {
        let place = match query {
            Query::Presence(ix, _) | Query::Children(ix, _) | Query::Scan(ix, ..) | Query::Reachable(ix) => {
                routed.place(ix)
            }
            Query::TagDigest(_) => routed.primary().map(|(_, place)| place),
        };
        let upstream = place.and_then(|place| upstreams.upstreams.get(&place.registry.name));
        let Some((place, upstream)) = place.zip(upstream) else { return nobody(query, now) };
        match query {
            Query::Presence(_, wanted) => self.remembered(
                upstreams,
                upstream,
                Question::presence(upstream.id, routed, place, wanted),
                now,
            ),
            Query::Children(_, digest) => {
                self.remembered(upstreams, upstream, Question::children(upstream.id, place, digest), now)
            }
            Query::Scan(_, digest, detail) => match *upstream.source {
                // As long as the registry is configured as it is.
                Source::Distribution(_) if upstream.closed().is_none() => {
                    told(Observation::Scan(no_scans()), now + upstreams.terms.life.remember)
                }
                _ => self.remembered(
                    upstreams,
                    upstream,
                    Question::scan(upstream.id, place, digest, detail),
                    now,
                ),
            },
            Query::TagDigest(Ask::Now) => {
                self.remembered(upstreams, upstream, Question::meaning(upstream.id, routed, place), now)
            }
            // Nobody waits for the primary here: it is asked for those who come later.
            Query::TagDigest(Ask::Remembered) => {
                let question = Question::meaning(upstream.id, routed, place);
                let view = upstream.view(now, &upstreams.terms.life);
                let cached = self.lookups.answers.get(&question);
                let fresh =
                    cached.as_ref().is_some_and(|cached| self.is_fresh(upstream, cached, &view, upstreams));
                if !fresh {
                    self.lookups.prove(upstream, question, upstreams.terms);
                }
                let meaning = cached.and_then(|cached| cached.meaning(&view));
                match meaning {
                    Some(meaning) => {
                        let fresh_until = meaning.fresh_until.max(now + LOOK_AGAIN);
                        Recalled::Told(Told { fresh_until, ..meaning })
                    }
                    None => told(Observation::TagDigest(TagDigest::NotRemembered), now + LOOK_AGAIN),
                }
            }
            Query::Reachable(_) => told(Observation::Reachable(upstream.reachability(now)), now),
        }
    }

    fn remembered(
        &self,
        upstreams: &Upstreams,
        upstream: &Arc<Upstream>,
        question: Question,
        now: Instant,
    ) -> Recalled {
        let tell = |told: Told| {
            Recalled::Told(Told { observation: upstream.with_scanner(told.observation), ..told })
        };
        let (view, aspect) = (upstream.view(now, &upstreams.terms.life), question.aspect());
        let cached = self.lookups.answers.get(&question);
        if let Some(unknown) = upstream.closed() {
            return tell(CachedAnswer::silence(aspect, unknown, cached.as_ref(), &view));
        }
        match cached {
            Some(cached) if self.is_fresh(upstream, &cached, &view, upstreams) => {
                self.lookups.metrics.requested(aspect, CacheResult::Fresh);
                tell(cached.tell(&view))
            }
            stale => {
                let result = if stale.is_some() { CacheResult::Stale } else { CacheResult::Miss };
                self.lookups.metrics.requested(aspect, result);
                Recalled::Lacking(Lacking { upstream: upstream.clone(), question, stale })
            }
        }
    }

    /// Is it to be told without asking? If so and it is near its end, it is looked up again behind it.
    fn is_fresh(
        &self,
        upstream: &Arc<Upstream>,
        cached: &CachedAnswer,
        view: &View<'_>,
        upstreams: &Upstreams,
    ) -> bool {
        if cached.is_silence() {
            // It may have ended since.
            upstream.phase(view.now);
        }
        let fresh = cached.is_fresh(view);
        if fresh && cached.count_hit_and_check_due(view) {
            self.lookups.renew(upstream, cached, upstreams.terms);
        }
        fresh
    }

    /// Asks, and waits until the deadline; what is asked goes on beyond it.
    pub(super) async fn ask(&self, upstreams: &Upstreams, lacking: Lacking, deadline: Instant) -> Told {
        let upstream = lacking.upstream.clone();
        let told = self.answer(upstreams, lacking, deadline).await;
        Told { observation: upstream.with_scanner(told.observation), ..told }
    }

    async fn answer(&self, upstreams: &Upstreams, lacking: Lacking, deadline: Instant) -> Told {
        let Lacking { upstream, question, stale } = lacking;
        let aspect = question.aspect();
        let view = || upstream.view(Instant::now(), &upstreams.terms.life);
        let silence = |unknown| CachedAnswer::silence(aspect, unknown, stale.as_ref(), &view());
        if Instant::now() >= deadline {
            return silence(late(&upstream));
        }
        let mut result = match self.lookups.join_or_start(&upstream, question, upstreams.terms) {
            Joined::Answered(cached) => return cached.tell(&view()),
            Joined::Refused(unknown) => return silence(unknown),
            Joined::UnderWay(result) => result,
        };
        let answered = timeout_at(deadline, result.wait_for(Option::is_some)).await;
        match answered.map(|answered| answered.ok().and_then(|cached| cached.clone())) {
            Ok(Some(cached)) => cached.tell(&view()),
            Ok(None) => silence(Unknown::new(Cause::Deadline, "the look-up was abandoned")),
            Err(_) => silence(late(&upstream)),
        }
    }
}

fn terms(settings: &Settings) -> Terms {
    Terms { life: settings.cache, attempt: settings.budget.attempt }
}

/// Known without asking or remembering.
fn told(observation: Observation, fresh_until: Instant) -> Recalled {
    Recalled::Told(Told { observation, age: Duration::ZERO, fresh_until })
}

fn late(upstream: &Upstream) -> Unknown {
    Unknown::new(Cause::Deadline, format!("`{}` did not answer in time", upstream.registry.name))
}

/// The Case is of older settings than ours, and its registry is gone from them.
fn nobody(query: Query, now: Instant) -> Recalled {
    let unknown = Unknown::new(Cause::Drained, "the registry is no longer configured");
    let silence = match query {
        Query::Presence(..) => unanswered(Aspect::Presence, unknown),
        Query::Children(..) => unanswered(Aspect::Children, unknown),
        Query::Scan(..) => unanswered(Aspect::Scan, unknown),
        Query::TagDigest(Ask::Now) => unanswered(Aspect::TagDigest, unknown),
        Query::TagDigest(Ask::Remembered) => Observation::TagDigest(TagDigest::NotRemembered),
        Query::Reachable(_) => Observation::Reachable(Reachability::Down),
    };
    told(silence, now)
}
