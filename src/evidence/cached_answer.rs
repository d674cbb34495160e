//! One cached answer: how long it is fresh, what still counts when a newer look-up learned nothing, and when it is
//! renewed.
//!
//! An answer is *fresh* until its [TTL](super::ttl) is over or something [outdated](super::invalidation) it. Then the
//! question is asked again. Some answers count longer, behind a newer answer that is unknown:
//!
//! | answer | served while | until |
//! |---|---|---|
//! | present, by tag | the registry is slow, while it is looked up | any other answer, an invalidation, twice `cache.tag` |
//! | present, by digest | the registry is slow or overloaded, never while it is down | any other answer, another digest, an invalidation, `cache.remember` |
//! | what a tag meant | the registry does not answer | any other answer, an invalidation, `cache.remember` |
//! | the last finished scan, good or bad | no newer scan has finished | a newer scan finishes |
//!
//! | read from the [inventory](super::inventory) at the start: a digest, a scan | its registry is not known to be down | any other answer, an invalidation, its renewal and `cache.present` after it |
//! | likewise, present by tag | likewise, while it is looked up | any other answer, an invalidation, [`TAGS_AT_START`], [`TAG_OF_USE`] |
//!
//! Eviction ends any of them. Pure: the time is an argument.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::evidence::{Child, Children, Observation, Presence, TagDigest};

use crate::domain::scan::{Report, ScanAnswer, ScanState, Scanner};
use crate::domain::settings::CacheLife;
use crate::domain::unknown::{Cause, Silence, Unknown};

use super::invalidation::{Epoch, Scope, View};
use super::question::{Aspect, Question, What, unanswered, unknown};
use super::ttl;

/// How long a remembered answer is used that was told without waiting.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long after the start a tag's answer from the inventory is told at once.
const TAGS_AT_START: Duration = Duration::from_secs(300);

/// How old a tag's answer may be to be written into an inventory, and to be told from one.
const TAG_OF_USE: Duration = Duration::from_secs(3600);

/// An answer that was served so often is renewed before its TTL ends.
const OFTEN: u8 = 3;

/// The overhead of an allocation: reference counts and the allocator's own bytes.
const ALLOCATION: usize = 32;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This process.
    Asked,
    /// Another one, which wrote it into the inventory. It counts like one of ours of its age.
    Inventory,
    /// Likewise, read at the start of this process, when nobody should wait: see [`CachedAnswer::counts_at_start`].
    Start {
        /// From this age on, in seconds, it is asked again, behind whoever is told it.
        renewed_at: u32,
    },
}

/// One cached answer.
#[derive(Debug)]
pub(super) struct CachedAnswer {
    pub question: Question,
    answer: Observation,
    learned: Instant,
    origin: Origin,
    epoch: Epoch,
    /// From 0 to 1: shortens its TTL a little.
    random: f64,
    /// How many unknown answers in a row came before it, if it is unknown itself.
    consecutive_failures: u8,
    /// How often it was served, up to [`OFTEN`].
    hits: AtomicU8,
    /// Whether its renewal was started: once is enough.
    renewed: AtomicBool,
    /// Whether it was read since the clock hand last passed.
    pub recent: AtomicBool,
    /// The older answer that still counts behind this one. At most two follow each other: behind an answer that there is
    /// no finished scan stands the last finished scan.
    before: Option<Arc<CachedAnswer>>,
}

// A hundred thousand of them are to fit into 64 MB.
const _: () = assert!(size_of::<CachedAnswer>() <= 256);

/// An answer as it is served: with its age, and for how long it may be used without asking the cache again.
#[derive(Debug)]
pub(super) struct Served {
    pub observation: Observation,
    pub age: Duration,
    /// `now` or earlier: not at all. An unknown answer is served once, because the registry may be back at any moment.
    pub fresh_until: Instant,
}

impl CachedAnswer {
    /// `epoch`: when its look-up began. `random`, from 0 to 1, shortens its TTL a little. `previous`: the cached answer
    /// that it replaces.
    pub fn new(
        question: Question,
        answer: Observation,
        epoch: Epoch,
        random: f64,
        previous: Option<&Arc<Self>>,
        view: &View<'_>,
    ) -> Self {
        let again = |previous: &&Arc<Self>| {
            previous.is_unknown() && previous.is_of_use(view.now, view.life) && !previous.outdated(view)
        };
        let consecutive_failures = match (unknown(&answer), previous.filter(again)) {
            (Some(_), Some(previous)) => previous.consecutive_failures.saturating_add(1),
            _ => 0,
        };
        let before = previous.filter(|_| keeps_previous(&question.what, &answer));
        let mut before = before.and_then(|previous| previous.worth(view));
        if lacks_scan(&answer) {
            // It replaces an older answer that says the same. Behind both stands the last finished scan.
            before = before.and_then(|before| {
                if lacks_scan(&before.answer) { before.before.clone() } else { Some(before) }
            });
        }
        Self {
            before,
            question,
            answer,
            learned: view.now,
            origin: Origin::Asked,
            epoch,
            random,
            consecutive_failures,
            hits: AtomicU8::new(0),
            renewed: AtomicBool::new(false),
            recent: AtomicBool::new(false),
        }
    }

