//! What cannot be forced, before a real API server: a tenant who may create Pods and add debug containers, and nothing else, in
//! namespaces where a policy enforces. Judged by what the API server answers, by what it stores, and by what its audit log says.
//!
//! What only the validating webhook can hold is in `tenant/second_door.rs`.

#[path = "tenant/children.rs"]
mod children;
#[path = "tenant/registries.rs"]
mod registries;
#[path = "tenant/second_door.rs"]
mod second_door;
#[path = "tenant/settings.rs"]
mod settings;
#[path = "tenant/sizes.rs"]
mod sizes;
#[path = "tenant/trouble.rs"]
mod trouble;
#[path = "tenant/words.rs"]
mod words;

use std::sync::LazyLock;
use std::time::Duration;

use landfall::facade::demo::world::seed::{self, Demo, Named};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::plane::plane;
use crate::site;
use crate::webhook::Landfall;

/// A policy that blocks what is bad or was not looked at; so, by itself, what is unknown, too.
const BLOCKS: &str = "onVulnerable: Block\nonUnscanned: Block\nscan: {required: Auto, maxSeverity: Medium}";

/// The image as it is written.
fn fra(name: Named) -> String {
    format!("harbor.fra.example.com/{}:{}", name.repository, name.tag)
}

/// The image that the policies forbid.
fn forbidden() -> String {
    fra(seed::VULNERABLE)
}

/// A Pod of this name with these images, `c0`, `c1` …
fn pod(name: &str, images: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": site::containers(images)},
    })
}

/// The configuration of the site with these policies alone: a namespace and the rules for it, each on a line.
fn under(demo: &Demo, policies: &[(&str, &str)]) -> String {
    let mut text = site::configuration(demo).split_once("policies:\n").unwrap().0.to_owned() + "policies:\n";
    for (namespace, rules) in policies {
        text += &format!(
            "  - metadata: {{name: of-{namespace}}}\n    spec:\n      \
             namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}\n      \
             enforcement: Enforce\n"
        );
        rules.lines().for_each(|rule| text += &format!("      {rule}\n"));
    }
    text
}

/// Starts a Landfall that is called for these namespaces, new ones, where the tenant has its rights; the first is its own.
async fn start(namespaces: &[&str], configuration: impl FnOnce(&Demo) -> String) -> Landfall<'static> {
    let plane = plane();
    let mut rights = Vec::new();
    for namespace in namespaces {
        plane.namespace(namespace);
        for (name, verb, resource) in
            [("creates", "create", "pods"), ("debugs", "patch", "pods/ephemeralcontainers")]
        {
            let (metadata, group) =
                (json!({"name": name, "namespace": namespace}), "rbac.authorization.k8s.io");
            rights.push(json!({
                "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata,
                "rules": [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}],
            }));
            rights.push(json!({
                "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                "subjects": [{"apiGroup": group, "kind": "User", "name": "tenant"}],
            }));
        }
    }
    plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": rights}).to_string());
    let home = format!("{}-home", namespaces[0]);
    plane.namespace(&home);
    let landfall = Landfall::start(plane, &home, configuration).await;
    // As the chart has it: a label takes a namespace out.
    let selector = json!([{"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces},
        {"key": "landfall.dev/mode", "operator": "NotIn", "values": ["Skip"]},
    ]}}]);
    let webhook = format!("landfall-{home}");
    plane.told(&[
        "patch",
        "mutatingwebhookconfiguration",
        &webhook,
        "--type=json",
        "-p",
        &selector.to_string(),
    ]);
    let tenant = As::tenant();
    for namespace in namespaces {
        tenant.until_called(namespace).await;
    }
    let page = "jsonpath={.webhooks[*].name}";
    until("the second door stands", async || {
        let entries = plane.told(&["get", "validatingwebhookconfiguration", &webhook, "-o", page]);
        let page = landfall.admin("/readyz?verbose").await.unwrap();
        page.contains("[+] Entries: ") && entries.contains("validate-")
    })
    .await;
    landfall
}

/// A Landfall before registries that are well, shared by the tests that leave them so.
static WELL: LazyLock<(Runtime, Landfall<'static>)> = LazyLock::new(|| {
    // Its registries live in the runtime that starts them, so it is none of a test.
    let started = std::thread::spawn(|| {
        let runtime = Runtime::new().unwrap();
        let lenient = format!("{BLOCKS}\nonUnknown: Fallback");
        let policies = [(BANK, BLOCKS), (GUARDED, BLOCKS), (LENIENT, &lenient)];
        let landfall = runtime.block_on(start(&[BANK, GUARDED, LENIENT, FREE, EXCLUDED], |demo| {
            under(demo, &policies)
                .replace("namespaces: [harbor]", &format!("namespaces: [{EXCLUDED}]"))
                .replace("platform/**", "production/legacy/**")
        }));
        (runtime, landfall)
    });
    started.join().unwrap()
});

/// Its namespaces: two under [`BLOCKS`]; the same, but for what is unknown; under none; and one that is left alone.
const BANK: &str = "tenant-bank";
const GUARDED: &str = "tenant-guarded";
const LENIENT: &str = "tenant-lenient";
const FREE: &str = "tenant-free";
const EXCLUDED: &str = "tenant-excluded";

/// Somebody's way to the API server, by a token.
struct As {
    token: &'static str,
    client: Client,
}

/// What came of a request.
#[derive(Debug)]
struct Said {
    /// 0 where the API server hangs up, as it does when a request's own time is over.
    status: u16,
    body: Value,
    warnings: String,
    /// The annotations in the audit log.
    audit: Map<String, Value>,
}

