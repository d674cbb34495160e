//! The stories on a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::super::terminal;
use super::Summary;
use crate::admission::MUTATE;
use crate::demo::story::{Admission, Told, ToldImage, tally};
use crate::domain::policy::VALIDATE;
use crate::report::drill::{Forecast, Prospect, Workload};
use crate::report::gaps::table;

/// The least and the greatest width of a page; without a terminal it is [`USUAL`].
const NARROWEST: usize = 80;
const WIDEST: usize = 120;
const USUAL: usize = 100;
/// The column of the images, after the Pod.
const IMAGES: usize = 21;
/// The columns of the reason and of the milliseconds.
const REASON: usize = 12;
const MILLIS: usize = 9;
/// If a Pod has more images than this, they are counted instead of listed.
const FEW: usize = 3;
/// Shown instead of a reason if Landfall gave none.
const UNTOUCHED: &str = "untouched";

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const MIND: Style = AnsiColor::Yellow.on_default();
const AWAY: Style = AnsiColor::Cyan.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// The width of the page, and the column of its images.
pub(super) struct Page {
    width: usize,
    images: usize,
}

impl Page {
    pub(super) fn new() -> Self {
        let width = terminal::width().unwrap_or(USUAL).clamp(NARROWEST, WIDEST);
        // If a pinned image does not fit beside its Pod, it is printed below it.
        Self { width, images: if width < USUAL - 4 { 5 } else { IMAGES } }
    }

