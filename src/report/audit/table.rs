//! An audit for people: groups of one finding, the worst first.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};

use super::result::{Audit, Class, Row, Summary, Target};
use crate::domain::text::plain;

/// How wide the columns before the image are, with the space behind them.
const BEFORE: usize = 14 + 13 + 7;

/// The fewest characters of an image that are shown.
const LEAST: usize = 20;

/// How many workloads of an image are named where there is no width to fit.
const MOST_NAMED: usize = 16;

/// Returns the audit for people. With a `width` no line is longer, as far as that is possible: names of images lose their
/// beginning, lists of workloads their end.
#[must_use]
pub fn table(audit: &Audit, width: Option<usize>) -> String {
    let mut out = String::new();
    // A String takes everything.
    let _ = write(audit, width, &mut out);
    out
}

fn write(audit: &Audit, width: Option<usize>, out: &mut String) -> fmt::Result {
    let same = |a: &Row, b: &Row| {
        (a.class, &a.finding, &a.place, &a.action, &a.detail_of_group())
            == (b.class, &b.finding, &b.place, &b.action, &b.detail_of_group())
    };
    for group in audit.rows.chunk_by(same) {
        let Some(first) = group.first() else { continue };
        heading(first, group, width, out)?;
        for row in group {
            self::row(row, width, out)?;
        }
        out.push('\n');
    }
    wrapped(out, "", &summary(audit), width)?;
    let counts = |counts: &std::collections::BTreeMap<String, usize>| {
        counts.iter().map(|(name, count)| format!("{name} ({count})")).collect::<Vec<_>>().join(", ")
    };
    for (what, counted) in [
        ("left alone, as everywhere or by `exclude.namespaces`: ", counts(&audit.left_alone)),
        ("not looked into, but some of these make Pods: ", counts(&audit.not_looked_into)),
    ] {
        if !counted.is_empty() {
            wrapped(out, "", &format!("{what}{counted}"), width)?;
        }
    }
    for note in &audit.notes {
        wrapped(out, "note: ", note, width)?;
    }
    if !audit.complete {
        let style = style(Class::Unknown);
        writeln!(out, "{style}This report is not complete.{style:#}")?;
    }
    Ok(())
}

impl Row {
    /// A detail that the whole group has.
    fn detail_of_group(&self) -> &str {
        if self.class == Class::Risk { "" } else { &self.detail }
    }
}

fn style(class: Class) -> Style {
    let color = match class {
        Class::Denied | Class::Missing => AnsiColor::Red,
        Class::Unknown | Class::Scan | Class::Risk => AnsiColor::Yellow,
        _ => return Style::new().bold(),
    };
    Style::new().bold().fg_color(Some(color.into()))
}

fn heading(first: &Row, group: &[Row], width: Option<usize>, out: &mut String) -> fmt::Result {
    let Row { class, finding, place, action, advice, .. } = first;
    let at = place.as_ref().map(|place| format!(" at {}", plain(place))).unwrap_or_default();
    let action = action.as_ref().map(|action| format!(", {action}")).unwrap_or_default();
    let (images, pods) = (group.len(), group.iter().map(|row| u64::from(row.pods)).sum::<u64>());
    let style = style(*class);
    let text = format!("{finding}{at}{action}");
    let count = format!(" ({}, {})", number(images, "image"), number(pods, "Pod"));
    let text = cut(&text, width.map(|width| width.saturating_sub(count.chars().count())));
    writeln!(out, "{style}{text}{style:#}{count}")?;
    wrapped(out, "  ", class.heading(), width)?;
    if !first.detail_of_group().is_empty() {
        wrapped(out, "  ", first.detail_of_group(), width)?;
    }
    if !advice.is_empty() {
        wrapped(out, "  → ", advice, width)?;
    }
    writeln!(out, "  {:<12}  {:<11}  {:>5}  IMAGE", "PRESENCE", "SCAN", "PODS")
}

