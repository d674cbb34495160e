//! Tests the form that the API server requires, and compares with a second decoder.

use ::base64::Engine;
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use serde_json::{Value, json};

use super::*;

const KEY: AuditKey = AuditKey::new("verdicts");

fn answer(decision: Decision) -> Answer {
    Answer::of(decision).warn("a warning").note(KEY, "containers/web=Local")
}

fn patch() -> Patch {
    let path = "/metadata/annotations/landfall.dev~1images";
    Patch::of_json(&json!([{"op": "add", "path": path, "value": "\"<&>\\ é 😀"}]).to_string())
}

fn encoded(answer: &Answer) -> Value {
    serde_json::from_slice(&encode(answer, "u\"1")).unwrap()
}

#[test]
fn an_answer_reads_as_the_api_server_expects() {
    assert_eq!(
        encoded(&Answer::unchanged()),
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "u\"1", "allowed": true}})
    );
    let sent = ::base64::engine::general_purpose::STANDARD.encode(patch().as_json());
    assert_eq!(
        encoded(&answer(Decision::Allow(patch())))["response"],
        json!({
            "uid": "u\"1", "allowed": true, "patchType": "JSONPatch", "patch": sent,
            "warnings": ["a warning"], "auditAnnotations": {"verdicts": "containers/web=Local"},
        })
    );
    assert_eq!(
        encoded(&answer(Decision::Deny { message: "no\nno".to_owned() }))["response"],
        json!({
            "uid": "u\"1", "allowed": false, "status": {"code": 403, "message": "no\nno", "reason": "Forbidden"},
            "warnings": ["a warning"], "auditAnnotations": {"verdicts": "containers/web=Local"},
        })
    );
}

#[test]
fn kube_reads_every_answer() {
    let denial = Decision::Deny { message: "not here".to_owned() };
    for given in [Answer::unchanged(), answer(Decision::Allow(patch())), answer(denial)] {
        let mut body = encoded(&given);
        let response = &mut body["response"];
        // kube writes the patch as an array of numbers where the API has base64 (kube-rs/kube#1781),
        // and requires a status that the API omits.
        if let Some(patch) = response.get("patch").and_then(Value::as_str) {
            response["patch"] = json!(::base64::engine::general_purpose::STANDARD.decode(patch).unwrap());
        }
        if response.get("status").is_none() {
            response["status"] = json!({});
        }
        let read: AdmissionReview<DynamicObject> = serde_json::from_value(body).unwrap();
        assert_eq!(
            (read.types.kind.as_str(), read.types.api_version.as_str()),
            ("AdmissionReview", "admission.k8s.io/v1")
        );
        let read = read.response.unwrap();
        assert_eq!(read.uid, "u\"1");
        assert_eq!(read.warnings.unwrap_or_default(), given.warnings);
        assert_eq!(
            read.audit_annotations.get("verdicts").map(String::as_str),
            given.audit.get(&KEY).map(|text| &**text)
        );
        match given.decision {
            Decision::Allow(patch) => {
                let got = read.patch.map(|json| String::from_utf8(json).unwrap());
                assert!(read.allowed && got.as_deref().unwrap_or("[]") == patch.as_json());
            }
            Decision::Deny { message } => {
                assert!(!read.allowed && read.patch.is_none());
                assert_eq!((read.result.code, read.result.message), (403, message));
            }
        }
    }
}

#[test]
fn warnings_are_fit_for_a_header() {
    let fitted = |warnings: &[&str]| fit(&warnings.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(fitted(&["a\nb\t\u{7f}\u{85}c\r\n", "", " \n", "x", "a b   c", "x"]), ["a b   c", "x"]);

    let (fits, long) = ("é".repeat(LONGEST_WARNING), "é".repeat(LONGEST_WARNING + 1));
    assert_eq!(fitted(&[&fits]), [fits.as_str()]);
    assert_eq!(fitted(&[&long]), [format!("{}…", "é".repeat(LONGEST_WARNING - 1))]);

    let many: Vec<_> = (0..10_000).map(|index| format!("{index} {}", "x".repeat(200))).collect();
    let fitted = fit(&many);
    assert_eq!(fitted.len(), MOST_WARNINGS);
    assert_eq!(fitted.last().unwrap(), "landfall: 9971 more warnings");
    assert!(fitted.iter().map(|line| line.chars().count()).sum::<usize>() <= 4096);
}

#[test]
fn audit_keys_are_qualified_names() {
    for bad in ["", "a/b", "-a", "a-", ".", "a b", "é", "a\n"] {
        assert!(std::panic::catch_unwind(|| AuditKey::new(bad)).is_err(), "{bad}");
    }
    assert!(std::panic::catch_unwind(|| AuditKey::new(Box::leak("x".repeat(64).into_boxed_str()))).is_err());
    for good in ["a", "verdicts", "a-b_c.D9"] {
        assert_eq!(AuditKey::new(good).as_str(), good);
    }
}
