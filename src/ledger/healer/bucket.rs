//! A token bucket: so often, and so many at once.

use std::time::Duration;

use tokio::time::Instant;

/// One token comes with each pause, up to so many.
#[derive(Debug)]
pub struct Bucket {
    pause: Duration,
    most: u32,
    /// When the next token would come to an empty bucket that was never full.
    next: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new((pause, most): (Duration, u32)) -> Self {
        let now = Instant::now();
        Self { pause, most, next: now.checked_sub(pause * most).unwrap_or(now) }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self) -> bool {
        let now = Instant::now();
        let full = now.checked_sub(self.pause * self.most).unwrap_or(now);
        let next = self.next.max(full) + self.pause;
        if next > now {
            return false;
        }
        self.next = next;
        true
    }
}
