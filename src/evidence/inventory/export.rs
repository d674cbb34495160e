//! From the cache to the document: which answers the judgement of these Cases uses.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::document::{
    Answer, Answering, Broken, Finished, Form, HasScanner, Held, Inventory, Learned, MOST_VULNERABILITIES,
    Scanned, State, Table, VERSION, Wide, fingerprint,
};
use crate::domain::case::{Case, Routed, Subject};
use crate::domain::decide::{Step, decide};
use crate::domain::digest::Digest;
use crate::domain::evidence::{
    Ask, Child, Children, Evidence, Observation, Presence, Query, Reachability, Shape, TagDigest,
};
use crate::domain::image::Repository;
use crate::domain::scan::{Detail, Report, ScanAnswer, ScanState, Scanner};
use crate::domain::unknown::{Cause, Unknown};
use crate::evidence::damage::{Damage, Damaged};
use crate::evidence::judge::ROUNDS;
use crate::evidence::observatory::{Address, Observatory, Upstreams};
use crate::evidence::question::{Aspect, Question, UpstreamId, What, unanswered};
use crate::evidence::upstream::{Upstream, no_scans};

impl Observatory {
    /// What was proved of the images of these Cases, from the cache alone. `sweep`: when they were listed; `now`: by the wall
    /// clock. The Cases that matter most come first: where there is no room, the last are left out.
    ///
    /// It takes some 20 µs a Case, so for thousands call it where blocking is allowed.
    #[must_use]
    pub fn export<'a>(
        &self,
        cases: impl Iterator<Item = &'a Case>,
        sweep: Timestamp,
        now: Timestamp,
    ) -> Inventory {
        let upstreams = self.upstreams.load_full();
        let mut writer = Writer::new(self, &upstreams);
        for case in cases {
            writer.add(case);
        }
        let damage = self.damages().iter().filter_map(|damaged| writer.broken(damaged)).collect();
        Inventory {
            version: VERSION,
            site: upstreams.site.as_str().to_owned(),
            written: now,
            sweep,
            registries: writer.registries,
            digests: writer.digests.values,
            platforms: writer.platforms.values,
            repositories: writer.repositories,
            damage,
            left_out: 0,
        }
    }
}

/// The document while it is written.
struct Writer<'a> {
    observatory: &'a Observatory,
    upstreams: &'a Upstreams,
    now: Instant,
    registries: Vec<Answering>,
    numbers: HashMap<UpstreamId, u32>,
    digests: Table<Digest>,
    platforms: Table<(String, String, Option<String>)>,
    repositories: Vec<Held>,
    places: HashMap<(UpstreamId, Repository), usize>,
    written: HashSet<Question>,
}

impl<'a> Writer<'a> {
    fn new(observatory: &'a Observatory, upstreams: &'a Upstreams) -> Self {
        Self {
            observatory,
            upstreams,
            now: Instant::now(),
            registries: Vec::new(),
            numbers: HashMap::new(),
            digests: Table::default(),
            platforms: Table::default(),
            repositories: Vec::new(),
            places: HashMap::new(),
            written: HashSet::new(),
        }
    }

    fn add(&mut self, case: &Case) {
        let Subject::Routed(routed) = &case.subject else { return };
        let mut evidence = Evidence::default();
        for _ in 0..ROUNDS {
            let Step::Ask(queries) = decide(case, &evidence) else { return };
            for query in queries {
                let answer = self.answer(routed, query);
                evidence.learn(query, answer, Duration::ZERO);
            }
        }
    }

    /// What the cache has for the query; unknown where it has nothing. What is worth keeping is written.
    fn answer(&mut self, routed: &Routed, query: Query) -> Observation {
        let (upstream, question) = match self.upstreams.address(routed, query) {
            Address::Registry(upstream, question) => (upstream, question),
            Address::NoScans => return Observation::Scan(no_scans()),
            Address::Memory(..) => return Observation::Reachable(Reachability::Up),
            Address::Nowhere => return nothing(query),
        };
        let view = upstream.view(self.now, &self.upstreams.terms.life);
        let cached = self.observatory.lookups.answers.get(&question);
        let Some((answer, learned)) = cached.and_then(|cached| cached.worth_keeping(&view)) else {
            return nothing(query);
        };
        if !self.written.contains(&question) {
            self.write(upstream, &question, &answer, learned);
            self.written.insert(question);
        }
        answer
    }

    fn write(&mut self, upstream: &Upstream, question: &Question, answer: &Observation, learned: Instant) {
        let Some(said) = self.learned(&question.what, answer) else { return };
        let age = self.now.saturating_duration_since(learned).as_secs();
        let answer = Answer(u32::try_from(age).unwrap_or(u32::MAX), said);
        let at = self.number(upstream);
        let place = *self.places.entry((upstream.id, question.repository.clone())).or_insert_with(|| {
            let repository = question.repository.as_str().to_owned();
            self.repositories.push(Held { at, repository, answers: Vec::new() });
            self.repositories.len() - 1
        });
        if let Some(held) = self.repositories.get_mut(place) {
            held.answers.push(answer);
        }
    }

