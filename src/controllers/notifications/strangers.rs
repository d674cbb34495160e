//! Those who show wrong secrets. Somebody who may only reach the port can send as many as he likes: each peer is told and
//! logged so many times a minute.
//!
//! Who shows the right secret is never kept out, whatever others sent from the same address: Harbor may stand behind it, too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many wrong secrets of one peer are told so.
const TOLD: u32 = 10;

/// In this time.
const WINDOW: Duration = Duration::from_secs(60);

/// How many peers are known at once. While there are more, the others count as those who came too often.
const PEERS: usize = 1024;

/// The least time between two lines in the log.
const LOG: Duration = Duration::from_secs(60);

/// The peers of the last minute, and when one was logged.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: Mutex<HashMap<IpAddr, (Instant, u32)>>,
    logged: Mutex<(Option<Instant>, u64)>,
}

impl Strangers {
    /// Whether this peer came seldom enough.
    pub(super) fn may_be_told(&self, peer: IpAddr, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= PEERS && !seen.contains_key(&peer) {
            seen.retain(|_, (since, _)| now.saturating_duration_since(*since) < WINDOW);
            if seen.len() >= PEERS {
                return false;
            }
        }
        let (since, times) = seen.entry(peer).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *times) = (now, 0);
        }
        *times = times.saturating_add(1);
        *times <= TOLD
    }

    /// For how many a line in the log stands, if there should be one now.
    pub(super) fn may_be_logged(&self, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, times) = &mut *logged;
        *times += 1;
        if last.is_some_and(|last| now.saturating_duration_since(last) < LOG) {
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_is_told_ten_times_a_minute_and_many_peers_take_no_memory() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let peer = |n: u32| IpAddr::from(n.to_be_bytes());
        let told = (0..50).filter(|_| strangers.may_be_told(peer(1), now)).count();
        assert_eq!(told, 10);
        assert!(strangers.may_be_told(peer(2), now), "another peer is another's");
        assert!(strangers.may_be_told(peer(1), now + WINDOW));
        let told = (3..100_000).filter(|n| strangers.may_be_told(peer(*n), now)).count();
        assert!(told <= PEERS && strangers.seen.lock().unwrap().len() <= PEERS, "{told}");
        assert!(strangers.may_be_told(peer(99_999), now + 2 * WINDOW), "those of before are forgotten");
    }

    #[test]
    fn a_line_in_the_log_stands_for_all_of_a_minute() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        assert_eq!(strangers.may_be_logged(now), Some(1));
        assert_eq!((0..500).filter_map(|_| strangers.may_be_logged(now)).count(), 0);
        assert_eq!(strangers.may_be_logged(now + LOG), Some(501));
    }
}
