//! `landfall serve` with a bound on its memory.
//!
//! In a control group of its own, as in a container, where we may make one. Else by `RLIMIT_DATA`, which is stricter: it
//! counts what is reserved, used or not. A process that reaches it ends, too.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;

/// The unified hierarchy, by itself or beside the older one.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// On the real standard error, which the harness does not capture: `tests/run` looks for it.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What the image sets.
fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../Dockerfile").lines().filter_map(|line| line.strip_prefix("ENV "));
    lines.map(|line| line.split_once('=').unwrap())
}

/// How many files a process of ours may have open.
pub fn open_files() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    // It may say `unlimited`.
    line.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX)
}

/// A process and its bound.
pub struct Cell {
    pub process: Process,
    group: Option<Group>,
}

/// A control group. It is removed when this is dropped, which is after its process has ended.
struct Group(PathBuf);

impl Group {
    fn new(memory: usize) -> Option<Self> {
        let root = ROOTS.map(Path::new).into_iter().find(|root| {
            let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
            controllers.split_whitespace().any(|name| name == "memory")
        })?;
        let group = Self(root.join(format!("landfall-attack-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join("memory.max"), memory.to_string()).ok()?;
        // Where there is swap, it would only be slow.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

impl Cell {
    /// Starts it. `None`: there is no bound to be had here, which is said as a part that is skipped.
    pub async fn start(config: &Path, folder: &Path, memory: usize) -> Option<Self> {
        let group = Group::new(memory);
        // The shell bounds itself and becomes the server.
        let bound = match &group {
            Some(group) => format!("echo $$ > '{}/cgroup.procs'", group.0.display()),
            None => format!("ulimit -d {}", memory / 1024),
        };
        if !Command::new("sh").args(["-c", &bound]).status().is_ok_and(|status| status.success()) {
            say("skipped: attack: neither a control group nor `ulimit -d` can be had here");
            return None;
        }
        let mut shell = Command::new("sh");
        shell.envs(environment());
        shell.args(["-c", &format!("{bound} && exec \"$@\""), "sh"]);
        Some(Self { process: Process::landfall_in(shell, config, folder).await.unwrap(), group })
    }

    /// The bound, in words.
    pub fn bound(&self) -> &'static str {
        match self.group {
            Some(_) => "in a control group",
            None => "bound by RLIMIT_DATA, for no control group can be had here",
        }
    }

    pub fn lives(&self) -> bool {
        self.process.memory("VmHWM:").is_ok()
    }

    /// The most memory that it had, in bytes, with the pages of its file.
    pub fn peak(&self) -> usize {
        self.process.memory("VmHWM:").unwrap() as usize * 1024
    }
}
