//! A record as a sentence for people who do not know Landfall.

use jiff::{SignedDuration, Timestamp};

use super::met::Met;
use crate::cluster::{GapAction, GapState, ReplicationGapStatus};
use crate::domain::digest::Digest;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKey, GapKind, GapSubject, Risk, Version};
use crate::domain::healing::{HealOutcome, MOST_FAILURES, Remedy};
use crate::domain::text::plain;

/// Returns what is lacking, for whom, and since when: `shop/web 1.4.2 is not in ams: 12 Pods that run now could not start
/// again there if its primary were lost. Open for 3 h.` Without `now` it names the moment instead of the age, so that it
/// stays true. It names no host.
#[must_use]
pub fn sentence(key: &GapKey, record: &ReplicationGapStatus, now: Option<Timestamp>) -> String {
    let (what, place) = (subject(key, record.tag.as_deref()), plain(key.registry.as_str()).into_owned());
    if record.state == GapState::Closed {
        return closed(&what, &place, record);
    }
    let mut said: Vec<String> = record.open().map(|(_, kind)| lacking(kind, &what, &place)).collect();
    if said.is_empty() {
        said.push(format!("nothing is known of {what} at {place}"));
    }
    let mut text = said.join("; ");
    if let Some(harm) = harm(record) {
        text += &format!(": {harm}");
    }
    text.push('.');
    if record.denied > 0 {
        text += &format!(" {} denied because of it.", pods(record.denied, "was", "were"));
    }
    let since = record.open().filter_map(|(axis, _)| Some(record.axis(axis)?.since)).min();
    match (since, now) {
        (Some(since), Some(now)) => text += &format!(" Open for {}.", age(now.duration_since(since))),
        (Some(since), None) => text += &format!(" Open since {}.", moment(since)),
        (None, _) => {}
    }
    if let Some(action) = &record.action {
        text += &tried(action, record);
    }
    text
}

/// What was tried about an open gap, and what came of it.
fn tried(action: &GapAction, record: &ReplicationGapStatus) -> String {
    let rule = |words: &str| {
        let rule = plain(action.rule.as_deref().unwrap_or_default());
        let keeper = plain(action.keeper.as_deref().unwrap_or_default());
        format!("{words} `{rule}` of {keeper}")
    };
    let what = match (action.what, &action.rule) {
        (Remedy::Scan, _) => "a scan".to_owned(),
        (Remedy::Replicate, Some(_)) => rule("the replication rule"),
        (Remedy::Replicate, None) => "its replication".to_owned(),
    };
    let when = moment(action.at);
    let Some(outcome) = action.outcome else {
        // What is not lacking any more needs no attempt.
        return record
            .under_way()
            .map(|_| format!(" Landfall started {what} at {when}."))
            .unwrap_or_default();
    };
    let mut text = match outcome {
        HealOutcome::Healed | HealOutcome::NotNeeded => return String::new(),
        HealOutcome::NoCredentials | HealOutcome::NeedsCopy => format!(" {}.", sentenced(&action.result)),
        _ => format!(" Landfall tried {what} at {when}: {}.", action.result),
    };
    if action.attempts >= MOST_FAILURES {
        text += &format!(" {} attempts failed; for a day no other is made.", action.attempts);
    }
    text
}

/// The text with a capital letter at its beginning.
fn sentenced(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Returns what an owner is told when its Pods met a gap.
pub(super) fn at_the_door(
    key: &GapKey,
    tag: Option<&str>,
    kinds: impl Iterator<Item = GapKind>,
    met: Met,
) -> String {
    let (what, place) = (subject(key, tag), plain(key.registry.as_str()).into_owned());
    let said: Vec<String> = kinds.map(|kind| lacking(kind, &what, &place)).collect();
    let result = match met {
        Met::Used => "it is used nevertheless",
        Met::FellBack => "Pods use another site's copy, and could not start if that site were lost",
        Met::Denied => "Pods are denied",
    };
    format!("{}: {result}", said.join("; "))
}

/// The image without its host, or the rule.
fn subject(key: &GapKey, tag: Option<&str>) -> String {
    match &key.subject {
        GapSubject::Image { name, version } => {
            let repository = name.split_once('/').map_or(&**name, |(_, repository)| repository);
            let repository = plain(repository);
            match (version, tag) {
                (Version::Tag(tag), _) => format!("{repository} {}", plain(tag.as_str())),
                (Version::Digest(_), Some(tag)) => format!("{repository} {}", plain(tag)),
                (Version::Digest(digest), None) => format!("{repository} ({})", short(digest)),
            }
        }
        GapSubject::Rule(rule) => format!("the replication rule `{}`", plain(rule)),
    }
}

/// So much of a digest that people can tell two apart.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(19).collect()
}

