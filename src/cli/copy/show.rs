//! What `landfall copy` says: lines for people, JSON lines for scripts, and on a terminal how far it is.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::super::Output;
use super::super::terminal::width;
use crate::copy::{Blob, Event, Outcome, Run};
use crate::domain::copying::{Copying, End};
use crate::domain::digest::Digest;
use crate::domain::text::hanging;

/// How often a terminal is told how far it is.
const EVERY: Duration = Duration::from_millis(200);

/// Writes what happens.
pub(super) struct Show<W: Write> {
    output: Output,
    state: RefCell<State<W>>,
}

struct State<W: Write> {
    out: W,
    /// Whether standard error is a terminal that shows how far it is.
    terminal: bool,
    /// How many columns standard output has.
    width: Option<usize>,
    far: Far,
}

/// How far the current image is.
struct Far {
    since: Instant,
    shown: Option<Instant>,
    got: u64,
    passed: u64,
    all: u64,
}

impl Far {
    fn begin() -> Self {
        Self { since: Instant::now(), shown: None, got: 0, passed: 0, all: 0 }
    }

    fn line(&self) -> String {
        let rate = u128::from(self.got) * 1000 / self.since.elapsed().as_millis().max(1);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        let left = self.all.saturating_sub(self.got + self.passed);
        let time = left.checked_div(rate).map(|time| format!(", {time} s left")).unwrap_or_default();
        format!("  {} of {}, {}/s{time}", size(self.got + self.passed), size(self.all), size(rate))
    }
}

impl<W: Write> Show<W> {
    pub fn new(output: Output, out: W) -> Self {
        let terminal = output == Output::Text && std::io::stderr().is_terminal();
        Self { output, state: RefCell::new(State { out, terminal, width: width(), far: Far::begin() }) }
    }

    pub fn begins(&self, copying: &Copying, from: &End) -> std::io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.far = Far::begin();
        match self.output {
            Output::Text => {
                let (from, to) = (&from.registry.name, &copying.to);
                state.line(&format!(
                    "{} from {from} to {}: {}/{}",
                    image(copying),
                    to.registry.name,
                    to.registry.host,
                    to.repository
                ))
            }
            Output::Json => state.json(copying, json!({"event": "begin", "from": from.registry.name})),
        }
    }

    /// One step. A reader that has gone away is noticed by the next line that must be written.
    pub fn event(&self, copying: &Copying, event: &Event<'_>) {
        let mut state = self.state.borrow_mut();
        state.far.count(event);
        let _noticed_later = match (self.output, event) {
            (_, Event::Bytes { .. } | Event::Again { .. }) => state.progress(),
            (Output::Json, event) => match serde_json::to_value(event) {
                Ok(value) => state.json(copying, value),
                Err(error) => Err(error.into()),
            },
            (Output::Text, event) => state.line(&text(event)),
        };
    }

    pub fn ends(&self, copying: &Copying, from: &End, run: Run, outcome: &Outcome) -> std::io::Result<()> {
        let mut state = self.state.borrow_mut();
        if self.output == Output::Json {
            #[derive(Serialize)]
            struct Failed<'a> {
                #[serde(flatten)]
                failure: &'a crate::copy::Failure,
                advice: String,
            }
            let failures =
                outcome.failures.iter().map(|failure| Failed { failure, advice: failure.advice() });
            let failures: Vec<_> = failures.collect();
            let mut value = serde_json::to_value(outcome)?;
            if let Some(object) = value.as_object_mut() {
                let event = if failures.is_empty() { "done" } else { "failed" };
                object.insert("event".into(), event.into());
                object.insert("from".into(), from.registry.name.as_str().into());
                object.insert("bytes".into(), state.far.got.into());
                object.insert("dryRun".into(), (run == Run::Dry).into());
                object.insert("failures".into(), serde_json::to_value(failures)?);
            }
            return state.json(copying, value);
        }
        let Outcome { there, mounted, copied, repaired, lacking, manifests, failures, .. } = outcome;
        for failure in failures {
            state.line(&format!("  FAILED {failure}"))?;
            state.line(&format!("         → {}", failure.advice()))?;
        }
        let blobs = match run {
            Run::Dry => format!("{lacking} blobs would be copied, {there} are there"),
            Run::Real if *repaired > 0 => format!(
                "{copied} blobs copied, {repaired} of them lost before, {mounted} mounted, {there} were there"
            ),
            Run::Real => format!("{copied} blobs copied, {mounted} mounted, {there} were there"),
        };
        let name = match (&outcome.tag, &outcome.digest) {
            (Some(tag), Some(digest)) => format!("{digest} as `{tag}`"),
            (None, Some(digest)) => digest.to_string(),
            _ => String::new(),
        };
        let word = if failures.is_empty() { "done" } else { "not all done" };
        let bytes = size(state.far.got);
        state.line(&format!("  {word}: {name} {manifests} manifests, {blobs}, {bytes}"))
    }

    /// An image that there is no way to copy.
    pub fn cannot(&self, image: &str, to: &str, why: &str) -> std::io::Result<()> {
        let mut state = self.state.borrow_mut();
        match self.output {
            Output::Text => state.line(&format!("{image} to {to}\n  FAILED {why}")),
            Output::Json => {
                let value =
                    json!({"event": "failed", "image": image, "to": to, "failures": [{"detail": why}]});
                writeln!(state.out, "{value}")
            }
        }
    }

    pub fn sum(&self, all: usize, failed: usize) -> std::io::Result<()> {
        let mut state = self.state.borrow_mut();
        match self.output {
            Output::Text if all == 0 => state.line("nothing to do: no open gap lacks a copy"),
            Output::Text => state.line(&format!("{all} gaps: {} copied, {failed} not", all - failed)),
            Output::Json => {
                let value = json!({"event": "end", "gaps": all, "failed": failed});
                writeln!(state.out, "{value}")
            }
        }
    }

    pub fn stopped(&self) -> std::io::Result<()> {
        let mut state = self.state.borrow_mut();
        match self.output {
            Output::Text => state.line("stopped; run it again to go on"),
            Output::Json => writeln!(state.out, "{}", json!({"event": "stopped"})),
        }
    }
}

