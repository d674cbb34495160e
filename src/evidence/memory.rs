//! The memory: what was answered, for how long it counts, and what still counts when there is no answer.
//!
//! An entry is *fresh* until its kind's time is over; then it is asked again. An answer that is worth more than that
//! (what a tag meant, the last finished scan) stays *remembered* behind newer silence, up to `cache.remember`.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use crate::domain::evidence::{Cause, Children, Observation, Presence, TagDigest, Unknown};
use crate::domain::scan::{Report, ScanAnswer, ScanState, Scanner};
use crate::domain::settings::CacheLife;

use super::question::{Aspect, Question, What, unanswered, unknown};
use super::station::StationId;

/// However long a registry asks us to stay away, we look again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// By so much of its life an entry may be shorter, so that what was learned together is not asked again together.
const JITTER: f64 = 0.1;

/// One answer.
#[derive(Debug)]
pub(super) struct Memory {
    answer: Observation,
    learned: Instant,
    fresh: Duration,
    /// From when it was learned: how long it is of any use.
    kept: Duration,
    /// The last answer worth remembering, where `answer` is none; it has no `before` of its own.
    before: Option<Arc<Memory>>,
}

/// What is told of a memory: the answer and its age.
pub(super) type Told = (Observation, Duration);

impl Memory {
    /// `dice`, from 0 to 1, shortens its life a little.
    pub fn new(
        question: &Question,
        answer: Observation,
        now: Instant,
        life: &CacheLife,
        dice: f64,
        previous: Option<&Arc<Self>>,
    ) -> Self {
        let fresh = fresh(question, &answer, life, dice);
        let mut memory = Self { answer, learned: now, fresh, kept: fresh, before: None };
        if memory.needs_memory() {
            memory.before = previous.and_then(Self::worth).filter(|before| before.counts(now, life));
        }
        if memory.is_worth_remembering() || memory.before.is_some() {
            memory.kept = fresh.max(life.remember);
        }
        memory
    }

    /// What is told of a question that was not answered: what is remembered, where that counts.
    pub fn silence(
        aspect: Aspect,
        unknown: Unknown,
        now: Instant,
        life: &CacheLife,
        previous: Option<&Arc<Self>>,
    ) -> Told {
        let before = previous.and_then(Self::worth);
        let (fresh, kept) = (Duration::ZERO, Duration::ZERO);
        Self { answer: unanswered(aspect, unknown), learned: now, fresh, kept, before }.tell(now, life)
    }

    /// Is it to be told without asking?
    pub fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.learned) < self.fresh
    }

    /// The answer, completed by what is remembered behind it.
    pub fn tell(&self, now: Instant, life: &CacheLife) -> Told {
        let age = |memory: &Self| now.saturating_duration_since(memory.learned);
        let before = self.before.as_ref().filter(|before| before.counts(now, life));
        match (&self.answer, before) {
            (Observation::TagDigest(TagDigest::Unknown(_)), Some(before)) => {
                (before.answer.clone(), age(before))
            }
            (Observation::Scan(answer), Some(before)) => {
                let last = answer.last.clone().or_else(|| before.report().cloned());
                // A scanner that was seen is not forgotten with the scan: `required: Auto` goes by it.
                let scanner = match (answer.scanner, &before.answer) {
                    (Scanner::Unknown, Observation::Scan(before)) => before.scanner,
                    (scanner, _) => scanner,
                };
                let answer = ScanAnswer { scanner, state: answer.state.clone(), last };
                (Observation::Scan(answer), age(self))
            }
            (answer, _) => (answer.clone(), age(self)),
        }
    }

    /// What the tag meant when it was last told, fresh or not.
    pub fn meaning(self: &Arc<Self>, now: Instant, life: &CacheLife) -> Option<Told> {
        if let Observation::TagDigest(TagDigest::Absent) = self.answer {
            return self.is_fresh(now).then(|| self.tell(now, life));
        }
        Self::worth(self).filter(|memory| memory.counts(now, life)).map(|memory| memory.tell(now, life))
    }

    /// Itself, or what it keeps behind it, where that is worth remembering.
    fn worth(self: &Arc<Self>) -> Option<Arc<Self>> {
        if self.is_worth_remembering() { Some(self.clone()) } else { self.before.clone() }
    }

    fn counts(&self, now: Instant, life: &CacheLife) -> bool {
        now.saturating_duration_since(self.learned) <= life.remember
    }

    /// The finished scan that it tells of.
    fn report(&self) -> Option<&Report> {
        match &self.answer {
            Observation::Scan(ScanAnswer { state: ScanState::Done(report), .. }) => Some(report),
            Observation::Scan(answer) => answer.last.as_ref(),
            _ => None,
        }
    }

    /// How many ordinary entries, of half a kibibyte, it takes the room of: a bad image has thousands of
    /// vulnerabilities, and they are remembered for a day.
    fn weight(&self) -> u32 {
        let list = match &self.answer {
            Observation::Children(Children::Listed(children)) => children.len() / 3,
            Observation::Scan(_) => {
                let listed = self.report().and_then(|report| report.vulnerabilities.as_ref());
                listed.map_or(0, |listed| (listed.items.len() + listed.allowlist.len()) / 10)
            }
            _ => 0,
        };
        let before = self.before.as_ref().map_or(0, |before| before.weight());
        u32::try_from(list).unwrap_or(u32::MAX).saturating_add(before).saturating_add(1)
    }

    fn is_worth_remembering(&self) -> bool {
        matches!(self.answer, Observation::TagDigest(TagDigest::Known(_))) || self.report().is_some()
    }

    /// Silence about a tag, and any scan that is not finished. A tag that is gone is an answer: it ends the memory.
    fn needs_memory(&self) -> bool {
        match &self.answer {
            Observation::TagDigest(answer) => matches!(answer, TagDigest::Unknown(_)),
            Observation::Scan(_) => self.report().is_none(),
            _ => false,
        }
    }
}

