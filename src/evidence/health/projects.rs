//! The projects of one registry that are in trouble, each with a breaker and a pause of its own.
//!
//! One broken repository, or one tenant's rate limit, must not stop the others: whoever may create Pods may ask for the
//! same broken image again and again. So the failures of attempts count for their project only. [`HealthState`] closes
//! the registry as a whole when a second project fails as well, or when a probe does.
//!
//! A registry may also answer everything but manifests: a Harbor answers its API and each 404 from the database, and
//! `/v2/` without looking anywhere, while its storage hangs or its registry is down. So if look-ups of manifests fail,
//! probes ask for a manifest, too: for the one that this project served last, because a single bad manifest must not
//! close a project to all others, and for one of another project, to tell a project's trouble from the registry's.
//!
//! [`HealthState`]: super::state::HealthState

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::domain::breaker::{Pass, Phase, Signal};
use crate::domain::evidence::{Children, Observation, Presence, TagDigest};
use crate::domain::image::Repository;
use crate::domain::unknown::{Cause, Unknown};
use crate::evidence::question::{Question, What};

use super::gate::{Gate, Limit};

/// So many failed look-ups of manifests in a row call for a probe.
pub(super) const UNSERVED: u32 = 3;

/// How long a project counts as failing after its last failure. It covers the longest period of a breaker, so that a
/// project which nobody asks for any more does not speak for the registry hours later.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The most projects in trouble that are told apart.
const MOST_TROUBLED: usize = 64;

/// Of so many projects the manifest that was served last is known.
const MOST_SERVED: usize = 8;

/// A probe asks for manifests of at most so many projects in doubt.
const MOST_DOUBTED: usize = 3;

/// The projects of one registry, as far as something is known of them.
#[derive(Debug, Default)]
pub(super) struct Projects {
    troubled: HashMap<Box<str>, Troubled>,
    /// The manifests that were served last, each of another project, the latest first.
    served: VecDeque<Question>,
    /// Grows with each breaker that begins, so that an attempt under an earlier one does not count.
    lives: u64,
}

/// A project some of whose attempts failed.
#[derive(Debug)]
struct Troubled {
    gate: Gate,
    life: u64,
    /// The last failure.
    failed: Instant,
    /// Failed look-ups of manifests in a row.
    unserved: u32,
    /// Whether the last of them ended at its deadline.
    late: bool,
    /// The manifest that probes ask for.
    doubted: Option<Question>,
}

/// The permission of a project in trouble for one attempt.
#[derive(Debug)]
pub(super) struct ProjectPass {
    life: u64,
    pass: Pass,
}

/// The manifests that a probe asks for.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Of projects whose look-ups failed, one each.
    pub doubted: Vec<Question>,
    /// Of a project that is not in doubt.
    pub witness: Option<Question>,
}

/// What a probe got for a manifest that it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// The registry served it, or refused it in words.
    Yes,
    /// It does not exist, which may come from the database.
    Gone,
    /// There was no answer, for this reason.
    No(Unknown),
}

impl Projects {
    fn get(&self, repository: &Repository) -> Option<&Troubled> {
        self.troubled.get(repository.project())
    }

    /// Why this repository's project may not be asked now.
    pub fn limit(&self, repository: &Repository, now: Instant) -> Option<Limit> {
        self.get(repository)?.gate.limit(Limit::ProjectBreakerOpen, now)
    }

    /// Lets an attempt through. A project without trouble needs no pass.
    ///
    /// # Errors
    /// Why the project may not be asked now.
    pub fn admit(&mut self, repository: &Repository, now: Instant) -> Result<Option<ProjectPass>, Limit> {
        let Some(troubled) = self.troubled.get_mut(repository.project()) else { return Ok(None) };
        let pass = troubled.gate.admit(Limit::ProjectBreakerOpen, now)?;
        Ok(Some(ProjectPass { life: troubled.life, pass }))
    }

    /// Is every question about this repository let through?
    pub fn is_open_to_all(&self, repository: &Repository, now: Instant) -> bool {
        self.get(repository).is_none_or(|troubled| troubled.gate.is_open_to_all(now))
    }

    /// Do nodes get nothing from this repository's project?
    pub fn is_down(&self, repository: &Repository, now: Instant) -> bool {
        self.get(repository).is_some_and(|troubled| troubled.gate.is_down(now))
    }

