//! The acts in which what is missing is closed: a scan is started, a replication rule executed, a lost layer repaired.

use super::super::pod::Pod;
use super::super::world::seed::Named;
use super::{Act, Event, allowed, fra};

/// In Amsterdam, and never scanned there.
pub(in super::super) const UNSEEN: Named = Named { repository: "production/quay/crane", tag: "1.0.0" };
/// In Frankfurt only. A replication rule covers it.
pub(in super::super) const UNCOPIED: Named = Named { repository: "production/quay/pilot", tag: "2.0.0" };
/// In Amsterdam, whose storage loses its layers.
pub(in super::super) const TORN: Named = Named { repository: "production/quay/rope", tag: "3.0.0" };

pub(super) fn acts() -> [Act; 3] {
    let lacking = |image: Named, finding| fra(image).stays("Fallback").found(finding, "ams");
    [
        Act {
            title: "Three gaps",
            narration: "One image was never scanned in Amsterdam, one was never replicated, and of one the storage has lost a layer.",
            events: vec![Event::LosesLayers(TORN)],
            stories: vec![
                allowed(
                    "gap-unscanned",
                    "Never scanned here: Frankfurt's copy is used.",
                    Pod::new("crane", [lacking(UNSEEN, "Unscanned")]),
                ),
                allowed("gap-missing", "Not here at all.", Pod::new("pilot", [lacking(UNCOPIED, "Missing")])),
                allowed(
                    "gap-layer",
                    "Manifest, tag and scan are there, a layer is not: no node could pull it.",
                    Pod::new("rope", [lacking(TORN, "LayerMissing")]),
                ),
            ],
        },
        Act {
            title: "Landfall heals",
            narration: "The leader has Amsterdam scan the first, and executes Frankfurt's replication rule for the second, each with a robot that may do only that. Amsterdam scans what arrives.",
            events: vec![Event::Heals(vec![UNSEEN, UNCOPIED])],
            stories: vec![
                allowed(
                    "healed-scan",
                    "The scan that Landfall started is done.",
                    Pod::new("crane", [fra(UNSEEN).local()]),
                ),
                allowed(
                    "healed-copy",
                    "The rule that Landfall executed has brought it.",
                    Pod::new("pilot", [fra(UNCOPIED).local()]),
                ),
            ],
        },
        Act {
            title: "A lost layer comes back",
            narration: "Replication skips what has the same digest, so it never repairs this one. `landfall copy` pushes the layer again and looks at each.",
            events: vec![Event::IsCopied(TORN)],
            stories: vec![allowed(
                "repaired-layer",
                "Every layer is there again.",
                Pod::new("rope", [fra(TORN).local()]),
            )],
        },
    ]
}
