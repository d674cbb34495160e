//! Tests that the annotation is read back as written, and that forged entries are not kept.

use super::*;
use crate::domain::verdict::Reason;
use crate::pod::{AdmissionKind, patch};

const WAS: &str = "fra.example.com/shop/web:1";
const IS: &str = "ams.example.com/shop/web:1";

/// The annotation as a text.
fn write(changes: &[Change<'_>], weight: usize) -> Option<String> {
    let mut json = String::new();
    let said = super::write(changes, weight, &mut json);
    assert_eq!(said, !json.is_empty());
    said.then(|| serde_json::from_str(&json).unwrap())
}

fn entry(why: Reason) -> Entry<'static> {
    Entry {
        was: WAS.into(),
        why,
        findings: Cow::Owned(vec![FindingKind::Missing, FindingKind::ScanPending]),
        place: Some(RegistryName::new("ams")),
    }
}

fn pod_of(annotation: &str) -> String {
    serde_json::json!({
        "metadata": {"annotations": {IMAGES: annotation}},
        "spec": {"containers": [{"name": "web", "image": IS}]},
    })
    .to_string()
}

fn many(containers: usize) -> String {
    let containers: Vec<_> = (0..containers)
        .map(|index| serde_json::json!({"name": format!("c{index}"), "image": format!("fra.example.com/c/{index}")}))
        .collect();
    serde_json::json!({"spec": {"containers": containers}}).to_string()
}

fn changes_for<'p>(pod: &'p Pod<'_>) -> Vec<Change<'p>> {
    pod.slots()
        .map(|slot| Change { slot, image: None, pull_secret: None, entry: Some(entry(Reason::Local)) })
        .collect()
}

#[test]
fn it_reads_as_documented() {
    let body = pod_of("");
    let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
    let changes = changes_for(&pod);
    insta::assert_snapshot!(write(&changes, 0).unwrap(), @r#"{"containers/web":{"was":"fra.example.com/shop/web:1","is":"ams.example.com/shop/web:1","why":"Local","findings":["Missing","ScanPending"],"place":"ams"}}"#);
}

#[test]
fn every_reason_is_read_again() {
    for why in Reason::all() {
        let body = pod_of("");
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        let slot = pod.slots().next().unwrap();
        let written = Change { slot, image: None, pull_secret: None, entry: Some(entry(why)) };
        let body = pod_of(&write(&[written], 0).unwrap());
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        assert_eq!(OldEntries::of(&pod).kept(&slot, |old| *old.was == *WAS), Some(entry(why)));
    }
}

#[test]
fn nothing_is_kept_on_its_word() {
    let good = r#"{"was":"fra.example.com/shop/web:1","is":"ams.example.com/shop/web:1","why":"Local"}"#;
    let keeps = |annotation: &str, maps: bool| {
        let body = pod_of(annotation);
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        let slot = pod.slots().next().unwrap();
        OldEntries::of(&pod).kept(&slot, |_| maps).is_some()
    };
    assert!(keeps(&format!(r#"{{"containers/web":{good}}}"#), true));
    assert!(keeps(&format!(r#"{{"x":[1,{{}}],"containers/web":{good},"omitted":7}}"#), true));
    assert!(!keeps(&format!(r#"{{"containers/web":{good}}}"#), false), "the mapping leads elsewhere");
    for forged in [
        "",
        "null",
        "[]",
        "true",
        r#"{"forged":true}"#,
        r#"{"containers/web":true}"#,
        r#"{"containers/web":{"was":"x"}}"#,
        r#"{"containers/web":{"was":"x","is":"ams.example.com/shop/web:1","why":"Trusted"}}"#,
        r#"{"containers/web":{"was":"x","is":"ams.example.com/shop/web:1","why":"Local","findings":["None"]}}"#,
        r#"{"containers/web":{"was":"x","is":"ams.example.com/shop/web:10","why":"Local"}}"#,
        r#"{"initContainers/web":{"was":"x","is":"ams.example.com/shop/web:1","why":"Local"}}"#,
        r#"{"containers/web":{"was":"x","is":"ams.example.com/shop/web:1","why":"Local"}"#,
    ] {
        assert!(!keeps(forged, true), "{forged}");
    }
}

#[test]
fn it_stays_within_its_bounds_and_counts_the_rest() {
    let body = many(100);
    let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
    let changes = changes_for(&pod);
    let members = |weight: usize| {
        let text = write(&changes, weight)?;
        assert!(text.len() + IMAGES.len() + weight <= ALL_ANNOTATIONS, "{weight}");
        let map: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        Some((map.len(), map.get("omitted").and_then(Value::as_u64)))
    };
    assert_eq!(members(0), Some((MOST_ENTRIES + 1, Some(36))));
    assert_eq!(members(ALL_ANNOTATIONS - 5 * LARGEST_ENTRY), Some((5, Some(96))));
    assert_eq!(members(ALL_ANNOTATIONS - LARGEST_ENTRY), None);
    assert_eq!(members(ALL_ANNOTATIONS), None);
    assert_eq!(members(usize::MAX / 2), None);
}

#[test]
fn the_largest_entries_fit_the_room() {
    // Each entry is just below the bound, and there is room for exactly this number of entries.
    let body = many(64);
    let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
    let mut changes = changes_for(&pod);
    for change in &mut changes {
        let bare =
            odd_member(&change.slot, &Entry { was: "".into(), ..entry(Reason::Local) }, change.slot.image);
        let was = "x".repeat(LARGEST_ENTRY - 1 - bare.unwrap().len());
        change.entry = Some(Entry { was: was.into(), ..entry(Reason::Local) });
    }
    let weight = ALL_ANNOTATIONS - 65 * LARGEST_ENTRY;
    let text = write(&changes, weight).unwrap();
    assert!(!text.contains("omitted") && text.len() + IMAGES.len() + weight <= ALL_ANNOTATIONS);

    changes[3].entry = Some(Entry { was: "x".repeat(LARGEST_ENTRY).into(), ..entry(Reason::Local) });
    let text = write(&changes, weight).unwrap();
    assert!(text.ends_with(r#","omitted":1}"#) && !text.contains(r#""containers/c3":"#));
}

#[test]
fn two_containers_of_one_name_are_written_once() {
    let body = r#"{"spec":{"containers":[{"name":"a","image":"fra/a"},{"name":"a","image":"fra/b"}]}}"#;
    let pod: Pod<'_> = serde_json::from_str(body).unwrap();
    let text = write(&changes_for(&pod), 0).unwrap();
    let map: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(map["containers/a"]["is"], "fra/a");
    assert_eq!(map["omitted"], 1);
}

#[test]
fn an_old_annotation_stays_where_nothing_concerns_us_and_goes_where_it_cannot_be_replaced() {
    let mut doc: Value = serde_json::from_str(&pod_of(r#"{"forged":true}"#)).unwrap();
    let patch = |doc: &Value, concerned: bool| {
        let body = doc.to_string();
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        let mut changes = changes_for(&pod);
        changes.retain(|_| concerned);
        patch(&pod, AdmissionKind::Create, &changes).as_json().to_owned()
    };
    assert_eq!(patch(&doc, false), "[]");
    doc["metadata"]["annotations"]["full"] = "x".repeat(ALL_ANNOTATIONS).into();
    assert_eq!(patch(&doc, false), "[]");
    insta::assert_snapshot!(patch(&doc, true), @r#"[{"op":"remove","path":"/metadata/annotations/landfall.dev~1images"}]"#);
}