    /// The number of a registry among those of the document.
    fn number(&mut self, upstream: &Upstream) -> u32 {
        *self.numbers.entry(upstream.id).or_insert_with(|| {
            let name = upstream.registry.name.as_str().to_owned();
            self.registries.push(Answering { name, fingerprint: fingerprint(&upstream.registry) });
            u32::try_from(self.registries.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn broken(&mut self, damaged: &Damaged) -> Option<Broken> {
        let Damaged { registry, repository, digest, damage, seen } = damaged;
        let upstream = self.upstreams.upstreams.get(registry)?.clone();
        self.number(&upstream);
        let layer = match damage {
            Damage::LayerMissing(layer) => Some(*layer),
            Damage::PullFailed => None,
        };
        let (registry, repository) = (registry.as_str().to_owned(), repository.as_str().to_owned());
        Some(Broken { registry, repository, digest: *digest, layer, seen: *seen })
    }

    fn learned(&mut self, what: &What, answer: &Observation) -> Option<Learned> {
        let form = |shape: &Shape| if *shape == Shape::Index { Form::Index } else { Form::Image };
        Some(match (what, answer) {
            (What::Tag(tag), Observation::Presence(Presence::Present { digest, shape })) => {
                Learned::Tag(tag.as_str().into(), self.digests.number(digest), form(shape))
            }
            (What::Digest(_), Observation::Presence(Presence::Present { digest, shape })) => {
                Learned::Digest(self.digests.number(digest), form(shape))
            }
            (What::Children(index), Observation::Children(Children::Listed(children))) => {
                let index = self.digests.number(index);
                Learned::Children(index, children.iter().map(|child| self.child(child)).collect())
            }
            (What::Scan(digest, detail), Observation::Scan(answer)) => {
                let scanned = Box::new(scanned(answer)?);
                let wide = if *detail == Detail::Summary { Wide::Summary } else { Wide::List };
                Learned::Scan(self.digests.number(digest), wide, scanned)
            }
            (What::Meaning(tag), Observation::TagDigest(TagDigest::Known(digest))) => {
                Learned::Meaning(tag.as_str().into(), self.digests.number(digest))
            }
            _ => return None,
        })
    }

    fn child(&mut self, child: &Child) -> (u32, Option<u32>) {
        let platform = child.platform.as_ref().map(|platform| {
            let variant = platform.variant.as_deref().map(str::to_owned);
            self.platforms.number(&(platform.os.to_string(), platform.architecture.to_string(), variant))
        });
        (self.digests.number(&child.digest), platform)
    }
}

/// A scan that has finished, or that will not: what else it says may be over soon.
fn scanned(answer: &ScanAnswer) -> Option<Scanned> {
    let ScanAnswer { scanner, state, last } = answer;
    let scanner = match scanner {
        Scanner::Present => HasScanner::Present,
        Scanner::Absent => HasScanner::Absent,
        Scanner::Hidden => HasScanner::Hidden,
        Scanner::Unknown => HasScanner::Unknown,
    };
    let (state, report) = match state {
        ScanState::Done(report) => (State::Done, Some(report)),
        ScanState::Rescan => (State::Rescan, Some(last.as_ref()?)),
        ScanState::Failed => (State::Failed, Some(last.as_ref()?)),
        ScanState::ScannerDown => (State::ScannerDown, Some(last.as_ref()?)),
        ScanState::NotScanned if scanner == HasScanner::Absent => (State::NotScanned, last.as_ref()),
        ScanState::NotScanned => (State::NotScanned, Some(last.as_ref()?)),
        ScanState::Hidden => (State::Hidden, last.as_ref()),
        ScanState::Unscannable => (State::Unscannable, last.as_ref()),
        ScanState::Absent | ScanState::Pending | ScanState::Unknown(_) => return None,
    };
    let report = match report {
        Some(report) => Some(finished(report)?),
        None => None,
    };
    Some(Scanned { scanner, state, report })
}

/// `None`: its list is too long to be taken along, and without the list it would say something else.
fn finished(report: &Report) -> Option<Finished> {
    let Report { severity, finished, vulnerabilities } = report;
    let list = match vulnerabilities.as_deref() {
        Some(list) if list.items.len() + list.allowlist.len() > MOST_VULNERABILITIES => return None,
        list => list.map(|list| (list.items.clone(), list.allowlist.clone())),
    };
    Some(Finished { severity: *severity, finished: *finished, list })
}

fn nothing(query: Query) -> Observation {
    let unknown = Unknown::new(Cause::Deadline, "the cache does not say");
    match query {
        Query::Presence(..) => unanswered(Aspect::Presence, unknown),
        Query::Children(..) => unanswered(Aspect::Children, unknown),
        Query::Scan(..) => unanswered(Aspect::Scan, unknown),
        Query::TagDigest(Ask::Now) => unanswered(Aspect::TagDigest, unknown),
        Query::TagDigest(Ask::Remembered) => Observation::TagDigest(TagDigest::NotRemembered),
        Query::Reachable(_) => Observation::Reachable(Reachability::Up),
    }
}
