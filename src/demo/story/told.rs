//! The ending of a story, and its expected ending.

use std::collections::BTreeMap;

use serde::Serialize;

/// Whether the Pod may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
}

/// What the second door said of what became of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Whether it may run.
    pub admission: Admission,
    /// The denial's message.
    pub message: Option<String>,
}

/// What became of a Pod: the expected ending, or the one that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// Whether it may run.
    pub admission: Admission,
    /// Each of its images. For a recording, only the number of images for each reason is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<ToldImage>>,
    /// The number of images for each reason; `-` for images without a reason.
    pub reasons: BTreeMap<String, usize>,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToldImage {
    /// Where in the Pod it stands: `containers/web`.
    pub slot: String,
    /// As it was written.
    pub was: String,
    /// As it became.
    pub is: String,
    /// The reason; `None`: Landfall does not judge this Pod and gave none.
    pub reason: Option<String>,
    /// The registry that serves it now.
    pub place: Option<String>,
    /// What stood in the way.
    pub findings: Vec<Found>,
}

/// A finding, and the registry it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The word.
    pub finding: String,
    /// The registry.
    pub place: Option<String>,
}

/// A story told to its end.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    /// Its name.
    pub story: &'static str,
    /// One sentence about it.
    pub about: &'static str,
    /// The Pod, `namespace/name`.
    pub pod: String,
    /// The path of the door that gave this answer.
    pub door: &'static str,
    /// What `/validate` said of the result of `/mutate`; `None`: it was not called.
    pub second: Option<Second>,
    /// The uid of the review, as the answer repeats it.
    pub uid: String,
    /// Did it end as told?
    pub as_told: bool,
    /// The differences, in words; empty if there are none.
    pub differences: Vec<String>,
    /// The expected ending.
    pub expected: Ending,
    /// What happened.
    pub actual: Ending,
    /// Words that had to be said; `None`: no warning was expected.
    pub says: Option<&'static str>,
    /// The denial's message.
    pub message: Option<String>,
    /// The warnings for the person at `kubectl`.
    pub warnings: Vec<String>,
    /// The audit annotations.
    pub audit_annotations: BTreeMap<String, String>,
    /// The patch, decoded.
    pub patch: json_patch::Patch,
    /// The time from sending the review to its answer, in milliseconds.
    pub ms: f64,
    /// The time from the events of the act to this answer, in milliseconds; `None`: it was the first answer.
    pub noticed_after_ms: Option<f64>,
}

/// An act told to its end.
#[derive(Debug, Clone, Serialize)]
pub struct ToldAct {
    /// Its title.
    pub title: &'static str,
    /// What has happened.
    pub narration: &'static str,
    /// Its stories.
    pub stories: Vec<Told>,
}

/// A whole performance.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Performance {
    /// The acts.
    pub acts: Vec<ToldAct>,
}

impl Ending {
    /// An ending of these images.
    pub(super) fn of(admission: Admission, images: Vec<ToldImage>) -> Self {
        let mut reasons = BTreeMap::new();
        for image in &images {
            *reasons.entry(image.reason.clone().unwrap_or_else(|| "-".into())).or_default() += 1;
        }
        Self { admission, images: Some(images), reasons }
    }

    /// The differences between `actual` and this expected ending.
    pub(super) fn differences(&self, actual: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.admission != actual.admission {
            differences.push(format!("told {:?}, was {:?}", self.admission, actual.admission));
        }
        if self.reasons != actual.reasons {
            differences.push(format!("told {}, was {}", tally(&self.reasons), tally(&actual.reasons)));
        }
        for told in self.images.iter().flatten() {
            let seen = actual.images.iter().flatten().find(|seen| seen.slot == told.slot);
            match seen {
                None => differences.push(format!("{}: it is not there", told.slot)),
                Some(seen) => differences.extend(told.differences(seen)),
            }
        }
        differences
    }
}

impl ToldImage {
    fn differences(&self, seen: &Self) -> Vec<String> {
        let words = |findings: &[Found]| {
            let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
            if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
        };
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".into());
        [
            ("image", self.is.clone(), seen.is.clone()),
            ("reason", word(&self.reason), word(&seen.reason)),
            ("findings", words(&self.findings), words(&seen.findings)),
        ]
        .into_iter()
        .filter(|(_, told, seen)| told != seen)
        .map(|(what, told, seen)| format!("{}, {what}: told {told}, was {seen}", self.slot))
        .collect()
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.finding)?;
        self.place.as_ref().map_or(Ok(()), |place| write!(out, " at {place}"))
    }
}

/// `3 Local, 1 NotRouted`
#[must_use]
pub fn tally(reasons: &BTreeMap<String, usize>) -> String {
    let parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.join(", ")
}

impl Performance {
    /// Every story.
    pub fn stories(&self) -> impl Iterator<Item = &Told> {
        self.acts.iter().flat_map(|act| &act.stories)
    }

    /// Whether every story ended as expected; `false` if there was none.
    #[must_use]
    pub fn as_told(&self) -> bool {
        self.stories().next().is_some() && self.stories().all(|told| told.as_told)
    }
}
