//! All scan overviews and scanners of the recordings.

use super::*;
use crate::harbor::recordings::{Recording, all, named};

fn done(severity: Severity, finished: &str) -> Overview {
    Overview::State(ScanState::Done(Report {
        severity,
        finished: Some(finished.parse().unwrap()),
        vulnerabilities: None,
    }))
}

fn read(recording: &Recording) -> Overview {
    let answer = recording.response();
    let digest = answer.json()["digest"].as_str().unwrap().parse().unwrap();
    overview(&answer.body(), &digest).unwrap()
}

/// The recordings that are neither plainly scanned (`Success`, 100 %, `Medium`) nor without an overview.
fn special() -> Vec<(&'static str, Overview)> {
    use Overview::{State, Swept};
    use ScanState::{Failed, Pending};
    vec![
        ("a12b-index-just-triggered", State(Pending)),
        ("c01-scan-status-Pending", State(Pending)),
        ("c01-scan-status-Running", State(Pending)),
        // A rescan of a Success: its summary is gone at once.
        ("c04-after-rescan-trigger", State(Pending)),
        ("c06-after-scan-stop", State(Failed)),
        ("c06b-after-scan-stop-7s", State(Failed)),
        ("d01-scan-error-err", State(Failed)),
        ("d01-scan-error-err2", State(Failed)),
        ("d01-scan-error-err3", State(Failed)),
        ("d05-success-then-rescan-failed", State(Failed)),
        // `Success`, but 50 %: one of two children.
        ("f01-index-one-child-error", State(Failed)),
        ("f02-index-child-success", done(Severity::High, "2026-11-21T06:56:54Z")),
        ("f03-index-child-error", State(Failed)),
        ("f04-index-one-child-running", State(Pending)),
        ("f05-index-both-children-error", State(Failed)),
        ("f06-index-children-differ", done(Severity::Critical, "2026-11-21T07:02:51Z")),
        ("f06b-child0", done(Severity::Low, "2026-11-21T07:02:51Z")),
        ("f06c-child1", done(Severity::Critical, "2026-11-21T07:02:49Z")),
        ("f07-image-clean", done(Severity::None, "2026-11-21T06:57:19Z")),
        // Harbor sums up two `Unknown` ones as `None`.
        ("f07-image-unk", done(Severity::Unknown, "2026-11-21T06:57:16Z")),
        ("j02-api-clean", done(Severity::Low, "2026-11-21T07:03:07Z")),
        ("j02-api-err", State(Failed)),
        ("j02-api-high", done(Severity::High, "2026-11-21T07:03:07Z")),
        ("j02-api-slow", State(Pending)),
        // An allow-listed CVE leaves the overview as it is.
        ("j05b-allowlisted-high-api", done(Severity::High, "2026-11-21T07:03:07Z")),
        // The task row is gone: `Error` without times, while the stored report is good (w10e, w30b).
        ("w10d-after-delete-of-scanned-copy-settled", Swept),
        ("w30-task-row-gone", Swept),
    ]
}

#[test]
fn every_state_that_was_recorded() {
    for (name, expected) in special() {
        assert_eq!(read(named(name)), expected, "{name}");
    }
}

/// The rest: scanned with one `Low` and one `Medium`, or no overview at all. Which of the two, the key says.
#[test]
fn every_other_artifact_that_was_recorded() {
    let special = special();
    let (mut scanned, mut missing) = (0, 0);
    for recording in all() {
        let Some(answer) = recording.response.as_ref().filter(|answer| answer.status == 200) else {
            continue;
        };
        let artifact = answer.json().get("manifest_media_type").is_some();
        if !artifact || special.iter().any(|(name, _)| *name == &*recording.name) {
            continue;
        }
        match answer.json().get("scan_overview") {
            None => {
                assert_eq!(read(recording), Overview::Missing, "{}", recording.name);
                missing += 1;
            }
            Some(found) => {
                let finished = found[MIME_1_1]["end_time"].as_str().unwrap();
                assert_eq!(read(recording), done(Severity::Medium, finished), "{}", recording.name);
                scanned += 1;
            }
        }
    }
    assert_eq!((scanned, missing), (57, 61));
}

