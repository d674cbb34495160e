//! The act with enforcing and observing policies.

use super::super::pod::{Becomes, Image, Pod};
use super::super::world::seed::{MISSING, MOVED, MULTI_ARCH, PRESENT, REFUSED, UNSCANNED, VULNERABLE};
use super::{Act, HIDING, Story, allowed, denied, fra};
use crate::pod::surface::MODE;

const REGULATED: &str = "payments";

fn blocked(name: &'static str, about: &'static str, pod: &'static str, image: Image) -> Story {
    denied(name, about, Pod::new(pod, [image.stays("Denied")]).namespace(REGULATED)).says("policy regulated")
}

/// A Pod whose images hide from a scan what amd64 nodes would start.
fn hidden_child() -> Story {
    let images = HIDING.map(|(name, ..)| fra(name).stays("Denied").found("Unscanned", "ams"));
    let about = "Three indexes whose image for arm64 is scanned. That for amd64, which was not, is called an attestation, spelled x86_64, or listed without a platform. A node would start it, so it must be scanned, too.";
    denied("hidden-child", about, Pod::new("masks", images).namespace(REGULATED)).says("policy regulated")
}

pub(super) fn act() -> Act {
    let stories = vec![
        allowed(
            "regulated-present",
            "Present, scanned, nothing found: welcome.",
            Pod::new("web", [fra(PRESENT).local()]).namespace(REGULATED),
        ),
        blocked("regulated-missing", "Not here: blocked.", "checkout", fra(MISSING).found("Missing", "ams")),
        blocked(
            "regulated-moved-tag",
            "Amsterdam's tag is out of date: blocked.",
            "cart",
            fra(MOVED).found("Stale", "ams"),
        ),
        blocked(
            "regulated-unscanned",
            "Never scanned here: blocked.",
            "search",
            fra(UNSCANNED).found("Unscanned", "ams"),
        ),
        hidden_child(),
        blocked(
            "regulated-vulnerable",
            "A Critical vulnerability: blocked.",
            "billing",
            fra(VULNERABLE).found("Vulnerable", "ams"),
        ),
        blocked(
            "regulated-refused",
            "Harbor refuses to hand it out: blocked.",
            "ledger",
            fra(REFUSED).found("Refused", "ams"),
        ),
        blocked(
            "regulated-not-routed",
            "From the Internet: blocked.",
            "db",
            Image::of("postgres:16").found("NotRouted", ""),
        ),
        allowed(
            "regulated-no-way-round",
            "It asks to be left alone. Where a policy speaks nobody is: it is judged like all others.",
            Pod::new("sly", [fra(MULTI_ARCH).local()]).namespace(REGULATED).annotation(MODE, "Skip"),
        ),
        allowed(
            "exception",
            "Vulnerable, and a policy blocks that here, too; but an exception is granted, for a time.",
            Pod::new(
                "billing",
                [fra(VULNERABLE).becomes(Becomes::Pinned("ams"), "Accepted").found("Vulnerable", "ams")],
            )
            .namespace("archive"),
        ),
        allowed(
            "observing-policy",
            "A policy that only observes: it notes what it would have denied.",
            Pod::new("checkout", [fra(MISSING).stays("Fallback").found("Missing", "ams")]).namespace("lab"),
        )
        .says("landfall: policy tomorrow would deny 1 image: Missing"),
        allowed(
            "break-glass",
            "Vulnerable, and blocked here; but somebody opened the policy in an emergency. The audit log says so.",
            Pod::new(
                "billing",
                [fra(VULNERABLE).becomes(Becomes::Pinned("ams"), "Accepted").found("Vulnerable", "ams")],
            )
            .namespace("emergency"),
        )
        .says("stopped is open until")
        .before(1),
    ];
    Act {
        title: "Where policies speak",
        narration: "The namespace payments is regulated: what is not proved here does not run.",
        events: Vec::new(),
        stories,
    }
}
