//! Landfall in Pods, behind a Service: it comes up, is replaced under load, and follows its configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::plane::{Apart, until};
use crate::release::Release;
use crate::webhook::WEB;

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_load_fails_no_call_and_misses_no_pod() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "rollout", &[]).await;
    for (name, pod) in release.replicas() {
        let page = release.admin(&pod, "/readyz?verbose").await;
        assert!(!page.contains("[!]") && !page.contains("[-]"), "{name}: {page}");
    }

    let stop = Arc::new(AtomicBool::new(false));
    let (made, missed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut makers = Vec::new();
    for maker in 0..8 {
        let (stop, made, missed) = (stop.clone(), made.clone(), missed.clone());
        let pods: Api<Pod> = Api::namespaced(plane.client().await, &release.pods);
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
    plane.told(&["rollout", "restart", "deployment/rollout", "-n", "rollout"]);
    release.until_rolled_out();
    // Those that leave serve on until they are gone.
    until("the old Pods are gone", || (release.replicas().len() == 3).then_some(()));
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    for maker in makers {
        maker.await.unwrap();
    }
    let (made, missed) = (made.load(Ordering::Relaxed), missed.load(Ordering::Relaxed));
    println!("{made} Pods in {took:?}, {missed} missed");
    assert!(made > 100 && missed == 0, "{missed} of {made} Pods were not rewritten");
}
