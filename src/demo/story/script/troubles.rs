//! The act in which copies are missing, stale or not scanned, and no policy blocks anything.

use super::super::pod::{Becomes, Pod, Stands};
use super::super::world::seed::{
    CHILD_LOST, MISSING, MOVED, PRESENT, REFUSED, SCAN_FAILED, SCANNING, UNSCANNED, VULNERABLE,
};
use super::{Act, MODEL, VENDORED, allowed, fra};

pub(super) fn act() -> Act {
    let stories = vec![
        allowed(
            "missing",
            "Not replicated yet: it comes from Frankfurt, as written.",
            Pod::new("checkout", [fra(MISSING).stays("Fallback").found("Missing", "ams")]),
        ),
        allowed(
            "moved-tag",
            "The tag has moved on in Frankfurt, Amsterdam still has yesterday's: Frankfurt's it is.",
            Pod::new("cart", [fra(MOVED).stays("Fallback").found("Stale", "ams")]),
        ),
        allowed(
            "child-missing",
            "The index is here, its arm64 child is lost: arm64 nodes pull from Frankfurt.",
            Pod::new("render", [fra(CHILD_LOST).stays("Fallback").found("ChildMissing", "ams")])
                .arch("arm64"),
        ),
        allowed(
            "unscanned",
            "Here, but never scanned here.",
            Pod::new("search", [fra(UNSCANNED).stays("Fallback").found("Unscanned", "ams")]),
        ),
        allowed(
            "scan-running",
            "Here, and its scan is still running.",
            Pod::new("mail", [fra(SCANNING).stays("Fallback").found("ScanPending", "ams")]),
        ),
        allowed(
            "scan-failed",
            "Here, but its scan has failed.",
            Pod::new("report", [fra(SCAN_FAILED).stays("Fallback").found("ScanFailed", "ams")]),
        ),
        allowed(
            "vulnerable",
            "A Critical vulnerability: no policy speaks here, so it is used, and said.",
            Pod::new(
                "billing",
                [fra(VULNERABLE).becomes(Becomes::Pinned("ams"), "Accepted").found("Vulnerable", "ams")],
            ),
        ),
        allowed(
            "unscannable",
            "A model as an image volume: no scanner can scan it, and it is not called unscanned for that.",
            Pod::new(
                "assistant",
                [
                    fra(PRESENT).local(),
                    fra(MODEL)
                        .stands(Stands::Volume)
                        .becomes(Becomes::Pinned("ams"), "Accepted")
                        .found("Unscannable", "ams"),
                ],
            ),
        ),
        allowed(
            "refused",
            "Amsterdam's Harbor refuses to hand it out (412): the kubelet would be refused, too.",
            Pod::new("ledger", [fra(REFUSED).stays("Fallback").found("Refused", "ams")]),
        ),
        allowed(
            "proxy-cache",
            "A proxy-cache project can serve it; that proves no copy, but it was declared.",
            Pod::new(
                "kit",
                [fra(VENDORED)
                    .becomes(Becomes::Below("ams", "cache"), "Accepted")
                    .found("ProxyCache", "ams")],
            ),
        ),
    ];
    Act {
        title: "Replication is behind",
        narration: "No policy forbids anything here: every Pod runs, and every gap is named.",
        events: Vec::new(),
        stories,
    }
}