fn lacking(kind: GapKind, what: &str, place: &str) -> String {
    match kind {
        GapKind::Finding(finding) => match finding {
            FindingKind::Missing => format!("{what} is not in {place}"),
            FindingKind::ChildMissing => {
                format!("{what} is not complete in {place}: the image for a platform is missing")
            }
            FindingKind::LayerMissing => format!("{what} is in {place}, but a layer of it is lost"),
            FindingKind::ProxyCache => format!("{what} is only in a proxy cache of {place}"),
            FindingKind::Refused => format!("{place} refuses to hand out {what}"),
            FindingKind::PullFailed => format!("nodes cannot pull {what} from {place}"),
            FindingKind::Stale => format!("{what} in {place} is another image than at its primary"),
            FindingKind::Unscanned => format!("{what} was never scanned in {place}"),
            FindingKind::ScanPending => format!("the scan of {what} in {place} is not done"),
            FindingKind::ScanFailed => format!("the scan of {what} in {place} failed"),
            FindingKind::ScannerDown => {
                format!("{what} was not scanned in {place}: the scanner does not answer")
            }
            FindingKind::ScanExpired => format!("the last scan of {what} in {place} is too old"),
            FindingKind::Vulnerable => format!("{what} in {place} has vulnerabilities that are not allowed"),
            FindingKind::Unreachable
            | FindingKind::Unauthorized
            | FindingKind::RateLimited
            | FindingKind::Deadline
            | FindingKind::TooMany
            | FindingKind::Unproved
            | FindingKind::Unscannable
            | FindingKind::NotRouted
            | FindingKind::Unparsable => format!("{what} in {place}: {finding}"),
        },
        GapKind::Risk(risk) => match risk {
            Risk::AccessoryMissing => {
                format!("a signature or another accessory of {what} is not in {place}")
            }
            Risk::Untagged => {
                format!("no tag holds {what} in {place}: its retention or garbage collection will remove it")
            }
            Risk::RuleDisabled => format!("{what} of {place} is disabled"),
            Risk::RuleFailing => format!("the last execution of {what} of {place} failed"),
            Risk::RuleOverdue => format!("{what} of {place} has not run for three times its interval"),
            Risk::RuleIdle => format!("{what} of {place} has not run although something was pushed"),
        },
    }
}

/// What it means for what runs.
fn harm(record: &ReplicationGapStatus) -> Option<String> {
    let GapKind::Finding(finding) = record.lacking(Axis::Presence)? else { return None };
    Some(match (record.pods?, finding) {
        (0, _) => "no Pod runs with it now".to_owned(),
        (running, FindingKind::Stale) => format!(
            "{} another image there if the primary were lost",
            pods(running.into(), "that runs now would start with", "that run now would start with")
        ),
        (running, _) => format!(
            "{} start again there if its primary were lost",
            pods(running.into(), "that runs now could not", "that run now could not")
        ),
    })
}

fn closed(what: &str, place: &str, record: &ReplicationGapStatus) -> String {
    let axes = [&record.presence, &record.scan, &record.risk].into_iter().flatten();
    let ended = axes.filter_map(|axis| Some((axis.was?, axis.since, axis.closed_at?, &axis.detail)));
    let Some((kind, since, end, why)) = ended.max_by_key(|(_, _, end, _)| *end) else {
        return format!("Nothing is lacking of {what} in {place}.");
    };
    let mut text = format!(
        "Closed {}, after {}: {what} in {place} was {}",
        moment(end),
        age(end.duration_since(since)),
        kind.as_str()
    );
    if !why.is_empty() {
        text += &format!("; {}", plain(why));
    }
    text.push('.');
    if let Some(action) = record.action.as_ref().filter(|action| action.outcome == Some(HealOutcome::Healed))
    {
        text += match action.what {
            Remedy::Scan => " Landfall had started the scan.",
            Remedy::Replicate => " Landfall had executed its replication rule.",
        };
    }
    if let Some(lag) = record.lag_seconds {
        text +=
            &format!(" It came {} after it was pushed to its primary.", age(SignedDuration::from_secs(lag)));
    }
    text
}

fn pods(number: i64, one: &str, more: &str) -> String {
    if number == 1 { format!("1 Pod {one}") } else { format!("{number} Pods {more}") }
}

fn moment(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Returns an age as people say it, in one unit: `40 s`, `25 min`, `3 h`, `12 days`.
#[must_use]
pub fn age(age: SignedDuration) -> String {
    let seconds = age.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
