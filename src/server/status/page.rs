//! The page, as HTML. Everything that comes from outside is escaped by maud, and cut where it is taken.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::attention::{Attention, Urgency};
use super::snapshot::{Registry, Rule, Snapshot, TARGET};
use super::trend::Point;
use crate::admission::{Judged, JudgedImage};
use crate::domain::messages::advice;
use crate::domain::text::plain;
use crate::ledger::age;
use crate::report::gaps::Row;
use crate::server::conditions::State;

/// The most gaps that are listed.
const MOST_GAPS: usize = 200;
/// The most replication rules that are listed.
const MOST_RULES: usize = 64;

pub(super) fn page(snapshot: &Snapshot, attention: &[Attention]) -> Markup {
    let Snapshot { now, site, replica, leads, .. } = snapshot;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(attention)) "Landfall at " (site) }
                link rel="stylesheet" href="/status.css";
                script src="/status.js" defer {}
                noscript { meta http-equiv="refresh" content="30"; }
            }
            body {
                a.skip href="#attention" { "Skip to what needs attention" }
                header {
                    h1 { "Landfall " span.site { "at " (site) } }
                    p {
                        "Replica " code { (replica) }
                        @if *leads { ", which leads" }
                        ". Version " (env!("CARGO_PKG_VERSION")) ". As of " (time(*now)) "."
                        span #stale role="status" {}
                    }
                    nav aria-label="Sections" {
                        @for (id, name) in [("share", "Served locally"), ("registries", "Registries"), ("gaps", "Gaps"),
                                            ("decisions", "Last decisions"), ("replication", "Replication"), ("replica", "This replica")] {
                            a href={ "#" (id) } { (name) } " "
                        }
                    }
                }
                main #content {
                    (needs_attention(attention))
                    (share(snapshot))
                    (registries(&snapshot.registries))
                    (gaps(snapshot))
                    (decisions(&snapshot.judged, *now))
                    (replication(snapshot))
                    (this_replica(snapshot))
                }
                footer {
                    p { "Read-only. Numbers are those of " a href="/metrics" { "/metrics" } " since this replica started; each replica has its own." }
                }
            }
        }
    }
}

/// What stands in the tab of a browser.
fn title(attention: &[Attention]) -> String {
    if attention.is_empty() { String::new() } else { format!("({}) ", attention.len()) }
}

fn needs_attention(attention: &[Attention]) -> Markup {
    html! {
        section #attention aria-labelledby="attention-h" tabindex="-1" {
            h2 #attention-h { "Needs attention" }
            @if attention.is_empty() {
                p.good { "Nothing. Every registry is well, and no gap is open." }
            } @else {
                ul.attention {
                    @for one in attention {
                        li class=(if one.urgency == Urgency::Now { "now" } else { "soon" }) {
                            strong { (if one.urgency == Urgency::Now { "Now" } else { "Soon" }) ": " }
                            (cut(&one.what))
                            div.todo { "→ " (one.todo) " " a href={ "#" (one.section) } { "(more)" } }
                        }
                    }
                }
            }
        }
    }
}

fn share(snapshot: &Snapshot) -> Markup {
    let (here, all) =
        snapshot.trend.iter().fold((0.0, 0.0), |(here, all), point| (here + point.here, all + point.all));
    html! {
        section #share aria-labelledby="share-h" {
            h2 #share-h { "Served locally" }
            @if all > 0.0 {
                p { span.big { (percent(here, all)) } " of " (count(all)) " images since this replica started, or in the last day" }
            } @else {
                p { "This replica has judged no image that a route covers yet." }
            }
            @if snapshot.trend.iter().filter(|point| point.all > 0.0).count() > 1 {
                (spark(&snapshot.trend))
            }
        }
    }
}

