//! Reviews and patches: whatever stands in a review, the patch that answers it applies, touches only images, pull
//! secrets and our annotation, and has nothing left to do the second time.
#![no_main]

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use json_patch::Patch;
use landfall::facade::admission::answer::{Answer, Decision, encode};
use landfall::facade::admission::review::{Door, Review, decode};
use landfall::facade::domain::finding::FindingKind;
use landfall::facade::domain::name::{PullSecret, RegistryName};
use landfall::facade::domain::verdict::Reason;
use landfall::facade::pod::surface::{IMAGES, MOST_SECRETS};
use landfall::facade::pod::{AdmissionKind, Change, Entry, OldEntries, Pod, Slot, patch};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|body: &[u8]| {
    // The other door sees more, and only has to survive it.
    let _validated = decode(body, Door::Validate);
    let Ok(review) = decode(body, Door::Mutate) else { return };
    // What our reader skips, the reader of values may refuse: numbers that no double holds.
    let Ok(sent) = serde_json::from_slice::<Value>(body) else { return };
    let before = &sent["request"]["object"];

    // Of very many pull secrets only those of the settings are found, and here are no settings.
    if secrets(before).len() > MOST_SECRETS {
        return;
    }

    let (operations, after) = patched(&review, before);
    assert_eq!(untouchable(before), untouchable(&after), "{operations:?}");
    for was in secrets(before) {
        assert!(secrets(&after).contains(&was), "a pull secret is lost: {operations:?}");
    }
    if review.kind == AdmissionKind::Ephemeral {
        assert_eq!(secrets(before), secrets(&after));
        assert_eq!(before["metadata"], after["metadata"]);
    }

    let mut again = sent.clone();
    again["request"]["object"] = after.clone();
    let again = again.to_string();
    let review = decode(again.as_bytes(), Door::Mutate).expect("a patched review is a review");
    let (operations, twice) = patched(&review, &after);
    assert!(operations.is_empty(), "the second patch is {operations:?}");
    assert_eq!(twice, after);
});

/// The patch as the API server gets it, and the Pod as it applies it.
fn patched(review: &Review<'_>, pod: &Value) -> (Patch, Value) {
    let patch = patch(&review.pod, review.kind, &judged(&review.pod, &review.slots()));
    let encoded = encode(&Answer::of(Decision::Allow(patch)), &review.uid);
    let answer: Value = serde_json::from_slice(&encoded).expect("an answer is JSON");
    assert_eq!(answer["response"]["uid"], *review.uid);
    assert_eq!(answer["response"]["allowed"], true);
    let patch = answer["response"]["patch"].as_str().map_or_else(Patch::default, |text| {
        let json = BASE64_STANDARD.decode(text).expect("a patch is base64");
        serde_json::from_slice(&json).expect("a patch is JSON")
    });
    let mut after = pod.clone();
    json_patch::patch(&mut after, &patch).unwrap_or_else(|error| panic!("{error}: {patch} on {pod}"));
    (patch, after)
}

/// A judge that knows three hosts: `fra` is copied to `ams`, `lost` has no copy, nothing else is ours.
fn judged<'p>(pod: &'p Pod<'_>, slots: &[Slot<'p>]) -> Vec<Change<'p>> {
    fn copy(image: &str) -> Option<String> {
        let path = image.strip_prefix("fra.io/")?;
        Some(format!("ams.io/{path}@sha256:{}", "0".repeat(64)))
    }
    let old = OldEntries::of(pod);
    let entry = |slot: &Slot<'p>, why, findings: Vec<FindingKind>, place: Option<&str>| {
        Some(Entry {
            was: slot.image.into(),
            why,
            findings: findings.into(),
            place: place.map(RegistryName::new),
        })
    };
    let changes = slots.iter().copied().map(|slot| {
        let secret = |name: &str| Some(PullSecret::new(name));
        if let Some(image) = copy(slot.image) {
            let entry = entry(&slot, Reason::Local, vec![], Some("ams"));
            Change { slot, image: Some(Cow::Owned(image)), pull_secret: secret("ams"), entry }
        } else if slot.image.strip_prefix("ams.io/").is_some() {
            let kept = old.kept(&slot, |old| copy(&old.was).as_deref() == Some(slot.image));
            let entry = kept.or_else(|| entry(&slot, Reason::AlreadyLocal, vec![], Some("ams")));
            Change { slot, image: Some(slot.image.into()), pull_secret: secret("ams"), entry }
        } else if slot.image.strip_prefix("lost.io/").is_some() {
            let entry = entry(&slot, Reason::Fallback, vec![FindingKind::Missing], None);
            Change { slot, image: None, pull_secret: secret("lost"), entry }
        } else {
            Change { slot, image: None, pull_secret: None, entry: None }
        }
    });
    changes.collect()
}

/// The Pod without all that a patch may touch.
fn untouchable(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let spec = &mut pod["spec"];
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(&mut spec[field]) {
            blank(container, "image");
        }
    }
    for volume in items(&mut spec["volumes"]) {
        if let Some(image) = volume.get_mut("image") {
            blank(image, "reference");
        }
    }
    spec["imagePullSecrets"] = json!([]);
    if pod["metadata"].is_null() {
        pod["metadata"] = json!({});
    }
    if pod["metadata"]["annotations"].is_null() {
        pod["metadata"]["annotations"] = json!({});
    }
    pod["metadata"]["annotations"][IMAGES] = Value::Null;
    pod
}

fn items(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

fn blank(object: &mut Value, key: &str) {
    if let Some(text) = object.get_mut(key)
        && text.is_string()
    {
        *text = Value::Null;
    }
}

fn secrets(pod: &Value) -> Vec<Value> {
    pod["spec"]["imagePullSecrets"].as_array().cloned().unwrap_or_default()
}
