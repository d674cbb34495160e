//! The act in which Amsterdam scans everything again, as Harbor's "scan all" does every night.

use super::super::pod::{Becomes, Pod};
use super::super::world::seed::{PRESENT, SCAN_FAILED, VULNERABLE};
use super::{Act, Event, NIGHTLY, allowed, fra};

pub(super) fn act() -> Act {
    let stories = vec![
        allowed(
            "night-local",
            "Scanned yesterday, and scanned again now: yesterday's scan counts until tonight's is finished.",
            Pod::new("web", [fra(PRESENT).local()]),
        ),
        allowed(
            "night-regulated",
            "So it does in payments, where every image must be scanned.",
            Pod::new("web", [fra(PRESENT).local()]).namespace("payments"),
        ),
        allowed(
            "night-first-seen",
            "Nobody asked for it before: the report of its last scan is still stored.",
            Pod::new("stock", [fra(NIGHTLY).local()]),
        ),
        allowed(
            "night-vulnerable",
            "What was found yesterday stays found.",
            Pod::new(
                "billing",
                [fra(VULNERABLE).becomes(Becomes::Pinned("ams"), "Accepted").found("Vulnerable", "ams")],
            ),
        ),
        allowed(
            "night-failed",
            "A scan that failed before counts for nothing: this one must finish first.",
            Pod::new("report", [fra(SCAN_FAILED).stays("Fallback").found("ScanPending", "ams")]),
        ),
    ];
    Act {
        title: "The rescan at night",
        narration: "Amsterdam scans everything again: every artifact is pending, and no good copy is taken away.",
        events: vec![Event::ScansAll],
        stories,
    }
}