    /// An answer that another process learned then. What is invalidated after this `epoch` ends it.
    pub fn inherited(
        question: Question,
        answer: Observation,
        learned: Instant,
        origin: Origin,
        epoch: Epoch,
        random: f64,
    ) -> Self {
        Self {
            before: None,
            question,
            answer,
            learned,
            origin,
            epoch,
            random,
            consecutive_failures: 0,
            hits: AtomicU8::new(0),
            renewed: AtomicBool::new(false),
            recent: AtomicBool::new(false),
        }
    }

    /// Who asked.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// When it was answered.
    pub fn learned(&self) -> Instant {
        self.learned
    }

    /// Was it read from the inventory at the start of this process, and does it still count as it did then? It is told at
    /// once while its registry is not known to be down, and looked up again meanwhile. A tag may have moved since: it counts
    /// for the first minutes only, and only if it was looked up shortly before them.
    pub fn counts_at_start(&self, view: &View<'_>) -> bool {
        let Some(renewed_from) = self.renewed_from() else { return false };
        let (time, oldest) = match self.question.what {
            What::Tag(_) => (TAGS_AT_START, TAG_OF_USE),
            _ => (view.life.present, view.life.remember),
        };
        view.now < renewed_from + time && self.age(view) <= oldest && !self.outdated(view)
    }

    /// Is it time to look it up again, though it counts as at the start?
    pub fn is_due_since_start(&self, now: Instant) -> bool {
        self.renewed_from().is_some_and(|from| from <= now)
    }

    fn renewed_from(&self) -> Option<Instant> {
        let Origin::Start { renewed_at } = self.origin else { return None };
        Some(self.learned + Duration::from_secs(renewed_at.into()))
    }

    /// What of it is worth to be written into an inventory, and when it was learned. Never an unknown answer, nor one that
    /// something has outdated.
    pub fn worth_keeping(self: &Arc<Self>, view: &View<'_>) -> Option<(Observation, Instant)> {
        let kept = if self.is_unknown() { self.worth(view)? } else { self.clone() };
        let is_old_tag = matches!(self.question.what, What::Tag(_)) && kept.age(view) > TAG_OF_USE;
        (!is_old_tag && !kept.outdated(view)).then(|| (kept.serve(view).observation, kept.learned))
    }

    /// What is served if a question was not answered: the previous answer if it still counts, else the unknown one.
    pub fn serve_unknown(
        aspect: Aspect,
        unknown: Unknown,
        previous: Option<&Arc<Self>>,
        view: &View<'_>,
    ) -> Served {
        let before = previous.and_then(|previous| previous.worth(view));
        let (observation, learned) = behind(&unanswered(aspect, unknown), before.as_deref());
        let age = learned.map_or(Duration::ZERO, |learned| view.now.saturating_duration_since(learned));
        Served { observation, age, fresh_until: view.now }
    }

    /// What counts of it while its registry is slow, so that nobody who has it waits. It is looked up again at the same
    /// time, so it is used for a moment only.
    pub fn told_at_once(self: &Arc<Self>, view: &View<'_>) -> Option<Served> {
        let is_young = self.age(view) <= self.while_slow(view.life);
        let served = if self.counts_at_start(view) {
            self.serve(view)
        } else if !is_young {
            return None;
        } else if let What::Tag(_) = self.question.what
            && self.is_presence()
        {
            (!self.outdated(view)).then(|| self.serve(view))?
        } else {
            self.worth(view)?;
            let slow = Unknown::new(Cause::Deadline, "it is slow, so what it answered before counts");
            Self::serve_unknown(self.question.aspect(), slow, Some(self), view)
        };
        Some(Served { fresh_until: view.now + AT_ONCE, ..served })
    }

