//! The queue of one registry's look-ups. It limits how many are in progress, and serves namespaces in turn.
//!
//! Whoever may create Pods in one namespace can ask for as many slow images as he likes. First come, first served would
//! make everybody wait behind them. So each namespace has a line of its own, and free permits go round. One namespace
//! never gets all permits, because whoever comes next would wait for an attempt to end. If the queue is full, the last
//! of the longest line leaves it. A look-up that a second namespace waits for stands in both lines: nobody can put an
//! image of others to the end of his own line.
//!
//! The two doors take turns, too, however many namespaces stand in line for each: what exhausts `/mutate` must not stop
//! `/validate`, which denies what it cannot learn. Each has half of the places in a full queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The most look-ups that wait for one registry: some hundred reviews of ten images each.
pub(super) const LONGEST: usize = 4096;

/// One namespace leaves 1/8 of the permits to the others.
const RESERVE: usize = 8;

/// Whose share of the look-ups is used. While look-ups of both wait, they get their permits in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// That of the mutating door, and of all that is not on a Pod's way.
    Mutating,
    /// That of the validating door.
    Validating,
}

impl Share {
    fn other(self) -> Self {
        match self {
            Self::Mutating => Self::Validating,
            Self::Validating => Self::Mutating,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// Pods of this namespace, at one of the doors.
    Pods(Share, Arc<str>),
    /// Landfall itself: proofs of tags, and renewals.
    Background,
}

impl Asker {
    fn share(&self) -> Share {
        match self {
            Self::Pods(share, _) => *share,
            Self::Background => Share::Mutating,
        }
    }

    /// Whose permits are counted together: those of a namespace at both doors. `None`: our own.
    fn holder(&self) -> Option<Arc<str>> {
        match self {
            Self::Pods(_, namespace) => Some(namespace.clone()),
            Self::Background => None,
        }
    }
}

/// The number of a look-up in the queue. It is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TicketId(u64);

/// The queue was full, and this look-up's line was the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overfull;

#[derive(Debug, Clone)]
pub(super) struct FairQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limit: usize,
    in_progress: usize,
    next_id: u64,
    /// The look-ups in line.
    waiting: HashMap<TicketId, Waiting>,
    /// The line of each asker. No line is empty.
    lines: HashMap<Asker, VecDeque<TicketId>>,
    /// Whose turn it is: each asker with a line, once.
    turns: VecDeque<Asker>,
    /// Whose turn it is, while both have lines.
    next: Share,
    /// The permits that each namespace has now, at both doors together, and our own.
    held: HashMap<Option<Arc<str>>, usize>,
}

#[derive(Debug)]
struct Waiting {
    /// In whose lines it stands.
    askers: Vec<Asker>,
    /// Tells it for whom it got its permit.
    call: oneshot::Sender<Asker>,
}

/// The permit for one look-up, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    queue: FairQueue,
    asker: Asker,
}

/// A look-up that waits for its permit. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Ticket {
    queue: FairQueue,
    id: TicketId,
    called: oneshot::Receiver<Asker>,
}

