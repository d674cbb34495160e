//! The scan question against replayed recordings, state by state.

use super::*;
use crate::domain::scan::Severity::{self, Low, Medium};
use crate::harbor::api::REPORTS;
use crate::harbor::recordings::{Response, named};
use crate::harbor::replay::{Replay, Script, at_once, image_of, soon};

const ROBOT: &str = "projrobot";

async fn ask(replay: &Replay, about: &str, detail: Detail, deadline: Instant) -> ScanAnswer {
    let (repository, digest) = image_of(about);
    replay.harbor.scan(&repository, &digest, detail, deadline).await
}

/// The first recording is of the question, the others are of the requests that follow it.
async fn row(script: Script, about: &str, scanner: Scanner, state: ScanState) -> Option<Report> {
    let replay = script.play().await;
    let found = ask(&replay, about, Detail::Summary, soon()).await;
    assert_eq!((found.scanner, &found.state), (scanner, &state), "{about}: {:#?}", replay.requests());
    found.last
}

/// A row whose answer is a cause.
async fn unknown(script: Script, about: &str, cause: Cause) {
    let replay = script.play().await;
    let found = ask(&replay, about, Detail::Summary, soon()).await;
    let ok = matches!(&found.state, ScanState::Unknown(unknown) if unknown.cause == cause);
    assert!(ok, "{about}: {found:?} after {:#?}", replay.requests());
    assert_eq!((found.scanner, found.last), (Scanner::Unknown, None), "{about}");
}

fn report(severity: Severity, finished: &str) -> Report {
    Report { severity, finished: Some(finished.parse().unwrap()), vulnerabilities: None }
}

fn done(severity: Severity, finished: &str) -> ScanState {
    ScanState::Done(report(severity, finished))
}

fn answer_of(name: &str) -> Response {
    named(name).response().clone()
}

/// The path of what belongs to the artifact of a recording.
fn beside(about: &str, rest: &str) -> String {
    format!("{}{rest}", named(about).path().split('?').next().unwrap())
}

/// One request is enough if there is an overview.
#[tokio::test]
async fn an_overview_needs_no_more() {
    use ScanState::{Failed, Pending};
    for (caller, name, state) in [
        (ROBOT, "a03-image-scanned-by-digest", done(Medium, "2026-11-21T06:41:00Z")),
        ("minrobot", "a03b-image-scanned-by-digest-min-robot", done(Medium, "2026-11-21T06:41:00Z")),
        (ROBOT, "a13-index-all-children-scanned", done(Medium, "2026-11-21T06:41:09Z")),
        // The repository is nested: only `%252F` was recorded as found.
        (ROBOT, "g01-nested-nginx-252F", done(Medium, "2026-11-21T06:57:28Z")),
        // Scanned in another project: reports belong to digest and scanner (facts §1.4).
        ("sysrobot", "k01-same-digest-other-project-not-triggered", done(Medium, "2026-11-21T06:41:00Z")),
        // Harbor sums up two `Unknown` ones as `None`.
        (ROBOT, "f07-image-unk", done(Severity::Unknown, "2026-11-21T06:57:16Z")),
        (ROBOT, "c01-scan-status-Pending", Pending),
        (ROBOT, "c01-scan-status-Running", Pending),
        (ROBOT, "d01-scan-error-err", Failed),
        (ROBOT, "c06-after-scan-stop", Failed),
        (ROBOT, "f01-index-one-child-error", Failed),
        (ROBOT, "f04-index-one-child-running", Pending),
        (ROBOT, "f05-index-both-children-error", Failed),
    ] {
        let last = row(Script::of(caller, &[name]), name, Scanner::Present, state).await;
        assert_eq!(last, None, "{name}");
    }
}

/// `Error` because the task row was deleted: the stored report is the last known scan.
#[tokio::test]
async fn a_swept_error_keeps_its_report() {
    let about = "w30-task-row-gone";
    let script = Script::of(ROBOT, &[about, "w30b-task-row-gone-additions"]);
    let last = row(script, about, Scanner::Present, ScanState::Failed).await;
    assert_eq!(last, Some(report(Medium, "2026-11-21T07:34:11Z")));
}

