//! All stored reports of the recordings.

use super::*;
use crate::harbor::recordings::named;

fn items(items: &[(&str, Severity)]) -> Vec<(Box<str>, Severity)> {
    items.iter().map(|(id, severity)| ((*id).into(), *severity)).collect()
}

#[test]
fn every_report_that_was_recorded() {
    use Severity::{Low, Medium};
    let fresh = [("CVE-2024-1000", Low), ("CVE-2024-1001", Medium)];
    let later = [("CVE-2024-10003", Low), ("CVE-2024-10014", Medium)];
    for (name, generated, expected) in [
        ("a05-additions-vulnerabilities", "2026-11-21T06:41:00Z", fresh),
        // Harbor serves it while the scanner is down …
        ("e05-refused-additions-vulnerabilities", "2026-11-21T06:41:00Z", fresh),
        // … and while the overview says `Error` because the task row is gone.
        ("w10b-additions-after-delete", "2026-11-21T07:31:16Z", later),
        ("w10e-additions", "2026-11-21T07:34:54Z", later),
        ("w30b-task-row-gone-additions", "2026-11-21T07:34:11Z", later),
    ] {
        let expected =
            Stored { severity: Medium, generated: Some(generated.parse().unwrap()), items: items(&expected) };
        assert_eq!(stored(&named(name).response().body()).unwrap(), Some(expected), "{name}");
    }
    for name in ["d03-additions-vulnerabilities-of-failed", "d04-additions-vulnerabilities-of-unscanned"] {
        assert_eq!(stored(&named(name).response().body()).unwrap(), None, "{name}");
    }
}

#[test]
fn reports_by_hand() {
    let check = |report: &str, expected: Option<Stored>| {
        let body = format!(r#"{{"application/vnd.security.vulnerability.report; version=1.1":{report}}}"#);
        assert_eq!(stored(body.as_bytes()).unwrap(), expected, "{report}");
    };
    use Severity::{Critical, High, Low, None as Clean, Unknown};
    let report = |severity, found: &[_]| Some(Stored { severity, generated: None, items: items(found) });
    check("null", None);
    check(r#"{"severity":"None","vulnerabilities":null}"#, report(Clean, &[]));
    check(r#"{"severity":"None","vulnerabilities":[]}"#, report(Clean, &[]));
    // Without any severity nothing shows that it is clean.
    check("{}", report(Unknown, &[]));
    // One identifier in three packages counts once, by its worst.
    check(
        r#"{"severity":"High","vulnerabilities":[{"id":"B","severity":"Low"},{"id":"A","severity":"Low"},
            {"id":"B","severity":"High","links":["x"],"new":{}},{"id":"B"}]}"#,
        report(High, &[("A", Low), ("B", High)]),
    );
    // Harbor says `None` of only `Unknown` ones; one without a word is unknown, one with a strange word the worst.
    check(
        r#"{"severity":"None","vulnerabilities":[{"id":"A","severity":"Unknown"}]}"#,
        report(Unknown, &[("A", Unknown)]),
    );
    check(r#"{"vulnerabilities":[{"id":"A"}]}"#, report(Unknown, &[("A", Unknown)]));
    check(r#"{"vulnerabilities":[{"id":"A","severity":"Odd"}]}"#, report(Critical, &[("A", Critical)]));
    // Without an identifier it still counts.
    check(r#"{"vulnerabilities":[{"severity":"High"}]}"#, report(High, &[("", High)]));
    // An escape in an identifier.
    check(r#"{"vulnerabilities":[{"id":"\u0041","severity":"Low"}]}"#, report(Low, &[("A", Low)]));

    for other in
        ["", "<html>", "[]", r#"{"m":{"vulnerabilities":7}}"#, r#"{"m":{"vulnerabilities":[{"id":"A"}"#]
    {
        assert!(stored(other.as_bytes()).is_err(), "{other}");
    }
}