    /// The age up to which it is told at once while its registry is slow. A tag may have moved since: it counts for as long
    /// again as it was fresh.
    fn while_slow(&self, life: &CacheLife) -> Duration {
        match (&self.question.what, &self.answer) {
            (What::Digest(_) | What::Scan(..), _) => life.remember,
            (What::Tag(_), Observation::Presence(Presence::Present { .. })) => life.tag.saturating_mul(2),
            // It replaced one that was read at the start.
            (What::Tag(_), _) if self.before.is_some() => life.remember,
            _ => Duration::ZERO,
        }
    }

    /// Did our own look-up fail, so that it says nothing of the registry?
    pub fn is_internal(&self) -> bool {
        unknown(&self.answer).is_some_and(|unknown| unknown.cause == Cause::Internal)
    }

    /// Is its answer another than this newer one's?
    pub fn differs_from(&self, newer: &Self) -> bool {
        self.answer != newer.answer
    }

    /// Is it served without asking the registry?
    pub fn is_fresh(&self, view: &View<'_>) -> bool {
        let asked_lately = !matches!(self.origin, Origin::Start { .. });
        asked_lately && self.age(view) < self.fresh(view.life) && !self.outdated(view)
    }

    /// Does it say that the image is there?
    pub fn is_presence(&self) -> bool {
        matches!(self.answer, Observation::Presence(Presence::Present { .. }))
    }

    /// Could the answer not be learned?
    pub fn is_unknown(&self) -> bool {
        unknown(&self.answer).is_some()
    }

    /// The answer, completed by the older one behind it.
    pub fn serve(&self, view: &View<'_>) -> Served {
        let before = self.before.as_ref().and_then(|before| before.worth(view));
        let (observation, learned) = behind(&self.answer, before.as_deref());
        let age = view.now.saturating_duration_since(learned.unwrap_or(self.learned));
        Served { observation, age, fresh_until: self.fresh_until(view) }
    }

    /// The answer as it is, whatever older one still counts behind it.
    pub fn serve_alone(&self, view: &View<'_>) -> Served {
        let age = view.now.saturating_duration_since(self.learned);
        Served { observation: self.answer.clone(), age, fresh_until: self.fresh_until(view) }
    }

    /// What the tag meant when it was last looked up, fresh or not.
    pub fn meaning(self: &Arc<Self>, view: &View<'_>) -> Option<Served> {
        if let Observation::TagDigest(TagDigest::Absent) = self.answer {
            return self.is_fresh(view).then(|| self.serve(view));
        }
        self.worth(view).map(|cached| cached.serve(view))
    }

    /// Counts a hit. True: it is often used and near its end, so it should be renewed now, before anybody has to wait for
    /// that. True until [`start_renewal`](Self::start_renewal).
    pub fn count_hit_and_check_due(&self, view: &View<'_>) -> bool {
        let hits = self.hits.load(Ordering::Relaxed);
        if hits < OFTEN {
            self.hits.store(hits + 1, Ordering::Relaxed);
        }
        hits + 1 >= OFTEN && !self.is_unknown() && self.in_last_part(view) && self.not_yet_renewed()
    }

    /// Marks its renewal as started. False: it was started before.
    pub fn start_renewal(&self) -> bool {
        !self.renewed.swap(true, Ordering::Relaxed)
    }

    /// Can it still be served, if only behind an unknown answer?
    pub fn is_of_use(&self, now: Instant, life: &CacheLife) -> bool {
        let age = now.saturating_duration_since(self.learned);
        let before = self.before.as_ref().is_some_and(|before| before.is_of_use(now, life));
        // An expired unknown is kept for another `cache.absent`: its count of unknowns in a row sets the TTL of the next.
        let after = if self.is_unknown() { life.absent } else { Duration::ZERO };
        let fresh = self.fresh(life).saturating_add(after);
        let memorable = self.report().is_some() || self.is_memorable() && age <= life.remember;
        // Nobody is told a tag for so long, but the inventory takes it along.
        let is_tag = self.is_presence() && matches!(self.question.what, What::Tag(_));
        let memorable = memorable || is_tag && age <= TAG_OF_USE;
        before || age < fresh || memorable || age <= self.while_slow(life)
    }

    /// Its size in bytes, allocations included. A shared `Arc` is counted in each entry, so this is an upper estimate.
    pub fn bytes(&self) -> usize {
        let tag = match &self.question.what {
            What::Tag(tag) | What::Meaning(tag) => ALLOCATION + tag.as_str().len(),
            What::Digest(_) | What::Children(_) | What::Scan(..) => 0,
        };
        let repository = ALLOCATION + self.question.repository.as_str().len();
        let before = self.before.as_ref().map_or(0, |before| before.bytes());
        ALLOCATION + size_of::<Self>() + repository + tag + before + held(&self.answer)
    }

    fn age(&self, view: &View<'_>) -> Duration {
        view.now.saturating_duration_since(self.learned)
    }