/// Without an overview the project's scanner tells why.
#[tokio::test]
async fn never_scanned() {
    use ScanState::NotScanned;
    for name in [
        "a00-image-not-scanned-yet",
        "b01-present-not-scanned",
        "a10-index-not-scanned",
        "a11-index-one-child-scanned-one-unscanned",
    ] {
        let script = Script::of(ROBOT, &[name, "e00-scanner-health-up"]);
        assert_eq!(row(script, name, Scanner::Present, NotScanned).await, None);
    }
    // Scanned by the scanner that the project had before.
    let about = "w06-project-scanner-changed";
    row(Script::of(ROBOT, &[about, "w06c-project-scanner"]), about, Scanner::Present, NotScanned).await;
    // The project's scanner is disabled, or there is none: Harbor answers an empty registration then.
    let about = "w22-disabled-scanner-artifact";
    row(Script::of(ROBOT, &[about, "w23-disabled-project-scanner"]), about, Scanner::Absent, NotScanned)
        .await;
    let none = Response::new(200, "application/json", "{}");
    let script = Script::of(ROBOT, &[about]).at("GET", "/api/v2.0/projects/priv/scanner", none);
    row(script, about, Scanner::Absent, NotScanned).await;
    // A robot without `scanner:read`; the artifact was recorded of another one, for it reads the same.
    let about = "a00-image-not-scanned-yet";
    let script = Script::of("minrobot", &["o01-project-priv-scanner-minrobot"]).borrow(about);
    row(script, about, Scanner::Hidden, NotScanned).await;
    // The scanner could not be learned: it may be down, and the image scanned.
    let broken = answer_of("q01-pg-stopped-api-robot");
    let script = Script::of(ROBOT, &[about]).at("GET", "/api/v2.0/projects/priv/scanner", broken);
    unknown(script, about, Cause::ServerError).await;
}

/// Facts §9, scanner down: the overview is gone, the project's scanner unhealthy, the stored report still there.
#[tokio::test]
async fn the_scanner_is_down() {
    use ScanState::ScannerDown;
    let (about, down) = ("e01-refused-artifact", "e02-refused-project-scanner");
    let script = Script::of(ROBOT, &[about, down, "e05-refused-additions-vulnerabilities"]);
    let last = row(script, about, Scanner::Present, ScannerDown).await;
    assert_eq!(last, Some(report(Medium, "2026-11-21T06:41:00Z")));
    for kind in ["http503", "hang"] {
        let (about, down) = (format!("e01-{kind}-artifact"), format!("e02-{kind}-project-scanner"));
        let script = Script::of(ROBOT, &[&about, &down, "e05-refused-additions-vulnerabilities"]);
        assert!(row(script, &about, Scanner::Present, ScannerDown).await.is_some(), "{about}");
    }
    // Nothing was ever stored.
    let never = "b01-present-not-scanned";
    let script = Script::of(ROBOT, &[never, down, "d04-additions-vulnerabilities-of-unscanned"]);
    assert_eq!(row(script, never, Scanner::Present, ScannerDown).await, None);
    // Our robot may read the scanner but not the report, or Harbor cannot serve the report now.
    let script = Script::of(ROBOT, &[about, down]).borrow("w31-additions-min-robot");
    assert_eq!(row(script, about, Scanner::Present, ScannerDown).await, None);
    let additions = beside(about, "/additions/vulnerabilities");
    let broken = answer_of("q41-core-down-api");
    let script = Script::of(ROBOT, &[about, down]).at("GET", &additions, broken);
    assert_eq!(row(script, about, Scanner::Present, ScannerDown).await, None);
}

#[tokio::test]
async fn absent_and_forbidden() {
    use ScanState::{Absent, Hidden};
    // The artifact does not exist, but the scanner is known.
    for about in [
        "h01-api-priv-absent-digest-projrobot",
        "h01-api-priv-absent-repo-projrobot",
        // Scanned elsewhere in the project, but not in this repository.
        "k02-same-digest-in-other-repo",
    ] {
        let script = Script::of(ROBOT, &[about, "o01-project-priv-scanner-projrobot"]);
        row(script, about, Scanner::Present, Absent).await;
    }
    // The project is absent: 403, and `HEAD /projects` 404.
    let about = "h01-api-absent-project-projrobot";
    let script = Script::of(ROBOT, &[about, "r40-head-project-nosuchproject-projrobot"]);
    row(script, about, Scanner::Absent, Absent).await;
    // It exists and we may not read it: 403, and 200.
    let about = "h01-api-otherpriv-present-projrobot";
    let script = Script::of(ROBOT, &[about, "r40-head-project-other-projrobot"]);
    row(script, about, Scanner::Hidden, Hidden).await;
    // A robot that may only pull; that `priv` exists was recorded of another caller, but is told to all.
    let about = "h01-api-priv-present-pullonly";
    let script = Script::of("pullonly", &[about]).borrow("o02-head-project-exists");
    row(script, about, Scanner::Hidden, Hidden).await;
    // Credentials that are wrong, disabled, expired or deleted.
    for (caller, about, info) in [
        ("wrongpw", "h01-api-priv-present-wrongpw", "o01-systeminfo-wrongpw"),
        ("disabled-robot", "r20-disabled-robot-api-private", "r23-disabled-robot-systeminfo"),
        ("expired-robot", "r20-expired-robot-api-private", "r23-expired-robot-systeminfo"),
        ("deleted-robot", "r20-deleted-robot-api-private", "r23-deleted-robot-systeminfo"),
    ] {
        unknown(Script::of(caller, &[about, info]), about, Cause::Unauthorized).await;
    }
}