fn row(row: &Row, width: Option<usize>, out: &mut String) -> fmt::Result {
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
    let digest = row.digest.as_ref().filter(|digest| !row.image.contains(digest.as_str()));
    let digest = digest.map(|digest| format!("@{}…", digest.chars().take(19).collect::<String>()));
    let standing = if row.standing { " (as it runs)" } else { "" };
    let image = format!("{}{}{standing}", row.image, digest.unwrap_or_default());
    let room = width.map(|width| width.saturating_sub(BEFORE + 2).max(LEAST));
    // The digest is left out first.
    let fits = room.is_none_or(|room| image.chars().count() <= room);
    let image = if fits { image } else { end_of(&format!("{}{standing}", row.image), room) };
    writeln!(out, "  {:<12}  {:<11}  {:>5}  {image}", word(&row.presence), word(&row.scan), row.pods)?;
    if row.class == Class::Risk {
        wrapped(out, "      ", &row.detail, width)?;
    }
    let names: Vec<String> = row
        .workloads
        .iter()
        .map(|user| {
            let at = user.path.as_ref().zip(user.line);
            let at = at.map(|(path, line)| format!(" ({}:{line})", plain(path))).unwrap_or_default();
            let pods = if user.pods > 0 { format!(" ×{}", user.pods) } else { String::new() };
            format!("{}{pods}{at}", plain(&user.called()))
        })
        .collect();
    let all = names.len() + row.more_workloads;
    let indent = "      ";
    let most = width.map(|width| width.saturating_sub(indent.len()));
    let line = (1..=names.len().min(MOST_NAMED)).rev().find_map(|named| {
        let more = if named < all { format!(" and {} more", all - named) } else { String::new() };
        let line = names.get(..named)?.join(", ") + &more;
        most.is_none_or(|most| line.chars().count() <= most).then_some(line)
    });
    let line = line.unwrap_or_else(|| {
        let more = if all > 1 { format!(" and {} more", all - 1) } else { String::new() };
        let most = most.map(|most| most.saturating_sub(more.chars().count()));
        cut(names.first().map_or("", String::as_str), most) + &more
    });
    writeln!(out, "{indent}{line}")
}

fn summary(audit: &Audit) -> String {
    let Summary { workloads, pods, images, .. } = audit.summary;
    let what = match &audit.target {
        Target::Cluster { namespace: Some(namespace) } => format!("namespace {}", plain(namespace)),
        Target::Cluster { namespace: None } => "all namespaces".to_owned(),
        Target::Manifests { paths } => plain(&paths.join(", ")).into_owned(),
    };
    let of = match audit.target {
        Target::Cluster { .. } => format!("{}, {}", number(workloads, "workload"), number(pods, "Pod")),
        Target::Manifests { .. } => number(workloads, "workload"),
    };
    let counts = counts(&audit.summary);
    format!("{what}: {} of {of}, at site {}: {counts}.", number(images, "image"), audit.site)
}

/// The counts that are not 0. `fine` is always said.
fn counts(summary: &Summary) -> String {
    let Summary {
        denied,
        missing,
        unknown,
        scan,
        runs_elsewhere,
        partly,
        risk,
        unrouted,
        fine,
        kept,
        not_judged,
        with_unknown,
        ..
    } = *summary;
    let words = [
        (denied, "denied"),
        (missing, "missing"),
        (unknown, "unknown"),
        (scan, "with a scan to look at"),
        (runs_elsewhere, "here but running from elsewhere"),
        (partly, "here but not at each registry"),
        (risk, "at risk"),
        (unrouted, "without a route"),
        (kept, "not handled"),
        (not_judged, "not judged"),
    ];
    let mut said: Vec<String> = words
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    said.push(format!("{fine} fine"));
    let more = with_unknown.saturating_sub(unknown);
    let of_others =
        if more > 0 { format!("; something is not known of {more} others") } else { String::new() };
    said.join(", ") + &of_others
}

fn number(count: impl TryInto<u64>, word: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// A text in lines of this width, the first behind `first`.
fn wrapped(out: &mut String, first: &str, text: &str, width: Option<usize>) -> fmt::Result {
    let indent = first.chars().count();
    let most = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(LEAST));
    let (mut line, mut length, mut is_first) = (String::new(), 0, true);
    let mut end = |line: &mut String, out: &mut String| {
        let before = if is_first { first.to_owned() } else { " ".repeat(indent) };
        is_first = false;
        writeln!(out, "{before}{}", std::mem::take(line))
    };
    for word in text.split(' ') {
        let mut word = word.to_owned();
        // A digest, a path: what has no spaces is broken where it must be.
        while word.chars().count() > most {
            if length > 0 {
                end(&mut line, out)?;
                length = 0;
            }
            let mut head: String = word.chars().take(most).collect();
            word = word.chars().skip(most).collect();
            end(&mut head, out)?;
        }
        let long = word.chars().count();
        if length > 0 && length + 1 + long > most {
            end(&mut line, out)?;
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line += &word;
        length += long;
    }
    end(&mut line, out)
}

/// The beginning of a text.
fn cut(text: &str, most: Option<usize>) -> String {
    match most {
        Some(most) if text.chars().count() > most => {
            text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
        }
        _ => text.to_owned(),
    }
}

/// The end of a text: the end of an image's name says more than its beginning.
fn end_of(text: &str, most: Option<usize>) -> String {
    let long = text.chars().count();
    match most {
        Some(most) if long > most => {
            std::iter::once('…').chain(text.chars().skip(long - most.max(1) + 1)).collect()
        }
        _ => text.to_owned(),
    }
}
