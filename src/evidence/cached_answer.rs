//! One remembered answer: how long it counts, what still counts behind silence, and when it is asked again.
//!
//! An answer is *fresh* until its [life] is over or something [outdated](super::epochs) it; then it is asked
//! again. What is worth more than that stays *remembered* behind newer silence:
//!
//! | remembered | told while | ended by |
//! |---|---|---|
//! | present, by digest | the registry is slow or overloaded, never while it is down | any other answer, another digest, an invalidation, `cache.remember` |
//! | what a tag meant | its registry is silent | any other answer, an invalidation, `cache.remember` |
//! | the last finished scan, good or bad | no newer scan has finished | a newer finished one |
//!
//! Room ends everything. Pure: the time is an argument.

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::evidence::{Cause, Child, Children, Observation, Presence, Silence, TagDigest, Unknown};
use crate::domain::scan::{Report, ScanAnswer, ScanState, Scanner};
use crate::domain::settings::CacheLife;

use super::invalidation::{Epoch, Scope, View};
use super::question::{Aspect, Question, What, unanswered, unknown};
use super::ttl;

/// Asked so often, it is looked up again before its life ends.
const OFTEN: u8 = 3;

/// What an allocation takes beside what was asked for: its counters and the allocator's own.
const ALLOCATION: usize = 32;

/// One answer.
#[derive(Debug)]
pub(super) struct CachedAnswer {
    pub question: Question,
    answer: Observation,
    learned: Instant,
    epoch: Epoch,
    /// Shortens its life a little.
    random: f64,
    /// How many consecutive_failures in a row were before it, where it is one.
    consecutive_failures: u8,
    /// How often it was told; counted up to [`OFTEN`].
    told: AtomicU8,
    /// Whether it was looked up again ahead of its end: once is enough.
    ahead: AtomicBool,
    /// Whether it was looked at since whoever makes room came by.
    pub recent: AtomicBool,
    /// What is worth remembering behind an answer that is silence; it has no `before` of its own.
    before: Option<Arc<CachedAnswer>>,
}

// A hundred thousand of them are to fit into 64 MB.
const _: () = assert!(size_of::<CachedAnswer>() <= 256);

/// What is told: the answer, its age, and how long it may be told on without looking here again.
#[derive(Debug)]
pub(super) struct Served {
    pub observation: Observation,
    pub age: Duration,
    /// `now` or earlier: not at all. Silence is told once, for it may end at any moment.
    pub fresh_until: Instant,
}

