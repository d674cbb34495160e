//! Landfall as a process, and the API server told of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall::facade::demo::world::World;
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::seed::{self, Demo};
use serde_json::json;

use crate::kept::keep;
use crate::plane::{Plane, free_port, until};
use crate::site;

/// An image of the route: present and scanned clean at both sites.
pub const WEB: &str = "harbor.fra.example.com/production/shop/web:1.4.2";

/// Another: an index of two platforms.
pub const API: &str = "harbor.fra.example.com/production/shop/api:2.0.0";

/// A Landfall of one test, before a world of its own. It ends with its test.
pub struct Landfall<'a> {
    plane: &'a Plane,
    /// The namespace whose Pods come to it.
    pub namespace: String,
    pub demo: Demo,
    pub process: Child,
    admin: u16,
    /// As what it was started.
    arguments: Vec<String>,
}

/// A second replica of a Landfall that leads, too. The API server does not call it.
pub struct Twin {
    process: Child,
}

impl Twin {
    /// Whether its process has not ended.
    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl<'a> Landfall<'a> {
    /// Starts it and lets the API server call it for this namespace, over a Service.
    pub async fn serve(plane: &'a Plane, namespace: &str) -> Self {
        Self::serve_with(plane, namespace, &[]).await
    }

    /// The same, with more arguments.
    pub async fn serve_with(plane: &'a Plane, namespace: &str, more: &[String]) -> Self {
        let landfall = Self::start_with(plane, namespace, site::configuration, more).await;
        // A new configuration is in force when the API server's informer has seen it.
        let probe = ["run", "probe", "--image", WEB, "-n", namespace, "--dry-run=server", "-o", "yaml"];
        until("the webhook is called", || {
            plane.told(&probe).contains("harbor.ams.example.com/").then_some(())
        });
        landfall
    }

    /// Both doors, with a configuration of the caller's, who may change the world first: its leader keeps the entries of the
    /// second one.
    pub async fn start(
        plane: &'a Plane,
        namespace: &str,
        configuration: impl FnOnce(&Demo) -> String,
    ) -> Self {
        let name = format!("landfall-{namespace}");
        let empty = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
        });
        plane.apply(&empty.to_string());
        let more = [
            format!("--namespace={namespace}"),
            format!("--pod-name={name}"),
            format!("--lease={name}"),
            "--service=landfall".to_owned(),
            format!("--webhook={name}"),
        ];
        Self::start_with(plane, namespace, configuration, &more).await
    }

    async fn start_with(
        plane: &'a Plane,
        namespace: &str,
        configuration: impl FnOnce(&Demo) -> String,
        more: &[String],
    ) -> Self {
        let demo = seed::demo_in(World::at(plane.net.here().into()).unwrap()).await.unwrap();
        let config = demo.world.write("site.yaml", &configuration(&demo)).unwrap();
        let identity =
            demo.world.authority().issue(&[&format!("landfall.{namespace}.svc")], Validity::Current).unwrap();
        let certificate = demo.world.write("tls/tls.crt", &identity.certificate_pem).unwrap();
        let key = demo.world.write("tls/tls.key", &identity.key_pem).unwrap();
        let here = plane.net.here();
        let (door, validate, admin) = (free_port(here), free_port(here), free_port(here));
        let arguments = [
            // Its policies select by labels: without an API server to ask, they would apply everywhere.
            format!("KUBECONFIG={}", plane.kubeconfig_of_admin().display()),
            env!("CARGO_BIN_EXE_landfall").to_owned(),
            "serve".to_owned(),
            format!("--config={}", config.display()),
            format!("--tls-cert={}", certificate.display()),
            format!("--tls-key={}", key.display()),
            format!("--listen={here}:{door}"),
            format!("--validate-listen={here}:{validate}"),
            format!("--admin-listen={here}:{admin}"),
            "--drain-delay=0s".to_owned(),
        ];
        let arguments = [&arguments[..], more].concat();
        let log = config.with_extension("log");
        let process = keep(Path::new("env"), &arguments, &log);
        let mut landfall = Self { plane, namespace: namespace.to_owned(), demo, process, admin, arguments };
        landfall.until_ready(&log).await;
        landfall.register(door, validate);
        landfall
    }

    /// What it says on its second port.
    pub async fn admin(&self, path: &str) -> reqwest::Result<String> {
        let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build()?;
        let url = format!("http://{}:{}{path}", self.plane.net.here(), self.admin);
        client.get(url).send().await?.error_for_status()?.text().await
    }

    /// Starts another replica, with a Lease of its own: both lead at the same time. It is followed by what it logs.
    pub fn twin(&self) -> (Twin, PathBuf) {
        let here = self.plane.net.here();
        let another = |argument: &String| match argument.split_once('=') {
            Some((name @ ("--lease" | "--pod-name"), value)) => format!("{name}={value}-twin"),
            Some((name @ ("--listen" | "--validate-listen" | "--admin-listen"), _)) => {
                // Nobody calls it, and a port that is free now may be taken when it is bound.
                format!("{name}={here}:0")
            }
            _ => argument.clone(),
        };
        let arguments: Vec<String> = self.arguments.iter().map(another).collect();
        let log = self.demo.world.ca_file().with_file_name("twin.log");
        (Twin { process: keep(Path::new("env"), &arguments, &log) }, log)
    }

    async fn until_ready(&mut self, log: &Path) {
        while self.admin("/readyz").await.is_err() {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("landfall ended with {status}:\n{}", fs::read_to_string(log).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn register(&self, door: u16, validate: u16) {
        let (namespace, ca) = (&self.namespace, STANDARD.encode(self.demo.world.authority().pem()));
        let text = registration(self.plane, namespace, "mutate.landfall.dev", door, &ca)
            .replace(
                &format!("[{{port: 443, targetPort: {door}}}]"),
                &format!(
                    "[{{name: https, port: 443, targetPort: {door}}}, {{name: validate, port: 8443, targetPort: {validate}}}]"
                ),
            )
            .replace(
                &format!("ports: [{{port: {door}}}]"),
                &format!("ports: [{{name: https, port: {door}}}, {{name: validate, port: {validate}}}]"),
            );
        self.plane.apply(&text);
    }
}

/// A webhook for this namespace, and a Service that leads to this machine: the API server calls it as in production, by
/// HTTP/1.1 and by its name.
pub fn registration(plane: &Plane, namespace: &str, webhook: &str, door: u16, ca: &str) -> String {
    let rule = |operation: &str, resource: &str| {
        format!(
            "{{apiGroups: [''], apiVersions: [v1], operations: [{operation}], resources: [{resource}], scope: Namespaced}}"
        )
    };
    let here = plane.net.here();
    let (create, debug) = (rule("CREATE", "pods"), rule("UPDATE", "pods/ephemeralcontainers"));
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: landfall, namespace: {namespace}}}
spec: {{ports: [{{port: 443, targetPort: {door}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: landfall, namespace: {namespace}, labels: {{kubernetes.io/service-name: landfall}}}}
addressType: IPv4
ports: [{{port: {door}}}]
endpoints: [{{addresses: [{here}], conditions: {{ready: true}}}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {{name: landfall-{namespace}}}
webhooks:
  - name: {webhook}
    clientConfig:
      service: {{name: landfall, namespace: {namespace}, path: /mutate}}
      caBundle: {ca}
    rules: [{create}, {debug}]
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
    failurePolicy: Ignore
    reinvocationPolicy: IfNeeded
    sideEffects: NoneOnDryRun
    admissionReviewVersions: [v1]
    timeoutSeconds: 5
"
    )
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Landfall<'_> {
    fn drop(&mut self) {
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let name = format!("landfall-{}", self.namespace);
            drop(self.plane.kubectl(&["delete", kind, &name, "--ignore-not-found"]));
        }
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