impl FairQueue {
    /// A queue that allows so many look-ups in progress.
    pub fn new(limit: u32) -> Self {
        let state = State {
            limit: permits(limit),
            in_progress: 0,
            next_id: 0,
            waiting: HashMap::new(),
            lines: HashMap::new(),
            turns: VecDeque::new(),
            next: Share::Mutating,
            held: HashMap::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Allows so many look-ups in progress from now on.
    pub fn resize(&self, limit: u32) {
        let mut state = self.lock();
        state.limit = permits(limit);
        state.call();
    }

    /// How many look-ups wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Would whoever joins the line of this asker wait until all attempts in progress have ended? All lines of a door move
    /// on in turn, so only the length of his own counts, times how many there are. The other door takes every second turn.
    pub fn is_long_for(&self, asker: &Asker) -> bool {
        let state = self.lock();
        let ours = state.lines.get(asker).map_or(0, VecDeque::len);
        let of = |share| state.lines.keys().filter(|one| one.share() == share).count();
        let (same, others) = (of(asker.share()), of(asker.share().other()));
        let turns = if others == 0 { same } else { same.saturating_mul(2) };
        ours.saturating_mul(turns) >= state.limit
    }

    /// The number for the next look-up.
    pub fn next_id(&self) -> TicketId {
        let mut state = self.lock();
        state.next_id += 1;
        TicketId(state.next_id)
    }

    /// Joins the line of this asker.
    ///
    /// # Errors
    /// The queue is full, and no line is longer than this asker's.
    pub fn join(&self, id: TicketId, asker: Asker) -> Result<Ticket, Overfull> {
        let mut state = self.lock();
        state.make_room(&asker)?;
        let (call, called) = oneshot::channel();
        state.waiting.insert(id, Waiting { askers: Vec::new(), call });
        state.stand(id, asker);
        state.call();
        drop(state);
        Ok(Ticket { queue: self.clone(), id, called })
    }

    /// Another asker waits for this look-up, too. It has no effect once the look-up has its permit.
    pub fn also_for(&self, id: TicketId, asker: Asker) {
        let mut state = self.lock();
        state.stand(id, asker);
        state.call();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Stands at the end of this asker's line, if it still waits and does not stand there.
    fn stand(&mut self, id: TicketId, asker: Asker) {
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        if waiting.askers.contains(&asker) {
            return;
        }
        waiting.askers.push(asker.clone());
        let line = self.lines.entry(asker.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(asker);
        }
        line.push_back(id);
    }

    /// Takes a look-up out of an asker's line.
    fn leave(&mut self, id: TicketId, asker: &Asker) {
        let Some(line) = self.lines.get_mut(asker) else { return };
        if line.front() == Some(&id) {
            line.pop_front();
        } else {
            line.retain(|one| *one != id);
        }
        if line.is_empty() {
            self.lines.remove(asker);
            self.turns.retain(|one| one != asker);
        }
    }

    /// Makes room in a full queue for one more of this asker.
    fn make_room(&mut self, asker: &Asker) -> Result<(), Overfull> {
        while self.waiting.len() >= LONGEST {
            let ours = self.lines.get(asker).map_or(0, VecDeque::len);
            let others = asker.share().other();
            let lines =
                self.lines.iter().filter(|(one, _)| one.share() == others).map(|(_, line)| line.len());
            // A door that has more than its half makes room for the other one.
            let has_more = lines.sum::<usize>() > LONGEST / 2;
            let may_leave = |one: &Asker, line: usize| match (has_more, one.share() == others) {
                (true, is_theirs) => is_theirs,
                (false, is_theirs) => !is_theirs && line > ours,
            };
            let lines = self.lines.iter().filter(|(one, line)| may_leave(one, line.len()));
            let longest = lines.max_by_key(|(_, line)| line.len());
            let (owner, last) =
                longest.and_then(|(owner, line)| Some((owner.clone(), *line.back()?))).ok_or(Overfull)?;
            self.leave(last, &owner);
            let Some(waiting) = self.waiting.get_mut(&last) else { continue };
            waiting.askers.retain(|one| *one != owner);
            if waiting.askers.is_empty() {
                self.waiting.remove(&last);
            }
        }
        Ok(())
    }

    /// Gives free permits to those in line, in turn.
    fn call(&mut self) {
        let share = self.limit - self.limit / RESERVE;
        while self.in_progress < self.limit {
            let may_have = |asker: &&Asker| self.held.get(&asker.holder()).is_none_or(|held| *held < share);
            let of = |door: Share| self.turns.iter().filter(|asker| asker.share() == door).find(may_have);
            let Some(asker) = of(self.next).or_else(|| of(self.next.other())).cloned() else { return };
            let Some(id) = self.lines.get(&asker).and_then(|line| line.front().copied()) else { return };
            let Some(waiting) = self.waiting.remove(&id) else { return };
            for one in &waiting.askers {
                self.leave(id, one);
            }
            if self.lines.contains_key(&asker) {
                self.turns.retain(|one| *one != asker);
                self.turns.push_back(asker.clone());
            }
            self.next = asker.share().other();
            self.in_progress += 1;
            *self.held.entry(asker.holder()).or_default() += 1;
            // Who waits listens: a ticket that is dropped leaves `waiting` first.
            let _ = waiting.call.send(asker);
        }
    }

    fn give_back(&mut self, asker: &Asker) {
        self.in_progress -= 1;
        let holder = asker.holder();
        if let Some(held) = self.held.get_mut(&holder) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&holder);
            }
        }
        self.call();
    }
}

impl Ticket {
    /// Waits for a permit. `None`: the queue became full, and this look-up had to leave it.
    pub async fn permit(mut self) -> Option<Permit> {
        let asker = (&mut self.called).await.ok()?;
        Some(Permit { queue: self.queue.clone(), asker })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        if let Some(waiting) = state.waiting.remove(&self.id) {
            for asker in &waiting.askers {
                state.leave(self.id, asker);
            }
        } else if let Ok(asker) = self.called.try_recv() {
            // It was called, and did not hear it.
            state.give_back(&asker);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queue.lock().give_back(&self.asker);
    }
}

fn permits(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests;