impl CachedAnswer {
    /// `epoch`: of when its look-up began; `random`, from 0 to 1, shortens its life a little; `previous`: what was
    /// remembered of the question.
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
        let before = previous.filter(|_| leaves_memory(&question.what, &answer));
        let mut before = before.and_then(|previous| previous.worth(view));
        if lacks_scan(&answer) {
            // It takes the place of what said so before it: behind both stands the last finished scan.
            before = before.and_then(|before| {
                if lacks_scan(&before.answer) { before.before.clone() } else { Some(before) }
            });
        }
        Self {
            before,
            question,
            answer,
            learned: view.now,
            epoch,
            random,
            consecutive_failures,
            told: AtomicU8::new(0),
            ahead: AtomicBool::new(false),
            recent: AtomicBool::new(false),
        }
    }

    /// What is told of a question that was not answered: what is remembered, where that counts.
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

    /// Did our own look-up fail, so that it says nothing of the registry?
    pub fn is_internal(&self) -> bool {
        unknown(&self.answer).is_some_and(|unknown| unknown.cause == Cause::Internal)
    }

    /// Does it answer its question otherwise than this newer one?
    pub fn differs_from(&self, newer: &Self) -> bool {
        self.answer != newer.answer
    }

    /// Is it to be told without asking?
    pub fn is_fresh(&self, view: &View<'_>) -> bool {
        self.age(view) < self.fresh(view.life) && !self.outdated(view)
    }

    /// Is it no answer?
    pub fn is_unknown(&self) -> bool {
        unknown(&self.answer).is_some()
    }

    /// The answer, completed by what is remembered behind it.
    pub fn serve(&self, view: &View<'_>) -> Served {
        let before = self.before.as_ref().and_then(|before| before.worth(view));
        let (observation, learned) = behind(&self.answer, before.as_deref());
        let age = view.now.saturating_duration_since(learned.unwrap_or(self.learned));
        Served { observation, age, fresh_until: self.fresh_until(view) }
    }

    /// What the tag meant when it was last told, fresh or not.
    pub fn meaning(self: &Arc<Self>, view: &View<'_>) -> Option<Served> {
        if let Observation::TagDigest(TagDigest::Absent) = self.answer {
            return self.is_fresh(view).then(|| self.serve(view));
        }
        self.worth(view).map(|cached| cached.serve(view))
    }

    /// It is told: is it time to look it up again, so that nobody has to wait for that later? Says so until
    /// [`start_renewal`](Self::start_renewal).
    pub fn count_hit_and_check_due(&self, view: &View<'_>) -> bool {
        let told = self.told.load(Ordering::Relaxed);
        if told < OFTEN {
            self.told.store(told + 1, Ordering::Relaxed);
        }
        told + 1 >= OFTEN && !self.is_unknown() && self.in_last_part(view) && self.not_yet_ahead()
    }

    /// Its look-up ahead of its end begins: `false`, it was begun before.
    pub fn start_renewal(&self) -> bool {
        !self.ahead.swap(true, Ordering::Relaxed)
    }

    /// Is it of any use yet, if only to be told behind silence?
    pub fn is_of_use(&self, now: Instant, life: &CacheLife) -> bool {
        let age = now.saturating_duration_since(self.learned);
        let before = self.before.as_ref().is_some_and(|before| before.is_of_use(now, life));
        // That it was silent makes the next silence longer.
        let after = if self.is_unknown() { life.absent } else { Duration::ZERO };
        let fresh = self.fresh(life).saturating_add(after);
        before || age < fresh || self.report().is_some() || self.is_memorable() && age <= life.remember
    }

    /// What it takes of the memory, with what it holds; what many share is counted at each.
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

    /// Silence is told once. What is often asked for and near its end must be asked here, for it is due.
    fn fresh_until(&self, view: &View<'_>) -> Instant {
        let fresh = self.fresh(view.life);
        if self.is_unknown() {
            view.now
        } else if !self.in_last_part(view) {
            self.learned + ttl::ahead(fresh)
        } else if self.not_yet_ahead() {
            view.now
        } else {
            self.learned + fresh
        }
    }

    fn in_last_part(&self, view: &View<'_>) -> bool {
        self.age(view) >= ttl::ahead(self.fresh(view.life))
    }

    fn not_yet_ahead(&self) -> bool {
        !self.ahead.load(Ordering::Relaxed)
    }

    /// Itself, or what it keeps behind it, where that is worth telling behind silence.
    fn worth(self: &Arc<Self>, view: &View<'_>) -> Option<Arc<Self>> {
        if self.is_memorable() && self.counts(view) {
            return Some(self.clone());
        }
        self.before.as_ref().filter(|before| before.counts(view)).cloned()
    }

    /// Whatever its age, a scan that has finished stays the last one until another finishes; how old it may be, the
    /// policy says.
    fn counts(&self, view: &View<'_>) -> bool {
        self.report().is_some() || self.age(view) <= view.life.remember && !self.invalidated(view)
    }

    /// Is it worth more than its time?
    fn is_memorable(&self) -> bool {
        match &self.answer {
            Observation::Presence(Presence::Present { .. }) => matches!(self.question.what, What::Digest(_)),
            Observation::TagDigest(TagDigest::Known(_)) => true,
            answer => lacks_scan(answer) || self.report().is_some(),
        }
    }

    /// Did something end its life before its time?
    fn outdated(&self, view: &View<'_>) -> bool {
        match &self.answer {
            Observation::Children(Children::Listed(_)) => false,
            answer => self.invalidated(view) || self.returned(view) || !is_fact(answer) && self.rotated(view),
        }
    }

    fn invalidated(&self, view: &View<'_>) -> bool {
        // The common case allocates nothing and counts no references.
        if view.epochs.is_quiet(self.epoch) {
            return false;
        }
        let meant = match &self.answer {
            Observation::Presence(Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. })
            | Observation::TagDigest(TagDigest::Known(digest)) => Some(Scope::Digest(*digest)),
            _ => None,
        };
        view.epochs.invalidated(self.epoch, self.question.scopes().chain(meant))
    }

    /// What a registry's being down left behind ends with that; its wish to be left alone does not.
    fn returned(&self, view: &View<'_>) -> bool {
        let wish = |cause| matches!(cause, Cause::RateLimited { retry_after: Some(_) } | Cause::Spent { .. });
        let down = unknown(&self.answer).is_some_and(|unknown| !wish(unknown.cause));
        down && view.epochs.returned(self.epoch)
    }

    fn rotated(&self, view: &View<'_>) -> bool {
        view.epochs.rotated(self.epoch)
    }

    /// The finished scan that it tells of.
    fn report(&self) -> Option<&Report> {
        match &self.answer {
            Observation::Scan(ScanAnswer { state: ScanState::Done(report), .. }) => Some(report),
            Observation::Scan(answer) => answer.last.as_ref(),
            _ => None,
        }
    }
}

