//! What becomes of requests that are not answered, and what executions say.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::healing::{HealOutcome, outcome_of};
use crate::domain::image::Repository;
use crate::domain::replication::{Execution, Status, Tasks};
use crate::harbor::Harbor;
use crate::registry::{Client, Metrics, Tasks as Running};

use super::*;

/// The Harbor of these tests is closed: nothing listens.
fn closed() -> Harbor {
    let url = "http://127.0.0.1:9".parse().unwrap();
    let registry = crate::harbor::replay::registry(url, crate::domain::registry::CredentialSource::Anonymous);
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    Harbor::new(Arc::new(Client::new(&Arc::new(registry), metrics, Running::default()).unwrap()))
}

#[tokio::test]
async fn what_is_not_answered_is_unknown_and_never_a_refusal() {
    let deadline = Instant::now() + Duration::from_secs(5);
    let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
    let unknown = closed().start_scan(&Repository::new("shop/web"), &digest, deadline).await.unwrap_err();
    assert_eq!(unknown.cause, Cause::Connect);
    let unknown = closed().start_execution(1, deadline).await.unwrap_err();
    assert_eq!(unknown.cause, Cause::Connect);
}

#[test]
fn an_execution_that_harbor_has_not_counted_yet_has_ended_when_its_tasks_have() {
    let tasks = |succeeded, failed, total| Tasks { total, succeeded, failed, ..Tasks::default() };
    let by = |tasks: Tasks| {
        let status = Status::InProgress;
        Execution { id: 1, status, reason: "".into(), started: None, ended: None, tasks }.by_tasks()
    };
    assert_eq!(by(tasks(0, 0, 0)), Status::InProgress, "it has no task yet");
    assert_eq!(by(tasks(1, 0, 2)), Status::InProgress);
    assert_eq!(by(tasks(2, 0, 2)), Status::Succeed);
    assert_eq!(by(tasks(1, 1, 2)), Status::Failed);
}

#[test]
fn one_page_of_many_tasks_does_not_end_an_execution() {
    let ended = |total| Tasks { total, succeeded: total, ..Tasks::default() };
    let listed = |counted: Tasks, listed: Tasks| {
        let status = Status::InProgress;
        let mut execution =
            Execution { id: 1, status, reason: "".into(), started: None, ended: None, tasks: counted };
        execution.take_listed(listed, 100);
        execution.status
    };
    let running = |succeeded, total| Tasks { total, succeeded, ..Tasks::default() };
    assert_eq!(listed(running(0, 250), ended(100)), Status::InProgress, "150 others may run");
    assert_eq!(listed(running(0, 0), ended(100)), Status::InProgress, "Harbor has not counted them yet");
    assert_eq!(listed(running(250, 250), ended(100)), Status::Succeed);
    assert_eq!(listed(running(1, 2), ended(2)), Status::Succeed);
}

#[test]
fn a_failed_execution_tells_why_by_its_text_or_by_the_log_of_a_task() {
    let failed = |reason: &str| Execution {
        id: 1,
        status: Status::Failed,
        reason: reason.into(),
        started: None,
        ended: None,
        tasks: Tasks::default(),
    };
    for (reason, log, expected) in [
        ("dial tcp 10.0.0.1:443: connect: connection refused", "", HealOutcome::DestinationDown),
        (
            "the source repository \"lib/img\" contains only 1 path components [lib] excepting the last one, but the destination namespace flattening level is 2",
            "",
            HealOutcome::RuleTooShallow,
        ),
        (
            "",
            "http status code: 403, body: {\"errors\":[{\"code\":\"DENIED\",\"message\":\"adding 2.1 MiB of storage resource, which when updated to current usage of 9 MiB will exceed the configured upper limit of 10.0 MiB.\"}]}",
            HealOutcome::QuotaExceeded,
        ),
        (
            "",
            "http status code: 412, body: {\"errors\":[{\"code\":\"PRECONDITION\",\"message\":\"Failed to process request due to '1.4.2' configured as immutable.\"}]}",
            HealOutcome::TagImmutable,
        ),
        ("", "http status code: 401, body: unauthorized", HealOutcome::DestinationRefused),
        ("something else", "", HealOutcome::ExecutionFailed),
    ] {
        assert_eq!(outcome_of(&failed(reason), log, true), Some(expected), "{reason}{log}");
    }
    let mut succeeded = failed("");
    succeeded.status = Status::Succeed;
    assert_eq!(outcome_of(&succeeded, "", true), Some(HealOutcome::WithoutArtifact));
    assert_eq!(outcome_of(&succeeded, "", false), Some(HealOutcome::OverrideOff));
}