#[tokio::test]
async fn harbor_is_down() {
    unknown(Script::of(ROBOT, &["q01-pg-stopped-api-robot"]), "q01-pg-stopped-api-robot", Cause::ServerError)
        .await;
    unknown(Script::of(ROBOT, &["q41-core-down-api"]), "q41-core-down-api", Cause::ServerError).await;
    // PostgreSQL frozen: no answer in 25 s.
    let silent = "q21-pg-frozen-api-robot";
    let replay = Script::of(ROBOT, &[silent]).play().await;
    let found = ask(&replay, silent, Detail::Summary, at_once()).await;
    assert!(
        matches!(&found.state, ScanState::Unknown(unknown) if unknown.cause == Cause::Deadline),
        "{found:?}"
    );
}

/// A proxy in front of Harbor uses the same statuses. None of them means absence.
#[tokio::test]
async fn what_is_not_harbors_word() {
    let about = "g01-nested-nginx-252F";
    let path = named(about).path().to_owned();
    let check = async |answer: Response, cause: Cause| {
        unknown(Script::of(ROBOT, &[]).at("GET", &path, answer), about, cause).await;
    };
    // `%252F` arrives decoded once more, or encoded once more.
    check(answer_of("g01-nested-nginx-2F"), Cause::NotRegistry).await;
    check(answer_of("g01-nested-nginx-25252F"), Cause::NotRegistry).await;
    for (status, kind, body, cause) in [
        (404, "text/html", "<html>404</html>", Cause::NotRegistry),
        (403, "text/html", "<html>blocked by the firewall</html>", Cause::NotRegistry),
        (200, "text/html", "<html>log in</html>", Cause::NotRegistry),
        (200, "application/json", r#"{"status":"ok"}"#, Cause::NotRegistry),
        (400, "text/plain", "bad request", Cause::NotRegistry),
        (429, "application/json", "{}", Cause::RateLimited { retry_after: None }),
        (503, "text/html", "<html>busy</html>", Cause::ServerError),
    ] {
        check(Response::new(status, kind, body), cause).await;
    }
    check(answer_of("a03-image-scanned-by-digest"), Cause::WrongDigest).await;
}

#[tokio::test]
async fn a_repository_without_a_project() {
    let replay = Script::of(ROBOT, &[]).play().await;
    let (_, digest) = image_of("a03-image-scanned-by-digest");
    let found = replay.harbor.scan(&Repository::new("foo"), &digest, Detail::Summary, soon()).await;
    assert!(
        matches!(&found.state, ScanState::Unknown(unknown) if unknown.cause == Cause::NotRegistry),
        "{found:?}"
    );
    assert!(replay.requests().is_empty());
}

/// The list of vulnerabilities, and the project's allowlist.
#[tokio::test]
async fn vulnerabilities() {
    let about = "a03-image-scanned-by-digest";
    let items: Vec<(Box<str>, Severity)> =
        vec![("CVE-2024-1000".into(), Low), ("CVE-2024-1001".into(), Medium)];
    let project = "/api/v2.0/projects/priv";
    let system = "/api/v2.0/system/CVEAllowlist";
    let json = |body: &str| Response::new(200, "application/json", body);
    let list = r#"{"id":1,"project_id":0,"items":[{"cve_id":"CVE-2024-1001"}]}"#;
    let base = || Script::of(ROBOT, &[about, "a05-additions-vulnerabilities"]);
    let own = |end: &str| {
        json(&format!(
            r#"{{"name":"priv","metadata":{{"reuse_sys_cve_allowlist":"false"}},
                "cve_allowlist":{{"items":[{{"cve_id":"CVE-2024-1000"}}],"expires_at":{end}}}}}"#
        ))
    };
    let as_recorded = || base().borrow("o01-project-priv-projrobot");
    for (case, script, allowlist) in [
        ("the system's list", as_recorded().at("GET", system, json(list)), vec!["CVE-2024-1001"]),
        (
            "which we may not read",
            as_recorded().at("GET", system, answer_of("w31-additions-min-robot")),
            vec![],
        ),
        ("the project's own", base().at("GET", project, own("null")), vec!["CVE-2024-1000"]),
        ("which has expired", base().at("GET", project, own("1700000000")), vec![]),
        ("a project that we may not read", base().borrow("o01-project-priv-minrobot"), vec![]),
    ] {
        let replay = script.play().await;
        let found = ask(&replay, about, Detail::Vulnerabilities, soon()).await;
        let allowlist = allowlist.into_iter().map(Into::into).collect();
        let vulnerabilities = Some(Arc::new(Vulnerabilities { items: items.clone(), allowlist }));
        let expected = Report { vulnerabilities, ..report(Medium, "2026-11-21T06:41:00Z") };
        assert_eq!(
            found,
            answer(Scanner::Present, ScanState::Done(expected)),
            "{case}: {:#?}",
            replay.requests()
        );
    }
    // The stored report while the scanner is down, item by item.
    let about = "e01-refused-artifact";
    let names = [about, "e02-refused-project-scanner", "e05-refused-additions-vulnerabilities"];
    let script = Script::of(ROBOT, &names).at("GET", project, own("null"));
    let found = ask(&script.play().await, about, Detail::Vulnerabilities, soon()).await;
    let allowlist = vec!["CVE-2024-1000".into()];
    let vulnerabilities = Some(Arc::new(Vulnerabilities { items, allowlist }));
    assert_eq!(found.last, Some(Report { vulnerabilities, ..report(Medium, "2026-11-21T06:41:00Z") }));
}