impl Said {
    /// Why Landfall denies it.
    fn denied(&self) -> &str {
        assert_eq!(self.status, 403, "{self:#?}");
        let message = self.body["message"].as_str().unwrap();
        assert_eq!(self.of("verdict"), "Denied");
        let denied = "admission webhook \"mutate.landfall.dev\" denied the request: ";
        message.strip_prefix(denied).unwrap_or_else(|| panic!("{message}"))
    }

    /// Why the second door denies it, after the first one let it pass or was not asked.
    fn denied_as_it_stands(&self) -> &str {
        assert_eq!(self.status, 403, "{self:#?}");
        let message = self.body["message"].as_str().unwrap();
        let said = message.strip_prefix("admission webhook \"validate-");
        let said = said.and_then(|said| said.split_once("\" denied the request: "));
        let (_, said) = said.unwrap_or_else(|| panic!("{message}"));
        let verdict = |(key, value): (&String, &Value)| {
            key.starts_with("validate-") && key.ends_with(".landfall.dev/verdict") && value == "Denied"
        };
        assert!(self.audit.iter().any(verdict), "{:#?}", self.audit);
        said
    }

    /// The Pod, which is created.
    fn created(&self) -> &Value {
        assert!(matches!(self.status, 200 | 201), "{self:#?}");
        &self.body
    }

    /// An audit annotation of Landfall's.
    fn of(&self, key: &str) -> &str {
        self.audit.get(&format!("mutate.landfall.dev/{key}")).and_then(Value::as_str).unwrap_or("")
    }

    /// Whether the API server went on without an answer, as the webhook's failurePolicy says.
    fn failed_open(&self) -> bool {
        self.audit.keys().any(|key| key.starts_with("failed-open.mutation.webhook.admission.k8s.io/"))
    }
}

impl As {
    fn new(token: &'static str) -> Self {
        let ca = std::fs::read(plane().folder().join("ca.crt")).unwrap();
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        Self { token, client: Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap() }
    }

    /// Who may only create Pods and add debug containers.
    fn tenant() -> Self {
        Self::new("tenant")
    }

    async fn asks(&self, method: Method, path: &str, kind: &str, body: &Value) -> Said {
        let plane = plane();
        let url = format!("https://{}:{}/api/v1/{path}", plane.net.here(), plane.port);
        let request = self.client.request(method, url).bearer_auth(self.token).header("content-type", kind);
        let Ok(answer) = request.body(body.to_string()).send().await else {
            return Said { status: 0, body: Value::Null, warnings: String::new(), audit: Map::new() };
        };
        let status = answer.status().as_u16();
        let text = |name: &str| -> Vec<_> {
            let values = answer.headers().get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        let (warnings, id) = (text("warning").join("\n"), text("audit-id").concat());
        let body = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let audit = if self.token == "admin" { Map::new() } else { plane.audited(&id) };
        Said { status, body, warnings, audit }
    }

    /// Creates a Pod.
    async fn creates(&self, namespace: &str, pod: &Value) -> Said {
        self.asks(Method::POST, &format!("namespaces/{namespace}/pods"), "application/json", pod).await
    }

    /// Creates a Pod, but for storing it.
    async fn would_create(&self, namespace: &str, pod: &Value) -> Said {
        let path = format!("namespaces/{namespace}/pods?dryRun=All");
        self.asks(Method::POST, &path, "application/json", pod).await
    }

    /// Merges something into an object.
    async fn patches(&self, path: &str, patch: &Value) -> Said {
        self.asks(Method::PATCH, path, "application/strategic-merge-patch+json", patch).await
    }

    /// Adds a debug container to a Pod.
    async fn debugs(&self, namespace: &str, pod: &str, container: Value) -> Said {
        let path = format!("namespaces/{namespace}/pods/{pod}/ephemeralcontainers");
        self.patches(&path, &json!({"spec": {"ephemeralContainers": [container]}})).await
    }

    /// Waits until it has its rights here, and Landfall is called.
    async fn until_called(&self, namespace: &str) {
        let probe = pod("probe", &["busybox:1"]);
        until("Landfall is called", async || {
            let said = self.would_create(namespace, &probe).await;
            said.audit.keys().any(|key| key.starts_with("mutation.webhook.admission.k8s.io/"))
        })
        .await;
    }
}

/// Asks until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asks = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(120), asks).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The stored Pod; null where there is none.
async fn stored(namespace: &str, name: &str) -> Value {
    let path = format!("namespaces/{namespace}/pods/{name}");
    let said = As::new("admin").asks(Method::GET, &path, "application/json", &Value::Null).await;
    if said.status == 404 { Value::Null } else { said.created().clone() }
}

/// The tenant is refused this Pod, and there is none; why.
async fn is_denied(namespace: &str, what: &str, pod: &Value) -> Said {
    let said = As::tenant().creates(namespace, pod).await;
    assert!(!said.denied().is_empty(), "{what}");
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert_eq!(stored(namespace, name).await, Value::Null, "{what}");
    said
}

/// The tenant gets this Pod; the images of its containers, as they are stored.
async fn images(namespace: &str, what: &str, pod: &Value) -> Vec<String> {
    let said = As::tenant().creates(namespace, pod).await;
    assert_eq!(said.status, 201, "{what}: {}", said.body);
    let pod = stored(namespace, pod["metadata"]["name"].as_str().unwrap()).await;
    let containers = pod["spec"]["containers"].as_array().unwrap();
    containers.iter().map(|container| container["image"].as_str().unwrap().to_owned()).collect()
}
