//! The forecast for people: how many would start, then what hinders the others, the worst first, each obstacle once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::forecast::{Forecast, Image, Obstacle, Prospect, Workload};
use crate::domain::text::{hanging, plain};
use crate::ledger::age;

/// How wide the first column is: `MalformedSecret` and two blanks.
const NAMES: usize = 17;

/// How far that is moved in which stands below its name.
const BELOW: usize = 4;

/// The most workloads that are named under one obstacle.
const MOST: usize = 12;

/// The forecast as text. With a `width` its lines are broken, where they have a space.
#[must_use]
pub fn text(forecast: &Forecast, now: Timestamp, width: Option<usize>) -> String {
    let mut page = Page { text: String::new(), width };
    let Forecast { total, start, fail, unknown, lost, recovery, .. } = forecast;
    let lost = lost.join(", ");
    let untold = if *unknown > 0 { format!(", of {unknown} it could not be told") } else { String::new() };
    page.whole(&format!(
        "{start} of {total} workloads would start without {lost}: {fail} would not{untold}."
    ));
    page.whole("A forecast, not a switchover: judged as at the doors, and asked for as by a new node.");
    for ((obstacle, image, why), found) in grouped(forecast) {
        page.text.push('\n');
        page.line(&obstacle.to_string(), &image);
        page.line("", &why);
        if let Some(since) =
            found.iter().filter_map(|(_, image)| image.since.as_deref()?.parse::<Timestamp>().ok()).min()
        {
            page.line("  since", &format!("{since} ({} ago)", age(now.duration_since(since))));
        }
        page.line("  do", found.first().map_or("", |(_, image)| &image.todo));
        let mut names: Vec<String> = found.iter().map(|(workload, image)| called(workload, image)).collect();
        names.dedup();
        let more = names.len().saturating_sub(MOST);
        names.truncate(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        page.line("  in", &format!("{}{more}", names.join(", ")));
    }
    page.text.push('\n');
    page.line("recovery time", &time(forecast));
    let point = match recovery.lacking_total {
        0 => "no ReplicationGap says that a primary has something that is not here".to_owned(),
        n => format!("{n} images of primaries are known to be lacking here"),
    };
    page.line("recovery point", &point);
    for one in recovery.lacking.iter().take(MOST) {
        page.line("", &format!("{} at {} since {}", plain(&one.image), one.registry, one.since));
    }
    for one in &recovery.unknown {
        page.line("  not known", one);
    }
    page.list("assumed", &forecast.assumptions);
    page.list("not covered", &forecast.not_covered);
    page.list("note", &forecast.notes);
    page.text
}

type Group<'a> = ((Obstacle, String, String), Vec<(&'a Workload, &'a Image)>);

/// Each obstacle with its images, in the order of the forecast.
fn grouped(forecast: &Forecast) -> Vec<Group<'_>> {
    let mut order: Vec<Group<'_>> = Vec::new();
    let mut known: BTreeMap<(Obstacle, String, String), usize> = BTreeMap::new();
    for workload in forecast.workloads.iter().filter(|one| one.prospect != Prospect::Starts) {
        for image in &workload.images {
            let Some(obstacle) = image.obstacle else { continue };
            let name = plain(image.becomes.as_deref().unwrap_or(&image.image)).into_owned();
            let key = (obstacle, name, image.why.clone());
            let at = *known.entry(key.clone()).or_insert_with(|| {
                order.push((key, Vec::new()));
                order.len() - 1
            });
            if let Some((_, found)) = order.get_mut(at) {
                found.push((workload, image));
            }
        }
    }
    order
}

fn called(workload: &Workload, image: &Image) -> String {
    let Workload { kind, namespace, name, .. } = workload;
    let slot = image.slot.split_once('/').map_or("", |(field, _)| field);
    let slot = match slot {
        "initContainers" => " (init)",
        "volumes" => " (volume)",
        _ => "",
    };
    plain(&format!("{kind} {namespace}/{name}{slot}")).into_owned()
}

fn time(forecast: &Forecast) -> String {
    let recovery = &forecast.recovery;
    let pulls = format!(
        "a node that runs all that would start pulls {} in {} layers",
        bytes(recovery.bytes),
        recovery.layers
    );
    match (recovery.seconds, recovery.bytes_per_second) {
        (Some(seconds), Some(rate)) => {
            let is = recovery.bandwidth_is.as_deref().unwrap_or_default();
            format!("{pulls}: {seconds} s at {}/s ({is}), with nobody else pulling", bytes(rate))
        }
        _ => format!("{pulls}; how fast is not known: give --bandwidth"),
    }
}

/// `1.5 GiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut scaled, mut unit) = (u128::from(number) * 10, 0);
    while scaled >= 10_240 && unit + 1 < units.len() {
        (scaled, unit) = (scaled / 1024, unit + 1);
    }
    let unit_name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{number} B") } else { format!("{}.{} {unit_name}", scaled / 10, scaled % 10) }
}

struct Page {
    text: String,
    width: Option<usize>,
}

impl Page {
    fn whole(&mut self, text: &str) {
        self.text += &hanging(text, 0, self.width);
        self.text.push('\n');
    }

    /// A name and what it says, beside it or, where that would be too wide, below it.
    fn line(&mut self, name: &str, text: &str) {
        let longest = text.split(' ').map(|word| word.chars().count()).max().unwrap_or_default();
        if self.width.is_some_and(|width| NAMES + longest > width) {
            if !name.is_empty() {
                self.text += &format!("{name}\n");
            }
            self.text += &hanging(&format!("{:BELOW$}{text}", ""), BELOW, self.width);
        } else {
            self.text += &hanging(&format!("{name:<NAMES$}{text}"), NAMES, self.width);
        }
        self.text.push('\n');
    }

    fn list(&mut self, name: &str, lines: &[String]) {
        for (n, text) in lines.iter().enumerate() {
            self.line(if n == 0 { name } else { "" }, text);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_told_in_units() {
        for (number, told) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(super::bytes(number), told);
        }
    }
}
