//! The acts in which a registry is up but not useful: frozen, slow, wrong answers, or 429.

use std::time::Duration;

use http::StatusCode;

use super::super::pod::{Image, Pod};
use super::super::world::faults::Fault;
use super::super::world::seed::{PRESENT, VULNERABLE, present};
use super::{Act, Event, PILOT, Story, Who, allowed, denied, fra};

pub(super) fn acts() -> Vec<Act> {
    vec![
        frankfurt_frozen(),
        amsterdam_slow(),
        amsterdam_busy(),
        amsterdam_lies(),
        a_stranger(),
        no_database(),
        recovered(),
    ]
}

/// The image of [`PRESENT`] by its digest.
fn by_digest() -> Image {
    Image::of(format!("harbor.fra.example.com/{}@{}", PRESENT.repository, present().digest))
}

fn web(image: Image) -> Pod {
    Pod::new("web", [image])
}

fn elsewhere(finding: &'static str) -> Pod {
    web(fra(PRESENT).stays("Fallback").found(finding, "ams"))
}

/// In the namespace `payments`, unknown answers are blocked.
fn blocked(name: &'static str, about: &'static str, finding: &'static str) -> Story {
    let image = fra(PRESENT).stays("Denied").found(finding, "ams");
    denied(name, about, web(image).namespace("payments")).says("try again when the registry answers")
}

/// A Pod whose forbidden image comes after many that keep the registry busy.
fn decoys() -> Story {
    let denied_late = |image: Image| image.stays("Denied").found("Deadline", "ams");
    let decoy = |n| Image::of(format!("harbor.fra.example.com/production/decoy/sail-{n}:1"));
    let images = (0..12).map(decoy).chain([fra(VULNERABLE)]).map(denied_late);
    let about = "Twelve decoys, and a vulnerable image behind them. The policy of the namespace kiosk blocks only what is vulnerable; not looking does not open it.";
    denied("decoys", about, Pod::new("regatta", images).namespace("kiosk")).says("policy gate: try again")
}

fn frankfurt_frozen() -> Act {
    let stories = vec![
        allowed(
            "frozen-fra-local",
            "What names Frankfurt is not asked for there: local at once.",
            web(fra(PRESENT).local()),
        ),
        allowed(
            "frozen-fra-remembered",
            "A tag that moves is asked for there. When Frankfurt stays silent, its last word counts.",
            Pod::new("pilot", [fra(PILOT).local()]),
        ),
    ];
    Act {
        title: "Frankfurt freezes",
        narration: "It accepts connections and says nothing, the worst way of being down.",
        events: vec![Event::Freezes(Who::Fra)],
        stories,
    }
}

fn amsterdam_slow() -> Act {
    let stories = vec![
        allowed(
            "slow-fallback",
            "What this tag means here cannot be learned in time: it comes from Frankfurt.",
            elsewhere("Deadline"),
        ),
        allowed(
            "slow-remembered",
            "By digest it was proved a moment ago, and a digest cannot change: local, though nobody answers.",
            web(by_digest().moves("ams")),
        ),
        decoys(),
        blocked("slow-regulated", "In payments what is not known in time is not let in.", "Deadline"),
    ];
    Act {
        title: "Amsterdam is slow",
        narration: "Frankfurt is back, but our own registry takes a minute for each answer. No Pod waits for it.",
        events: vec![Event::Up(Who::Fra), Event::Suffers(Who::Ams, Fault::Delay(Duration::from_secs(60)))],
        stories,
    }
}

fn amsterdam_busy() -> Act {
    let stories = vec![
        allowed(
            "busy-fallback",
            "429 with Retry-After: it is left alone for as long, and Frankfurt stands in.",
            elsewhere("RateLimited"),
        ),
        allowed(
            "busy-remembered",
            "What was proved by digest counts on: nodes can still pull it.",
            web(by_digest().moves("ams")),
        ),
        blocked("busy-regulated", "In payments the Pod waits as well.", "RateLimited"),
    ];
    Act {
        title: "Amsterdam asks for rest",
        narration: "It is fast again, but overrun: come back in a second, it says.",
        events: vec![Event::Suffers(Who::Ams, Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 1))],
        stories,
    }
}

fn amsterdam_lies() -> Act {
    let stories = vec![
        allowed(
            "lying-digest",
            "Asked for one digest it answers with another: that is no copy.",
            web(by_digest().stays("Fallback").found("Unreachable", "ams")),
        ),
        allowed(
            "lying-tag",
            "The digest that it names for a tag is not Frankfurt's, and by that digest it has nothing.",
            Pod::new("pilot", [fra(PILOT).stays("Fallback").found("Stale", "ams").found("Missing", "ams")]),
        ),
    ];
    Act {
        title: "Amsterdam lies",
        narration: "It has time again, and names a wrong digest for everything.",
        events: vec![Event::Suffers(Who::Ams, Fault::WrongDigest)],
        stories,
    }
}

fn a_stranger() -> Act {
    let stories = vec![
        allowed(
            "stranger-fallback",
            "200, and a web page: that is no registry's answer. It comes from Frankfurt.",
            elsewhere("Unreachable"),
        ),
        blocked("stranger-regulated", "And in payments it is not let in.", "Unreachable"),
    ];
    Act {
        title: "Somebody else answers for Amsterdam",
        narration: "A proxy in front of it shows a web page with status 200, whatever it is asked.",
        events: vec![Event::Suffers(Who::Ams, Fault::Html(StatusCode::OK))],
        stories,
    }
}

fn no_database() -> Act {
    let stories = vec![
        allowed(
            "no-database-fallback",
            "Every answer looks as to a caller with wrong credentials. What reads the database says what it is, so the Pod is told that Amsterdam is down, and starts from Frankfurt.",
            elsewhere("Unreachable"),
        ),
        blocked(
            "no-database-regulated",
            "In payments it is not let in until Amsterdam answers.",
            "Unreachable",
        ),
    ];
    Act {
        title: "Amsterdam loses its database",
        narration: "The web page is gone. Harbor itself answers again, but the database behind it is down: it recognises nobody, and its system information still says 200.",
        events: vec![Event::Recovers(Who::Ams), Event::LosesDatabase(Who::Ams)],
        stories,
    }
}

fn recovered() -> Act {
    let stories = vec![
        allowed(
            "recovered-local",
            "Nobody restarts or flushes anything: it is asked again, and the Pod is local again.",
            web(fra(PRESENT).local()),
        ),
        allowed("recovered-digest", "By digest, too.", web(by_digest().moves("ams"))),
        allowed("recovered-tag", "And the tag that moves.", Pod::new("pilot", [fra(PILOT).local()])),
        allowed(
            "recovered-regulated",
            "Let into payments again.",
            web(fra(PRESENT).local()).namespace("payments"),
        ),
    ];
    Act {
        title: "Amsterdam recovers",
        narration: "Nothing that it said in its bad hour is held against it.",
        events: vec![Event::Recovers(Who::Ams)],
        stories,
    }
}
