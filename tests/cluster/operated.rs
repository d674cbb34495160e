//! A release in operation: somebody applies it again and again, edits its configuration, moves its leader away, has its
//! authority replaced, and takes it out.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::metrics::{Page, name};
use crate::plane::{plane, until};
use crate::release::Release;

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_applied_again_edited_led_by_another_rotated_and_gone() {
    let release = Release::install(plane(), "operated", &[]).await;
    is_applied_again(&release);
    is_edited(&release).await;
    is_led_by_another(&release).await;
    is_rotated(&release);
    is_gone(&release);
}

/// As Argo CD applies what it renders. Nobody fights over the caBundle.
fn is_applied_again(release: &Release) {
    let plane = release.plane;
    let manifest = plane.helm(&["get", "manifest", "operated", "-n", "operated"]);
    let manifest = plane.write_new(&String::from_utf8(manifest.stdout).unwrap()).display().to_string();
    let by = ["--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", &manifest];
    // What the objects are, but for those that change by themselves.
    let versions = || -> BTreeMap<String, String> {
        let list: Value = serde_json::from_str(&plane.told(&["get", "-o", "json", "-f", &manifest])).unwrap();
        let items = list["items"].as_array().unwrap();
        let still = items.iter().filter(|item| item["status"].is_null() && item["kind"] != "Lease");
        still
            .map(|item| {
                let version = item["metadata"]["resourceVersion"].as_str().unwrap();
                (format!("{} {}", item["kind"], item["metadata"]["name"]), version.to_owned())
            })
            .collect()
    };
    let bundle = || {
        let found = release.get(&["mutatingwebhookconfiguration", "operated", "--show-managed-fields"]);
        let owners = found["metadata"]["managedFields"].as_array().unwrap().clone();
        let owners = owners.iter().filter(|fields| fields["fieldsV1"].to_string().contains("f:caBundle"));
        let owners: Vec<_> = owners.map(|fields| fields["manager"].clone()).collect();
        (found["webhooks"][0]["clientConfig"]["caBundle"].clone(), owners)
    };
    let ours = bundle();
    assert!(ours.0.is_string() && ours.1 == ["landfall-ca-bundle"], "{ours:?}");

    plane.told(&[&["apply"], &by[..]].concat());
    let applied = versions();
    assert!(applied.len() > 8, "{applied:?}");
    for _ in 0..2 {
        // It says what differs, and fails.
        plane.told(&[&["diff"], &by[..]].concat());
        plane.told(&[&["apply"], &by[..]].concat());
        assert_eq!(versions(), applied, "nothing was written");
    }
    assert_eq!(bundle(), ours);

    // Something of no consequence rings the bell of every replica: none has anything to write.
    plane.told(&["annotate", "mutatingwebhookconfiguration", "operated", "note=none"]);
    plane.told(&["annotate", "secret", "operated-ca", "-n", "operated", "note=none"]);
    let noted = versions();
    let renewed = || release.get(&["lease", "operated"])["spec"]["renewTime"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let before = renewed();
        until("the Lease is renewed", || (renewed() != before).then_some(()));
    }
    assert_eq!(versions(), noted);
    assert_eq!(bundle(), ours);
}

