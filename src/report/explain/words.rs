//! Questions and answers in words.

use jiff::Timestamp;

use crate::domain::case::{Case, Subject};
use crate::domain::digest::Digest;
use crate::domain::evidence::{
    Ask, Children, Observation, Presence, Query, Reachability, Shape, TagDigest, Wanted,
};
use crate::domain::place::PlaceIx;
use crate::domain::platform::Platform;
use crate::domain::scan::{Detail, Report, ScanAnswer, ScanState, Scanner};
use crate::domain::text::plain;

/// The Place that a question is about; `None`: the primary.
pub(super) fn place(query: Query) -> Option<PlaceIx> {
    match query {
        Query::Presence(ix, _) | Query::Children(ix, _) | Query::Scan(ix, ..) | Query::Reachable(ix) => {
            Some(ix)
        }
        Query::TagDigest(_) => None,
    }
}

/// The registry that is asked, and what.
pub(super) fn question(case: &Case, query: Query) -> (String, String) {
    let Subject::Routed(routed) = &case.subject else { return Default::default() };
    let asked = match place(query) {
        Some(ix) => routed.place(ix),
        None => routed.primary().map(|(_, place)| place),
    };
    let registry = asked.map(|place| place.registry.name.to_string()).unwrap_or_default();
    let tag = || format!("tag `{}`", routed.tag.as_ref().map_or("latest", |tag| tag.as_str()));
    let text = match query {
        Query::Presence(_, Wanted::Tag) => format!("has it {}?", tag()),
        Query::Presence(_, Wanted::Digest(digest)) => format!("has it {}?", short(&digest)),
        Query::Children(_, digest) => format!("what does {} list?", short(&digest)),
        Query::Scan(_, digest, Detail::Summary) => format!("how is the scan of {}?", short(&digest)),
        Query::Scan(_, digest, Detail::Vulnerabilities) => {
            format!("which vulnerabilities has {}?", short(&digest))
        }
        Query::TagDigest(Ask::Remembered) => format!("what was the digest of {}?", tag()),
        Query::TagDigest(Ask::Now) => format!("what is the digest of {}?", tag()),
        Query::Reachable(_) => "is it up?".to_owned(),
    };
    (registry, text)
}

/// What was answered.
pub(super) fn answer(observation: &Observation, now: Timestamp) -> String {
    match observation {
        Observation::Presence(presence) => self::presence(presence),
        Observation::Children(children) => self::children(children),
        Observation::Scan(scan) => self::scan(scan, now),
        Observation::TagDigest(TagDigest::Known(digest)) => digest.to_string(),
        Observation::TagDigest(TagDigest::Absent) => "there is no such tag".to_owned(),
        Observation::TagDigest(TagDigest::NotRemembered) => "not known yet".to_owned(),
        Observation::TagDigest(TagDigest::Unknown(unknown)) => format!("unknown: {}", plain(&unknown.detail)),
        Observation::Reachable(Reachability::Up) => "yes, as far as is known".to_owned(),
        Observation::Reachable(Reachability::Down) => "no".to_owned(),
    }
}

fn presence(presence: &Presence) -> String {
    match presence {
        Presence::Present { digest, shape } => format!("yes: {digest}{}", of(*shape)),
        Presence::Absent => "no".to_owned(),
        Presence::ProxyCache { digest, shape } => {
            format!("a proxy cache names {digest}{}: that proves no copy here", of(*shape))
        }
        Presence::Refused(message) => format!("yes, but it is refused (412): {}", plain(message)),
        Presence::LayerMissing { digest, layer } => format!("{digest}, but layer {layer} is lost"),
        Presence::PullFailed { digest } => format!("{digest}, but it cannot be pulled"),
        Presence::Unknown(unknown) => format!("unknown: {}", plain(&unknown.detail)),
    }
}

fn of(shape: Shape) -> &'static str {
    match shape {
        Shape::Manifest => "",
        Shape::Index => ", an index",
    }
}

fn children(children: &Children) -> String {
    match children {
        Children::Listed(children) => {
            let listed = children.iter().map(|child| {
                let platform = child.platform.as_ref().map_or("any platform".to_owned(), Platform::to_string);
                format!("{platform} {}", short(&child.digest))
            });
            listed.collect::<Vec<_>>().join(", ")
        }
        Children::Absent => "the index is gone".to_owned(),
        Children::Unknown(unknown) => format!("unknown: {}", plain(&unknown.detail)),
    }
}

fn scan(ScanAnswer { scanner, state, last }: &ScanAnswer, now: Timestamp) -> String {
    let state = match state {
        ScanState::Done(report) => return self::report(report, now),
        ScanState::NotScanned => "never scanned here".to_owned(),
        ScanState::Unscannable => "no scanner here can scan its kind".to_owned(),
        ScanState::Absent => "Harbor does not list it".to_owned(),
        ScanState::Pending => "its first scan is under way".to_owned(),
        ScanState::Rescan => "it is being scanned again".to_owned(),
        ScanState::Failed => "its scan failed".to_owned(),
        ScanState::ScannerDown => "the scanner does not answer Harbor".to_owned(),
        ScanState::Hidden => "our robot may not read that".to_owned(),
        ScanState::Unknown(unknown) => format!("unknown: {}", plain(&unknown.detail)),
    };
    let scanner = match scanner {
        Scanner::Absent => "; its project has no scanner",
        Scanner::Hidden => "; our robot may not see whether there is a scanner",
        Scanner::Present | Scanner::Unknown => "",
    };
    let last = last.as_ref().map(|last| format!("; before that: {}", report(last, now))).unwrap_or_default();
    format!("{state}{scanner}{last}")
}

fn report(Report { severity, finished, vulnerabilities }: &Report, now: Timestamp) -> String {
    let age = finished.map_or_else(String::new, |finished| {
        let hours = now.duration_since(finished).as_hours();
        format!(", scanned {hours} h ago")
    });
    let counted = vulnerabilities.as_ref().map_or_else(String::new, |found| {
        format!(", {} vulnerabilities, {} of the allowlist", found.items.len(), found.allowlist.len())
    });
    format!("severity {severity}{age}{counted}")
}

/// Enough of a digest to know it again.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(19).collect()
}