    fn fresh(&self, life: &CacheLife) -> Duration {
        ttl::ttl(&self.question.what, &self.answer, self.consecutive_failures, life, self.random)
    }

    /// An unknown answer is served once. An answer near its end is served only from here until its renewal has started.
    fn fresh_until(&self, view: &View<'_>) -> Instant {
        let fresh = self.fresh(view.life);
        if self.is_unknown() {
            view.now
        } else if !self.in_last_part(view) {
            self.learned + ttl::ahead(fresh)
        } else if self.not_yet_renewed() {
            view.now
        } else {
            self.learned + fresh
        }
    }

    fn in_last_part(&self, view: &View<'_>) -> bool {
        self.age(view) >= ttl::ahead(self.fresh(view.life))
    }

    fn not_yet_renewed(&self) -> bool {
        !self.renewed.load(Ordering::Relaxed)
    }

    /// Itself or the older answer behind it, whichever still counts behind an unknown answer.
    fn worth(self: &Arc<Self>, view: &View<'_>) -> Option<Arc<Self>> {
        if self.is_memorable() && self.counts(view) {
            return Some(self.clone());
        }
        self.before.as_ref().filter(|before| before.counts(view)).cloned()
    }

    /// A finished scan stays the last one until another finishes, whatever its age. The policy decides how old it may be.
    fn counts(&self, view: &View<'_>) -> bool {
        if let What::Tag(_) = self.question.what {
            return self.counts_at_start(view);
        }
        self.report().is_some() || self.age(view) <= view.life.remember && !self.invalidated(view)
    }

    /// Does it count beyond its TTL, behind an unknown answer?
    fn is_memorable(&self) -> bool {
        match &self.answer {
            Observation::Presence(Presence::Present { .. }) => match self.question.what {
                What::Digest(_) => true,
                What::Tag(_) => matches!(self.origin, Origin::Start { .. }),
                _ => false,
            },
            Observation::TagDigest(TagDigest::Known(_)) => true,
            answer => lacks_scan(answer) || self.report().is_some(),
        }
    }

    /// Did something outdate it before its TTL ended?
    fn outdated(&self, view: &View<'_>) -> bool {
        match &self.answer {
            Observation::Children(Children::Listed(_)) => false,
            answer => self.invalidated(view) || self.returned(view) || !is_fact(answer) && self.rotated(view),
        }
    }

    fn invalidated(&self, view: &View<'_>) -> bool {
        // The common case allocates nothing and counts no references.
        !view.epochs.is_quiet(self.epoch) && view.epochs.invalidated(self.epoch, self.scopes())
    }

    /// The scopes whose invalidation outdates it.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        let meant = match &self.answer {
            Observation::Presence(Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. })
            | Observation::TagDigest(TagDigest::Known(digest)) => Some(Scope::Digest(*digest)),
            _ => None,
        };
        self.question.scopes().chain(meant)
    }

    /// The index whose children it says, if one of these is among them.
    pub fn parent_of(&self, digests: &HashSet<Digest>) -> Option<Digest> {
        let (What::Children(index), Observation::Children(Children::Listed(children))) =
            (&self.question.what, &self.answer)
        else {
            return None;
        };
        children.iter().any(|child| digests.contains(&child.digest)).then_some(*index)
    }

    /// An unknown answer from the time when the registry was down ends when it is back. A `Retry-After` does not.
    fn returned(&self, view: &View<'_>) -> bool {
        let is_retry_after =
            |cause| matches!(cause, Cause::RateLimited { retry_after: Some(_) } | Cause::Spent { .. });
        let down = unknown(&self.answer).is_some_and(|unknown| !is_retry_after(unknown.cause));
        down && view.epochs.returned(self.epoch)
    }

    fn rotated(&self, view: &View<'_>) -> bool {
        view.epochs.rotated(self.epoch)
    }

    /// The finished scan that it contains.
    fn report(&self) -> Option<&Report> {
        match &self.answer {
            Observation::Scan(ScanAnswer { state: ScanState::Done(report), .. }) => Some(report),
            Observation::Scan(answer) => answer.last.as_ref(),
            _ => None,
        }
    }
}

/// Does the previous answer still count behind this one, if it counts at all? Behind an unknown answer it does, except after
/// a wrong digest; and behind any scan that has not finished.
fn keeps_previous(what: &What, answer: &Observation) -> bool {
    match answer {
        Observation::Presence(Presence::Unknown(unknown)) => {
            matches!(what, What::Digest(_) | What::Tag(_)) && unknown.cause != Cause::WrongDigest
        }
        Observation::TagDigest(answer) => matches!(answer, TagDigest::Unknown(_)),
        Observation::Scan(answer) => !matches!(answer.state, ScanState::Done(_)) && answer.last.is_none(),
        Observation::Presence(_) | Observation::Children(_) | Observation::Reachable(_) => false,
    }
}

