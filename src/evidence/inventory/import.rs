//! From the document into the cache of this process. See the [module](super) for how it counts there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use strum::VariantArray;
use tokio::time::Instant;

use super::document::{
    Answer, Broken, Finished, Form, HasScanner, Inventory, Learned, Scanned, State, Wide, fingerprint,
};
use super::format::Unusable;
use crate::domain::evidence::{Child, Children, Observation, Presence, Shape, TagDigest};
use crate::domain::image::{Repository, Tag};
use crate::domain::name::RegistryName;
use crate::domain::platform::Platform;
use crate::domain::scan::{Detail, Report, ScanAnswer, ScanState, Scanner, Vulnerabilities};
use crate::evidence::answer_cache::NotStored;
use crate::evidence::cached_answer::{CachedAnswer, Origin};
use crate::evidence::damage::{Damage, Damaged};
use crate::evidence::observatory::{Observatory, Upstreams};
use crate::evidence::question::{Question, What};
use crate::evidence::upstream::Upstream;

/// How far the clocks of two nodes may be apart.
const CLOCKS: Duration = Duration::from_secs(300);

/// When an inventory is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// By a process that has just started: nobody waits who has an answer from it.
    Start,
    /// By a process that runs: the answers count as if it had asked itself, at the time they were learned.
    Later,
}

/// What was taken from an inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many answers.
    pub answers: usize,
    /// How many were not taken, and why.
    pub refused: BTreeMap<Refusal, usize>,
}

/// Why an answer was not taken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::VariantArray,
)]
pub enum Refusal {
    /// No registry of this name is configured.
    NotConfigured,
    /// Its registry is configured otherwise than when it answered.
    ConfiguredOtherwise,
    /// It is older than `cache.remember`.
    TooOld,
    /// This process knows something newer, or has asked itself.
    Known,
    /// The cache is full.
    Full,
    /// It names something that the inventory does not have.
    Malformed,
}

impl Refusal {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Observatory {
    /// Takes the answers of an inventory into the cache. `now`: by the wall clock.
    ///
    /// # Errors
    /// It cannot be used as a whole.
    pub fn import(
        &self,
        inventory: &Inventory,
        reading: Reading,
        now: Timestamp,
    ) -> Result<Imported, Unusable> {
        let upstreams = self.upstreams.load_full();
        if inventory.site != upstreams.site.as_str() {
            return Err(Unusable::OtherSite {
                found: crate::domain::text::plain(&inventory.site).to_string(),
            });
        }
        let written = age(inventory.written, now)?;
        if written > upstreams.terms.life.remember {
            return Err(Unusable::TooOld { hours: written.as_secs() / 3600 });
        }
        let answering: Vec<Result<Arc<Upstream>, Refusal>> =
            inventory.registries.iter().map(|registry| upstream(&upstreams, registry)).collect();
        self.take_damage(inventory, &answering);
        let mut imported = Imported::default();
        for held in &inventory.repositories {
            let repository = Repository::new(held.repository.as_str());
            let upstream = usize::try_from(held.at).ok().and_then(|at| answering.get(at));
            for answer in &held.answers {
                let taken = match upstream {
                    Some(Ok(upstream)) => {
                        self.take(&upstreams, upstream, &repository, (inventory, answer), (reading, written))
                    }
                    Some(Err(refusal)) => Err(*refusal),
                    None => Err(Refusal::Malformed),
                };
                match taken {
                    Ok(()) => imported.answers += 1,
                    Err(refusal) => *imported.refused.entry(refusal).or_default() += 1,
                }
            }
        }
        Ok(imported)
    }

    /// Takes what was found damaged at these registries in place of what is known: the leader alone looks, and what it no
    /// longer names was mended.
    fn take_damage(&self, inventory: &Inventory, answering: &[Result<Arc<Upstream>, Refusal>]) {
        let covered: Vec<&RegistryName> =
            answering.iter().flatten().map(|upstream| &upstream.registry.name).collect();
        let damaged = |broken: &Broken| {
            let Broken { registry, repository, digest, layer, seen } = broken;
            let damage = layer.map_or(Damage::PullFailed, Damage::LayerMissing);
            let registry = RegistryName::new(registry.as_str());
            let repository = Repository::new(repository.as_str());
            Damaged { registry, repository, digest: *digest, damage, seen: *seen }
        };
        let damaged = inventory.damage.iter().map(damaged);
        if self.damages.replace(&covered, damaged) {
            self.outdate_verdicts();
        }
    }

