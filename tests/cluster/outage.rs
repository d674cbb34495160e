//! What is there already, and what comes back, never waits for Landfall.

use serde_json::{Value, json};

use crate::load::Counted;
use crate::plane::{Apart, Plane, until};
use crate::release::Release;
use crate::webhook::WEB;

fn get(plane: &Plane, namespace: &str, what: &[&str]) -> Value {
    let get = [&["get", "-o", "json", "-n", namespace], what].concat();
    serde_json::from_str(&plane.told(&get)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_from_before_the_install_live_and_go_with_the_webhook_up_and_down() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "outlived").await;
    for name in ["up", "down"] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "finalizers": ["example.com/held"]},
            "spec": {"containers": [{"name": "web", "image": WEB}]},
        });
        plane.create(&release.pods, &pod.to_string());
        until("it is bound", || {
            get(plane, &release.pods, &["pod", name])["spec"]["nodeName"].is_string().then_some(())
        });
    }
    release.helm("install", &[]);
    release.until_in_force();
    outlives(&release, "up");
    plane.told(&["scale", "deployment/outlived", "-n", "outlived", "--replicas=0"]);
    until("nobody is there", || release.replicas().is_empty().then_some(()));
    outlives(&release, "down");
}

/// Everything that happens to a Pod after its creation.
fn outlives(release: &Release, name: &str) {
    let (plane, namespace) = (release.plane, release.pods.as_str());
    let before = Counted::so_far(plane);
    let made = get(plane, namespace, &["pod", name]);
    plane.told(&["label", "pod", name, "-n", namespace, "tier=shop"]);
    plane.told(&["annotate", "pod", name, "-n", namespace, "note=kept"]);
    let status = r#"{"status": {"conditions": [{"type": "example.com/Seen", "status": "True"}]}}"#;
    plane.told(&["patch", "pod", name, "-n", namespace, "--subresource=status", "-p", status]);
    let seen = get(plane, namespace, &["pod", name]);
    assert_eq!(seen["spec"], made["spec"], "{name}");
    assert_eq!(seen["metadata"]["labels"]["tier"], "shop");
    let conditions = seen["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["type"] == "example.com/Seen"), "{seen:#}");

    plane.told(&["delete", "pod", name, "-n", namespace, "--wait=false"]);
    let leaving = get(plane, namespace, &["pod", name]);
    assert!(leaving["metadata"]["deletionTimestamp"].is_string(), "its finalizer holds it: {leaving:#}");
    plane.told(&["patch", "pod", name, "-n", namespace, "-p", r#"{"metadata": {"finalizers": null}}"#]);
    until("it is gone", || {
        let left = ["get", "pod", name, "-n", namespace, "--ignore-not-found", "-o", "name"];
        plane.told(&left).is_empty().then_some(())
    });
    assert_eq!(Counted::since(plane, &before).called, 0, "nobody was asked");
}

/// A Deployment of Pods that Landfall would rewrite.
fn deployment(name: &str, replicas: u32) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": WEB}]},
            },
        },
    })
    .to_string()
}

/// The images of the Pods with these labels, once there are so many.
fn images(plane: &Plane, namespace: &str, labels: &str, pods: usize) -> Vec<String> {
    until("its Pods are there", || {
        let list = get(plane, namespace, &["pods", "-l", labels]);
        let list = list["items"].as_array().unwrap();
        let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        (list.len() == pods).then(|| list.iter().map(image).collect())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_lost_its_power_comes_back_while_nobody_answers() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "outage", &[]).await;
    plane.create("kube-system", &deployment("dns", 1));
    plane.create(&release.pods, &deployment("shop", 2));
    assert_eq!(images(plane, "kube-system", "app=dns", 1), [WEB]);
    assert!(images(plane, &release.pods, "app=shop", 2).iter().all(|image| image != WEB));

    let control = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    for program in control {
        plane.kill(program);
    }
    plane.power(false);
    plane.revive("kube-apiserver");
    plane.until_ready();

    // Nobody has told the API server yet that the replicas are gone: it calls addresses that are nobody's.
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=outage"];
    let slices = get(plane, "outage", &slices);
    let endpoints = slices["items"][0]["endpoints"].as_array().unwrap();
    assert!(
        endpoints.len() == 3 && endpoints.iter().all(|end| end["conditions"]["ready"] == true),
        "{slices:#}"
    );
    let bare = |namespace: &str| {
        plane.told(&["run", "bare", "--image", WEB, "-n", namespace]);
        get(plane, namespace, &["pod", "bare"])["spec"]["containers"][0]["image"].clone()
    };
    let before = Counted::so_far(plane);
    assert_eq!(bare("kube-system"), WEB);
    assert_eq!(Counted::since(plane, &before).called, 0, "kube-system's Pods wait for nobody");
    assert_eq!(bare(&release.pods), WEB);
    assert_eq!(Counted::since(plane, &before).failed_open, 1);

    // Everything that ran is made anew.
    for namespace in ["kube-system", "outage", &release.pods] {
        plane.told(&["delete", "pods", "--all", "-n", namespace, "--force", "--grace-period=0"]);
    }
    for program in &control[1..] {
        plane.revive(program);
    }
    assert_eq!(images(plane, "kube-system", "app=dns", 1), [WEB]);
    assert_eq!(images(plane, "outage", "app.kubernetes.io/name=landfall", 3).len(), 3);
    assert_eq!(images(plane, &release.pods, "app=shop", 2), [WEB, WEB], "as written, for nobody answers");
    assert_eq!(
        Counted::since(plane, &before).failed_open,
        3,
        "one of them for each Pod that is Landfall's business"
    );

    plane.power(true);
    release.until_rolled_out();
    release.until_in_force();
}
