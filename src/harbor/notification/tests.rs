//! The bodies that a real Harbor 2.15.2 sent, and those that its documentation shows.

use serde_json::{Value, json};

use super::*;

/// Every delivery that was recorded: its body, and the test's name for it.
fn recorded() -> Vec<(String, Value)> {
    let text = include_str!("../../../tests/vectors/harbor/replication-and-notifications.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut found = Vec::new();
    for case in &cases {
        for delivery in case["deliveries"].as_array().into_iter().flatten() {
            found.push((case["name"].as_str().unwrap().to_owned(), delivery["body"].clone()));
        }
    }
    found
}

fn read(body: &Value) -> Notification {
    notification(body.to_string().as_bytes()).unwrap()
}

fn here(body: &Value) -> Vec<String> {
    match read(body).changed {
        Changed::Here(changes) => changes.iter().map(said).collect(),
        other => panic!("{other:?}"),
    }
}

fn said(change: &Change) -> String {
    match change {
        Change::Digest(repository, digest) => format!("{repository}@{digest}"),
        Change::Tag(repository, tag) => format!("{repository}:{tag}"),
        Change::Repository(repository) => repository.to_string(),
    }
}

#[test]
fn every_recorded_delivery_is_read_alike_in_both_formats() {
    let recorded = recorded();
    assert!(recorded.len() > 60, "{}", recorded.len());
    let mut events = HashSet::new();
    for (case, body) in &recorded {
        let found = read(body);
        events.insert(found.event);
        assert_ne!(found.event, Event::Unknown, "{case}");
        let data = body.get("event_data").unwrap_or(&body["data"]);
        // The same in the other format.
        let other = match body.get("event_data") {
            Some(_) => json!({"specversion": "1.0", "type": cloud(found.event), "data": data}),
            None => json!({"type": plain(found.event), "occur_at": 1, "operator": "", "event_data": data}),
        };
        assert_eq!(read(&other), found, "{case}");
        if let Some(digest) = data["resources"][0]["digest"].as_str() {
            let name = data["repository"]["repo_full_name"].as_str().unwrap();
            assert!(here(body).contains(&format!("{name}@{digest}")), "{case}: {:?}", here(body));
        }
    }
    for event in [Event::Pushed, Event::Deleted, Event::ScanCompleted, Event::ScanFailed, Event::Replicated] {
        assert!(events.contains(&event), "{event}");
    }
}

fn plain(event: Event) -> &'static str {
    match event {
        Event::Pushed => "PUSH_ARTIFACT",
        Event::Deleted => "DELETE_ARTIFACT",
        Event::ScanCompleted => "SCANNING_COMPLETED",
        Event::ScanFailed => "SCANNING_FAILED",
        Event::Replicated => "REPLICATION",
        other => panic!("{other}"),
    }
}

fn cloud(event: Event) -> &'static str {
    match event {
        Event::Pushed => "harbor.artifact.pushed",
        Event::Deleted => "harbor.artifact.deleted",
        Event::ScanCompleted => "harbor.scan.completed",
        Event::ScanFailed => "harbor.scan.failed",
        Event::Replicated => "harbor.replication.status.changed",
        other => panic!("{other}"),
    }
}

const DIGEST: &str = "sha256:809dad3f53e83fae690c502f18b985df5ed4faa2efe46743abeebe5aae1301d3";

fn artifact(kind: &str, repository: &str, digest: &str, tag: &str) -> Value {
    json!({"type": kind, "event_data": {
        "resources": [{"digest": digest, "tag": tag, "resource_url": "x"}],
        "repository": {"repo_full_name": repository},
    }})
}

#[test]
fn a_push_names_digest_and_tag_and_a_deletion_the_repository_too() {
    let pushed = here(&artifact("PUSH_ARTIFACT", "lib/team/ev", DIGEST, "v1"));
    assert_eq!(pushed, [format!("lib/team/ev@{DIGEST}"), "lib/team/ev:v1".into()]);
    let child = here(&artifact("PUSH_ARTIFACT", "lib/ev", DIGEST, DIGEST));
    assert_eq!(child, [format!("lib/ev@{DIGEST}")], "no tag");
    let deleted = here(&artifact("DELETE_ARTIFACT", "lib/ev", DIGEST, "v1"));
    assert_eq!(deleted, [format!("lib/ev@{DIGEST}"), "lib/ev:v1".into(), "lib/ev".into()]);
}