    /// Did the last look-up of a manifest in this repository's project end at its deadline?
    pub fn is_late(&self, repository: &Repository) -> bool {
        self.get(repository).is_some_and(|troubled| troubled.late)
    }

    /// The worst phase of their breakers.
    pub fn phase(&self, now: Instant) -> Phase {
        self.troubled.values().map(|one| one.gate.breaker.phase(now)).max().unwrap_or(Phase::Closed)
    }

    /// How many have an open breaker or pause.
    pub fn limited(&self, now: Instant) -> usize {
        let limited = |one: &&Troubled| one.gate.limit(Limit::ProjectBreakerOpen, now).is_some();
        self.troubled.values().filter(limited).count()
    }

    /// How many have a breaker that opened and did not recover.
    pub fn failing(&self, now: Instant) -> usize {
        let failing = |one: &&Troubled| !one.gate.breaker.is_up() && now < one.failed + REMEMBERED;
        self.troubled.values().filter(failing).count()
    }

    /// How many were asked to wait.
    pub fn paused(&self, now: Instant) -> usize {
        self.troubled.values().filter(|one| one.gate.paused(now).is_some()).count()
    }

    /// Records how an attempt ended. `pass`: what [`admit`](Self::admit) gave for it.
    pub fn record(
        &mut self,
        pass: Option<ProjectPass>,
        repository: &Repository,
        signal: Signal,
        now: Instant,
        random: f64,
    ) {
        if signal == Signal::Failure {
            self.fails(repository, now);
        }
        let Some(troubled) = self.troubled.get_mut(repository.project()) else { return };
        let breaker = &mut troubled.gate.breaker;
        let pass = match pass {
            Some(pass) => Some(pass.pass).filter(|_| pass.life == troubled.life),
            // There was no trouble when it began. What opened the breaker since then ended before it.
            None if breaker.phase(now) == Phase::Closed => breaker.admit(now),
            None => None,
        };
        if let Some(pass) = pass {
            breaker.record(pass, signal, now, random);
        }
    }

    /// An attempt was answered with what it asked for.
    pub fn answered(&mut self, repository: &Repository, now: Instant) {
        let Some(troubled) = self.troubled.get_mut(repository.project()) else { return };
        troubled.gate.answered();
        let over = troubled.gate.is_open_to_all(now) && troubled.doubted.is_none();
        if over && troubled.unserved == 0 {
            self.troubled.remove(repository.project());
        }
    }

    /// Opens the breaker of this repository's project at once.
    pub fn trip(&mut self, repository: &Repository, now: Instant, random: f64) {
        self.fails(repository, now).gate.breaker.trip(now, random);
    }

    /// The registry as a whole is closed now, so all projects begin anew when it is back. What they asked for by a pause
    /// is kept.
    pub fn start_anew(&mut self, now: Instant) {
        self.troubled.retain(|_, one| one.gate.paused(now).is_some() || one.doubted.is_some());
        for troubled in self.troubled.values_mut() {
            self.lives += 1;
            troubled.life = self.lives;
            troubled.gate.breaker = Default::default();
        }
    }

    /// Starts a pause of this repository's project.
    pub fn pause(&mut self, repository: &Repository, unknown: &Unknown, now: Instant) {
        self.fails(repository, now).gate.pause(unknown, now);
    }

    /// The entry of a project that just failed.
    fn fails(&mut self, repository: &Repository, now: Instant) -> &mut Troubled {
        let project = repository.project();
        if !self.troubled.contains_key(project) && self.troubled.len() >= MOST_TROUBLED {
            self.make_room(now);
        }
        let lives = &mut self.lives;
        let troubled = self.troubled.entry(project.into()).or_insert_with(|| {
            *lives += 1;
            Troubled {
                gate: Gate::default(),
                life: *lives,
                failed: now,
                unserved: 0,
                late: false,
                doubted: None,
            }
        });
        troubled.failed = now;
        troubled
    }

    /// Drops the project that failed longest ago. One that is closed now goes last.
    fn make_room(&mut self, now: Instant) {
        let oldest = self.troubled.iter().min_by_key(|(_, one)| (!one.gate.is_open_to_all(now), one.failed));
        if let Some(project) = oldest.map(|(project, _)| project.clone()) {
            self.troubled.remove(&project);
        }
    }