/// Answers that were not recorded, but are documented (older Harbors, other scanners) or could mislead.
#[test]
fn overviews_by_hand() {
    let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let check = |scan_overview: &str, expected: Overview| {
        let body = format!(r#"{{"digest":"{digest}","new":[1],"scan_overview":{scan_overview}}}"#);
        assert_eq!(overview(body.as_bytes(), &digest).unwrap(), expected, "{scan_overview}");
    };
    let success = |mime: &str, severity: &str| {
        let end = "2026-01-01T00:00:00Z";
        format!(
            r#""{mime}":{{"scan_status":"Success","complete_percent":100,"severity":"{severity}","end_time":"{end}"}}"#
        )
    };
    let finished = "2026-01-01T00:00:00Z";
    check("null", Overview::Missing);
    check("{}", Overview::Missing);
    check(&format!("{{{}}}", success(MIME_1_0, "Low")), done(Severity::Low, finished));
    check(&format!("{{{}}}", success("application/x", "Low")), done(Severity::Low, finished));
    let both = format!("{{{},{}}}", success(MIME_1_0, "Low"), success(MIME_1_1, "High"));
    check(&both, done(Severity::High, finished));
    // A severity that Harbor does not document is the worst.
    check(&format!("{{{}}}", success(MIME_1_1, "Apocalyptic")), done(Severity::Critical, finished));

    let one = |rest: &str| format!(r#"{{"{MIME_1_1}":{{{rest}}}}}"#);
    let failed = Overview::State(ScanState::Failed);
    check(&one(r#""scan_status":"Scheduled""#), Overview::State(ScanState::Pending));
    for rest in [
        r#""scan_status":"Success""#,
        r#""scan_status":"Success","complete_percent":99"#,
        r#""scan_status":"success","complete_percent":100"#,
        r#""scan_status":"Teapot","complete_percent":100"#,
        r#""scan_status":null"#,
        "",
    ] {
        check(&one(rest), failed.clone());
    }
    // Without severity and counts nothing shows that it is clean.
    check(
        &one(
            r#""scan_status":"Success","complete_percent":100,"end_time":"0001-01-01T00:00:00.000Z","summary":null"#,
        ),
        Overview::State(ScanState::Done(Report {
            severity: Severity::Unknown,
            finished: None,
            vulnerabilities: None,
        })),
    );
    // A count of zero does not count.
    let zero = r#""scan_status":"Success","complete_percent":100,"severity":"None","summary":{"summary":{"High":0}}"#;
    let clean = Report { severity: Severity::None, finished: None, vulnerabilities: None };
    check(&one(zero), Overview::State(ScanState::Done(clean)));
}

/// The answer of another artifact says nothing about this one.
#[test]
fn what_is_no_artifact() {
    let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let check = |body: &str| overview(body.as_bytes(), &digest).unwrap_err();
    for body in ["", "<html></html>", "[]", "null", "\"Pong\"", r#"{"digest":7}"#] {
        assert!(matches!(check(body), Malformed::Json { .. }), "{body}");
    }
    assert!(matches!(check(r#"{"status":"ok"}"#), Malformed::Field { .. }));
    let other = format!(r#"{{"digest":"sha256:{}"}}"#, "1".repeat(64));
    assert!(matches!(check(&other), Malformed::OtherDigest { .. }));
}

/// Facts §9, scanner down: health turns `unhealthy`, `capabilities` null, adapter, vendor and version go.
#[test]
fn every_scanner_that_was_recorded() {
    let mut seen = 0;
    for recording in all() {
        let Some(answer) = recording.response.as_ref().filter(|answer| answer.status == 200) else {
            continue;
        };
        if recording.path().rsplit('/').next() != Some("scanner") {
            continue;
        }
        let expected = match &*recording.name {
            // The PUT that disabled it succeeded; Harbor still calls it healthy.
            "w23-disabled-project-scanner" => ProjectScanner::Absent,
            // A recovery is seen late: Harbor caches its ping.
            "e02-refused-project-scanner"
            | "e02-http503-project-scanner"
            | "e02-hang-project-scanner"
            | "e02-recover-from-refused-project-scanner"
            | "e02-recover-from-503-project-scanner"
            | "e02-recover-from-hang-project-scanner" => ProjectScanner::Unhealthy,
            _ => ProjectScanner::Healthy,
        };
        assert_eq!(scanner(&answer.body()).unwrap(), expected, "{}", recording.name);
        seen += 1;
    }
    assert_eq!(seen, 20);
    for none in ["", "\n", "{}", "null", r#"{"uuid":""}"#] {
        assert_eq!(scanner(none.as_bytes()).unwrap(), ProjectScanner::Absent, "{none}");
    }
    for other in ["<html>", "[]", "7"] {
        assert!(scanner(other.as_bytes()).is_err(), "{other}");
    }
}
