//! What has changed since the last drill, as a page of its own and as a section of the next report.

use maud::{Markup, html};

use super::frame::{Input, bar, cut, list, page};
use crate::report::changes::{Changes, Deficiency, Stamp};

/// The difference of two drills as a page.
#[must_use]
pub fn changes(changes: &Changes, inputs: &[Input]) -> String {
    let told = |Stamp { at, site, lost, total, start }: &Stamp| {
        format!("{at}: {site} without {}, {start} of {total} workloads would start", lost.join(", "))
    };
    let about = [("Before", told(&changes.old)), ("Now", told(&changes.new_drill))];
    page("What has changed between two drills", &about, &section(changes), inputs)
}

/// The same as a section.
pub(super) fn section(changes: &Changes) -> Markup {
    let Changes { mended, gone, new, still, notes, old, .. } = changes;
    html! {
        section aria-labelledby="changes" {
            h2 #changes { "Since the last drill" }
            p { "Compared with that of " (cut(&old.at)) "." }
            (bar(&[("good", "mended", mended.len()), ("bad", "new", new.len()), ("warn", "still there", still.len()), ("plain", "gone with their workloads", gone.len())]))
            (list("Good to know", notes))
            (table("Mended", "good", mended))
            (table("New", "bad", new))
            (table("Still there", "warn", still))
            (table("Gone with their workloads", "", gone))
        }
    }
}

fn table(title: &str, class: &str, these: &[Deficiency]) -> Markup {
    html! {
        @if !these.is_empty() {
            h3 class=(class) { (title) ": " (these.len()) }
            table {
                thead { tr { th scope="col" { "Workload" } th scope="col" { "What hindered it" } th scope="col" { "In words" } } }
                tbody { @for one in these { tr {
                    td { (cut(&one.workload)) } td { (one.obstacles.join(", ")) } td { (cut(&one.why)) }
                } } }
            }
        }
    }
}