/// A line of the share in each period, and a table with the same numbers.
fn spark(points: &[Point]) -> Markup {
    const WIDTH: f64 = 600.0;
    const HEIGHT: f64 = 60.0;
    let known: Vec<&Point> = points.iter().filter(|point| point.all > 0.0).collect();
    #[expect(clippy::cast_precision_loss, reason = "at most 289 points")]
    let step = WIDTH / (known.len().saturating_sub(1).max(1) as f64);
    #[expect(clippy::cast_precision_loss, reason = "at most 289 points")]
    let line: Vec<String> = known
        .iter()
        .enumerate()
        .map(|(n, point)| format!("{:.1},{:.1}", n as f64 * step, HEIGHT - point.here / point.all * HEIGHT))
        .collect();
    html! {
        svg.spark viewBox={ "0 -2 " (WIDTH) " " (HEIGHT + 4.0) } role="img" aria-labelledby="spark-t" preserveAspectRatio="none" {
            title #spark-t { "Share of images served locally, one point every five minutes" }
            line.full x1="0" y1="0" x2=(WIDTH) y2="0" {}
            polyline points=(line.join(" ")) {}
        }
        details #share-table {
            summary { "The same as a table" }
            div.scroll tabindex="0" role="region" aria-label="Share served locally" {
                table {
                    thead { tr { th scope="col" { "Until" } th scope="col" { "Here" } th scope="col" { "Images" } th scope="col" { "Share" } } }
                    tbody {
                        @for point in known.iter().rev().take(48) {
                            tr { td { (time(point.at)) } td.n { (count(point.here)) } td.n { (count(point.all)) } td.n { (percent(point.here, point.all)) } }
                        }
                    }
                }
            }
        }
    }
}