/// How long an answer is fresh.
fn fresh(question: &Question, answer: &Observation, life: &CacheLife, dice: f64) -> Duration {
    if let Some(unknown) = unknown(answer)
        && let Cause::RateLimited { retry_after: Some(wish) }
        | Cause::Unavailable { retry_after: wish }
        | Cause::Spent { retry_after: wish } = unknown.cause
    {
        // Not a moment before the registry wants us back.
        return wish.min(LONGEST_RETRY_AFTER).max(life.absent);
    }
    let whole = match answer {
        Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })
            if matches!(question.what, What::Tag(_)) =>
        {
            life.tag
        }
        Observation::Presence(Presence::Present { .. }) => life.present,
        // It answers for its upstream, which may forget.
        Observation::Presence(Presence::ProxyCache { .. }) => life.tag,
        // The digest names what the index lists: only room ends this.
        Observation::Children(Children::Listed(_)) => life.present.max(life.remember),
        Observation::TagDigest(TagDigest::Known(_)) => life.tag,
        Observation::Scan(ScanAnswer { state: ScanState::Done(_) | ScanState::Hidden, .. })
        | Observation::Scan(ScanAnswer { scanner: Scanner::Absent, state: ScanState::NotScanned, .. }) => {
            life.scan
        }
        // Somebody waits for a scan to end.
        Observation::Scan(_) => life.scan.min(life.absent),
        Observation::Presence(_) | Observation::Children(_) | Observation::TagDigest(_) => life.absent,
        // Answered from memory, never kept.
        Observation::Reachable(_) => Duration::ZERO,
    };
    whole.mul_f64(1.0 - JITTER * dice)
}

/// All memories, bounded in room: an ordinary one counts as one entry, a long list as many.
pub(super) struct Memories(Cache<Question, Arc<Memory>>);

struct ByEntry;

impl moka::Expiry<Question, Arc<Memory>> for ByEntry {
    fn expire_after_create(
        &self,
        _: &Question,
        memory: &Arc<Memory>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(memory.kept)
    }

    // By default an update would leave the life of the first answer.
    fn expire_after_update(
        &self,
        _: &Question,
        memory: &Arc<Memory>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(memory.kept)
    }
}

impl Memories {
    pub fn new(entries: u64) -> Self {
        let weigher = |_: &Question, memory: &Arc<Memory>| memory.weight();
        Self(Cache::builder().max_capacity(entries).weigher(weigher).expire_after(ByEntry).build())
    }

    pub fn get(&self, question: &Question) -> Option<Arc<Memory>> {
        self.0.get(question)
    }

    pub fn put(&self, question: Question, memory: Arc<Memory>) {
        self.0.insert(question, memory);
    }

    /// Gives back the room of stations that are no more.
    pub fn forget(&self, gone: impl Fn(StationId) -> bool) {
        for (question, _) in &self.0 {
            if gone(question.station) {
                self.0.invalidate(&*question);
            }
        }
    }

    pub fn len(&self) -> u64 {
        self.0.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::image::Repository;
    use crate::domain::scan::{Detail, Severity, Vulnerabilities};

    #[test]
    fn the_bound_is_one_of_room_and_not_only_of_number() {
        let hour = Duration::from_secs(3600);
        let life =
            CacheLife { present: hour, remember: hour, tag: hour, absent: hour, scan: hour, entries: 1000 };
        let memories = Memories::new(life.entries);
        let mut kept = 0;
        for n in 0..100 {
            let items = (0..1000).map(|n| (format!("CVE-2026-{n}").into(), Severity::High)).collect();
            let vulnerabilities = Some(Arc::new(Vulnerabilities { items, allowlist: vec![] }));
            let report = Report { severity: Severity::High, finished: None, vulnerabilities };
            let (scanner, state) = (Scanner::Present, ScanState::Done(report));
            let answer = Observation::Scan(ScanAnswer { scanner, state, last: None });
            let what = What::Scan(Digest::Sha256([n; 32]), Detail::Vulnerabilities);
            let question = Question { station: StationId(0), repository: Repository::new("p/r"), what };
            let memory = Memory::new(&question, answer, Instant::now(), &life, 0.0, None);
            memories.put(question, Arc::new(memory));
        }
        memories.0.run_pending_tasks();
        for (_, memory) in &memories.0 {
            kept += memory.report().and_then(|report| report.vulnerabilities.as_ref()).unwrap().items.len();
        }
        // A thousand entries are half a mebibyte or so; each vulnerability is some fifty bytes.
        assert!(kept > 0 && kept <= 10_000, "{kept} vulnerabilities of 100,000");
    }
}
