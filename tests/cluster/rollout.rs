//! Landfall in Pods, behind a Service: it comes up, is replaced under load, and follows its configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use landfall::demo::world::World;
use landfall::demo::world::authority::Validity;
use landfall::demo::world::seed;
use serde_json::json;

use crate::node;
use crate::plane::{Plane, plane, until};
use crate::site;
use crate::webhook::WEB;

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_load_fails_no_call_and_misses_no_pod() {
    let plane = plane();
    node::start(plane, "quay");
    let demo = seed::demo_in(World::at(plane.net.here().into()).unwrap()).await.unwrap();
    plane.namespace("landfall");
    plane.namespace("shops");
    install(plane, &demo);
    plane.told(&["rollout", "status", "deployment/landfall", "-n", "landfall", "--timeout=120s"]);
    let probe = ["run", "probe", "--image", WEB, "-n", "shops", "--dry-run=server", "-o", "yaml"];
    until("the webhook is called", || plane.told(&probe).contains("harbor.ams.example.com/").then_some(()));

    let stop = Arc::new(AtomicBool::new(false));
    let (made, missed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut makers = Vec::new();
    for maker in 0..8 {
        let (stop, made, missed) = (stop.clone(), made.clone(), missed.clone());
        let pods: Api<Pod> = Api::namespaced(plane.client().await, "shops");
        makers.push(tokio::spawn(async move {
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            let pod = json!({"metadata": {"name": format!("p{maker}")}, "spec": {"containers": [{"name": "c", "image": WEB}]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let stored = pods.create(&dry, &pod).await.unwrap();
                let image = stored.spec.unwrap().containers[0].image.clone().unwrap();
                made.fetch_add(1, Ordering::Relaxed);
                if !image.starts_with("harbor.ams.example.com/") {
                    missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    let began = Instant::now();
    plane.told(&["rollout", "restart", "deployment/landfall", "-n", "landfall"]);
    plane.told(&["rollout", "status", "deployment/landfall", "-n", "landfall", "--timeout=180s"]);
    // Those that leave serve on until they are gone.
    until("the old Pods are gone", || {
        let pods = plane.told(&["get", "pods", "-n", "landfall", "-o", "name"]);
        (pods.lines().count() == 3).then_some(())
    });
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    for maker in makers {
        maker.await.unwrap();
    }
    let (made, missed) = (made.load(Ordering::Relaxed), missed.load(Ordering::Relaxed));
    println!("{made} Pods in {took:?}, {missed} missed");
    assert!(made > 100 && missed == 0, "{missed} of {made} Pods were not rewritten");
}

fn install(plane: &Plane, demo: &seed::Demo) {
    let identity = demo.world.authority().issue(&["landfall.landfall.svc"], Validity::Current).unwrap();
    let secret = |name: &str, files: &[(&str, String)]| {
        let data: serde_json::Map<_, _> =
            files.iter().map(|(k, v)| ((*k).to_owned(), json!(STANDARD.encode(v)))).collect();
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "landfall"}, "data": data})
    };
    let mut config = site::configuration(demo);
    let mut objects =
        vec![secret("tls", &[("tls.crt", identity.certificate_pem), ("tls.key", identity.key_pem)])];
    let (mut volumes, mut mounts) = (
        vec![
            json!({"name": "tls", "secret": {"secretName": "tls"}}),
            json!({"name": "config", "configMap": {"name": "config"}}),
        ],
        vec![
            json!({"name": "tls", "mountPath": "/etc/landfall/tls"}),
            json!({"name": "config", "mountPath": "/etc/landfall/config"}),
        ],
    );
    let world = demo.world.ca_file().parent().unwrap().to_owned();
    for name in ["fra", "ams", "edge"] {
        let folder = world.join("credentials").join(name);
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        objects.push(secret(name, &[("username", read("username")), ("password", read("password"))]));
        volumes.push(json!({"name": name, "secret": {"secretName": name}}));
        mounts.push(json!({"name": name, "mountPath": format!("/etc/landfall/credentials/{name}")}));
        config = config.replace(&folder.display().to_string(), &format!("/etc/landfall/credentials/{name}"));
    }
    config = config.replace(&demo.world.ca_file().display().to_string(), "/etc/landfall/config/ca.pem");
    objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config", "namespace": "landfall"},
        "data": {"landfall.yaml": config, "ca.pem": demo.world.authority().pem()}}));
    objects.push(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "landfall", "namespace": "landfall"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "landfall"}}, "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": {"app": "landfall"}}, "spec": {
            "terminationGracePeriodSeconds": 30, "volumes": volumes,
            "containers": [{"name": "landfall", "image": "landfall:test", "volumeMounts": mounts,
                "args": ["serve", "--config=/etc/landfall/config/landfall.yaml", "--tls-cert=/etc/landfall/tls/tls.crt", "--tls-key=/etc/landfall/tls/tls.key", "--drain-delay=5s"],
                "ports": [{"name": "admin", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": "admin"}, "periodSeconds": 1}}],
        }}}}));
    objects.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "landfall", "namespace": "landfall"},
        "spec": {"selector": {"app": "landfall"}, "ports": [{"port": 443, "targetPort": 8443}]}}));
    objects.push(json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "landfall"},
        "webhooks": [{"name": "mutate.landfall.dev", "clientConfig": {"caBundle": STANDARD.encode(demo.world.authority().pem()),
            "service": {"name": "landfall", "namespace": "landfall", "path": "/mutate"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shops"}}, "failurePolicy": "Fail",
            "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5}]}));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    plane.apply(&list.to_string());
}