/// An edit of the ConfigMap reaches every replica, and none starts again for it. A broken one changes nothing.
async fn is_edited(release: &Release) {
    let plane = release.plane;
    let processes = || -> Vec<u32> {
        let containers = plane.containers.lock().unwrap();
        release.replicas().keys().map(|pod| containers[pod]).collect()
    };
    let before = processes();
    let good = release.config();
    let observing =
        good.replace("    primary: {registry: fra", "    rewrite: false\n    primary: {registry: fra");
    let broken = good.replace("site: ams #", "site: atlantis #");
    assert!(good != observing && good != broken);
    let is_rewritten = || release.probe().contains("harbor.ams.example.com/");
    for (text, generation, errors, rewritten) in
        [(&observing, 2, false, false), (&broken, 2, true, false), (&good, 3, false, true)]
    {
        let patch = json!({"data": {"landfall.yaml": text}}).to_string();
        plane.told(&["patch", "configmap", "operated", "-n", "operated", "--type=merge", "-p", &patch]);
        for (name, pod) in release.replicas() {
            until_told(release, &pod, errors, generation).await;
            let (status, conditions) = release.admin(&pod, "/readyz?verbose").await;
            assert_eq!(status, 200, "{name}: {conditions}");
            assert_eq!(conditions.contains("the file is refused: "), errors, "{name}: {conditions}");
            assert_eq!(conditions.contains("atlantis"), errors, "{name}: {conditions}");
        }
        assert_eq!(is_rewritten(), rewritten, "{text}");
    }
    assert_eq!(processes(), before, "no container started again");
}

/// Waits until the metrics of a replica say that it has read the file, and what came of it.
async fn until_told(release: &Release, pod: &Value, errors: bool, generation: u32) {
    let read = async {
        loop {
            let (_, page) = release.admin(pod, "/metrics").await;
            let page = Page::read(&page);
            let refused = page.metric(name::CONFIG_ERRORS, &[]).is_some_and(|errors| errors > 0.0);
            let read = page.metric(name::CONFIG_GENERATION, &[]);
            if refused == errors && read == Some(f64::from(generation)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), read).await.unwrap()
}

/// Whoever leads and is asked to leave gives the Lease back, and nobody waits for it to run out.
async fn is_led_by_another(release: &Release) {
    let leases: Api<Lease> = Api::namespaced(release.plane.client().await, "operated");
    let found = leases.get("operated").await.unwrap();
    let holder = |lease: &Lease| lease.spec.as_ref().unwrap().holder_identity.clone().unwrap_or_default();
    let first = holder(&found);
    let named = WatchParams::default().fields("metadata.name=operated");
    let mut news = leases.watch(&named, &found.metadata.resource_version.unwrap()).await.unwrap().boxed();
    release.plane.told(&["delete", "pod", &first, "-n", "operated", "--wait=false"]);
    let mut holders = vec![first.clone()];
    let change = async {
        while holders.last().is_none_or(|last| last.is_empty() || *last == first) {
            if let Some(WatchEvent::Modified(lease)) = news.try_next().await.unwrap() {
                holders.push(holder(&lease));
                holders.dedup();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), change).await.unwrap();
    assert!(holders.len() == 3 && holders[1].is_empty(), "nobody's, and then another's: {holders:?}");
    release.until_rolled_out();
    release.until_in_force();
}

/// "Rotate now" of `certs/README.md`: another authority takes over, and no Pod is missed meanwhile.
fn is_rotated(release: &Release) {
    let secret = || release.get(&["secret", "operated-ca"])["data"].clone();
    let before = secret();
    let lose = r#"[{"op": "remove", "path": "/data/ca.key"}]"#;
    release.plane.told(&["patch", "secret", "operated-ca", "-n", "operated", "--type=json", "-p", lose]);
    until("another authority signs", || {
        assert!(release.probe().contains("harbor.ams.example.com/"), "a Pod was missed");
        let now = secret();
        (now["ca.key"].is_string() && now["ca.crt"] != before["ca.crt"]).then_some(())
    });
    assert!(secret()["previous.crt"].is_string(), "leaves of the old one are still served");
}

/// Nothing of it is left, nor made again by replicas that still serve while they leave.
fn is_gone(release: &Release) {
    let plane = release.plane;
    let output = plane.helm(&["uninstall", "operated", "-n", "operated"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until("the last replica is gone", || release.replicas().is_empty().then_some(()));
    let left = ["get", "lease,secret", "-n", "operated", "-o", "name"];
    let left = plane.told(&left);
    // Those of the registries are not the release's.
    let left: Vec<_> = left.lines().filter(|name| !name.starts_with("secret/landfall-")).collect();
    assert!(left.is_empty(), "{left:?}");
}
