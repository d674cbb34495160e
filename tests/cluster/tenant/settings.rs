//! What a tenant writes, and what an administrator has set, against a policy.

use landfall::facade::demo::world::seed;
use reqwest::Method;
use serde_json::{Value, json};

use super::{As, BANK, FREE, GUARDED, WELL, forbidden, fra, images, is_denied, pod, stored, until};
use crate::plane::plane;
use crate::rights;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_tenant_writes_opens_a_policy() {
    // Its configuration excludes the repository of the forbidden image.
    let (_, landfall) = &*WELL;
    let bad = forbidden();
    let digest = landfall.demo.ams.store().digest(seed::VULNERABLE.repository, seed::VULNERABLE.tag).unwrap();
    let container = |more: Value| {
        let mut container = json!({"name": "c0", "image": bad});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"containers": [container]})
    };
    let clean = json!([{"name": "c0", "image": fra(seed::PRESENT)}]);
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    let was = json!({"landfall.dev/images": format!("{{\"containers/c0\":{{\"was\":\"{bad}\",\"verdict\":\"Local\"}}}}")});
    let mut members = vec![
        ("annotation", json!({"annotations": {"landfall.dev/mode": "Skip"}}), container(json!({}))),
        ("label", json!({"labels": {"landfall.dev/mode": "Skip"}}), container(json!({}))),
        (
            "mirror",
            json!({"annotations": mirror}),
            json!({"nodeName": "a", "containers": [{"name": "c0", "image": bad}]}),
        ),
        ("forged", json!({"annotations": was}), container(json!({}))),
        (
            "leaving",
            json!({"deletionTimestamp": "2026-11-21T00:00:00Z", "deletionGracePeriodSeconds": 0}),
            container(json!({})),
        ),
        ("never", json!({}), container(json!({"imagePullPolicy": "Never"}))),
        (
            "windows",
            json!({}),
            json!({"os": {"name": "windows"}, "containers": [{"name": "c0", "image": bad}]}),
        ),
        (
            "selector",
            json!({}),
            json!({"nodeSelector": {"kubernetes.io/arch": "s390x"}, "containers": [{"name": "c0", "image": bad}]}),
        ),
        ("init", json!({}), json!({"containers": clean, "initContainers": [{"name": "i", "image": bad}]})),
        (
            "sidecar",
            json!({}),
            json!({"containers": clean, "initContainers": [{"name": "i", "image": bad, "restartPolicy": "Always"}]}),
        ),
        (
            "volume",
            json!({}),
            json!({"containers": clean, "volumes": [{"name": "v", "image": {"reference": bad}}]}),
        ),
    ];
    let (repository, tag) = (seed::VULNERABLE.repository, seed::VULNERABLE.tag);
    let spelled = [
        format!("HARBOR.fra.example.com/{repository}:{tag}"),
        format!("harbor.fra.example.com:443/{repository}:{tag}"),
        // Clients read the port as a number.
        format!("harbor.fra.example.com:0443/{repository}:{tag}"),
        format!("harbor.ams.example.com:00443/{repository}@{digest}"),
        format!("registry.edge:05000/{repository}:{tag}"),
        format!("harbor.ams.example.com/{repository}:{tag}"),
        format!("harbor.example.com/{repository}:{tag}"),
        format!("registry.edge:5000/{repository}:{tag}"),
        format!("harbor.fra.example.com/{repository}@{digest}"),
        format!("harbor.fra.example.com/{repository}:any@{digest}"),
    ];
    members.extend(
        spelled
            .iter()
            .map(|image| (&**image, json!({}), json!({"containers": [{"name": "c0", "image": image}]}))),
    );
    for (n, (what, mut metadata, spec)) in members.into_iter().enumerate() {
        metadata["name"] = json!(format!("opens-{n}"));
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        let said = is_denied(BANK, what, &pod).await;
        assert!(said.denied().contains("Vulnerable at ams"), "{what}: {}", said.denied());
    }
}

