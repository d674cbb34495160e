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

use super::currency::Scope;
use super::flight::{Boarded, Flights, Terms};
use super::memory::{Memory, Told, View};
use super::metrics::{Metrics, Recall};
use super::question::{Aspect, Question, unanswered};
use super::settled::Changes;
use super::station::{Source, Station, StationId, no_scans};

/// What is not fresh, but is told all the same because nobody may be kept waiting for better, is looked for again
/// after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Asks the registries, and remembers what they answered.
///
/// One per process; [`judge`](Self::judge) and [`admission`](Self::admission) are what it is for. Share it behind an
/// `Arc`. Look-ups are spawned, so it is used inside a tokio runtime. Where it lives long, let [`watch`](Self::watch)
/// run beside it: without probes, it is Pods that find out what is down, and when it is up again.
pub struct Observatory {
    pub(super) sky: ArcSwap<Sky>,
    pub(super) flights: Arc<Flights>,
    /// Calls the prober: there may be other registries to look after.
    pub(super) adopted: Notify,
    requests: crate::registry::Metrics,
    next_station: AtomicU32,
    changes: Changes,
}

/// What there is to ask, and on what terms: one snapshot serves one judgement.
pub(super) struct Sky {
    pub stations: HashMap<RegistryName, Arc<Station>>,
    /// The registries that a route names. Nobody asks the others, so nobody probes them.
    named: HashSet<RegistryName>,
    pub terms: Terms,
}

impl Sky {
    /// Is it still the one that is asked under its name, for any route?
    pub fn tends(&self, station: &Station) -> bool {
        let current = self.stations.get(&station.registry.name);
        self.is_named(station) && current.is_some_and(|current| current.id == station.id)
    }

    /// Does a route name it?
    pub fn is_named(&self, station: &Station) -> bool {
        self.named.contains(&station.registry.name)
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
    station: Arc<Station>,
    question: Question,
    stale: Option<Arc<Memory>>,
}

impl Observatory {
    /// An Observatory for these settings; its metrics go on the page. A registry whose client cannot be built is no
    /// error here: see [`problems`](Self::problems). It reads CA files and credentials: call it where blocking is
    /// allowed.
    #[must_use]
    pub fn new(settings: &Settings, page: &mut Page) -> Self {
        let changes = Changes::default();
        let flights = Arc::new(Flights::new(Metrics::register(page), changes.clone()));
        let observatory = Self {
            sky: ArcSwap::from_pointee(Sky {
                stations: HashMap::new(),
                named: HashSet::new(),
                terms: terms(settings),
            }),
            flights,
            adopted: Notify::new(),
            requests: crate::registry::Metrics::register(page),
            next_station: AtomicU32::new(0),
            changes,
        };
        observatory.adopt(settings);
        observatory
    }

    /// Takes on a new snapshot of the settings. A registry that did not change keeps its client and what it said;
    /// one that did, in whatever way, starts anew, and nothing that was heard or asked under the old configuration
    /// counts. One whose client could not be built is tried again. It reads files: call it where blocking is allowed.
    pub fn adopt(&self, settings: &Settings) {
        let old = self.sky.load_full();
        let in_flight = settings.budget.in_flight;
        let station = |registry: &SharedRegistry| {
            let kept = old.stations.get(&registry.name).filter(|station| {
                station.registry == *registry && !matches!(*station.source, Source::Unusable(_))
            });
            Arc::new(match kept {
                Some(station) => station.with_budget(in_flight),
                None => {
                    let id = StationId(self.next_station.fetch_add(1, Ordering::Relaxed));
                    Station::new(id, registry, in_flight, &self.requests, &self.changes)
                }
            })
        };
        let stations: HashMap<_, _> =
            settings.registries.iter().map(|(name, registry)| (name.clone(), station(registry))).collect();
        let kept: Vec<StationId> = stations.values().map(|station| station.id).collect();
        let named = settings.routes.iter().flat_map(|route| {
            let replicas = route.replicas.iter().map(|replica| &replica.registry);
            std::iter::once(&route.primary).chain(replicas).map(|registry| registry.name.clone())
        });
        let named = named.collect();
        self.sky.store(Arc::new(Sky { stations, named, terms: terms(settings) }));
        self.adopted.notify_one();
        let stock = self.flights.memories.adopt(&settings.cache, |id| !kept.contains(&id));
        self.flights.metrics.stock(stock);
        self.changes.turn();
    }

    /// Something changed at this registry: what was learned of it, and what is being learned just now, counts no
    /// longer, and is asked again when somebody needs it. Of a scan only the freshness ends: the last finished one
    /// stays known until another finishes. A registry that is not configured has nothing to lose.
    pub fn invalidate(&self, registry: &RegistryName, scope: Scope) {
        let sky = self.sky.load();
        let Some(station) = sky.stations.get(registry) else { return };
        self.flights.metrics.invalidated(station, scope.extent());
        station.invalidate(scope);
        self.changes.turn();
    }

    /// Counts what ended the life of answers before their time. A verdict that is kept beyond the judgement that gave
    /// it counts only as long as this stands where it stood before that judgement began.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.count()
    }