/// Without `artifact-addition:read` only the summary is used. A temporary error must not be taken for that.
#[tokio::test]
async fn vulnerabilities_that_cannot_be_read() {
    let about = "a03b-image-scanned-by-digest-min-robot";
    let finished = "2026-11-21T06:41:00Z";
    let replay = Script::of("minrobot", &[about, "w31-additions-min-robot"]).play().await;
    let found = ask(&replay, about, Detail::Vulnerabilities, soon()).await;
    assert_eq!(found, answer(Scanner::Present, done(Medium, finished)));

    let additions = beside(about, "/additions/vulnerabilities");
    let too_large = Response::new(200, "application/json", &" ".repeat(9 * 1024 * 1024));
    for (answer, cause) in
        [(answer_of("q41-core-down-api"), Cause::ServerError), (too_large, Cause::TooLarge)]
    {
        let replay = Script::of("minrobot", &[about]).at("GET", &additions, answer).play().await;
        let found = ask(&replay, about, Detail::Vulnerabilities, soon()).await;
        let ok = matches!(&found.state, ScanState::Unknown(unknown) if unknown.cause == cause);
        assert!(ok, "{found:?}");
        assert_eq!(found.last, Some(report(Medium, finished)));
    }
}

/// Reports are large: only so many are in memory at once, and nobody waits for them beyond the deadline.
#[tokio::test]
async fn reports_wait_for_each_other() {
    let replay = Script::of(ROBOT, &[]).play().await;
    let (repository, digest) = image_of("a03-image-scanned-by-digest");
    let artifact = Artifact::new(&repository, &digest.to_string()).unwrap();
    let (detail, deadline) = (Detail::Vulnerabilities, Instant::now());
    let question = Question { harbor: &replay.harbor, artifact, detail, deadline };
    let others = replay.harbor.reports.acquire_many(u32::try_from(REPORTS).unwrap()).await.unwrap();
    assert_eq!(question.stored().await.unwrap_err().cause, Cause::Overloaded);
    assert!(replay.requests().is_empty(), "{:?}", replay.requests());
    drop(others);
    let asked = Question { deadline: soon(), ..question }.stored().await;
    assert_eq!(asked.unwrap_err().cause, Cause::ServerError, "now it is asked, and has no answer");
    assert_eq!(replay.harbor.reports.available_permits(), REPORTS);
}

/// The scanner belongs to the project: many artifacts share one look-up, which goes on if a caller gives up.
#[tokio::test]
async fn the_scanner_is_asked_once() {
    let (first, second) = ("w22-disabled-scanner-artifact", "b01-present-not-scanned");
    let scanner = "GET /api/v2.0/projects/priv/scanner";
    let script = Script::of(ROBOT, &[first, second, "w23-disabled-project-scanner"]);
    let replay = script.play_held_back().await;
    replay.let_through(1);
    // The artifact is answered, the scanner hangs: this caller learns nothing, …
    let found = ask(&replay, first, Detail::Summary, at_once()).await;
    assert!(
        matches!(&found.state, ScanState::Unknown(unknown) if unknown.cause == Cause::Deadline),
        "{found:?}"
    );
    // … but its question goes on, and serves the next ones.
    replay.let_through(1 + 2);
    for about in [first, second] {
        let found = ask(&replay, about, Detail::Summary, soon()).await;
        assert_eq!(found, answer(Scanner::Absent, ScanState::NotScanned), "{:#?}", replay.requests());
    }
    assert_eq!(replay.times(scanner), 1, "{:#?}", replay.requests());
}
