//! Rules, executions, tasks and pushes: recorded answers, and answers by hand.

use serde_json::json;

use super::*;
use crate::domain::pattern::Pattern;
use crate::domain::replication::{Copies, Filter, On, Remote, Selects, Standing, Tasks, Trigger};
use crate::harbor::recordings::{Response, named};
use crate::harbor::replay::{Script, soon};

fn body(name: &str) -> Vec<u8> {
    named(name).response().body()
}

#[test]
fn recorded_rules() {
    let Page { rules, full } = rules(&body("o01-repl-policies-sysrobot")).unwrap();
    assert!(!full && rules.len() == 10, "{rules:?}");
    let named = |name: &str| rules.iter().find(|rule| &*rule.name == name).unwrap();
    let event = named("ev-lib");
    assert_eq!((event.id, event.standing, &event.trigger), (20, Standing::Enabled, &Trigger::OnPush));
    assert_eq!(
        event.copies,
        Copies::To(Remote {
            name: "B-admin".into(),
            url: "http://127.0.0.1:8100".into(),
            kind: "harbor".into()
        })
    );
    let pattern =
        |text: &str| Filter { on: On::Name(Pattern::new(text).unwrap()), selects: Selects::Matching };
    assert_eq!(event.filters, [pattern("lib/**")]);
    assert_eq!(event.destination, ("".into(), -1));
    assert!(event.created.is_some());
    assert_eq!(named("ev-priv").destination, ("froma".into(), 1));
    assert!(rules.iter().all(|rule| matches!(rule.copies, Copies::To(_))));
}

#[test]
fn recorded_executions_and_tasks() {
    let read = |name: &str| executions(&body(name)).unwrap();
    let running = &read("m04-executions-after-event")[0];
    assert_eq!((running.status, running.ended), (Status::InProgress, None), "its count says it is done");
    assert_eq!(running.tasks, Tasks { total: 1, succeeded: 1, ..Tasks::default() });
    let down = read("v09-exec-dest-down");
    assert_eq!((down[0].status, down[0].tasks.total), (Status::Failed, 0));
    assert!(down[0].reason.starts_with("failed to create adapter for destination registry"), "{down:?}");
    assert_eq!((down[1].status, &*down[1].reason), (Status::Succeed, ""));
    assert_eq!(read("n01-executions-override-false").len(), 2);
    assert_eq!(read("o01-repl-executions-admin").len(), 2);
    let (counted, about) = tasks(&body("x20-immutable-tasks")).unwrap();
    assert_eq!(counted, Tasks { total: 1, failed: 1, ..Tasks::default() });
    assert_eq!(about.as_deref(), Some("lib/immu [1 item(s) in total]"));
    assert_eq!(tasks(&body("t06b-execution-failed-shallow-tasks")).unwrap(), (Tasks::default(), None));
    assert_eq!(tasks(&body("m18d-tasks-deletion")).unwrap().0.succeeded, 1);
}