#[test]
fn replication_is_about_the_destination_and_retention_about_repositories() {
    let (_, body) = recorded()
        .into_iter()
        .find(|(case, body)| case.starts_with("m03") && body.to_string().contains("successful_artifact"))
        .unwrap();
    let Changed::There { endpoint, changes } = read(&body).changed else { panic!("it is another's") };
    assert_eq!(
        (&*endpoint, changes.iter().map(said).collect::<Vec<_>>()),
        ("http://127.0.0.1:8100", vec!["lib/ev:v1".into()])
    );
    // Pulled by the Harbor that says so.
    let side = |name: Option<&str>| json!({"registry_name": name, "endpoint": "http://core:8080", "namespace": "lib"});
    let pulled = json!({"type": "REPLICATION", "event_data": {"replication": {
        "src_resource": side(Some("far")), "dest_resource": side(None),
        "successful_artifact": [{"name_tag": "ev [1 item(s) in total]"}],
    }}});
    assert_eq!(here(&pulled), ["lib/ev"], "a Harbor before 2.10 names no reference");
    let retained = json!({"type": "TAG_RETENTION", "event_data": {"retention": {
        "project_name": "lib", "deleted_artifact": [{"name_tag": "ev:1"}, {"name_tag": "ev:2"}, {"name_tag": "team/x:3"}],
    }}});
    assert_eq!(here(&retained), ["lib/ev", "lib/team/x"]);
}

#[test]
fn what_is_not_known_or_changes_nothing_says_nothing() {
    for kind in ["PULL_ARTIFACT", "QUOTA_EXCEED", "harbor.quota.warned", "SOMETHING_NEW", ""] {
        // Whatever its data is.
        assert!(here(&json!({"type": kind, "event_data": [1, "x"], "data": 5})).is_empty(), "{kind}");
    }
}

#[test]
fn garbage_is_refused_and_wild_names_are_left_out() {
    for body in [
        "",
        "{",
        "[]",
        "null",
        "5",
        "{}",
        r#"{"type":5}"#,
        r#"{"type":null}"#,
        r#"{"type":"PUSH_ARTIFACT"}"#,
        r#"{"type":"PUSH_ARTIFACT","event_data":[]}"#,
        r#"{"type":"PUSH_ARTIFACT","event_data":{"resources":{}}}"#,
        r#"{"type":"REPLICATION","data":{"replication":{}}}"#,
    ] {
        assert!(notification(body.as_bytes()).is_err(), "{body}");
    }
    for name in ["", "/", "Lib/ev", "lib/ev@sha256:0", "lib/ev:x", "lib//ev", "../ev", &"x/".repeat(300)] {
        assert!(here(&artifact("DELETE_ARTIFACT", name, DIGEST, "v1")).is_empty(), "{name}");
    }
    for tag in ["", "a b", "x/y", "a@b", &"t".repeat(200)] {
        assert_eq!(
            here(&artifact("PUSH_ARTIFACT", "lib/ev", "sha256:zz", tag)),
            Vec::<String>::new(),
            "{tag}"
        );
    }
    let escaped = br#"{"type":"PUSH\u005fARTIFACT","event_data":{"resources":null,"repository":null}}"#;
    assert_eq!(notification(escaped).unwrap().event, Event::Pushed);
}

#[test]
fn many_artifacts_are_bounded_and_each_counts_once() {
    let resources: Vec<_> =
        (0..5000).map(|n| json!({"digest": format!("sha256:{n:064x}"), "tag": format!("t{n}")})).collect();
    let body = json!({"type": "DELETE_ARTIFACT", "data": {
        "resources": resources, "repository": {"repo_full_name": "lib/ev"},
    }});
    let found = here(&body);
    assert!(found.len() <= 2 * MOST_ARTIFACTS + 1, "{}", found.len());
    assert!(found.contains(&"lib/ev".to_owned()), "what is left out is in the repository");
    let twice = json!({"type": "PUSH_ARTIFACT", "data": {
        "resources": vec![json!({"digest": DIGEST, "tag": "v1"}); 50], "repository": {"repo_full_name": "lib/ev"},
    }});
    assert_eq!(here(&twice).len(), 2);
}

#[test]
fn what_is_passed_on_is_read_as_it_was() {
    let (at, repository) = (RegistryName::new("ams"), Repository::new("lib/ev"));
    let changes = vec![
        (at.clone(), Change::Digest(repository.clone(), DIGEST.parse().unwrap())),
        (at.clone(), Change::Tag(repository.clone(), Tag::new("v1"))),
        (RegistryName::new("fra"), Change::Repository(repository.clone())),
    ];
    let body = relayed(&changes);
    let read = notification(&body).unwrap();
    assert_eq!(read, Notification { event: Event::Relayed, changed: Changed::At(changes.clone()) });
    let many: Vec<_> = changes.iter().cycle().take(5000).cloned().collect();
    let Changed::At(found) = notification(&relayed(&many)).unwrap().changed else { panic!() };
    assert_eq!(found.len(), MOST_RELAYED);
}
