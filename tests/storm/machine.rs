//! Whether the machine had time for us. A storm comes by the clock; where others have the processors, it shows nothing.

use std::fs;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// How often it is looked who has the processors.
const GLANCE: Duration = Duration::from_secs(1);

/// In so many glances others may have had most of the processors. A storm has some sixty.
const FEW: usize = 2;

/// Looks at the machine's clocks until it is asked.
pub struct Machine {
    asked: Sender<()>,
    glances: JoinHandle<Result<Vec<Share>>>,
}

/// Who had the processors between two glances, each in percent of all of them.
struct Share {
    others: u32,
    ours: u32,
}

impl Machine {
    /// From now on.
    pub fn look() -> Result<Self> {
        let mut before = Clocks::now()?;
        let (asked, ends) = channel();
        let glances = thread::spawn(move || {
            let mut shares = Vec::new();
            while ends.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
                let now = Clocks::now()?;
                shares.push(now.since(&before)?);
                before = now;
            }
            Ok(shares)
        });
        Ok(Self { asked, glances })
    }

    /// Says so where others had most of the processors for some of the time.
    pub fn crowded(self) -> Result<Option<String>> {
        drop(self.asked);
        let shares = self.glances.join().map_err(|_| anyhow!("nobody looked at the clocks"))??;
        let crowded = |share: &&Share| share.others > 50 && share.others + share.ours > 90;
        let (seconds, all) = (shares.iter().filter(crowded).count(), shares.len());
        Ok((seconds > FEW).then(|| format!("others had most of the processors for {seconds} of {all} s")))
    }
}

/// The clocks of the machine.
struct Clocks {
    at: Instant,
    busy: Duration,
    ours: Duration,
}

impl Clocks {
    fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        // user nice system idle iowait irq softirq steal. proc_stat(5)
        let all = ticks(stat.lines().next().context("a line for all processors")?.split_whitespace().skip(1));
        let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|field| all.get(*field)).sum();
        Ok(Self { at: Instant::now(), busy: time(busy), ours: ours()? })
    }

    fn since(&self, before: &Self) -> Result<Share> {
        let all = (self.at - before.at) * u32::try_from(available_parallelism()?.get())?;
        let ours = self.ours.saturating_sub(before.ours);
        let others = self.busy.saturating_sub(before.busy).saturating_sub(ours);
        let share = |time: Duration| (100.0 * time.as_secs_f64() / all.as_secs_f64()) as u32;
        Ok(Share { others: share(others), ours: share(ours) })
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