#[test]
fn what_is_missing_null_false_or_of_another_version() {
    let one = |rule: serde_json::Value| rules(json!([rule]).to_string().as_bytes()).unwrap().rules.pop();
    let least = json!({"id": 1, "name": "r", "dest_registry": {"id": 3, "url": "https://b"}});
    let with = |field: &str, value: serde_json::Value| {
        let mut rule = least.clone();
        rule[field] = value;
        one(rule)
    };
    let found = one(least.clone()).unwrap();
    assert_eq!(found.standing, Standing::Disabled, "Harbor leaves out what is false");
    assert_eq!((found.trigger, found.created), (Trigger::Manual, None));
    for (field, value) in [
        ("trigger", json!(null)),
        ("filters", json!(null)),
        ("filters", json!([])),
        ("src_registry", json!(null)),
        ("src_registry", json!({"id": 0, "name": "Local"})),
        ("from_the_future", json!([1, {"a": null}])),
        ("creation_time", json!("0001-01-01T00:00:00.000Z")),
    ] {
        assert!(with(field, value.clone()).is_some(), "{field} {value}");
    }
    for (field, value) in [
        ("id", json!(null)),
        ("name", json!(null)),
        ("dest_registry", json!(null)),
        ("dest_registry", json!({"id": 0})),
        ("src_registry", json!({"id": 4, "url": "https://c"})),
    ] {
        assert!(with(field, value.clone()).is_none(), "{field} {value}: Harbor has no such rule");
    }
    let trigger = |kind: &str, cron: &str| {
        with("trigger", json!({"type": kind, "trigger_settings": {"cron": cron}})).unwrap().trigger
    };
    assert_eq!(trigger("scheduled", "0 0 * * * *"), Trigger::Scheduled("0 0 * * * *".parse().unwrap()));
    assert_eq!(trigger("scheduled", "@daily"), Trigger::Unread("@daily".into()));
    assert_eq!(trigger("scheduled", ""), Trigger::Unread("".into()));
    assert_eq!(trigger("event_based", ""), Trigger::OnPush);
    assert_eq!(trigger("of 2.99", ""), Trigger::Unread("of 2.99".into()));
    let filter = |filter: serde_json::Value| with("filters", json!([filter])).unwrap().filters.pop();
    let other = |word: &str, selects| Some(Filter { on: On::Other(word.into()), selects });
    for (given, expected) in [
        (json!({"type": "name", "value": ""}), None),
        (json!({"type": "name"}), None),
        (json!({"type": "resource", "value": "image"}), None),
        (json!({"type": "label", "value": ["a"]}), other("label", Selects::Matching)),
        (json!({"type": "label", "value": ["a"], "decoration": "excludes"}), other("label", Selects::Others)),
        (json!({"type": "name", "value": "a//b"}), other("name", Selects::Matching)),
        (json!({"type": "name", "value": 7}), other("name", Selects::Matching)),
        (json!({"type": "tag", "value": "v", "decoration": "nearly"}), other("nearly", Selects::Matching)),
    ] {
        assert_eq!(filter(given.clone()), expected, "{given}");
    }
    let excluded = filter(json!({"type": "tag", "value": "v*", "decoration": "excludes"})).unwrap();
    assert!(matches!(excluded, Filter { on: On::Tag(_), selects: Selects::Others }));
    let hostile = with("name", json!("\u{202e}evil\n\u{1b}[2J".repeat(9_000))).unwrap().name;
    assert!(hostile.chars().count() <= 300 && !hostile.contains(['\u{202e}', '\n', '\u{1b}']));

    let run = |run: serde_json::Value| executions(json!([run]).to_string().as_bytes()).unwrap().pop();
    let least = run(json!({"id": 1})).unwrap();
    assert_eq!((least.status, least.started, least.tasks), (Status::InProgress, None, Tasks::default()));
    assert_eq!(run(json!({"id": 1, "status": "Dreaming", "total": -5})).unwrap().status, Status::InProgress);
    assert_eq!(run(json!({"status": "Failed"})), None);
    assert!(executions(b"null").unwrap().is_empty());
    for wrong in [&b"{}"[..], b"[[]]", b"<html>", b"", br#"[{"id": "1"}]"#] {
        assert!(executions(wrong).is_err() && rules(wrong).is_err() && tasks(br#"[[]]"#).is_err());
    }
    let many: Vec<_> = (0..5_000).map(|id| json!({"id": id})).collect();
    assert_eq!(executions(json!(many).to_string().as_bytes()).unwrap().len(), PAGE, "no page is longer");
}

const POLICIES: &str = "/api/v2.0/replication/policies?page=1&page_size=100";

fn ok(body: &str) -> Response {
    Response::new(200, "application/json", body)
}

#[tokio::test]
async fn a_right_that_is_missing_is_not_an_empty_list() {
    let refused = || named("o01-repl-policies-minrobot").response().clone();
    let replay = Script::of("minrobot", &[])
        .at("GET", POLICIES, refused())
        .at("GET", "/api/v2.0/replication/executions?policy_id=20&page_size=10", refused())
        .at("GET", "/api/v2.0/projects/lib/artifacts?page_size=100&with_tag=true", refused())
        .play()
        .await;
    assert_eq!(replay.harbor.rules(1, soon()).await.unwrap(), Allowed::Forbidden);
    assert_eq!(replay.harbor.executions(20, soon()).await.unwrap(), Allowed::Forbidden);
    assert_eq!(replay.harbor.pushes("lib", soon()).await.unwrap(), Allowed::Forbidden);
}

#[tokio::test]
async fn tasks_are_counted_where_the_last_execution_failed() {
    let failed =
        json!({"id": 9, "status": "Failed", "total": 2, "failed": 2, "succeed": 0, "status_text": ""});
    let running = json!({"id": 10, "status": "InProgress"});
    let ask = |tasks: &str| {
        let list = json!([failed, running]).to_string();
        Script::of("sysrobot", &[])
            .at("GET", "/api/v2.0/replication/executions?policy_id=4&page_size=10", ok(&list))
            .at("GET", "/api/v2.0/replication/executions/9/tasks?page_size=100", ok(tasks))
    };
    let both = json!([
        {"status": "Failed", "src_resource": "lib/a [1 item(s) in total]"},
        {"status": "Succeed", "src_resource": "lib/b [1 item(s) in total]"},
    ]);
    let retried = json!([{"status": "Succeed"}, {"status": "Succeed"}]);
    for (tasks, expected, reason) in [
        (
            both.to_string(),
            Tasks { total: 2, failed: 1, succeeded: 1, ..Tasks::default() },
            "1 of 2 tasks failed, the first of them for lib/a [1 item(s) in total]",
        ),
        (retried.to_string(), Tasks { total: 2, succeeded: 2, ..Tasks::default() }, ""),
        ("[]".into(), Tasks { total: 2, failed: 2, ..Tasks::default() }, ""),
    ] {
        let replay = ask(&tasks).play().await;
        let Allowed::Granted(found) = replay.harbor.executions(4, soon()).await.unwrap() else { panic!() };
        assert_eq!((found[0].id, found[1].id), (10, 9), "the newest first");
        assert_eq!((found[1].tasks, &*found[1].reason), (expected, reason));
    }
}

#[tokio::test]
async fn pushes_of_a_harbor_that_does_not_list_them() {
    let path = "/api/v2.0/projects/lib/artifacts?page_size=100&with_tag=true";
    let none = r#"{"errors":[{"code":"NOT_FOUND","message":"path /api/v2.0/projects/lib/artifacts was not found"}]}"#;
    let list = json!([
        {"repository_name": "lib/a", "push_time": "2026-07-01T00:00:00.000Z", "tags": [{"name": "v1"}]},
        {"repository_name": "lib/b", "push_time": "0001-01-01T00:00:00.000Z", "tags": null},
        {"push_time": "2026-07-01T00:00:00.000Z"},
    ]);
    for (answer, count) in
        [(Response::new(404, "application/json", none), 0), (ok(&list.to_string()), 1), (ok("null"), 0)]
    {
        let replay = Script::of("sysrobot", &[]).at("GET", path, answer).play().await;
        let Allowed::Granted(found) = replay.harbor.pushes("lib", soon()).await.unwrap() else { panic!() };
        assert_eq!(found.len(), count);
    }
}
