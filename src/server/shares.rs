//! What peers share: connections, and the memory for what they send.
//!
//! A peer may have as much as is free. One peer alone gets half; n peers that all want everything get 1/(n+1) each, and as
//! much stays free for the next one. So there is always something left for who comes last, and nobody has to say beforehand
//! how many peers there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An amount that is shared.
#[derive(Debug)]
pub(super) struct Shares {
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    sum: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Shares {
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { all, taken: Mutex::default() })
    }

    /// Takes `amount` for `peer`. `None`: the peer would have more than is free.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, amount: usize) -> Option<Share> {
        let mut share = Share { of: Arc::clone(self), peer, amount: 0 };
        share.grow(amount).then_some(share)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // No code panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a peer has taken. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Shares>,
    peer: IpAddr,
    amount: usize,
}

impl Share {
    /// Takes more. Says whether it could; if not, the share is as it was.
    #[must_use]
    pub(super) fn grow(&mut self, by: usize) -> bool {
        let mut taken = self.of.taken();
        let mine = taken.by_peer.get(&self.peer).copied().unwrap_or_default() + by;
        let sum = taken.sum + by;
        if mine > self.of.all.saturating_sub(sum) {
            return false;
        }
        taken.sum = sum;
        taken.by_peer.insert(self.peer, mine);
        drop(taken);
        self.amount += by;
        true
    }

    /// Gives back what is more than `amount`.
    pub(super) fn shrink_to(&mut self, amount: usize) {
        let back = self.amount.saturating_sub(amount);
        self.amount -= back;
        let mut taken = self.of.taken();
        taken.sum -= back;
        if let Some(mine) = taken.by_peer.get_mut(&self.peer) {
            *mine -= back;
            if *mine == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    #[test]
    fn however_many_peers_want_everything_the_next_one_gets_as_much() {
        for peers in 1..=9_u8 {
            let shares = Shares::new(1000);
            let mut held = Vec::new();
            let mut greedy = true;
            while greedy {
                greedy = false;
                for number in 0..peers {
                    if let Some(share) = shares.take(peer(number), 1) {
                        held.push(share);
                        greedy = true;
                    }
                }
            }
            let fair = 1000 / (usize::from(peers) + 1);
            let taken = |number| held.iter().filter(|share| share.peer == peer(number)).count();
            for number in 0..peers {
                assert!(taken(number).abs_diff(fair) <= 1, "{peers} peers: {} of {fair}", taken(number));
            }
            let next = (0..1000).map_while(|_| shares.take(peer(100), 1)).count();
            assert!(next >= fair / 2, "{peers} peers: the next one gets {next}");
        }
    }

    #[test]
    fn what_is_dropped_or_given_back_is_free_and_nothing_is_kept_of_who_has_nothing() {
        let shares = Shares::new(100);
        let mut first = shares.take(peer(1), 30).unwrap();
        assert!(first.grow(20));
        assert!(!first.grow(1), "half of it");
        assert!(shares.take(peer(1), 1).is_none());
        first.shrink_to(10);
        assert!(first.grow(40));
        let second = shares.take(peer(2), 25).unwrap();
        assert!(shares.take(peer(2), 1).is_none());
        drop((first, second));
        assert!(shares.taken().by_peer.is_empty());
        assert_eq!(shares.taken().sum, 0);
        assert!(shares.take(peer(2), usize::MAX / 2).is_none());
    }
}