    fn take(
        &self,
        upstreams: &Upstreams,
        upstream: &Upstream,
        repository: &Repository,
        (inventory, Answer(ago, learned)): (&Inventory, &Answer),
        (reading, written): (Reading, Duration),
    ) -> Result<(), Refusal> {
        let life = &upstreams.terms.life;
        let (what, answer) = read(inventory, learned).ok_or(Refusal::Malformed)?;
        let age = written + Duration::from_secs(u64::from(*ago));
        // What an index lists never changes.
        if age > life.remember && !matches!(what, What::Children(_)) {
            return Err(Refusal::TooOld);
        }
        let now = Instant::now();
        // A monotonic clock may not reach back so far.
        let learned = now.checked_sub(age).ok_or(Refusal::TooOld)?;
        let spread = |over: Duration| {
            let at = age + over.mul_f64(fastrand::f64());
            Origin::Start { renewed_at: u32::try_from(at.as_secs()).unwrap_or(u32::MAX) }
        };
        let origin = match (&what, reading) {
            (What::Tag(_), Reading::Start) => spread(Duration::ZERO),
            (What::Digest(_) | What::Scan(..), Reading::Start) => spread(life.present),
            // Proof is asked for where it is needed, and what an index lists is always fresh.
            (What::Meaning(_) | What::Children(_), Reading::Start) | (_, Reading::Later) => Origin::Inventory,
        };
        let question = Question { upstream: upstream.id, repository: repository.clone(), what };
        // Shares the scanner that it names with other images.
        let answer = upstream.with_scanner(answer);
        let cached =
            CachedAnswer::inherited(question, answer, learned, origin, upstream.epoch(), fastrand::f64());
        let view = upstream.view(now, life);
        // An older one from an inventory gives way, unless it saves waiting and the new one would not.
        let gives_way = |held: &CachedAnswer| {
            held.origin() != Origin::Asked
                && held.learned() < learned
                && (reading == Reading::Start || !held.counts_at_start(&view))
        };
        match self.lookups.answers.put_inherited(Arc::new(cached), life, gives_way) {
            Ok(size) => self.lookups.metrics.cache_size(size),
            Err(NotStored::Known) => return Err(Refusal::Known),
            Err(NotStored::Full) => return Err(Refusal::Full),
        }
        Ok(())
    }
}

/// How long ago this was.
fn age(then: Timestamp, now: Timestamp) -> Result<Duration, Unusable> {
    let ago = now.duration_since(then);
    match Duration::try_from(ago) {
        Ok(age) => Ok(age),
        Err(_) if ago.unsigned_abs() <= CLOCKS => Ok(Duration::ZERO),
        Err(_) => Err(Unusable::FromFuture { seconds: ago.unsigned_abs().as_secs() }),
    }
}

fn upstream(upstreams: &Upstreams, registry: &super::document::Answering) -> Result<Arc<Upstream>, Refusal> {
    let upstream = upstreams.upstreams.get(&RegistryName::new(registry.name.as_str()));
    let upstream = upstream.ok_or(Refusal::NotConfigured)?;
    if fingerprint(&upstream.registry) != registry.fingerprint {
        return Err(Refusal::ConfiguredOtherwise);
    }
    Ok(upstream.clone())
}

/// What this answer says. `None`: it is malformed.
fn read(inventory: &Inventory, learned: &Learned) -> Option<(What, Observation)> {
    let digest = |number: &u32| inventory.digests.get(usize::try_from(*number).ok()?).copied();
    let shape = |form: &Form| if *form == Form::Index { Shape::Index } else { Shape::Manifest };
    let present = |number: &u32, form: &Form| {
        Some(Observation::Presence(Presence::Present { digest: digest(number)?, shape: shape(form) }))
    };
    Some(match learned {
        Learned::Tag(tag, number, form) => (What::Tag(Tag::new(&**tag)), present(number, form)?),
        Learned::Digest(number, form) => (What::Digest(digest(number)?), present(number, form)?),
        Learned::Meaning(tag, number) => {
            (What::Meaning(Tag::new(&**tag)), Observation::TagDigest(TagDigest::Known(digest(number)?)))
        }
        Learned::Children(index, children) => {
            let child = |(number, platform): &(u32, Option<u32>)| {
                let platform = match platform {
                    Some(platform) => {
                        let named = inventory.platforms.get(usize::try_from(*platform).ok()?);
                        let (os, architecture, variant) = named?;
                        Some(Platform::normalised(os, architecture, variant.as_deref()))
                    }
                    None => None,
                };
                Some(Child { digest: digest(number)?, platform })
            };
            let children: Option<Arc<[Child]>> = children.iter().map(child).collect();
            (What::Children(digest(index)?), Observation::Children(Children::Listed(children?)))
        }
        Learned::Scan(number, wide, scanned) => {
            let detail = if *wide == Wide::Summary { Detail::Summary } else { Detail::Vulnerabilities };
            (What::Scan(digest(number)?, detail), Observation::Scan(scan(scanned)?))
        }
    })
}

fn scan(scanned: &Scanned) -> Option<ScanAnswer> {
    let Scanned { scanner, state, report } = scanned;
    let scanner = match scanner {
        HasScanner::Present => Scanner::Present,
        HasScanner::Absent => Scanner::Absent,
        HasScanner::Hidden => Scanner::Hidden,
        HasScanner::Unknown => Scanner::Unknown,
    };
    let report = report.as_ref().map(|report| {
        let Finished { severity, finished, list } = report;
        let vulnerabilities = list.as_ref().map(|(items, allowlist)| {
            Arc::new(Vulnerabilities { items: items.clone(), allowlist: allowlist.clone() })
        });
        Report { severity: *severity, finished: *finished, vulnerabilities }
    });
    let (state, last) = match state {
        State::Done => (ScanState::Done(report?), None),
        State::NotScanned => (ScanState::NotScanned, report),
        State::Unscannable => (ScanState::Unscannable, report),
        State::Rescan => (ScanState::Rescan, report),
        State::Failed => (ScanState::Failed, report),
        State::ScannerDown => (ScanState::ScannerDown, report),
        State::Hidden => (ScanState::Hidden, report),
    };
    Some(ScanAnswer { scanner, state, last })
}

/// Reads every answer: how many are not malformed.
#[cfg(fuzzing)]
#[must_use]
pub fn read_all(inventory: &Inventory) -> usize {
    let answers = inventory.repositories.iter().flat_map(|held| &held.answers);
    answers.filter(|Answer(_, learned)| read(inventory, learned).is_some()).count()
}