/// Does this answer leave what was known before standing? Silence does, but not one that speaks of another digest;
/// and any scan that has not finished.
fn leaves_memory(what: &What, answer: &Observation) -> bool {
    match answer {
        Observation::Presence(Presence::Unknown(unknown)) => {
            matches!(what, What::Digest(_)) && unknown.cause != Cause::WrongDigest
        }
        Observation::TagDigest(answer) => matches!(answer, TagDigest::Unknown(_)),
        Observation::Scan(answer) => !matches!(answer.state, ScanState::Done(_)) && answer.last.is_none(),
        Observation::Presence(_) | Observation::Children(_) | Observation::Reachable(_) => false,
    }
}

/// Does a Harbor whose scanner lives say that there is no finished scan, nor one to wait for?
fn lacks_scan(answer: &Observation) -> bool {
    let Observation::Scan(ScanAnswer { scanner, state, .. }) = answer else { return false };
    *scanner == Scanner::Present && matches!(state, ScanState::NotScanned | ScanState::Failed)
}

/// Is it what it is whoever asks? A 404 and a 403 may be another answer under other credentials.
fn is_fact(answer: &Observation) -> bool {
    matches!(
        answer,
        Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })
            | Observation::Children(Children::Listed(_))
            | Observation::TagDigest(TagDigest::Known(_))
            | Observation::Scan(ScanAnswer { state: ScanState::Done(_), .. })
    )
}

/// The answer completed by what is remembered, and when that was learned where it is told instead.
fn behind(answer: &Observation, before: Option<&CachedAnswer>) -> (Observation, Option<Instant>) {
    let Some(before) = before else { return (answer.clone(), None) };
    match (answer, &before.answer) {
        // Nodes can pull what a slow registry holds, and not what one holds that is down.
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
            // A scanner that was seen is not forgotten with the scan: `required: Auto` goes by it.
            let scanner = if now.scanner == Scanner::Unknown { then.scanner } else { now.scanner };
            let (state, learned) = match now.state {
                // What was said to be unscanned is no better for being asked about in vain.
                ScanState::Unknown(_) if lacks_scan(&before.answer) => (&then.state, Some(before.learned)),
                _ => (&now.state, None),
            };
            (Observation::Scan(ScanAnswer { scanner, state: state.clone(), last }), learned)
        }
        (answer, _) => (answer.clone(), None),
    }
}

/// What an answer holds beyond itself.
fn held(answer: &Observation) -> usize {
    if let Some(unknown) = unknown(answer) {
        return ALLOCATION + unknown.detail.len();
    }
    match answer {
        Observation::Presence(Presence::Refused(message)) => ALLOCATION + message.len(),
        // The words of a platform are short: an allocation each.
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