    pub(super) fn opening(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n {BOLD}Landfall{BOLD:#}")?;
        let promise = "Every image comes ashore at the nearest harbor that can prove it holds it.";
        self.paragraph("", promise, 3, out)?;
        writeln!(out)?;
        for (name, host, what) in [
            ("fra", "harbor.fra.example.com", "Frankfurt, the primary: Harbor"),
            ("ams", "harbor.ams.example.com", "Amsterdam, its replica on our site: Harbor"),
            ("edge", "registry.edge:5000", "the edge, on our site, too: a plain registry"),
        ] {
            writeln!(out, "   {BOLD}{name:<5}{BOLD:#} {host:<24} {what}")?;
        }
        writeln!(out)?;
        self.paragraph(
            "",
            "They run in this process, on 127.0.0.1, over TLS. So does Landfall's server: every Pod below is sent \
             to its real webhook /mutate as an API server would send it, and what comes back is applied. Where a policy \
             enforces, the result is sent to /validate, too, which may only allow or deny it.",
            3,
            out,
        )
    }

    pub(super) fn heading(
        &self,
        n: usize,
        title: &str,
        narration: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let title = format!("{n}. {title}");
        let rule = "─".repeat(self.width.saturating_sub(title.len() + 6));
        writeln!(out, "\n {AWAY}──{AWAY:#} {BOLD}{title}{BOLD:#} {AWAY}{rule}{AWAY:#}")?;
        self.paragraph("", narration, 3, out)?;
        writeln!(out)
    }

    /// What the drill says before an act, in few lines.
    pub(super) fn forecast(&self, forecast: &Forecast, out: &mut impl Write) -> io::Result<()> {
        let Forecast { start, total, lost, workloads, .. } = forecast;
        let fails = workloads.iter().filter(|one| one.prospect != Prospect::Starts);
        let said = |one: &Workload| {
            let obstacle = one.images.iter().filter_map(|image| image.obstacle).min();
            format!("{} ({})", one.name, obstacle.map(|obstacle| obstacle.to_string()).unwrap_or_default())
        };
        let fails: Vec<String> = fails.map(said).collect();
        let text = format!(
            "The drill, while everything is up: without {}, {start} of these {total} new Pods would start. These would not: {}.",
            lost.join(", "),
            fails.join(", ")
        );
        self.paragraph("", &text, 3, out)?;
        writeln!(out)
    }

    pub(super) fn story(&self, told: &Told, out: &mut impl Write) -> io::Result<()> {
        let (mark, style) = if told.as_told { ("✓", GOOD) } else { ("✗", BAD) };
        let noticed = match told.noticed_after_ms {
            Some(ms) if ms < 100.0 => format!(" (noticed after {ms:.0} ms)"),
            Some(ms) => format!(" (noticed after {:.1} s)", ms / 1000.0),
            None => String::new(),
        };
        let mark = format!("{style}{mark}{style:#}");
        self.paragraph(&mark, &format!("{}{noticed}", told.about), 3, out)?;
        let images = told.actual.images.as_deref().unwrap_or_default();
        // Many images are counted, a few are listed.
        let shown = if images.len() > FEW { FEW - 1 } else { images.len() };
        for (n, image) in images.iter().take(shown).enumerate() {
            let (pod, ms) = if n == 0 { (&*told.pod, Some(told.ms)) } else { ("", None) };
            self.image(pod, image, told, ms, out)?;
        }
        if images.len() > shown {
            let all = tally(&told.actual.reasons).replace('-', UNTOUCHED);
            let rest = format!("and {} more; in all {all}", images.len() - shown);
            writeln!(out, "{:1$}{DIM}{rest}{DIM:#}", "", self.images)?;
        }
        let alone = if told.second.is_none() && told.door != MUTATE { " alone" } else { "" };
        if told.second.is_some() || !alone.is_empty() {
            let (door, denied) = match &told.second {
                Some(second) => (VALIDATE, second.admission == Admission::Denied),
                None => (told.door, told.actual.admission == Admission::Denied),
            };
            let (mark, style, said) = if denied { ("✗", BAD, "denied") } else { ("✓", GOOD, "allowed") };
            writeln!(out, "{:1$}{style}{mark}{style:#} {door}{alone}: {said}", "", self.images - 2)?;
        }
        for line in told.message.iter().flat_map(|message| message.lines()) {
            // Most begin with the image, which is printed above.
            let image = |(begin, _): &(&str, &str)| images.iter().any(|image| image.was == *begin);
            let line = line.split_once(": ").filter(image).map_or(line, |(_, line)| line);
            self.paragraph(&format!("{BAD}✗{BAD:#}"), &short(line), self.images, out)?;
        }
        if let Some(opened) = told.audit_annotations.get("break-glass") {
            self.paragraph(&format!("{MIND}!{MIND:#}"), &format!("Break-glass: {opened}"), self.images, out)?;
        }
        if let Some(warning) = told.warnings.first() {
            let more = told.warnings.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            self.paragraph(
                &format!("{MIND}!{MIND:#}"),
                &format!("Warning: {warning}{more}"),
                self.images,
                out,
            )?;
        }
        for difference in &told.differences {
            writeln!(out, "   {BAD}otherwise than told:{BAD:#} {}", short(difference))?;
        }
        Ok(())
    }

    fn image(
        &self,
        pod: &str,
        image: &ToldImage,
        told: &Told,
        ms: Option<f64>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let reason = image.reason.as_deref().unwrap_or(UNTOUCHED);
        let was = short(&image.was);
        let style = style(reason);
        let reason = match ms {
            Some(ms) => {
                let ms = format!("{ms:.1} ms");
                format!("{reason:<REASON$}{style:#}{DIM}{ms:>MILLIS$}{DIM:#}")
            }
            None => format!("{reason}{style:#}"),
        };
        let left = self.images - 2;
        if self.images == IMAGES {
            let room = self.width.saturating_sub(IMAGES + REASON + MILLIS + 1);
            let pod = cut(pod, IMAGES - 4);
            writeln!(out, "   {pod:<0$}{was:<room$} {style}{reason}", IMAGES - 3)?;
        } else {
            writeln!(out, "   {pod:<IMAGES$}{style}{reason}")?;
            writeln!(out, "{:1$}{was}", "", self.images)?;
        }
        let findings: Vec<String> = match told.message {
            // The message of the denial names the findings already.
            Some(_) => Vec::new(),
            None => {
                image.findings.iter().map(|found| format!("{found}: {}", words(&found.finding))).collect()
            }
        };
        let findings = findings.join("; ");
        match (image.is == image.was, told.actual.admission) {
            (_, Admission::Denied) => Ok(()),
            (true, Admission::Allowed) if findings.is_empty() => {
                writeln!(out, "{:left$}{DIM}= as written{DIM:#}", "")
            }
            (true, Admission::Allowed) => {
                writeln!(out, "{:left$}{DIM}= as written{DIM:#} {MIND}!{MIND:#} {findings}", "")
            }
            (false, Admission::Allowed) => {
                writeln!(out, "{:left$}{style}→{style:#} {}", "", short(&image.is))?;
                if findings.is_empty() {
                    Ok(())
                } else {
                    writeln!(out, "{:left$}{MIND}!{MIND:#} {findings}", "")
                }
            }
        }
    }

    pub(super) fn closing(&self, summary: &Summary<'_>, out: &mut impl Write) -> io::Result<()> {
        let Summary { stories, as_told, otherwise, seconds, gaps } = summary;
        writeln!(out, "\n {AWAY}{}{AWAY:#}", "─".repeat(self.width - 2))?;
        writeln!(out, " {BOLD}The ledger: what Amsterdam's site lacked on the way{BOLD:#}\n")?;
        let table = table(gaps, Timestamp::now(), Some(self.width - 3));
        table.lines().try_for_each(|line| writeln!(out, "   {line}"))?;
        if let Some(worst) = gaps.first() {
            writeln!(out)?;
            self.paragraph("", &short(&worst.message), 3, out)?;
        }
        if otherwise.is_empty() {
            writeln!(out, "\n {GOOD}✓{GOOD:#} {stories} stories in {seconds} s, all as told.\n")
        } else {
            writeln!(
                out,
                "\n {BAD}✗ {stories} stories in {seconds} s: {as_told} as told, {} otherwise:{BAD:#}",
                otherwise.len()
            )?;
            otherwise.iter().try_for_each(|story| writeln!(out, "   {BAD}✗{BAD:#} {story}"))?;
            writeln!(out)
        }
    }

    /// Prints sentences at this column behind a mark, broken between words.
    fn paragraph(&self, mark: &str, text: &str, column: usize, out: &mut impl Write) -> io::Result<()> {
        let room = self.width.saturating_sub(column);
        let mut mark = if mark.is_empty() { "  ".to_owned() } else { format!("{mark} ") };
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                writeln!(out, "{:1$}{mark}{line}", "", column - 2)?;
                (mark, line) = ("  ".to_owned(), String::new());
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        writeln!(out, "{:1$}{mark}{line}", "", column - 2)
    }
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect::<String>().replace("……", "…"),
        None => text.to_owned(),
    }
}

