//! Drills of many sites on one page: a matrix of images and sites.

use maud::{Markup, html};

use super::frame::{Input, cut, page, wide};
use crate::report::drill::Prospect;
use crate::report::sites::{Cell, Site, Sites};

/// The most images that are listed.
const MOST: usize = 2_000;

/// The drills of several sites as a page.
#[must_use]
pub fn sites(sites: &Sites, inputs: &[Input]) -> String {
    let names: Vec<&str> = sites.sites.iter().map(|site| site.name.as_str()).collect();
    let about = [("Sites", names.join(", "))];
    let body = html! {
        section aria-labelledby="sites" {
            h2 #sites { "Sites" }
            table {
                thead { tr { th scope="col" { "Site" } th scope="col" { "Lost" } th scope="col" { "When" } th scope="col" { "Would start" } } }
                tbody { @for Site { name, at, lost, total, start } in &sites.sites { tr {
                    th scope="row" { (cut(name)) } td { (cut(&lost.join(", "))) } td { (cut(at)) }
                    td class=(if start == total { "good" } else { "bad" }) { (start) " of " (total) }
                } } }
            }
        }
        section aria-labelledby="images" {
            h2 #images { "Images that would not start somewhere" }
            @if sites.images.is_empty() { p.good { "None." } } @else { (wide(&matrix(sites))) }
            @if sites.images.len() > MOST { p { (sites.images.len() - MOST) " more in the JSON." } }
        }
    };
    page("Drills of several sites", &about, &body, inputs)
}

fn matrix(sites: &Sites) -> Markup {
    html! {
        table {
            caption { "The worst first. “–”: no workload uses the image there." }
            thead { tr { th scope="col" { "Image" } @for site in &sites.sites { th scope="col" { (cut(&site.name)) } } } }
            tbody { @for one in sites.images.iter().take(MOST) { tr {
                th scope="row" { code { (cut(&one.image)) } }
                @for cell in &one.cells { (told(*cell)) }
            } } }
        }
    }
}

fn told(cell: Option<Cell>) -> Markup {
    let Some(Cell { prospect, obstacle }) = cell else { return html! { td { "–" } } };
    let (class, sign) = match prospect {
        Prospect::Starts => ("good", "✓ starts"),
        Prospect::Unknown => ("warn", "? not told"),
        Prospect::Fails => ("bad", "✗ "),
    };
    let why = obstacle.filter(|_| prospect == Prospect::Fails).map(|why| why.to_string()).unwrap_or_default();
    html! { td class=(class) { (sign) (why) } }
}
