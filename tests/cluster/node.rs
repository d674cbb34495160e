//! A node: the part of a kubelet that Landfall's Pods need. A Pod that is bound to it gets a network namespace and a root
//! of its own, its volumes and its ServiceAccount token; its container, an image called `landfall`, is this build of it. Probes decide readiness, SIGTERM comes on deletion, Pods that end are told of as they ended.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::kubelet;
use crate::net::Host;
use crate::plane::Plane;
use crate::sandbox::Sandbox;

/// How often it looks at its Pods.
const TICK: Duration = Duration::from_millis(100);
/// How often it brings volumes up to date.
const REFRESH: Duration = Duration::from_secs(1);
/// How often it says that it lives; the controller manager believes it for 40 s.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// From one start of a container to the next at the earliest, as a kubelet begins its back-off.
const BACKOFF: Duration = Duration::from_secs(10);
/// Its name.
pub const QUAY: &str = "quay";

/// Starts the plane's node where it has none yet. It lives as long as the plane.
pub fn start(plane: &'static Plane) {
    plane.node.call_once(|| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, logs) = (plane.client().await, kubelet::serve(plane).await);
                let (pods, running) = (Api::all(client.clone()), HashMap::new());
                let host = Arc::new(plane.net.join());
                let mut node = Node { plane, logs, host, pods, client, running };
                node.run().await;
            });
        });
    });
}

struct Node {
    plane: &'static Plane,
    /// The port at which it is asked for logs.
    logs: u16,
    /// Its own network, which Pods with `hostNetwork` share.
    host: Arc<Host>,
    client: Client,
    pods: Api<Pod>,
    /// By the Pod's uid.
    running: HashMap<String, Running>,
}

/// A Pod's container, and how it is.
struct Running {
    sandbox: Sandbox,
    started: Instant,
    restarts: u32,
    ended: Option<ExitStatus>,
    /// When its grace is over, where it is to go.
    leaving: Option<Instant>,
    /// When its volumes were compared with their objects.
    refreshed: Instant,
    /// What was told of it last.
    told: Value,
}