    /// Records what a look-up got of the storage. `cause`: why it got no answer. True: probes ask for a manifest from now on.
    pub fn stored(
        &mut self,
        question: &Question,
        answer: &Observation,
        cause: Option<Cause>,
        now: Instant,
    ) -> bool {
        if matches!(question.what, What::Scan(..)) {
            // Scans come from the database.
            return false;
        }
        if is_served(answer) {
            self.remember(question);
            if let Some(troubled) = self.troubled.get_mut(question.repository.project()) {
                (troubled.unserved, troubled.late, troubled.doubted) = (0, false, None);
            }
            return false;
        }
        if let Some(troubled) = self.troubled.get_mut(question.repository.project()) {
            troubled.late = false;
        }
        if !cause.is_some_and(is_unserved) {
            return false;
        }
        let served = self.last_served(&question.repository).cloned();
        let troubled = self.fails(&question.repository, now);
        troubled.unserved += 1;
        troubled.late = cause == Some(Cause::Deadline);
        if troubled.unserved < UNSERVED {
            return false;
        }
        troubled.unserved = 0;
        troubled.doubted.get_or_insert_with(|| served.unwrap_or_else(|| question.clone()));
        true
    }

    fn remember(&mut self, question: &Question) {
        if self.served.front() == Some(question) {
            return;
        }
        self.served.retain(|one| one.repository.project() != question.repository.project());
        self.served.push_front(question.clone());
        self.served.truncate(MOST_SERVED);
    }

    fn last_served(&self, repository: &Repository) -> Option<&Question> {
        self.served.iter().find(|one| one.repository.project() == repository.project())
    }

    /// The manifests that a probe should ask for. Until it has, no attempt tests the projects in doubt.
    pub fn doubts(&self) -> Doubts {
        let in_doubt = self.troubled.values().filter(|one| one.doubted.is_some());
        let mut latest: Vec<_> = in_doubt.collect();
        latest.sort_by_key(|one| std::cmp::Reverse(one.failed));
        let doubted: Vec<Question> =
            latest.into_iter().filter_map(|one| one.doubted.clone()).take(MOST_DOUBTED).collect();
        let is_trusted = |one: &&Question| self.get(&one.repository).is_none_or(|one| one.doubted.is_none());
        let witness = self.served.iter().find(is_trusted).filter(|_| !doubted.is_empty()).cloned();
        Doubts { doubted, witness }
    }

    /// Is any project in doubt?
    pub fn are_doubted(&self) -> bool {
        self.troubled.values().any(|one| one.doubted.is_some())
    }

    /// A probe will ask for manifests soon: until `then`, no attempt tests the projects in doubt.
    pub fn hold(&mut self, then: Instant) {
        for troubled in self.troubled.values_mut().filter(|one| one.doubted.is_some()) {
            troubled.gate.breaker.hold(then);
        }
    }

    /// Records what a probe got for a manifest in doubt. True: the project serves none, and a look-up did not get one in
    /// the meantime.
    pub fn probed(&mut self, question: &Question, served: &Served, now: Instant, random: f64) -> bool {
        let Some(troubled) = self.troubled.get_mut(question.repository.project()) else { return false };
        if troubled.doubted.is_none() {
            return false;
        }
        match served {
            Served::Yes => {
                troubled.gate.breaker.probed(Signal::Success, now, random);
                // Where nobody asks, further probes close the breaker.
                if troubled.gate.breaker.phase(now) == Phase::Closed {
                    troubled.doubted = None;
                }
                false
            }
            // The next question that is not answered is used instead.
            Served::Gone => {
                troubled.doubted = None;
                self.served.retain(|one| one != question);
                false
            }
            Served::No(_) => {
                troubled.failed = now;
                true
            }
        }
    }
}

/// Does this answer come from the storage?
fn is_served(answer: &Observation) -> bool {
    matches!(
        answer,
        Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })
            | Observation::Children(Children::Listed(_))
            | Observation::TagDigest(TagDigest::Known(_))
    )
}

/// Does this cause leave open whether the storage serves anything?
fn is_unserved(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Deadline | Cause::Connect | Cause::Broken | Cause::ServerError | Cause::Unavailable { .. }
    )
}