fn registries(registries: &[Registry]) -> Markup {
    html! {
        section #registries aria-labelledby="registries-h" {
            h2 #registries-h { "Registries" }
            div.scroll tabindex="0" role="region" aria-labelledby="registries-h" {
                table {
                    thead { tr {
                        th scope="col" { "Registry" } th scope="col" { "Site" } th scope="col" { "Health" } th scope="col" { "Breaker" }
                        th scope="col" { "Probe" } th scope="col" { "9 of 10 requests" } th scope="col" { "Requests" } th scope="col" { "Failed" }
                    } }
                    tbody {
                        @for one in registries {
                            tr {
                                th scope="row" { (one.name) div.small { (one.kind) " " code { (one.host) } } }
                                td data-l="Site" { (one.site) @if one.local { " (ours)" } }
                                td data-l="Health" { (mark(one.is_good, &one.health)) div.small { (cut(&one.said)) } }
                                td data-l="Breaker" { (mark(one.breaker == "closed", one.breaker)) }
                                td.n data-l="Probe" { (millis(one.probe)) }
                                td.n data-l="9 of 10 requests" { @match one.p90 { Some(p90) => { "≤ " (millis(p90)) } None => "–" } }
                                td.n data-l="Requests" { (count(one.requests)) }
                                td.n data-l="Failed" { (count(one.failed)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn gaps(snapshot: &Snapshot) -> Markup {
    html! {
        section #gaps aria-labelledby="gaps-h" {
            h2 #gaps-h { "Gaps" }
            @match &snapshot.gaps {
                Err(why) => p.bad { "They are not known: " (cut(why)) },
                Ok(gaps) if gaps.is_empty() => p.good { "None is open." },
                Ok(gaps) => (gap_table(gaps, snapshot.now)),
            }
        }
    }
}

fn gap_table(gaps: &[Row], now: Timestamp) -> Markup {
    html! {
        p { (gaps.len()) " open, the worst first. " code { "landfall gaps" } " lists all of them." }
        div.scroll tabindex="0" role="region" aria-labelledby="gaps-h" {
            table {
                thead { tr {
                    th scope="col" { "Image" } th scope="col" { "At" } th scope="col" { "Presence" } th scope="col" { "Scan" } th scope="col" { "Risk" }
                    th scope="col" { "For" } th scope="col" { "Pods" } th scope="col" { "Used by" }
                } }
                tbody {
                    @for row in gaps.iter().take(MOST_GAPS) {
                        tr {
                            th scope="row" {
                                details id={ "gap-" (anchor(row)) } {
                                    summary { code { (cut(&row.called)) } }
                                    p { (cut(&row.message)) }
                                    p { code { (cut(&row.subject)) } }
                                    @if row.has_given_up { p.bad { "Healing has given up." } }
                                }
                            }
                            td data-l="At" { (cut(&row.registry)) }
                            td data-l="Presence" { (axis(row.presence)) }
                            td data-l="Scan" { (axis(row.scan)) }
                            td data-l="Risk" { (axis(row.risk)) }
                            td.n data-l="For" { (age(now.duration_since(row.since))) }
                            td.n data-l="Pods" { @match row.pods { Some(pods) => (pods), None => "?" } }
                            td data-l="Used by" { @for owner in row.owners.iter().take(3) { div.small { (cut(&format!("{} {}/{}", owner.kind, owner.namespace.as_deref().unwrap_or_default(), owner.name))) } }
                                 @if row.owners.len() > 3 { div.small { (row.owners.len() - 3) " more" } } }
                        }
                    }
                }
            }
        }
        @if gaps.len() > MOST_GAPS { p { (gaps.len() - MOST_GAPS) " more: " code { "landfall gaps" } } }
    }
}

/// The same for the same gap, so that what is open stays open.
fn anchor(row: &Row) -> String {
    let mut hasher = DefaultHasher::new();
    (&row.registry, &row.subject).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn axis(word: Option<&str>) -> Markup {
    match word {
        Some(word) => html! { span.bad { "✗ " (word) } },
        None => html! { span.small { "–" } },
    }
}

fn decisions(judged: &[Judged], now: Timestamp) -> Markup {
    html! {
        section #decisions aria-labelledby="decisions-h" {
            h2 #decisions-h { "Last decisions" }
            @if judged.is_empty() {
                p { "This replica has judged no Pod yet." }
            } @else {
                p { "The newest first; of many at once only some are kept, of one namespace at most 25." }
                ol.decisions {
                    @for one in judged {
                        li {
                            details id={ "pod-" (one.at.as_millisecond()) } {
                                summary {
                                    (mark(one.outcome != "Denied", one.outcome)) " "
                                    code { (one.namespace) "/" (one.pod) } " "
                                    @for image in &one.images { span.tag { (image.reason.as_str()) } " " }
                                    span.small { (age(now.duration_since(one.at))) " ago" @if one.dry_run { ", a dry run" } }
                                }
                                @for image in &one.images { (decided(image)) }
                                @if one.more > 0 { p.small { (one.more) " more images" } }
                                @if !one.dry_run { p.small { "Now: " code { "landfall explain --pod " (one.namespace) "/" (one.pod) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn decided(image: &JudgedImage) -> Markup {
    html! {
        dl {
            dt { (image.slot) } dd { code { (cut(&image.was)) } }
            @if let Some(becomes) = &image.becomes { dt { "became" } dd { code { (cut(becomes)) } } }
            dt { "because" } dd {
                (image.reason.as_str())
                @if let Some(registry) = &image.registry { " at " (registry.as_str()) }
            }
            @for finding in &image.findings {
                dt { (finding.kind.as_str()) } dd {
                    @if let Some(registry) = &finding.registry { "at " (registry.as_str()) " " }
                    @if !finding.detail.is_empty() { (cut(&finding.detail)) " " }
                    "(" (finding.action) ")"
                    div.todo { "→ " (advice(finding.kind)) }
                }
            }
        }
    }
}

fn replication(snapshot: &Snapshot) -> Markup {
    let Snapshot { lag, rules, .. } = snapshot;
    html! {
        section #replication aria-labelledby="replication-h" {
            h2 #replication-h { "Replication" }
            @if lag.copies > 0.0 {
                p {
                    span.big { (percent(lag.in_time, lag.copies)) } " of " (count(lag.copies)) " copies were here within "
                    (TARGET / 60.0) " minutes of their push to the primary"
                    @if let Some(p95) = lag.p95 { "; 95 of 100 within " (seconds(p95)) }
                    "."
                }
            } @else {
                p { "This replica has measured no copy yet. The leader measures them." }
            }
            @if !rules.is_empty() { (rule_table(rules, snapshot.now)) }
        }
    }
}

fn rule_table(rules: &[Rule], now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="replication-h" {
            table {
                thead { tr { th scope="col" { "Rule" } th scope="col" { "Of" } th scope="col" { "Last run" } th scope="col" { "Succeeded" } th scope="col" { "Failed" } } }
                tbody {
                    @for rule in rules.iter().take(MOST_RULES) {
                        tr {
                            th scope="row" { (cut(&rule.rule)) }
                            td data-l="Of" { (cut(&rule.registry)) }
                            td.n data-l="Last run" { @match rule.last { Some(last) => { (age(now.duration_since(last))) " ago" } None => "–" } }
                            td.n data-l="Succeeded" { (count(rule.succeeded)) }
                            td.n data-l="Failed" { @if rule.failed > 0.0 { span.bad { (count(rule.failed)) } } @else { "0" } }
                        }
                    }
                }
            }
        }
    }
}

fn this_replica(snapshot: &Snapshot) -> Markup {
    html! {
        section #replica aria-labelledby="replica-h" {
            h2 #replica-h { "This replica" }
            div.scroll tabindex="0" role="region" aria-labelledby="replica-h" {
                table {
                    thead { tr { th scope="col" { "Condition" } th scope="col" { "State" } th scope="col" { "Why" } } }
                    tbody {
                        @for (name, condition) in &snapshot.conditions {
                            tr {
                                th scope="row" { (name) }
                                td data-l="State" { (mark(condition.state == State::Good, <&'static str>::from(condition.state))) }
                                td data-l="Why" { @for line in condition.message.lines() { div { (cut(line)) } } }
                            }
                        }
                    }
                }
            }
            @if let Some(ended) = snapshot.sweep.ended {
                p { "Its last sweep ended " (age(snapshot.now.duration_since(ended))) " ago: " (count(snapshot.sweep.pods)) " Pods, "
                    (count(snapshot.sweep.images)) " different images, of which " (count(snapshot.sweep.unknown)) " could not be learned in full." }
            }
        }
    }
}

/// A state by a sign and a word, so that nobody needs to see its colour.
fn mark(good: bool, word: &str) -> Markup {
    html! { span class=(if good { "good" } else { "bad" }) { (if good { "✓ " } else { "✗ " }) (word) } }
}

fn time(at: Timestamp) -> Markup {
    let text = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(text) { (at.strftime("%Y-%m-%d %H:%M UTC").to_string()) } }
}

fn percent(part: f64, all: f64) -> String {
    let percent = part / all * 100.0;
    // Not all of it is never 100 %.
    if part < all && percent > 99.9 {
        "99.9 %".to_owned()
    } else {
        format!("{percent:.1} %").replace(".0 %", " %")
    }
}

fn count(number: f64) -> String {
    format!("{number:.0}")
}

fn millis(seconds: f64) -> String {
    if seconds <= 0.0 { "–".to_owned() } else { format!("{:.0} ms", (seconds * 1_000.0).max(1.0)) }
}

fn seconds(seconds: f64) -> String {
    if seconds.is_finite() && seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds.is_finite() {
        format!("{:.0} min", seconds / 60.0)
    } else {
        "more than the longest bound".to_owned()
    }
}

/// A text from outside: without control characters, and cut.
fn cut(text: &str) -> String {
    plain(text).into_owned()
}