/// Does a Harbor with a working scanner answer that no scan has finished and none is under way?
fn lacks_scan(answer: &Observation) -> bool {
    let Observation::Scan(ScanAnswer { scanner, state, .. }) = answer else { return false };
    *scanner == Scanner::Present
        && matches!(state, ScanState::NotScanned | ScanState::Failed | ScanState::Unscannable)
}

/// The digest that is not there, whatever was learned of its presence.
pub(super) fn gone(question: &Question, answer: &Observation) -> Option<Digest> {
    match (&question.what, answer) {
        (
            What::Scan(digest, _) | What::Children(digest),
            Observation::Scan(ScanAnswer { state: ScanState::Absent, .. })
            | Observation::Children(Children::Absent),
        ) => Some(*digest),
        _ => None,
    }
}

/// Is the answer the same for all credentials? A 404 and a 403 may be another one under other credentials.
fn is_fact(answer: &Observation) -> bool {
    matches!(
        answer,
        Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })
            | Observation::Children(Children::Listed(_))
            | Observation::TagDigest(TagDigest::Known(_))
            | Observation::Scan(ScanAnswer { state: ScanState::Done(_), .. })
    )
}

/// The answer completed by the older one, and when the older one was learned if it is served instead.
fn behind(answer: &Observation, before: Option<&CachedAnswer>) -> (Observation, Option<Instant>) {
    let Some(before) = before else { return (answer.clone(), None) };
    match (answer, &before.answer) {
        // Nodes can pull from a slow registry, but not from one that is down.
        (Observation::Presence(Presence::Unknown(unknown)), _)
            if unknown.cause.silence() == Silence::Down =>
        {
            (answer.clone(), None)
        }
        (Observation::Presence(Presence::Unknown(_)) | Observation::TagDigest(TagDigest::Unknown(_)), _) => {
            (before.answer.clone(), Some(before.learned))
        }
        (Observation::Scan(now), Observation::Scan(then)) => {
            let earlier = || before.before.as_ref().and_then(|earlier| earlier.report());
            let last = now.last.clone().or_else(|| before.report().or_else(earlier).cloned());
            // A scanner that was seen is kept, because `required: Auto` depends on it.
            let scanner = if now.scanner == Scanner::Unknown { then.scanner } else { now.scanner };
            let (state, learned) = match now.state {
                // A failed look-up does not make an unscanned image better …
                ScanState::Unknown(_) if lacks_scan(&before.answer) => (&then.state, Some(before.learned)),
                // … nor does a scanner that is down make it one that could be scanned, …
                ScanState::ScannerDown if then.state == ScanState::Unscannable => {
                    (&then.state, Some(before.learned))
                }
                // … and a scan under way takes nothing away from a scanned one.
                ScanState::Pending if last.is_some() && !lacks_scan(&before.answer) => {
                    (&ScanState::Rescan, None)
                }
                _ => (&now.state, None),
            };
            (Observation::Scan(ScanAnswer { scanner, state: state.clone(), last }), learned)
        }
        (answer, _) => (answer.clone(), None),
    }
}

/// The bytes that an answer holds on the heap.
fn held(answer: &Observation) -> usize {
    if let Some(unknown) = unknown(answer) {
        return ALLOCATION + unknown.detail.len();
    }
    match answer {
        Observation::Presence(Presence::Refused(message)) => ALLOCATION + message.len(),
        // The texts of a platform are short: one allocation each.
        Observation::Children(Children::Listed(children)) => {
            ALLOCATION + children.len() * (size_of::<Child>() + 3 * ALLOCATION)
        }
        Observation::Scan(ScanAnswer { state, last, .. }) => {
            let done = if let ScanState::Done(report) = state { Some(report) } else { None };
            done.into_iter().chain(last).map(listed).sum()
        }
        _ => 0,
    }
}

fn listed(report: &Report) -> usize {
    let Some(listed) = &report.vulnerabilities else { return 0 };
    let word = |word: &str| size_of::<(Box<str>, u8)>() + ALLOCATION + word.len();
    let items: usize = listed.items.iter().map(|(id, _)| word(id)).sum();
    let allowlist: usize = listed.allowlist.iter().map(|id| word(id)).sum();
    ALLOCATION + items + allowlist
}

#[cfg(test)]
mod tests;
