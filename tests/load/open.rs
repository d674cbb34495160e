//! Open loop: what is due goes out when it is due, whether or not what went before was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::Semaphore;

/// One call and what came of it.
pub struct Called<T> {
    /// Which, in the order of `due`.
    pub which: usize,
    /// From when it was *due*: what waited for a free caller has waited, too (no "coordinated omission").
    pub latency: Duration,
    /// What was answered.
    pub answer: T,
}

/// Makes each call when it is due, in ascending order from now, by whichever caller is free. The callers are the
/// bound of what is under way at once: have more than `rate × longest answer` of them.
///
/// The clock is a thread of its own: the runtime's timer counts in milliseconds, a warm answer takes a tenth of one.
pub async fn open_loop<C, T>(
    due: &[Duration],
    callers: Vec<C>,
    call: impl AsyncFn(&mut C, usize) -> T,
) -> Vec<Called<T>> {
    let gate = Arc::new(Semaphore::new(0));
    let began = Instant::now();
    let (ticking, times, every) = (gate.clone(), due.to_vec(), callers.len());
    let clock = std::thread::spawn(move || {
        for at in times {
            std::thread::sleep((began + at).saturating_duration_since(Instant::now()));
            ticking.add_permits(1);
        }
        // So that each caller finds that there is nothing left.
        ticking.add_permits(every);
    });
    let next = AtomicUsize::new(0);
    let (gate, next, call) = (&*gate, &next, &call);
    let loops = callers.into_iter().map(async |mut caller| {
        let mut called = Vec::new();
        loop {
            // Never closed.
            let Ok(permit) = gate.acquire().await else { return called };
            permit.forget();
            let which = next.fetch_add(1, Ordering::Relaxed);
            let Some(at) = due.get(which) else { return called };
            let answer = call(&mut caller, which).await;
            called.push(Called { which, latency: (began + *at).elapsed(), answer });
        }
    });
    let mut called: Vec<_> = join_all(loops).await.into_iter().flatten().collect();
    called.sort_unstable_by_key(|called| called.which);
    // It ended before the last call did.
    let _ = clock.join();
    called
}

/// The latency under which this share (0 to 1) of all stayed; `latencies` in ascending order.
pub fn quantile(latencies: &[Duration], share: f64) -> Duration {
    let at = (share * latencies.len() as f64) as usize;
    latencies.get(at).or(latencies.last()).copied().unwrap_or_default()
}
