//! The acts in which nothing is wrong.

use super::super::pod::{Becomes, Image, Pod, Stands};
use super::super::world::seed::{CHILD_LOST, MULTI_ARCH, Named, PRESENT};
use super::{ARCHIVED, Act, PILOT, TILL, TRIAL, allowed, at, fra};
use crate::pod::surface::MODE;

pub(super) fn acts() -> Vec<Act> {
    vec![ashore(), left_alone()]
}

fn ashore() -> Act {
    let stories = vec![
        allowed(
            "present",
            "Present in Amsterdam and scanned there: the Pod gets the copy next door.",
            Pod::new("web", [fra(PRESENT).local()]),
        ),
        allowed(
            "index",
            "An image for several platforms: what the nodes need of it is here, too.",
            Pod::new("api", [fra(MULTI_ARCH).local()]),
        ),
        allowed(
            "already-local",
            "It names Amsterdam already: it is only pinned to the digest.",
            Pod::new(
                "web",
                [at("harbor.ams.example.com", PRESENT).becomes(Becomes::Pinned("ams"), "AlreadyLocal")],
            ),
        ),
        allowed(
            "alias",
            "It names the company-wide alias: Amsterdam answers to it here.",
            Pod::new("web", [at("harbor.example.com", PRESENT).local()]),
        ),
        allowed(
            "init-and-volume",
            "Init containers and image volumes come ashore like everything else.",
            Pod::new(
                "batch",
                [
                    fra(PRESENT).stands(Stands::Init).local(),
                    fra(MULTI_ARCH).local(),
                    fra(PRESENT).stands(Stands::Volume).local(),
                ],
            ),
        ),
        allowed(
            "ephemeral",
            "kubectl debug: the new container's image is rewritten, the rest of the Pod is let be.",
            Pod::new("web", [fra(MULTI_ARCH).stands(Stands::Ephemeral).local()]),
        ),
        allowed(
            "arm64",
            "Only amd64 nodes are asked for, and their child is here: what is lost for arm64 does not matter.",
            Pod::new("render", [fra(CHILD_LOST).local()]).arch("amd64"),
        ),
        allowed(
            "edge",
            "Held by the plain registry at the edge: it knows no scans, so none is required.",
            Pod::new("till", [fra(TILL).becomes(Becomes::Pinned("edge"), "Local")]),
        ),
        allowed(
            "proved-tag",
            "A tag that moves: Frankfurt says what it means today, and Amsterdam has just that.",
            Pod::new("pilot", [fra(PILOT).local()]),
        ),
        allowed(
            "digest-alone",
            "A route with `pin: Digest`: the tag is left out, for a runtime that refuses tag and digest together.",
            Pod::new("vault", [fra(ARCHIVED).becomes(Becomes::Digest("ams"), "Local")]),
        ),
    ];
    Act {
        title: "A quiet day",
        narration: "Frankfurt builds, Amsterdam is our site. Images come ashore here, pinned to what was proved.",
        events: Vec::new(),
        stories,
    }
}

fn left_alone() -> Act {
    let unreplicated = Named { repository: "platform/agent", tag: "9" };
    let stories = vec![
        allowed(
            "not-routed",
            "From somewhere else: no route covers it, so it is none of Landfall's business.",
            Pod::new("db", [Image::of("postgres:16").stays("NotRouted")]),
        ),
        allowed(
            "look-alike",
            "A host that only begins like ours is another host.",
            Pod::new("trap", [at("harbor.fra.example.com.evil.io", PRESENT).stays("NotRouted")]),
        ),
        allowed(
            "unparsable",
            "No image reference at all: some injector will replace it.",
            Pod::new("mesh", [Image::of("Not A Ref").stays("Unparsable")]),
        ),
        allowed(
            "placeholder",
            "`auto` is a placeholder: Istio's injector puts the real image in its place, and that one is judged.",
            Pod::new("gateway", [Image::of("auto").stays("Placeholder")]),
        ),
        allowed(
            "excluded",
            "The configuration excludes it.",
            Pod::new("agent", [fra(unreplicated).stays("Excluded")]),
        ),
        allowed(
            "exempt",
            "The Pod asks to be left alone.",
            Pod::new("web", [fra(PRESENT).stays("Exempt")]).annotation(MODE, "Skip"),
        ),
        allowed(
            "pull-never",
            "It is never pulled: the node has it, or it does not start.",
            Pod::new("local", [fra(PRESENT).never_pulled().stays("PullNever")]),
        ),
        allowed(
            "observed",
            "A route on trial: judged and recorded, nothing is changed.",
            Pod::new("canary", [fra(TRIAL).stays("Observed")]),
        ),
    ];
    Act {
        title: "What Landfall leaves alone",
        narration: "A Pod that is no concern of ours gets no patch and no annotation.",
        events: Vec::new(),
        stories,
    }
}
