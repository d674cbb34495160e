//! The loop that answers the questions of a judgement until it is settled.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::domain::case::{Case, Subject};
use crate::domain::decide::{Admission, Step, admits, decide};
use crate::domain::evidence::{Evidence, Observation, Query, Reachability, TagDigest};
use crate::domain::verdict::{Ruling, Verdict};

use super::cached_answer::Served;
use super::observatory::{Answers, Asking, CacheLookup, Observatory};

/// More rounds than any Case takes. The laws of `domain::decide` are tested against this bound.
pub(super) const ROUNDS: u32 = 64;

/// How often it is looked whether the primary has told the digest of a tag.
const GLANCE: Duration = Duration::from_millis(50);

/// A judgement, and the evidence for it.
#[derive(Debug, Clone)]
pub struct Judged<T> {
    /// What was decided.
    pub verdict: T,
    /// What was learned, each answer with its age.
    pub evidence: Evidence,
    /// How many rounds of questions it took.
    pub rounds: u32,
    /// When the first of the answers expires. `None`: it has none.
    pub until: Option<Instant>,
}

/// The result of [`Observatory::judge`].
pub type Judgement = Judged<Verdict>;

impl Observatory {
    /// Judges an image by [`decide`]. At the deadline each open question is answered `Unknown(Deadline)`, and the verdict
    /// follows from that.
    pub async fn judge(&self, case: &Case, asking: Asking<'_>) -> Judgement {
        // After too many rounds the image stays as it is.
        let nowhere = Ruling::Fallback { place: None, digest: None };
        self.settle(case, asking, decide, || unsettled(nowhere)).await
    }

    /// As [`judge`](Self::judge), for somebody who has just begun and has time: again once the primary has told the digest of a
    /// tag, which is asked for behind. At the deadline, and once the primary is known to be down, the verdict is what it is then.
    pub async fn judge_with_tags(&self, case: &Case, asking: Asking<'_>) -> Judgement {
        loop {
            let judged = self.judge(case, asking).await;
            let awaited = judged
                .evidence
                .iter()
                .any(|(_, observation, _)| *observation == Observation::TagDigest(TagDigest::NotRemembered));
            let next = Instant::now() + GLANCE;
            if !awaited || next >= asking.deadline || !self.primary_is_up(case) {
                return judged;
            }
            sleep_until(next).await;
        }
    }

    /// Whether the primary may tell something, as far as is known.
    fn primary_is_up(&self, case: &Case) -> bool {
        let Subject::Routed(routed) = &case.subject else { return false };
        let Some((_, place)) = routed.primary() else { return false };
        let upstream = self.upstream(&place.registry.name);
        upstream.is_ok_and(|upstream| {
            upstream.reachability(&place.repository, Instant::now()) == Reachability::Up
        })
    }

    /// Judges an image by [`admits`], for the validating door. The deadline has the same effect.
    pub async fn admission(&self, case: &Case, asking: Asking<'_>) -> Judged<Admission> {
        // Beyond all rounds the endpoint stays shut: a policy stands behind it.
        self.settle(case, asking, admits, || Admission::Denied(unsettled(Ruling::Deny))).await
    }

    async fn settle<T>(
        &self,
        case: &Case,
        asking: Asking<'_>,
        step: fn(&Case, &Evidence) -> Step<T>,
        unsettled: impl FnOnce() -> T,
    ) -> Judged<T> {
        let (mut evidence, mut until) = (Evidence::default(), None);
        for rounds in 0..ROUNDS {
            match step(case, &evidence) {
                Step::Settle(verdict) => return Judged { verdict, evidence, rounds, until },
                Step::Ask(queries) => {
                    let learned = self.learn(case, &queries, &mut evidence, asking).await;
                    until = until.into_iter().chain(learned).min();
                }
            }
        }
        Judged { verdict: unsettled(), evidence, rounds: ROUNDS, until: Some(Instant::now()) }
    }

    /// Answers these queries concurrently, from the cache where it can. Returns when the first of the answers expires.
    async fn learn(
        &self,
        case: &Case,
        queries: &[Query],
        evidence: &mut Evidence,
        asking: Asking<'_>,
    ) -> Option<Instant> {
        // Only a routed image has questions.
        let Subject::Routed(routed) = &case.subject else { return None };
        let upstreams = self.upstreams.load_full();
        let now = Instant::now();
        let (mut asked, mut until) = (Vec::new(), None);
        let mut learn = |query, served: Served| {
            evidence.learn(query, served.observation, served.age);
            until = until.into_iter().chain([served.fresh_until]).min();
        };
        for query in queries {
            let known = match asking.answers {
                Answers::Cached => self.look_in_cache(&upstreams, routed, *query, now),
                Answers::New => self.look_past_cache(&upstreams, routed, *query, now),
            };
            match known {
                CacheLookup::Hit(served) => learn(*query, served),
                CacheLookup::Miss(miss) => {
                    let answer = self.ask(&upstreams, miss, asking);
                    asked.push(async move { (*query, answer.await) });
                }
            }
        }
        if !asked.is_empty() {
            join_all(asked).await.into_iter().for_each(|(query, served)| learn(query, served));
        }
        until
    }
}

fn unsettled(ruling: Ruling) -> Verdict {
    Verdict { ruling, findings: Vec::new(), deciding: None }
}