    /// The registries that cannot be asked as they are configured: every question about one is answered
    /// `Unknown`, with this cause.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let sky = self.sky.load();
        let mut problems: Vec<Problem> = sky
            .stations
            .values()
            .filter_map(|station| match &*station.source {
                Source::Unusable(error) => {
                    Some(Problem { registry: station.registry.name.clone(), error: error.clone() })
                }
                Source::Distribution(_) | Source::Harbor(_) => None,
            })
            .collect();
        problems.sort_by(|a, b| a.registry.cmp(&b.registry));
        problems
    }

    /// Ends every look-up and waits for its task; whoever waits for an answer gets `Unknown`. For shutdown.
    pub async fn close(&self) {
        self.flights.close().await;
    }

    /// What is known of a query without asking anybody.
    pub(super) fn recall(&self, sky: &Sky, routed: &Routed, query: Query, now: Instant) -> Recalled {
        let place = match query {
            Query::Presence(ix, _) | Query::Children(ix, _) | Query::Scan(ix, ..) | Query::Reachable(ix) => {
                routed.place(ix)
            }
            Query::TagDigest(_) => routed.primary().map(|(_, place)| place),
        };
        let station = place.and_then(|place| sky.stations.get(&place.registry.name));
        let Some((place, station)) = place.zip(station) else { return nobody(query, now) };
        match query {
            Query::Presence(_, wanted) => {
                self.remembered(sky, station, Question::presence(station.id, routed, place, wanted), now)
            }
            Query::Children(_, digest) => {
                self.remembered(sky, station, Question::children(station.id, place, digest), now)
            }
            Query::Scan(_, digest, detail) => match *station.source {
                // As long as the registry is configured as it is.
                Source::Distribution(_) if station.closed().is_none() => {
                    told(Observation::Scan(no_scans()), now + sky.terms.life.remember)
                }
                _ => self.remembered(sky, station, Question::scan(station.id, place, digest, detail), now),
            },
            Query::TagDigest(Ask::Now) => {
                self.remembered(sky, station, Question::meaning(station.id, routed, place), now)
            }
            // Nobody waits for the primary here: it is asked for those who come later.
            Query::TagDigest(Ask::Remembered) => {
                let question = Question::meaning(station.id, routed, place);
                let view = station.view(now, &sky.terms.life);
                let memory = self.flights.memories.get(&question);
                let fresh = memory.as_ref().is_some_and(|memory| self.is_fresh(station, memory, &view, sky));
                if !fresh {
                    self.flights.prove(station, question, sky.terms);
                }
                let meaning = memory.and_then(|memory| memory.meaning(&view));
                match meaning {
                    Some(meaning) => {
                        let fresh_until = meaning.fresh_until.max(now + LOOK_AGAIN);
                        Recalled::Told(Told { fresh_until, ..meaning })
                    }
                    None => told(Observation::TagDigest(TagDigest::NotRemembered), now + LOOK_AGAIN),
                }
            }
            Query::Reachable(_) => told(Observation::Reachable(station.reachability(now)), now),
        }
    }

    fn remembered(&self, sky: &Sky, station: &Arc<Station>, question: Question, now: Instant) -> Recalled {
        let tell =
            |told: Told| Recalled::Told(Told { observation: station.with_scanner(told.observation), ..told });
        let (view, aspect) = (station.view(now, &sky.terms.life), question.aspect());
        let memory = self.flights.memories.get(&question);
        if let Some(unknown) = station.closed() {
            return tell(Memory::silence(aspect, unknown, memory.as_ref(), &view));
        }
        match memory {
            Some(memory) if self.is_fresh(station, &memory, &view, sky) => {
                self.flights.metrics.recalled(aspect, Recall::Hit);
                tell(memory.tell(&view))
            }
            stale => {
                self.flights.metrics.recalled(aspect, Recall::Miss);
                Recalled::Lacking(Lacking { station: station.clone(), question, stale })
            }
        }
    }

    /// Is it to be told without asking? If so and it is near its end, it is looked up again behind it.
    fn is_fresh(&self, station: &Arc<Station>, memory: &Memory, view: &View<'_>, sky: &Sky) -> bool {
        if memory.is_silence() {
            // It may have ended since.
            station.phase(view.now);
        }
        let fresh = memory.is_fresh(view);
        if fresh && memory.is_due(view) {
            self.flights.renew(station, memory, sky.terms);
        }
        fresh
    }

    /// Asks, and waits until the deadline; what is asked goes on beyond it.
    pub(super) async fn ask(&self, sky: &Sky, lacking: Lacking, deadline: Instant) -> Told {
        let station = lacking.station.clone();
        let told = self.answer(sky, lacking, deadline).await;
        Told { observation: station.with_scanner(told.observation), ..told }
    }

    async fn answer(&self, sky: &Sky, lacking: Lacking, deadline: Instant) -> Told {
        let Lacking { station, question, stale } = lacking;
        let aspect = question.aspect();
        let view = || station.view(Instant::now(), &sky.terms.life);
        let silence = |unknown| Memory::silence(aspect, unknown, stale.as_ref(), &view());
        if Instant::now() >= deadline {
            return silence(late(&station));
        }
        let mut arrival = match self.flights.board(&station, question, sky.terms) {
            Boarded::Landed(memory) => return memory.tell(&view()),
            Boarded::Refused(unknown) => return silence(unknown),
            Boarded::UnderWay(arrival) => arrival,
        };
        let landed = timeout_at(deadline, arrival.wait_for(Option::is_some)).await;
        match landed.map(|landed| landed.ok().and_then(|memory| memory.clone())) {
            Ok(Some(memory)) => memory.tell(&view()),
            Ok(None) => silence(Unknown::new(Cause::Deadline, "the look-up was abandoned")),
            Err(_) => silence(late(&station)),
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

fn late(station: &Station) -> Unknown {
    Unknown::new(Cause::Deadline, format!("`{}` did not answer in time", station.registry.name))
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
