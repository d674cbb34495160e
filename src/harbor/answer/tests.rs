//! Harbor's error format, in all recordings.

use super::*;
use crate::harbor::recordings::all;

/// Facts §9: nested repositories; `/` and `%2F` through nginx, `/` without, `%25252F` either way.
#[test]
fn a_mangled_path_is_no_absence() {
    let mangled = [
        "g01-nested-core-25252F",
        "g01-nested-core-slash",
        "g01-nested-nginx-25252F",
        "g01-nested-nginx-2F",
        "g01-nested-nginx-2f-lower",
        "g01-nested-nginx-slash",
        // The digest was encoded twice. A mistake of ours would look like this, so it says nothing of the artifact.
        "a03g-image-digest-percent-253A",
    ];
    let mut seen = 0;
    for recording in all() {
        let Some(answer) = recording.response.as_ref().filter(|answer| answer.status == 404) else {
            continue;
        };
        if !recording.path().contains("/api/v2.0/")
            || recording.request.as_ref().unwrap().method.as_ref() == "HEAD"
        {
            continue;
        }
        let expected = if mangled.contains(&&*recording.name) { NotFound::Mangled } else { NotFound::Absent };
        assert_eq!(not_found(&answer.body()), expected, "{}", recording.name);
        seen += 1;
    }
    assert!(seen > 60, "{seen} recorded 404s of the API");
}

/// Each recorded JSON error has this format and a code, and nothing else has.
#[test]
fn envelopes() {
    let mut seen = 0;
    for recording in all() {
        let Some(answer) = &recording.response else { continue };
        let expected = answer.json().pointer("/errors/0/code").and_then(serde_json::Value::as_str);
        let body = answer.body();
        assert_eq!(fault(&body).as_ref().map(|fault| &*fault.code), expected, "{}", recording.name);
        seen += usize::from(expected.is_some());
    }
    assert!(seen > 200, "{seen} recorded envelopes");
    for other in ["", "<html>", "{}", r#"{"errors":[]}"#, r#"{"errors":null}"#, r#"{"errors":[{"co"#] {
        assert_eq!(fault(other.as_bytes()), None, "{other}");
        assert_eq!(not_found(other.as_bytes()), NotFound::NotHarbor, "{other}");
    }
}