impl<W: Write> State<W> {
    fn line(&mut self, line: &str) -> std::io::Result<()> {
        if self.terminal {
            anstream::eprint!("\r\x1b[K");
        }
        for part in line.lines() {
            let indent = part.len() - part.trim_start().len() + 2;
            writeln!(self.out, "{}", hanging(part, indent, self.width))?;
        }
        self.out.flush()
    }

    fn json(&mut self, copying: &Copying, mut value: Value) -> std::io::Result<()> {
        if let Some(object) = value.as_object_mut() {
            object.insert("image".into(), image(copying).into());
            object.insert("to".into(), copying.to.registry.name.as_str().into());
        }
        writeln!(self.out, "{value}")?;
        self.out.flush()
    }

    fn progress(&mut self) -> std::io::Result<()> {
        if self.terminal && self.far.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.far.shown = Some(Instant::now());
            anstream::eprint!("\r{}\x1b[K", self.far.line());
        }
        Ok(())
    }
}

impl Far {
    fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Found { bytes, .. } => self.all += bytes,
            Event::Bytes { bytes } => self.got += bytes,
            Event::Again { bytes } => self.got = self.got.saturating_sub(*bytes),
            Event::Blob { size, done: Blob::There | Blob::Mounted, .. } => self.passed += size,
            _ => {}
        }
    }
}

fn image(Copying { name, tag, digest, .. }: &Copying) -> String {
    let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{name}{tag}{digest}")
}

fn text(event: &Event<'_>) -> String {
    match event {
        Event::Found { digest, manifests, blobs, bytes } => {
            format!("  {digest}: {manifests} manifests, {blobs} blobs, {}", size(*bytes))
        }
        Event::Blob { digest, size: bytes, done } => {
            let done = match done {
                Blob::There => "is there",
                Blob::Mounted => "mounted from another repository",
                Blob::Copied => "copied",
                Blob::Repaired => "repaired: the target had lost it",
                Blob::Lacking => "would be copied",
            };
            format!("  blob {} ({}) {done}", short(digest), size(*bytes))
        }
        Event::Manifest { digest, tag, there } => {
            let tag = tag.map(|tag| format!(" as `{tag}`")).unwrap_or_default();
            let done = if *there { "is there" } else { "pushed" };
            format!("  manifest {} {done}{tag}", short(digest))
        }
        Event::Verified { manifests, blobs } => {
            format!("  verified at the target: {manifests} manifests, {blobs} blobs")
        }
        Event::Retry { why, pause } => format!("  again in {:.1} s: {why}", pause.as_secs_f64()),
        Event::Note { note } => format!("  note: {note}"),
        Event::Bytes { .. } | Event::Again { .. } => String::new(),
    }
}

/// So much of a digest as people compare.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(19).collect()
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}
