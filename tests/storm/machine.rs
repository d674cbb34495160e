//! Whether the machine had time for us. A storm comes by the clock; where others have the processors, it shows nothing.

use std::fs;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A look at the machine's clocks.
pub struct Machine {
    at: Instant,
    busy: Duration,
    ours: Duration,
}

impl Machine {
    /// Now.
    pub fn look() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        // user nice system idle iowait irq softirq steal. proc_stat(5)
        let all = ticks(stat.lines().next().context("a line for all processors")?.split_whitespace().skip(1));
        let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|field| all.get(*field)).sum();
        Ok(Self { at: Instant::now(), busy: time(busy), ours: ours()? })
    }

    /// Says so where others had most of the processors since.
    pub fn crowded(&self) -> Result<Option<String>> {
        let now = Self::look()?;
        let all = (now.at - self.at) * u32::try_from(available_parallelism()?.get())?;
        let ours = now.ours.saturating_sub(self.ours);
        let others = now.busy.saturating_sub(self.busy).saturating_sub(ours);
        let share = |time: Duration| (100.0 * time.as_secs_f64() / all.as_secs_f64()) as u32;
        let crowded = share(others) > 50 && share(others) + share(ours) > 90;
        let (others, ours) = (share(others), share(ours));
        Ok(crowded.then(|| format!("others had {others} % of the processors, we had {ours} %")))
    }
}

/// The CPU time of this process, of those that it waited for, and of its children.
fn ours() -> Result<Duration> {
    let me = std::process::id().to_string();
    let mut sum = 0;
    for entry in fs::read_dir("/proc")? {
        // A process may be gone by now.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        // From the third field on: state, parent; 14 and 15 are its own time, 16 and 17 that of who is gone.
        let parent = rest.split(' ').nth(1);
        let times = ticks(rest.split(' ').skip(11).take(4));
        if head.split(' ').next() == Some(&me) {
            sum += times.iter().sum::<u64>();
        } else if parent == Some(&me) {
            sum += times.iter().take(2).sum::<u64>();
        }
    }
    Ok(time(sum))
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<u64> {
    fields.filter_map(|field| field.parse().ok()).collect()
}

/// USER_HZ is 100 on Linux, whatever the kernel's own tick.
fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}