/// Digests shortened to twelve digits.
fn short(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut line = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
        let (digits, rest) = part.split_at(digits);
        line.push_str(digits.get(..12).unwrap_or(digits));
        line.push_str(rest);
    }
    line
}

fn style(reason: &str) -> Style {
    match reason {
        "Local" | "AlreadyLocal" => GOOD,
        "Accepted" | "Presumed" => MIND,
        "Fallback" => AWAY,
        "Denied" | "Internal" => BAD,
        _ => DIM,
    }
}

/// A finding in words.
fn words(finding: &str) -> &'static str {
    match finding {
        "Missing" => "it is not there",
        "ChildMissing" => "a part that these nodes need is not there",
        "ProxyCache" => "a proxy cache answers for it, which proves no copy",
        "Refused" => "the registry does not hand it out",
        "LayerMissing" => "a layer of it is lost",
        "PullFailed" => "nodes could not pull it",
        "Stale" => "its tag means something else than in Frankfurt",
        "Unreachable" => "the registry does not answer",
        "Unauthorized" => "our credentials do not open it",
        "RateLimited" => "the registry asked us to come back later",
        "Deadline" => "no answer in time",
        "TooMany" => "the Pod has too many images to judge",
        "Unproved" => "Frankfurt did not say what the tag means",
        "Unscanned" => "it was never scanned there",
        "ScanPending" => "its scan is not done yet",
        "ScanFailed" => "its scan failed",
        "ScannerDown" => "the scanner does not answer",
        "ScanExpired" => "its scan is too old",
        "Unscannable" => "no scanner there can scan its kind",
        "Vulnerable" => "its scan found what is too severe",
        _ => "it is outside what can be proved",
    }
}
