//! A release of the chart, as README's install section makes it: `helm install`, three replicas on the node, certificates of
//! their own, and nothing else changed but what a busy test cannot wait for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall::facade::demo::world::World;
use landfall::facade::demo::world::seed::{self, Demo};
use serde_json::{Map, Value, json};

use crate::node;
use crate::plane::{Plane, until};
use crate::site;
use crate::webhook::WEB;

/// A release of one test, before a world of its own. All of it is gone when this is dropped.
pub struct Release {
    pub plane: &'static Plane,
    /// Its name, and that of its namespace.
    pub name: &'static str,
    /// The namespace whose Pods come to it, and nobody else's.
    pub pods: String,
    pub demo: Demo,
}

impl Release {
    /// Installs it under this name, with more arguments for Helm, and waits until Pods are rewritten.
    pub async fn install(plane: &'static Plane, name: &'static str, more: &[&str]) -> Self {
        let release = Self::prepare(plane, name).await;
        release.helm("install", more);
        release.until_in_force();
        release
    }

    /// All that must be there before.
    pub async fn prepare(plane: &'static Plane, name: &'static str) -> Self {
        node::start(plane);
        let demo = seed::demo_in(World::at(plane.net.here().into()).unwrap()).await.unwrap();
        let release = Self { plane, name, pods: format!("{name}-pods"), demo };
        plane.namespace(name);
        plane.told(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]);
        plane.namespace(&release.pods);
        release.secrets();
        release
    }

    /// The credentials of the world's registries, and its authority.
    fn secrets(&self) {
        let world = self.demo.world.ca_file().parent().unwrap().to_owned();
        let mut objects = vec![json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "registries", "namespace": self.name},
            "data": {"ca.pem": self.demo.world.authority().pem()},
        })];
        for name in ["fra", "ams", "edge"] {
            let folder = world.join("credentials").join(name);
            let read = |file: &str| STANDARD.encode(std::fs::read(folder.join(file)).unwrap());
            objects.push(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("landfall-{name}"), "namespace": self.name},
                "data": {"username": read("username"), "password": read("password")},
            }));
        }
        self.plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    }

    /// The configuration as the Pods see it.
    pub fn config(&self) -> String {
        let world = self.demo.world.ca_file().parent().unwrap().display().to_string();
        site::configuration(&self.demo)
            .replace(&format!("{world}/credentials/"), "/etc/landfall/credentials/")
            .replace(&format!("{world}/ca.pem"), "/etc/landfall/ca/ca.pem")
    }

    /// What Helm is told of the chart and of this configuration after `install NAME` or `upgrade NAME`.
    fn arguments(&self, config: &str) -> Vec<String> {
        let chart = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/landfall");
        let config = self.plane.write_new(config);
        let values = json!({
            "image": {"repository": "registry.example.com/landfall"},
            "credentials": {"fra": "landfall-fra", "ams": "landfall-ams", "edge": "landfall-edge"},
            "ca": {"configMapName": "registries"},
            "namespaces": {"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.pods]},
            ]},
            // There is no kube-proxy that would be late, and the API server hears of endpoints within a second.
            "drainSeconds": 5,
        });
        let values = self.plane.write_new(&values.to_string());
        [
            chart.display().to_string(),
            format!("--namespace={}", self.name),
            format!("--set-file=config={}", config.display()),
            format!("--values={}", values.display()),
        ]
        .into()
    }

    /// `helm install` or `helm upgrade`, and waits for the rollout.
    pub fn helm(&self, verb: &str, more: &[&str]) {
        self.helm_with(verb, &self.config(), more);
    }

    /// The same, with this configuration.
    pub fn helm_with(&self, verb: &str, config: &str, more: &[&str]) {
        let own = self.arguments(config);
        let own = own.iter().map(String::as_str);
        let arguments: Vec<_> =
            [verb, self.name].into_iter().chain(own).chain(more.iter().copied()).collect();
        let output = self.plane.helm(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.until_rolled_out();
    }

    /// Waits until all replicas are there and ready.
    pub fn until_rolled_out(&self) {
        let deployment = format!("deployment/{}", self.name);
        self.plane.told(&["rollout", "status", &deployment, "-n", self.name, "--timeout=180s"]);
    }

    /// Waits until Pods are rewritten.
    pub fn until_in_force(&self) {
        until("Pods are rewritten", || self.probe().contains("harbor.ams.example.com/").then_some(()));
    }

    /// A new Pod as the API server would store it.
    pub fn probe(&self) -> String {
        self.plane.told(&["run", "probe", "--image", WEB, "-n", &self.pods, "--dry-run=server", "-o", "yaml"])
    }

    /// An object of its own namespace, or of none.
    pub fn get(&self, what: &[&str]) -> Value {
        let get = [&["get", "-o", "json", "-n", self.name], what].concat();
        serde_json::from_str(&self.plane.told(&get)).unwrap()
    }

    /// Its replicas, the leaving ones too: name → Pod.
    pub fn replicas(&self) -> Map<String, Value> {
        let list = self.get(&["pods", "-l", "app.kubernetes.io/name=landfall"]);
        let named = |pod: &Value| (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod.clone());
        list["items"].as_array().unwrap().iter().map(named).collect()
    }

    /// What one replica says on its second port, and with which status.
    pub async fn admin(&self, pod: &Value, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
        let address = pod["status"]["podIP"].as_str().unwrap();
        let answer = client.get(format!("http://{address}:8080{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        // A plane of its own may be gone by now.
        drop(self.plane.helm(&["uninstall", self.name, "--namespace", self.name]));
        drop(self.plane.kubectl(&["delete", "namespace", self.name, &self.pods, "--wait=false"]));
    }
}
