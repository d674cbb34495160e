//! The acts in which registries go down and come back.

use super::super::pod::{Becomes, Image, Pod};
use super::super::world::seed::{MISSING, MOVED, Named, PRESENT, UNSCANNED};
use super::{Act, Event, FLEET, PILOT, ROSTER, TILL, Who, allowed, denied, fra};

pub(super) fn acts() -> Vec<Act> {
    vec![amsterdam_dark(), amsterdam_back(), frankfurt_dark(), both_dark(), all_back()]
}

fn till() -> Pod {
    Pod::new("till", [fra(TILL).becomes(Becomes::Pinned("edge"), "Local")])
}

fn web(image: Image) -> Pod {
    Pod::new("web", [image])
}

fn amsterdam_dark() -> Act {
    let stories = vec![
        allowed(
            "dark-ams-fallback",
            "What was local a moment ago comes from Frankfurt.",
            web(fra(PRESENT).stays("Fallback").found("Unreachable", "ams")),
        ),
        denied(
            "dark-ams-regulated",
            "In payments nothing can be proved now: blocked.",
            web(fra(PRESENT).stays("Denied").found("Unreachable", "ams")).namespace("payments"),
        )
        .says("try again when the registry answers"),
        allowed("dark-ams-edge", "The edge stands on our site, too, and does not care.", till()),
    ];
    Act {
        title: "Amsterdam goes dark",
        narration: "Our own registry refuses connections. Frankfurt stands in, where it may.",
        events: vec![Event::Down(Who::Ams)],
        stories,
    }
}

fn amsterdam_back() -> Act {
    let stories = vec![
        allowed("back-ams-local", "Proved again, and local again.", web(fra(PRESENT).local())),
        allowed(
            "back-ams-regulated",
            "And welcome in payments again.",
            web(fra(PRESENT).local()).namespace("payments"),
        ),
    ];
    Act {
        title: "Amsterdam is back",
        narration: "Nobody restarts or flushes anything.",
        events: vec![Event::Up(Who::Ams)],
        stories,
    }
}

fn frankfurt_dark() -> Act {
    let presumed = |name: Named| fra(name).becomes(Becomes::Pinned("ams"), "Presumed");
    let unproved = |name: Named| presumed(name).found("Unproved", "ams");
    // The tag in the same Pod makes Landfall ask Frankfurt, so that it knows that Frankfurt is down.
    let [cargo, ..] = FLEET;
    let beside = |pod: &'static str, image: Image| Pod::new(pod, [image, unproved(cargo)]);
    let stories = vec![
        allowed(
            "dark-fra-local",
            "It names Frankfurt; Amsterdam has it; nobody need notice.",
            web(fra(PRESENT).local()),
        ),
        allowed(
            "dark-fra-regulated",
            "In payments, too: all that is asked for was proved here.",
            web(fra(PRESENT).local()).namespace("payments"),
        ),
        allowed(
            "dark-fra-remembered",
            "A tag that moves: what Frankfurt last said of it is remembered.",
            Pod::new("pilot", [fra(PILOT).local()]),
        ),
        allowed(
            "dark-fra-unproved",
            "Five tags never proved before. A dead primary helps nobody: what is here is presumed right.",
            Pod::new("fleet", FLEET.map(unproved)),
        )
        .says("all other copies are down"),
        allowed(
            "dark-fra-unscanned",
            "Never scanned here, and the other copy is out of reach: better this one than none.",
            // The tag in the same Pod makes Landfall ask Frankfurt, so that it knows that Frankfurt is down.
            Pod::new(
                "search",
                [presumed(UNSCANNED).found("Unscanned", "ams"), FLEET.map(unproved)[0].clone()],
            ),
        )
        .says("all other copies are down"),
        allowed(
            "dark-fra-missing",
            "What is not here cannot be conjured up: it stays as written, and waits for Frankfurt.",
            beside("checkout", fra(MISSING).stays("Fallback").found("Missing", "ams")),
        )
        .says("no copy of the image is known; left as written"),
        allowed(
            "other-application",
            "Amsterdam stores two repositories as one, and holds the other application's image under this tag. What is not proved to be Frankfurt's is not taken for it.",
            beside("roster", fra(ROSTER).stays("Fallback").found("Unproved", "ams")),
        )
        .says("no copy of the image is known; left as written"),
        denied(
            "dark-fra-missing-regulated",
            "In payments it is not let in.",
            Pod::new("checkout", [fra(MISSING).stays("Denied").found("Missing", "ams")])
                .namespace("payments"),
        )
        .says("replicate it to this site"),
    ];
    Act {
        title: "Frankfurt goes dark",
        narration: "The hour Landfall exists for: the main site is gone. Life goes on here.",
        events: vec![Event::Down(Who::Fra)],
        stories,
    }
}

fn both_dark() -> Act {
    let presumed =
        |name: Named| fra(name).becomes(Becomes::Unpinned("ams"), "Presumed").found("Unreachable", "ams");
    let images = [PRESENT].into_iter().chain(FLEET).map(presumed);
    let stories = vec![
        allowed(
            "dark-both-presumed",
            "Nobody answers. The nearest copy is the best guess; nodes may well have it already.",
            Pod::new("fleet", images),
        )
        .says("all other copies are down"),
        denied(
            "dark-both-regulated",
            "In payments a guess is not enough: blocked.",
            web(fra(PRESENT).stays("Denied").found("Unreachable", "ams")).namespace("payments"),
        )
        .says("policy regulated"),
        allowed("dark-both-edge", "The edge still does not care.", till()),
    ];
    Act {
        title: "Both are dark",
        narration: "No Harbor answers at all. Landfall still answers at once.",
        events: vec![Event::Down(Who::Ams)],
        stories,
    }
}

fn all_back() -> Act {
    let stories = vec![
        allowed(
            "caught-up-missing",
            "Replicated at last: it comes ashore here.",
            Pod::new("checkout", [fra(MISSING).local()]),
        ),
        allowed(
            "caught-up-regulated",
            "In payments, too: no longer blocked.",
            Pod::new("checkout", [fra(MISSING).local()]).namespace("payments"),
        ),
        allowed(
            "caught-up-moved-tag",
            "Amsterdam's tag means what Frankfurt's means.",
            Pod::new("cart", [fra(MOVED).local()]),
        ),
        allowed("caught-up-unscanned", "Scanned at last.", Pod::new("search", [fra(UNSCANNED).local()])),
    ];
    Act {
        title: "Everybody is back",
        narration: "Replication catches up, and a scan is done: gaps close.",
        events: vec![
            Event::Up(Who::Fra),
            Event::Up(Who::Ams),
            Event::Arrives(MISSING, "production/shop/checkout 5.0.0"),
            Event::Arrives(MOVED, "shop/cart, the new one"),
            Event::Scanned(UNSCANNED),
        ],
        stories,
    }
}
