//! The report of a drill.

use maud::{Markup, html};

use super::changes::section;
use super::frame::{Input, bar, cut, list, page, wide};
use crate::report::changes::Changes;
use crate::report::drill::{Forecast, Image, Prospect, Recovery, Workload, bytes};

/// The most workloads that would start and are named: the others are in the JSON. A page stays below 2 MB.
const MOST_STARTING: usize = 3_000;
/// The most that would not.
const MOST_FAILING: usize = 2_000;

/// A drill as a page. `since`: what has changed since the last one.
#[must_use]
pub fn drill(forecast: &Forecast, since: Option<&Changes>, inputs: &[Input]) -> String {
    let Forecast { site, lost, at, version, .. } = forecast;
    let title = format!("Drill: {site} without {}", lost.join(", "));
    let about = [
        ("Site", site.clone()),
        (
            "Scenario",
            format!("loss of {}; every Pod is created again, on nodes that hold no image", lost.join(", ")),
        ),
        ("When", to_the_second(at)),
        ("By", format!("Landfall {version}")),
        ("Method", forecast.method.clone()),
    ];
    let body = html! {
        (summary(forecast, since))
        (deficiencies(forecast))
        @if let Some(since) = since { (section(since)) }
        (recovery(&forecast.recovery))
        (scope(forecast))
        (starting(forecast))
    };
    page(&title, &about, &body, inputs)
}

fn summary(forecast: &Forecast, since: Option<&Changes>) -> Markup {
    let Forecast { total, start, fail, unknown, recovery, .. } = forecast;
    let class = if start == total { "good" } else { "bad" };
    html! {
        section aria-labelledby="summary" {
            h2 #summary { "Summary" }
            p class={ "result " (class) } { (start) " of " (total) " workloads would start." }
            (bar(&[("good", "would start", *start), ("bad", "would not", *fail), ("warn", "could not be told", *unknown)]))
            @if *unknown > 0 { p { "What could not be told does not count as a start." } }
            p {
                @match recovery.seconds {
                    Some(seconds) => { "A node that runs all of it pulls " (bytes(recovery.bytes)) ", which takes at least " (time(seconds)) " at the bandwidth that was " (recovery.bandwidth_is.as_deref().unwrap_or("given")) "." }
                    None => { "A node that runs all of it pulls " (bytes(recovery.bytes)) ". How fast it pulls is not known." }
                }
            }
            p {
                @if recovery.lacking_total == 0 { "No image of the lost registries is known to be lacking here." }
                @else { (recovery.lacking_total) " images of the lost registries are known to be lacking here." }
            }
            @if let Some(since) = since {
                p { "Since the last drill " (since.mended.len()) " deficiencies were mended, " (since.new.len()) " are new, " (since.still.len()) " still stand." }
            }
        }
    }
}

fn deficiencies(forecast: &Forecast) -> Markup {
    let failing: Vec<&Workload> =
        forecast.workloads.iter().filter(|one| one.prospect != Prospect::Starts).collect();
    html! {
        section aria-labelledby="deficiencies" {
            h2 #deficiencies { "Deficiencies" }
            @if failing.is_empty() { p.good { "None." } } @else {
                (wide(&html! {
                    table {
                        thead { tr { th scope="col" { "Workload" } th scope="col" { "Image" } th scope="col" { "Why" } th scope="col" { "Since" } th scope="col" { "What to do" } } }
                        tbody { @for one in failing.iter().take(MOST_FAILING) { @for image in hindered(one) { (deficiency(one, image)) } } }
                    }
                }))
                @if failing.len() > MOST_FAILING { p { (failing.len() - MOST_FAILING) " more in the JSON." } }
            }
        }
    }
}

fn hindered(one: &Workload) -> impl Iterator<Item = &Image> {
    one.images.iter().filter(|image| image.prospect != Prospect::Starts)
}

fn deficiency(one: &Workload, image: &Image) -> Markup {
    let class = if image.prospect == Prospect::Fails { "bad" } else { "warn" };
    let obstacle = image.obstacle.map(|obstacle| obstacle.to_string()).unwrap_or_default();
    html! {
        tr {
            td { (cut(&one.kind)) " " strong { (cut(&one.namespace)) "/" (cut(&one.name)) } div.small { (cut(&image.slot)) } }
            td { code { (cut(&image.image)) } @if let Some(becomes) = &image.becomes { div.small { "would be " code { (cut(becomes)) } } } }
            td { span class=(class) { (obstacle) } div { (cut(&image.why)) } }
            td { (image.since.as_deref().map_or("not known".to_owned(), cut)) }
            td { (cut(&image.todo)) }
        }
    }
}

fn recovery(recovery: &Recovery) -> Markup {
    html! {
        section aria-labelledby="recovery" {
            h2 #recovery { "Recovery time and point" }
            p { "Different layers of all that would start: " (recovery.layers) ", together " (bytes(recovery.bytes)) "."
                @if let Some(rate) = recovery.bytes_per_second { " Bandwidth: " (bytes(rate)) " a second, " (recovery.bandwidth_is.as_deref().unwrap_or("given")) "." }
                @if let Some(lag) = recovery.longest_lag_seconds { " The longest replication that is known of took " (time(lag)) "." }
            }
            p.small { "Objectives: recovery time ________  recovery point ________  (to be filled in from the continuity plan)" }
            @if !recovery.lacking.is_empty() {
                table {
                    caption { "What the lost registries have and this site lacks, the longest first" @if recovery.lacking_total > recovery.lacking.len() { "; " (recovery.lacking_total) " in all" } }
                    thead { tr { th scope="col" { "Image" } th scope="col" { "At" } th scope="col" { "Since" } } }
                    tbody { @for one in &recovery.lacking { tr { td { code { (cut(&one.image)) } } td { (cut(&one.registry)) } td { (cut(&one.since)) } } } }
                }
            }
            (list("What could not be known", &recovery.unknown))
        }
    }
}

fn scope(forecast: &Forecast) -> Markup {
    html! {
        section aria-labelledby="scope" {
            h2 #scope { "Scope and method" }
            (list("Assumptions", &forecast.assumptions))
            (list("Not covered", &forecast.not_covered))
            (list("Notes", &forecast.notes))
        }
    }
}

fn starting(forecast: &Forecast) -> Markup {
    let starting: Vec<&Workload> =
        forecast.workloads.iter().filter(|one| one.prospect == Prospect::Starts).collect();
    html! {
        section aria-labelledby="starting" {
            h2 #starting { "What would start" }
            details {
                summary { (starting.len()) " workloads" }
                (wide(&html! {
                    table {
                        thead { tr { th scope="col" { "Workload" } th scope="col" { "Images as a node would pull them" } } }
                        tbody { @for one in starting.iter().take(MOST_STARTING) { tr {
                            td { (cut(&one.kind)) " " (cut(&one.namespace)) "/" (cut(&one.name)) }
                            td { @for image in &one.images { div { code { (cut(image.becomes.as_ref().unwrap_or(&image.image))) }
                                @for note in &image.notes { div.small { (cut(note)) } } } } }
                        } } }
                    }
                }))
                @if starting.len() > MOST_STARTING { p { (starting.len() - MOST_STARTING) " more in the JSON." } }
            }
        }
    }
}

/// A time without the fractions of its second.
fn to_the_second(at: &str) -> String {
    at.parse::<jiff::Timestamp>()
        .map_or_else(|_| at.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}
