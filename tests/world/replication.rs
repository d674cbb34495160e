//! Replication: the embedded Harbor's rules, executions and tasks have the form of the recorded ones.

use std::collections::BTreeSet;

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::{Account, Execution, Namespace, ReplicationRule, World};
use serde_json::Value;

use super::ask::{api, client};
use super::replay::recordings;

fn recorded(file: &str, name: &str) -> Value {
    let row = recordings(file).into_iter().find(|row| row["name"] == name).unwrap();
    row["response"]["body"].clone()
}

/// The keys of an object, those of objects below it with a dot.
fn keys(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let below = keys(value);
        found.insert(key.clone());
        found.extend(below.into_iter().map(|inner| format!("{key}.{inner}")));
    }
    found
}

#[tokio::test]
async fn rules_executions_and_tasks_have_the_recorded_form() {
    let world = World::new().unwrap();
    let harbor = world.harbor("fra").await.unwrap();
    let client = client(&world);
    let now = jiff::Timestamp::now();
    let rule = ReplicationRule::to("ev-lib", "http://127.0.0.1:8100").filter("name", "lib/**").created(now);
    let id = harbor.store().add_rule(rule);
    harbor.store().execute(id, Execution::succeeded(now));
    harbor.store().execute(id, Execution::failed(now, "refused"));
    harbor.store().execute(id, Execution::new("InProgress", "", now, &[("Succeed", "lib/ev")]));

    let ours = api(&client, &harbor, "replication/policies").await[0].clone();
    let theirs = recorded("replication-and-notifications", "m16-policy-deletion-readback");
    // What is false is left out, and only the other registry has a user.
    let absent = ["deletion", "replicate_deletion", "dest_registry.credential.access_key"];
    let known: BTreeSet<String> = keys(&ours).into_iter().chain(absent.map(str::to_owned)).collect();
    assert_eq!(known, keys(&theirs));
    for field in ["name", "enabled", "filters", "trigger", "dest_namespace_replace_count"] {
        assert_eq!(ours[field], theirs[field], "{field}");
    }
    for (registry, field) in [("src_registry", "id"), ("src_registry", "name"), ("dest_registry", "url")] {
        assert_eq!(ours[registry][field], theirs[registry][field], "{registry}.{field}");
    }

    let path = format!("replication/executions?policy_id={id}");
    let executions = api(&client, &harbor, &path).await;
    let theirs = recorded("replication-and-notifications", "m04-executions-after-event");
    assert_eq!(keys(&executions[0]), keys(&theirs[0]));
    for field in ["status", "status_text", "end_time", "total", "succeed", "failed", "in_progress", "stopped"]
    {
        assert_eq!(executions[0][field], theirs[0][field], "{field}");
    }
    let theirs = recorded("late-probes", "v09-exec-dest-down");
    for field in ["status", "total", "failed"] {
        assert_eq!(executions[1][field], theirs[0][field], "{field}");
    }
    let tasks = api(&client, &harbor, &format!("replication/executions/{}/tasks", executions[0]["id"])).await;
    let theirs = recorded("replication-and-notifications", "m04b-tasks-after-event");
    assert_eq!(keys(&tasks[0]), keys(&theirs[0]));
    assert_eq!(tasks[0]["status"], theirs[0]["status"]);
    assert_eq!(api(&client, &harbor, "replication/executions?policy_id=777").await, serde_json::json!([]));
}

#[tokio::test]
async fn pages_and_rights() {
    let world = World::new().unwrap();
    let harbor = world.harbor("fra").await.unwrap();
    let client = client(&world);
    for number in 0..103 {
        harbor.store().add_rule(ReplicationRule::from(&format!("r{number}"), "https://x").disabled());
    }
    let count = async |query: &str| {
        let found = api(&client, &harbor, &format!("replication/policies{query}")).await;
        found.as_array().unwrap().len()
    };
    for (query, expected) in
        [("", 10), ("?page_size=100", 100), ("?page=2&page_size=100", 3), ("?page=3&page_size=100", 0)]
    {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let newest = api(&client, &harbor, "replication/policies?page_size=1").await;
    assert_eq!(newest[0]["name"], "r102", "the newest first");
    assert_eq!(newest[0].get("enabled"), None, "what is false is left out");
    harbor.store().add_account(Account::robot("landfall", Namespace::All, &[]));
    let refused = api(&client, &harbor, "replication/policies").await;
    assert_eq!(refused["errors"][0]["code"], "FORBIDDEN");
}

#[tokio::test]
async fn an_artifact_shows_its_accessories_when_asked() {
    let world = World::new().unwrap();
    let harbor = world.harbor("fra").await.unwrap();
    let client = client(&world);
    let digest = harbor.store().push("lib/app", "v1", &Content::image("app"));
    let path = format!("projects/lib/repositories/app/artifacts/{digest}");
    let with = format!("{path}?with_accessory=true");
    assert_eq!(api(&client, &harbor, &with).await["accessories"], Value::Null);
    harbor.store().sign("lib/app", &digest);
    harbor.store().sign("lib/app", &digest);
    assert_eq!(api(&client, &harbor, &path).await["accessories"], Value::Null);
    let found = api(&client, &harbor, &with).await["accessories"].clone();
    let theirs = recorded("pull-refused-412", "j16-api-signed-with-accessory")["accessories"].clone();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(keys(&found[0]), keys(&theirs[0]));
    assert_eq!(found[0]["type"], theirs[0]["type"]);
    harbor.store().detach("lib/app", &digest);
    assert_eq!(api(&client, &harbor, &with).await["accessories"], Value::Null);
}
