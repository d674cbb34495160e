//! The one loop that feeds judgement.

use futures::future::join_all;
use tokio::time::Instant;

use crate::domain::case::{Case, Subject};
use crate::domain::decide::{Admission, Step, admits, decide};
use crate::domain::evidence::{Evidence, Query};
use crate::domain::verdict::{Ruling, Verdict};

use super::cached_answer::Told;
use super::observatory::{Observatory, Recalled};

/// More rounds than any Case takes: the laws of `domain::decide` are tested against this bound.
const ROUNDS: u32 = 64;

/// A judgement, and what it rests on.
#[derive(Debug, Clone)]
pub struct Judged<T> {
    /// What was decided.
    pub verdict: T,
    /// What was learned, each answer with its age.
    pub evidence: Evidence,
    /// How often something was asked.
    pub rounds: u32,
    /// When the first of the answers expires; `None`: it rests on none.
    pub until: Option<Instant>,
}

/// What [`Observatory::judge`] answers.
pub type Judgement = Judged<Verdict>;

impl Observatory {
    /// Judges an image by [`decide`]. At the deadline every question that is still open is answered
    /// `Unknown(Deadline)`, and the verdict is what can be said then.
    pub async fn judge(&self, case: &Case, deadline: Instant) -> Judgement {
        // Beyond all rounds the image stays as it is.
        let nowhere = Ruling::Fallback { place: None, digest: None };
        self.settle(case, deadline, decide, || unsettled(nowhere)).await
    }

    /// Judges an image by [`admits`], for the validating door; likewise.
    pub async fn admission(&self, case: &Case, deadline: Instant) -> Judged<Admission> {
        // Beyond all rounds the door stays shut: a policy stands behind it.
        self.settle(case, deadline, admits, || Admission::Denied(unsettled(Ruling::Deny))).await
    }

    async fn settle<T>(
        &self,
        case: &Case,
        deadline: Instant,
        step: fn(&Case, &Evidence) -> Step<T>,
        unsettled: impl FnOnce() -> T,
    ) -> Judged<T> {
        let (mut evidence, mut until) = (Evidence::default(), None);
        for rounds in 0..ROUNDS {
            match step(case, &evidence) {
                Step::Settle(verdict) => return Judged { verdict, evidence, rounds, until },
                Step::Ask(queries) => {
                    let learned = self.learn(case, &queries, &mut evidence, deadline).await;
                    until = until.into_iter().chain(learned).min();
                }
            }
        }
        Judged { verdict: unsettled(), evidence, rounds: ROUNDS, until: Some(Instant::now()) }
    }

    /// Answers these queries, all at once. What is remembered is answered without waiting. Says when the first of the
    /// answers expires.
    async fn learn(
        &self,
        case: &Case,
        queries: &[Query],
        evidence: &mut Evidence,
        deadline: Instant,
    ) -> Option<Instant> {
        // Only a routed image asks anything.
        let Subject::Routed(routed) = &case.subject else { return None };
        let upstreams = self.upstreams.load_full();
        let now = Instant::now();
        let (mut asked, mut until) = (Vec::new(), None);
        let mut learn = |query, told: Told| {
            evidence.learn(query, told.observation, told.age);
            until = until.into_iter().chain([told.fresh_until]).min();
        };
        for query in queries {
            match self.recall(&upstreams, routed, *query, now) {
                Recalled::Told(told) => learn(*query, told),
                Recalled::Lacking(lacking) => {
                    let answer = self.ask(&upstreams, lacking, deadline);
                    asked.push(async move { (*query, answer.await) });
                }
            }
        }
        if !asked.is_empty() {
            join_all(asked).await.into_iter().for_each(|(query, told)| learn(query, told));
        }
        until
    }
}

fn unsettled(ruling: Ruling) -> Verdict {
    Verdict { ruling, findings: Vec::new(), deciding: None }
}