/// The API server takes `deletionTimestamp` off a new Pod; one that a finalizer holds has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_leaves_gets_no_forbidden_debug_container() {
    let _ = &*WELL;
    for namespace in [BANK, FREE] {
        let mut pod = pod("leaves", &[&fra(seed::PRESENT)]);
        pod["metadata"]["finalizers"] = json!(["example.com/held"]);
        images(namespace, "leaves", &pod).await;
        plane().told(&["delete", "pod", "leaves", "-n", namespace, "--wait=false"]);
        assert!(stored(namespace, "leaves").await["metadata"]["deletionTimestamp"].is_string());
        let said =
            As::tenant().debugs(namespace, "leaves", json!({"name": "debug", "image": forbidden()})).await;
        if namespace == BANK {
            assert!(said.denied().contains("Vulnerable at ams"), "{}", said.denied());
        } else {
            assert_eq!(
                (said.of("verdict"), said.of("reason")),
                ("Unchanged", "Excluded"),
                "{:?}",
                said.audit
            );
        }
    }
}

/// The label of a namespace is no boundary, until the policy that the chart renders on request guards it.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_edit_a_namespace_takes_it_from_the_first_door_and_not_from_the_policy() {
    let plane = plane();
    let _ = &*WELL;
    let _alone = rights::GUARD.lock().await;
    plane.told(&["create", "clusterrole", "tenant-editor", "--verb=patch", "--resource=namespaces"]);
    let bind =
        ["create", "clusterrolebinding", "tenant-editor", "--clusterrole=tenant-editor", "--user=editor"];
    plane.told(&bind);
    plane.told(&["create", "rolebinding", "editor", "--role=creates", "--user=editor", "-n", GUARDED]);
    let editor = As::new("editor");
    editor.until_called(GUARDED).await;
    let label = async |mode: Value, dry: &str| {
        let labels = json!({"metadata": {"labels": {"landfall.dev/mode": mode}}});
        editor.patches(&format!("namespaces/{GUARDED}{dry}"), &labels).await
    };
    let passes = pod("passes", &[&forbidden()]);

    until("it has its right", async || label(json!("Skip"), "").await.status == 200).await;
    let asked = |key: &String| key.starts_with("mutation.webhook.admission.k8s.io/");
    until("the first door is not asked", async || {
        !editor.would_create(GUARDED, &passes).await.audit.keys().any(asked)
    })
    .await;
    let said = editor.creates(GUARDED, &passes).await;
    assert!(said.denied_as_it_stands().contains("Vulnerable at ams"), "{said:#?}");
    assert_eq!(stored(GUARDED, "passes").await, Value::Null);
    // He only harms himself: what nobody rewrites is not pinned.
    let said = editor.creates(GUARDED, &pod("good", &[&fra(seed::PRESENT)])).await;
    assert!(said.denied_as_it_stands().contains("without a digest"), "{said:#?}");
    assert_eq!(label(Value::Null, "").await.status, 200);
    editor.until_called(GUARDED).await;

    let guards = rights::rendered(
        plane,
        "tried",
        "tried",
        "guards.yaml",
        ",guard.namespaceLabels.groups={system:masters}",
    );
    plane.apply(&guards);
    until("the policy is in force", async || label(json!("Skip"), "?dryRun=All").await.status == 422).await;
    let said = label(json!("Skip"), "").await;
    let message = said.body["message"].as_str().unwrap();
    assert!(message.contains("ValidatingAdmissionPolicy 'tried-namespace-labels'"), "{message}");
    // By every way that writes labels.
    let labels = json!({"metadata": {"labels": {"landfall.dev/mode": "Skip"}}});
    for kind in ["application/merge-patch+json", "application/strategic-merge-patch+json"] {
        let said = editor.asks(Method::PATCH, &format!("namespaces/{GUARDED}"), kind, &labels).await;
        assert_eq!(said.status, 422, "{}", said.body);
    }
    let held = pod("held", &[&forbidden()]);
    let said = editor.creates(GUARDED, &held).await;
    assert!(said.denied().contains("Vulnerable at ams"), "{}", said.denied());
    assert_eq!(stored(GUARDED, "held").await, Value::Null);
    let policies = "validatingadmissionpolicy,validatingadmissionpolicybinding";
    plane.told(&["delete", policies, "tried-namespace-labels", "tried-own-webhook"]);
    plane.told(&["delete", "clusterrole,clusterrolebinding", "tenant-editor"]);
}
