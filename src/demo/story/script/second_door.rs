//! The act with Pods that get past the mutating door, and meet the validating one.

use super::super::pod::{Image, Pod, Stands};
use super::super::world::seed::{MULTI_ARCH, PRESENT, UNSCANNED, VULNERABLE};
use super::{Act, Story, denied, fra};
use crate::pod::surface::IMAGES;

/// What the first door writes into the annotation of a Pod; here somebody else wrote it.
const FORGED: &str = r#"{"containers/billing":{"was":"harbor.fra.example.com/production/legacy/billing:1.0.7","why":"Local","place":"ams"}}"#;

fn past(name: &'static str, about: &'static str, pod: Pod) -> Story {
    denied(name, about, pod.namespace("payments")).says("policy regulated").at_the_second_door()
}

pub(super) fn act() -> Act {
    let vulnerable = || fra(VULNERABLE).stays("Denied").found("Vulnerable", "ams");
    let stories = vec![
        past(
            "second-door-skipped",
            "/mutate did not answer in time, so nobody pinned the image to a digest. It is a good one: try again.",
            Pod::new("web", [fra(PRESENT).stays("Denied")]),
        )
        .says("try again"),
        past(
            "second-door-forged",
            "Somebody gave the Pod the annotation that Landfall writes. It is not believed: the image is judged.",
            Pod::new("billing", [vulnerable()]).annotation(IMAGES, FORGED),
        ),
        past(
            "second-door-replaced",
            "Another webhook replaced the image after /mutate had answered.",
            Pod::new("db", [Image::of("postgres:16").stays("Denied").found("NotRouted", "")]),
        ),
        past(
            "second-door-update",
            "An update of a Pod, which /mutate does not see, changes one image of three. Only that one is judged.",
            Pod::new("web", [fra(PRESENT), vulnerable().was(fra(MULTI_ARCH)), Image::of("postgres:16")]),
        ),
        past(
            "second-door-ephemeral",
            "kubectl debug, past /mutate, with an image that was never scanned here.",
            Pod::new(
                "web",
                [fra(UNSCANNED).stands(Stands::Ephemeral).stays("Denied").found("Unscanned", "ams")],
            ),
        ),
    ];
    Act {
        title: "The second door: /validate",
        narration: "Some Pods get past the first door, /mutate: it may not answer, other webhooks come after it, and it sees no \
                    updates. So where a policy enforces, the API server asks a second time, at /validate, about the Pod \
                    as it stands in the end.",
        events: Vec::new(),
        stories,
    }
}
