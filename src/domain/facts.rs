//! Facts of one copy of an image: when it was pushed, what keeps it, which accessories it has. They decide about no Pod;
//! two copies compared show what a replica lacks.

use std::time::Duration;

use jiff::Timestamp;

use super::digest::Digest;
use super::gap::Risk;

/// The most tags and the most accessories that are kept of one artifact.
pub const MOST: usize = 256;

/// What a Harbor says of one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// When its Harbor first had it; `None`: it does not say.
    pub pushed: Option<Timestamp>,
    /// What keeps it from being removed.
    pub held: Held,
    /// Its accessories: at most [`MOST`].
    pub accessories: Vec<Accessory>,
}

/// What keeps an artifact: Harbor's retention and garbage collection remove what nothing keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// These tags: at most [`MOST`].
    Tags(Vec<Box<str>>),
    /// An index that lists it, or an image whose accessory it is.
    ByAnother,
    /// Nothing.
    ByNothing,
    /// It has no tag, and we may not ask whether an index lists it.
    Untold,
}

/// An artifact that belongs to another: a signature, an SBOM.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Accessory {
    /// Harbor's word for its type: `signature.cosign`, `signature.notation`, `sbom.harbor`, `subject.accessory` …
    pub kind: Box<str>,
    /// Its digest.
    pub digest: Digest,
}

/// Returns the accessories that the primary's copy has and the one here lacks. A replica makes its own SBOM
/// (`sbom.harbor`) of the same image, with another digest: any there is counts for it.
#[must_use]
pub fn missing_accessories<'a>(primary: &'a Facts, here: &Facts) -> Vec<&'a Accessory> {
    // Of a list that was cut, nothing can be called missing.
    if here.accessories.len() >= MOST {
        return Vec::new();
    }
    let made_here = |kind: &str| matches!(kind, "sbom.harbor" | "accelerator.nydus");
    let has = |wanted: &Accessory| {
        here.accessories.iter().any(|found| {
            found.kind == wanted.kind && (found.digest == wanted.digest || made_here(&wanted.kind))
        })
    };
    primary.accessories.iter().filter(|wanted| !has(wanted)).collect()
}

/// Returns whether nothing keeps the artifact, as far as is known.
#[must_use]
pub fn untagged(facts: &Facts) -> bool {
    facts.held == Held::ByNothing
}

/// Returns what of a copy decides about no Pod today, and will some day, with details for people. `primary`: the facts of the
/// primary's copy, where they are known.
#[must_use]
pub fn risk(here: &Facts, primary: Option<&Facts>) -> Option<(Risk, String)> {
    let missing = primary.map(|primary| missing_accessories(primary, here)).unwrap_or_default();
    if let Some(first) = missing.first() {
        let more =
            if missing.len() > 1 { format!(", and {} more", missing.len() - 1) } else { String::new() };
        let detail = format!("{} {} is only at the primary{more}", first.kind, first.digest);
        return Some((Risk::AccessoryMissing, detail));
    }
    let detail = "no tag holds it there: retention or garbage collection will remove it";
    untagged(here).then(|| (Risk::Untagged, detail.to_owned()))
}

/// Returns how long after the primary's copy the one here was pushed. `None` where a time is missing, and where the copy
/// here is older: then it was pushed here first, or the primary's was pushed again, and there is no lag to speak of.
#[must_use]
pub fn lag(primary: &Facts, here: &Facts) -> Option<Duration> {
    Duration::try_from(here.pushed?.duration_since(primary.pushed?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pushed: Option<&str>, held: Held, accessories: &[(&str, u8)]) -> Facts {
        let accessory = |(kind, byte): &(&str, u8)| accessory(kind, *byte);
        Facts {
            pushed: pushed.map(|text| text.parse().unwrap()),
            held,
            accessories: accessories.iter().map(accessory).collect(),
        }
    }

    fn accessory(kind: &str, byte: u8) -> Accessory {
        Accessory { kind: kind.into(), digest: Digest::Sha256([byte; 32]) }
    }

    #[test]
    fn an_accessory_is_the_same_by_type_and_digest() {
        let with = |accessories: &[(&str, u8)]| facts(None, Held::ByNothing, accessories);
        let primary = with(&[("signature.cosign", 1), ("signature.notation", 2), ("sbom.harbor", 3)]);
        let missing = |here: &[(&str, u8)]| -> Vec<String> {
            let here = with(here);
            missing_accessories(&primary, &here).into_iter().map(|one| one.kind.to_string()).collect()
        };
        let own: &[(&str, u8)] = &[("signature.cosign", 1), ("signature.notation", 2), ("sbom.harbor", 9)];
        assert!(missing(own).is_empty(), "an SBOM is made at each Harbor");
        assert_eq!(missing(&[]), ["signature.cosign", "signature.notation", "sbom.harbor"]);
        assert_eq!(
            missing(&[("signature.cosign", 7), ("signature.notation", 2), ("sbom.harbor", 3)]),
            ["signature.cosign"],
            "another signature is not the one that was made at the primary"
        );
        assert_eq!(
            missing(&[("signature.notation", 1), ("signature.notation", 2), ("sbom.harbor", 3)]),
            ["signature.cosign"],
            "the type counts"
        );
        let more = with(&[("signature.cosign", 1), ("subject.accessory", 8)]);
        assert!(missing_accessories(&with(&[("signature.cosign", 1)]), &more).is_empty(), "more is no gap");
        let cut = Facts { accessories: vec![accessory("subject.accessory", 5); MOST], ..primary.clone() };
        assert!(missing_accessories(&primary, &cut).is_empty(), "a list that was cut proves nothing");
    }

    #[test]
    fn only_what_nothing_keeps_is_untagged() {
        for (held, expected) in [
            (Held::Tags(vec!["v1".into()]), false),
            (Held::ByAnother, false),
            (Held::Untold, false),
            (Held::ByNothing, true),
        ] {
            assert_eq!(untagged(&facts(None, held.clone(), &[])), expected, "{held:?}");
        }
    }

    #[test]
    fn a_lag_needs_both_times_in_their_order() {
        let at = |time| facts(time, Held::ByNothing, &[]);
        for (primary, here, expected) in [
            (Some("2026-07-01T10:00:00Z"), Some("2026-07-01T10:00:02.5Z"), Some(2500)),
            (Some("2026-07-01T10:00:00Z"), Some("2026-07-01T10:00:00Z"), Some(0)),
            (Some("2026-07-01T10:00:00Z"), Some("2026-07-01T09:59:59Z"), None),
            (None, Some("2026-07-01T10:00:00Z"), None),
            (Some("2026-07-01T10:00:00Z"), None, None),
        ] {
            assert_eq!(
                lag(&at(primary), &at(here)),
                expected.map(Duration::from_millis),
                "{primary:?} {here:?}"
            );
        }
    }
}
