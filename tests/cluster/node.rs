//! A node: the part of a kubelet that Landfall's Pods need. A Pod that is bound to it gets a network namespace and a root
//! of its own, its volumes and its ServiceAccount token; its container, an image called `landfall`, is this build of it. Probes decide readiness, SIGTERM comes on deletion, Pods that end are told of as they ended.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::plane::Plane;
use crate::sandbox::Sandbox;

/// How often it looks at its Pods.
const TICK: Duration = Duration::from_millis(100);
/// How often it brings volumes up to date.
const REFRESH: Duration = Duration::from_secs(1);
/// How often it says that it lives; the controller manager believes it for 40 s.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Starts a node of this name that lives as long as the test binary.
pub fn start(plane: &'static Plane, name: &'static str) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = plane.client().await;
            let mut node =
                Node { plane, name, pods: Api::all(client.clone()), client, running: HashMap::new() };
            node.run().await;
        });
    });
}

struct Node {
    plane: &'static Plane,
    name: &'static str,
    client: Client,
    pods: Api<Pod>,
    /// By the Pod's uid.
    running: HashMap<String, Running>,
}

/// A Pod's container, and how it is.
struct Running {
    sandbox: Sandbox,
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
        let mut beat = Instant::now() - HEARTBEAT;
        loop {
            if beat.elapsed() >= HEARTBEAT {
                self.heartbeat().await;
                beat = Instant::now();
            }
            let ours = ListParams::default().fields(&format!("spec.nodeName={}", self.name));
            let list = self.pods.list(&ours).await.unwrap();
            let mut seen = Vec::new();
            for pod in list.items {
                seen.push(pod.uid().unwrap());
                self.tend(pod).await;
            }
            // What was deleted by force is gone from the list before it is gone from here.
            self.running.retain(|uid, _| seen.contains(uid));
            tokio::time::sleep(TICK).await;
        }
    }

    /// The Node object, ready, with room for a hundred Pods.
    async fn heartbeat(&self) {
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        let apply = PatchParams::apply("node").force();
        let labels = json!({"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        let object =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}});
        nodes.patch(self.name, &apply, &Patch::Apply(&object)).await.unwrap();
        let room = json!({"cpu": "16", "memory": "64Gi", "pods": "100"});
        let now = jiff::Timestamp::now().to_string();
        let ready = json!([{"type": "Ready", "status": "True", "reason": "Tests", "message": "", "lastHeartbeatTime": now}]);
        let status = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name},
            "status": {"capacity": room, "allocatable": room, "conditions": ready},
        });
        nodes.patch_status(self.name, &apply, &Patch::Apply(&status)).await.unwrap();
    }

    async fn tend(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap();
        let namespaced: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
        if !self.running.contains_key(&uid) {
            if pod.metadata.deletion_timestamp.is_some() || is_over(&pod) || !is_landfall(&pod) {
                self.forget(&namespaced, &pod).await;
                return;
            }
            let sandbox = Sandbox::start(self.plane, &self.client, &pod).await;
            let running =
                Running { sandbox, ended: None, leaving: None, refreshed: Instant::now(), told: Value::Null };
            self.running.insert(uid.clone(), running);
        }
        let Some(running) = self.running.get_mut(&uid) else { return };
        running.ended = running.ended.or_else(|| running.sandbox.ended());
        if let (Some(_), None) = (&pod.metadata.deletion_timestamp, running.leaving) {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
            running.leaving = Some(Instant::now() + Duration::from_secs(grace.try_into().unwrap()));
            running.sandbox.terminate();
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
            // It may be gone by now, and then nobody need know.
            drop(
                namespaced.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&told)).await,
            );
            running.told = status;
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
                    "name": container.name, "image": container.image, "imageID": "", "restartCount": 0,
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