impl Node {
    async fn run(&mut self) {
        let mut beat = None;
        while !self.plane.is_over() {
            if self.plane.is_off() {
                self.running.clear();
                self.plane.containers.lock().unwrap().clear();
                tokio::time::sleep(TICK).await;
                continue;
            }
            if beat.is_none_or(|beat: Instant| beat.elapsed() >= HEARTBEAT) && self.heartbeat().await.is_ok()
            {
                beat = Some(Instant::now());
            }
            let ours = ListParams::default().fields(&format!("spec.nodeName={QUAY}"));
            // While nobody answers, everything runs on as it is.
            if let Ok(list) = self.pods.list(&ours).await {
                let mut seen = Vec::new();
                for pod in list.items {
                    seen.push(pod.uid().unwrap());
                    self.tend(pod).await;
                }
                // What was deleted by force is gone from the list before it is gone from here.
                self.running.retain(|uid, _| seen.contains(uid));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The Node object, ready, with room for a hundred Pods.
    async fn heartbeat(&self) -> kube::Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        let apply = PatchParams::apply("node").force();
        let labels = json!({"kubernetes.io/hostname": QUAY, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        let object =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": QUAY, "labels": labels}});
        nodes.patch(QUAY, &apply, &Patch::Apply(&object)).await?;
        let room = json!({"cpu": "16", "memory": "64Gi", "pods": "100"});
        let now = jiff::Timestamp::now().to_string();
        let ready = json!([{"type": "Ready", "status": "True", "reason": "Tests", "message": "", "lastHeartbeatTime": now}]);
        let status = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": QUAY},
            "status": {
                "capacity": room, "allocatable": room, "conditions": ready,
                "addresses": [{"type": "InternalIP", "address": self.plane.net.here()}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self.logs}},
            },
        });
        nodes.patch_status(QUAY, &apply, &Patch::Apply(&status)).await.map(drop)
    }

    async fn tend(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap();
        let namespaced: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
        if !self.running.contains_key(&uid) {
            if pod.metadata.deletion_timestamp.is_some() || is_over(&pod) || !is_landfall(&pod) {
                self.forget(&namespaced, &pod).await;
                return;
            }
            // What it mounts may be there later.
            let Ok(sandbox) = Sandbox::start(self.plane, &self.client, &pod, &self.host).await else {
                return;
            };
            let (now, told) = (Instant::now(), Value::Null);
            let running = Running {
                sandbox,
                started: now,
                restarts: 0,
                ended: None,
                leaving: None,
                refreshed: now,
                told,
            };
            self.plane.containers.lock().unwrap().insert(pod.name_any(), running.sandbox.process());
            self.running.insert(uid.clone(), running);
        }
        let Some(running) = self.running.get_mut(&uid) else { return };
        running.ended = running.ended.or_else(|| running.sandbox.ended());
        let back = running.ended.is_some() && running.leaving.is_none() && is_restarted(&pod);
        if back && (running.restarts == 0 || running.started.elapsed() >= BACKOFF) {
            running.sandbox.restart();
            (running.started, running.ended) = (Instant::now(), None);
            running.restarts += 1;
            self.plane.containers.lock().unwrap().insert(pod.name_any(), running.sandbox.process());
        }
        if let (Some(_), None) = (&pod.metadata.deletion_timestamp, running.leaving) {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
            running.leaving = Some(Instant::now() + Duration::from_secs(grace.try_into().unwrap()));
            if running.ended.is_none() {
                running.sandbox.terminate();
            }
        }
        let gone = running.ended.is_some() || running.leaving.is_some_and(|end| Instant::now() >= end);
        if running.leaving.is_some() && gone {
            self.running.remove(&uid);
            self.forget(&namespaced, &pod).await;
            return;
        }
        if running.refreshed.elapsed() >= REFRESH {
            running.sandbox.refresh(&self.client, &pod).await;
            running.refreshed = Instant::now();
        }
        let status = running.status(&pod).await;
        if status != running.told {
            let told = json!({"status": status});
            let (name, merge) = (pod.name_any(), Patch::Merge(&told));
            if namespaced.patch_status(&name, &PatchParams::default(), &merge).await.is_ok() {
                running.told = status;
            }
        }
    }

    /// Takes a Pod that has left off the books.
    async fn forget(&self, pods: &Api<Pod>, pod: &Pod) {
        if pod.metadata.deletion_timestamp.is_some() {
            drop(pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await);
        }
    }
}

impl Running {
    async fn status(&self, pod: &Pod) -> Value {
        let ready = self.ended.is_none() && self.sandbox.is_ready(pod).await;
        let (phase, state) = match self.ended {
            None => ("Running", json!({"running": {}})),
            Some(_) if is_restarted(pod) => {
                ("Running", json!({"waiting": {"reason": "CrashLoopBackOff", "message": "restarted soon"}}))
            }
            Some(status) => {
                let phase = if status.success() { "Succeeded" } else { "Failed" };
                (phase, json!({"terminated": {"exitCode": status.code().unwrap_or(137)}}))
            }
        };
        let spec = pod.spec.as_ref().unwrap();
        let containers: Vec<Value> = spec
            .containers
            .iter()
            .map(|container| {
                json!({
                    "name": container.name, "image": container.image, "imageID": "", "restartCount": self.restarts,
                    "ready": ready, "started": self.ended.is_none(), "state": state,
                })
            })
            .collect();
        let condition =
            |kind: &str, good: bool| json!({"type": kind, "status": if good { "True" } else { "False" }});
        let address = self.sandbox.host.address;
        json!({
            "phase": phase, "podIP": address, "podIPs": [{"ip": address}], "hostIP": address,
            "containerStatuses": containers,
            "conditions": [
                condition("PodScheduled", true), condition("Initialized", true),
                condition("ContainersReady", ready), condition("Ready", ready),
            ],
        })
    }
}

fn is_restarted(pod: &Pod) -> bool {
    pod.spec.as_ref().unwrap().restart_policy.as_deref() == Some("Always")
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Other tests' Pods are bound here, too: they are bound, and that is all.
fn is_landfall(pod: &Pod) -> bool {
    let image = pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap();
    name.split([':', '@']).next() == Some("landfall")
}

/// A Pod's environment: what its container says, and where the API server is.
pub fn environment(plane: &Plane, pod: &Pod, address: &str) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("KUBERNETES_SERVICE_HOST".to_owned(), plane.net.here().to_string()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), plane.port.to_string()),
    ]);
    for variable in pod.spec.as_ref().unwrap().containers[0].env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = match field.map(|field| field.field_path.as_str()) {
            None => variable.value.clone().unwrap_or_default(),
            Some("metadata.name") => pod.name_any(),
            Some("metadata.namespace") => pod.namespace().unwrap(),
            Some("status.podIP") => address.to_owned(),
            Some(other) => panic!("this node knows no field `{other}`"),
        };
        environment.insert(variable.name.clone(), value);
    }
    environment
}
