//! The report of an audit.

use std::collections::BTreeMap;

use maud::{Markup, html};
use strum::VariantArray;

use super::frame::{Input, bar, cut, list, page, wide};
use crate::report::audit::{Audit, Class, Row, Summary, Target};

/// The most rows of each class: the others are in the JSON. A page stays below 2 MB.
const MOST: usize = 500;
/// The most workloads that are named of a row.
const MOST_WORKLOADS: usize = 5;

/// An audit as a page.
#[must_use]
pub fn audit(audit: &Audit, inputs: &[Input]) -> String {
    let target = match &audit.target {
        Target::Cluster { namespace: Some(namespace) } => format!("the cluster, namespace {namespace}"),
        Target::Cluster { namespace: None } => "the cluster, all namespaces".to_owned(),
        Target::Manifests { paths } => format!("manifests: {}", paths.join(", ")),
    };
    let about = [
        ("Site", audit.site.clone()),
        ("Looked at", target),
        ("When", audit.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
        (
            "Method",
            "each different image was judged as at the doors, for a Pod that would be created now".to_owned(),
        ),
    ];
    let body = html! {
        (summary(audit))
        @for class in Class::VARIANTS { (rows(audit, *class)) }
        (scope(audit))
    };
    page(&format!("Audit: {}", audit.site), &about, &body, inputs)
}

fn summary(audit: &Audit) -> Markup {
    let Summary {
        workloads,
        pods,
        images,
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
        ..
    } = audit.summary;
    let class = if denied + missing + unknown + not_judged == 0 { "good" } else { "bad" };
    html! {
        section aria-labelledby="summary" {
            h2 #summary { "Summary" }
            p class={ "result " (class) } { (fine) " of " (images) " images are here and proved." }
            @if !audit.complete { p.bad { "This report is not complete: the notes say why." } }
            (bar(&[
                ("good", "here", fine), ("bad", "denied or not here", denied + missing),
                ("warn", "not told, or with something to do", unknown + scan + runs_elsewhere + partly + risk + not_judged),
                ("plain", "outside of any route, or not handled", unrouted + kept),
            ]))
            p { (workloads) " workloads, " (pods) " Pods that run. What could not be learned is never counted as here." }
        }
    }
}

fn rows(audit: &Audit, class: Class) -> Markup {
    let these: Vec<&Row> = audit.rows.iter().filter(|row| row.class == class).collect();
    html! {
        @if !these.is_empty() {
            section aria-labelledby=(class.as_str()) {
                h2 id=(class.as_str()) { (capital(class.heading())) ": " (these.len()) }
                (wide(&html! {
                    table {
                        thead { tr { th scope="col" { "Image" } th scope="col" { "Presence" } th scope="col" { "Scan" } th scope="col" { "At" } th scope="col" { "Used by" } th scope="col" { "What to do" } } }
                        tbody { @for row in these.iter().take(MOST) { (told(row)) } }
                    }
                }))
                @if these.len() > MOST { p { (these.len() - MOST) " more in the JSON." } }
            }
        }
    }
}

fn told(row: &Row) -> Markup {
    let hidden = row.workloads.len().saturating_sub(MOST_WORKLOADS) + row.more_workloads;
    html! {
        tr {
            td { code { (cut(&row.image)) } @if let Some(digest) = &row.digest { div.small { code { (cut(digest)) } } } @if !row.detail.is_empty() { div.small { (cut(&row.detail)) } } }
            td { (axis(row.presence.as_deref())) }
            td { (axis(row.scan.as_deref())) }
            td { (row.place.as_deref().map(cut).unwrap_or_default()) }
            td {
                @for user in row.workloads.iter().take(MOST_WORKLOADS) {
                    div { (cut(&user.kind)) " " (cut(&user.namespace)) "/" (cut(&user.name)) @if user.pods > 0 { " (" (user.pods) ")" } }
                }
                @if hidden > 0 { div.small { (hidden) " more" } }
            }
            td { (cut(&row.advice)) @if let Some(action) = &row.action { div.small { (action) } } }
        }
    }
}

fn axis(found: Option<&str>) -> Markup {
    match found {
        Some(word) => html! { span.bad { "✗ " (word) } },
        None => html! { "–" },
    }
}

fn scope(audit: &Audit) -> Markup {
    let counted = |these: &BTreeMap<String, usize>| {
        these.iter().map(|(name, n)| format!("{name}: {n}")).collect::<Vec<_>>()
    };
    html! {
        section aria-labelledby="scope" {
            h2 #scope { "Scope" }
            p { (if audit.complete { "Everything that was named was read and judged, but what stands here." } else { "Not everything was read and judged." }) }
            (list("Notes", &audit.notes))
            (list("Namespaces that Landfall leaves alone, with their workloads", &counted(&audit.left_alone)))
            (list("Custom resources that were not looked into", &counted(&audit.not_looked_into)))
            (list("Documents that make no Pods", &counted(&audit.skipped)))
            @if audit.summary.left_out > 0 { p.bad { (audit.summary.left_out) " workloads and Pods could not be understood, or were too many." } }
        }
    }
}

/// With a capital at its beginning.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
