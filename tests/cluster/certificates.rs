//! Self-managed certificates and leadership before a real API server, with no more rights than the chart gives: the first
//! start, an overwritten bundle, a dead leader, and a whole rotation under load.
//!
//! Both replicas belong to one webhook configuration, each with an entry of its own with `failurePolicy: Fail`. So a Pod is
//! created only if the API server could verify both; in the rotation also the second door of one of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use landfall::cli::serve::Parts;
use landfall::cli::serve::certificate::Source;
use landfall::facade::certs::Periods;
use landfall::facade::cluster::Cluster;
use landfall::facade::controllers::certificates::Names;
use landfall::facade::controllers::entries::{self, Issuer};
use landfall::facade::controllers::leader::{Candidate, Term};
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::seed::{self, Demo};
use landfall::facade::domain::policy::Labels;
use landfall::facade::server::TlsVersions;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsConnector;

use crate::kept::keep;
use crate::load::{CLIENTS, Counted, Load};
use crate::plane::{Apart, Plane, free_port, plane, until};
use crate::rights::guards;
use crate::rollout::SHARE;
use crate::site;
use crate::webhook::WEB;

/// What the chart renders for self-managed certificates, with an entry for each of two replicas. The Lease is left out, as
/// Argo CD leaves it out.
fn rendered(here: Ipv4Addr, namespace: &str, ports: [u16; 2], validate: u16) -> String {
    let entry = |(name, port): (&str, u16)| {
        json!({
            "name": format!("{name}.landfall.dev"),
            "clientConfig": {"service": {"name": "landfall", "namespace": namespace, "path": "/mutate", "port": port}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": format!("{namespace}-pods")}},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
        })
    };
    let webhooks: Vec<Value> = ["a", "b"].into_iter().zip(ports).map(entry).collect();
    let role = |kind: &str, rules: Value| {
        let name = format!("landfall-{namespace}");
        let subject = json!([{"kind": "ServiceAccount", "name": "landfall", "namespace": namespace}]);
        let group = "rbac.authorization.k8s.io";
        [
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules}),
            json!({
                "apiVersion": format!("{group}/v1"), "kind": format!("{kind}Binding"),
                "metadata": {"name": name, "namespace": namespace},
                "roleRef": {"apiGroup": group, "kind": kind, "name": name}, "subjects": subject,
            }),
        ]
    };
    let own = json!([
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["landfall-ca"], "verbs": ["get", "list", "watch", "update", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["landfall"], "verbs": ["get", "update", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    ]);
    let all = json!([
        {"apiGroups": ["admissionregistration.k8s.io"],
         "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
         "resourceNames": [format!("landfall-{namespace}")], "verbs": ["get", "list", "watch", "update", "patch"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
    ]);
    let all_ports = |validate: u16| json!([{"name": "a", "port": ports[0]}, {"name": "b", "port": ports[1]}, {"name": "validate", "port": validate}]);
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "landfall", "namespace": namespace}}),
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "landfall-ca", "namespace": namespace}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "landfall", "namespace": namespace},
               "spec": {"ports": all_ports(8443)}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": {"name": "landfall", "namespace": namespace, "labels": {"kubernetes.io/service-name": "landfall"}},
               "ports": all_ports(validate), "endpoints": [{"addresses": [here], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
               "metadata": {"name": format!("landfall-{namespace}")}, "webhooks": webhooks}),
    ];
    objects.extend(role("Role", own));
    objects.extend(role("ClusterRole", all));
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// The cluster as a test sees it.
struct Site {
    plane: &'static Plane,
    namespace: &'static str,
    ports: [u16; 2],
    /// The port of the second door, behind port 8443 of the Service.
    validate: u16,
    /// Acts as Landfall's account.
    account: PathBuf,
    demo: Demo,
    config: PathBuf,
}

impl Site {
    async fn new(plane: &'static Plane, namespace: &'static str) -> Self {
        plane.namespace(namespace);
        plane.namespace(&format!("{namespace}-pods"));
        let here = plane.net.here();
        let (ports, validate) = ([free_port(here), free_port(here)], free_port(here));
        plane.apply(&rendered(here, namespace, ports, validate));
        // The policy of the chart that holds the account to caBundle.
        let policy = guards(plane, "landfall", namespace);
        plane.apply(&policy.replace("landfall-own-webhook", &format!("{namespace}-own-webhook")));
        let account = plane.kubeconfig_of(namespace, "landfall");
        let demo = seed::demo().await.unwrap();
        let config = demo.world.write("site.yaml", &site::configuration(&demo)).unwrap();
        Self { plane, namespace, ports, validate, account, demo, config }
    }

    fn json(&self, what: &[&str]) -> Value {
        let mut arguments = vec!["get", "-n", self.namespace, "-o", "json"];
        arguments.extend(what);
        serde_json::from_str(&self.plane.told(&arguments)).unwrap()
    }

    /// The keys of the Secret and what they hold.
    fn secret(&self) -> BTreeMap<String, String> {
        let secret = self.json(&["secret", "landfall-ca"]);
        serde_json::from_value(secret["data"].clone()).unwrap_or_default()
    }

    /// The bundles of both entries.
    fn bundles(&self) -> Vec<String> {
        let name = format!("landfall-{}", self.namespace);
        let found = self.json(&["mutatingwebhookconfiguration", &name]);
        let bundle =
            |entry: &Value| entry["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned();
        found["webhooks"].as_array().unwrap().iter().map(bundle).collect()
    }

    /// The bundles of the second door's entries, by their names, after the one that new ones are written with.
    fn second_bundles(&self) -> Vec<String> {
        let name = format!("landfall-{}", self.namespace);
        let found = self.json(&["validatingwebhookconfiguration", &name]);
        let beside = found["metadata"]["annotations"]["landfall.dev/ca-bundle"].as_str().unwrap_or_default();
        let entries = found["webhooks"].as_array().cloned().unwrap_or_default();
        let bundle = |entry: &Value| entry["clientConfig"]["caBundle"].as_str().unwrap().to_owned();
        std::iter::once(STANDARD.encode(beside)).chain(entries.iter().map(bundle)).collect()
    }

    /// Waits until there are events about the Secret with these reasons. They are written a moment after what they report.
    fn until_events_say(&self, reasons: &[&str]) {
        until("the events are there", || {
            let events =
                self.json(&["events", "--field-selector=involvedObject.name=landfall-ca"]).to_string();
            reasons.iter().all(|reason| events.contains(reason)).then_some(())
        });
    }

    fn holder(&self) -> String {
        let lease = self.json(&["lease", "landfall"]);
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// What the API server says of a new Pod.
    fn pod(&self) -> Result<String, String> {
        let namespace = format!("{}-pods", self.namespace);
        let run = ["run", "probe", "--image", WEB, "-n", &namespace, "--dry-run=server", "-o", "yaml"];
        let output = self.plane.kubectl(&run);
        let (said, complaint) = (output.stdout, output.stderr);
        if output.status.success() {
            return Ok(String::from_utf8(said).unwrap());
        }
        Err(String::from_utf8(complaint).unwrap())
    }

    fn until_pods_are_rewritten(&self) {
        until("Pods pass both replicas", || {
            self.pod().is_ok_and(|pod| pod.contains("harbor.ams.example.com/")).then_some(())
        });
    }

    /// Overwrites one entry's bundle, and waits until it is as before.
    fn overwrite_and_be_healed(&self) {
        let before = self.bundles();
        let stranger = STANDARD.encode(self.demo.world.authority().pem());
        let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": stranger}]);
        let name = format!("landfall-{}", self.namespace);
        self.plane.told(&[
            "patch",
            "mutatingwebhookconfiguration",
            &name,
            "--type=json",
            "-p",
            &patch.to_string(),
        ]);
        until("the bundle is as it was", || (self.bundles() == before).then_some(()));
        self.until_pods_are_rewritten();
    }

    /// Starts a replica that issues its certificate itself, as a process of its own.
    fn replica(&self, name: &str, port: u16, more: &[String]) -> (Child, u16) {
        let mut arguments = vec![
            "--certificate-secret=landfall-ca".to_owned(),
            "--service=landfall".to_owned(),
            format!("--webhook=landfall-{}", self.namespace),
        ];
        arguments.extend_from_slice(more);
        self.process(name, port, &arguments)
    }

    /// Starts a replica as a process of its own; `more` says where its certificate comes from.
    fn process(&self, name: &str, port: u16, more: &[String]) -> (Child, u16) {
        let admin = free_port(Ipv4Addr::LOCALHOST);
        let mut arguments = vec![
            format!("KUBECONFIG={}", self.account.display()),
            env!("CARGO_BIN_EXE_landfall").to_owned(),
            "serve".to_owned(),
            format!("--config={}", self.config.display()),
            "--lease=landfall".to_owned(),
            format!("--namespace={}", self.namespace),
            format!("--pod-name={name}"),
            format!("--listen={}:{port}", self.plane.net.here()),
            format!("--validate-listen={}:0", self.plane.net.here()),
            format!("--admin-listen=127.0.0.1:{admin}"),
            "--drain-delay=0s".to_owned(),
        ];
        arguments.extend_from_slice(more);
        let log = self.config.with_extension(format!("{name}.log"));
        (keep(Path::new("env"), &arguments, &log), admin)
    }
}

async fn admin(port: u16, path: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let answer = client.get(format!("http://127.0.0.1:{port}{path}")).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

async fn until_ready(port: u16) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let found = admin(port, "/readyz?verbose").await;
        if found.as_ref().is_some_and(|(status, _)| *status == 200) {
            return;
        }
        assert!(tokio::time::Instant::now() < patience, "never ready: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_start_from_nothing_heal_what_is_overwritten_and_survive_their_leader() {
    let plane = plane();
    let site = Site::new(plane, "certs-start").await;
    let (mut a, admin_a) = site.replica("landfall-a", site.ports[0], &[]);
    let (mut b, admin_b) = site.replica("landfall-b", site.ports[1], &[]);
    until_ready(admin_a).await;
    until_ready(admin_b).await;
    site.until_pods_are_rewritten();

    let secret = site.secret();
    assert_eq!(secret.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key"]);
    assert_eq!(site.bundles(), [secret["ca.crt"].clone(), secret["ca.crt"].clone()]);
    site.until_events_say(&["AuthorityMade", "AuthorityPromoted"]);
    let leader = site.holder();
    let pages = [admin(admin_a, "/metrics").await.unwrap().1, admin(admin_b, "/metrics").await.unwrap().1];
    let leads = |page: &&String| page.contains("\nlandfall_leader 1\n");
    assert_eq!(pages.iter().filter(leads).count(), 1, "one of them leads");
    for page in &pages {
        assert!(!page.contains("\nlandfall_certificate_authority_expiry_timestamp_seconds 0\n"), "{page}");
        assert!(!page.contains("\nlandfall_certificate_expiry_timestamp_seconds 0\n"), "{page}");
    }

    site.overwrite_and_be_healed();

    // Somebody empties the Secret. What is served stays published, and another authority takes over: no Pod is refused.
    plane.told(&[
        "patch",
        "secret",
        "landfall-ca",
        "-n",
        site.namespace,
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/data"}]"#,
    ]);
    until("another authority signs", || {
        site.pod().unwrap();
        let now = site.secret();
        now.get("ca.crt").is_some_and(|current| *current != secret["ca.crt"]).then_some(())
    });
    let secret = site.secret();
    assert_eq!(secret.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key", "previous.crt"]);
    site.until_events_say(&["AuthorityAdopted"]);

    // The leader dies without a word; the other one takes over what it did.
    let (dead, other) = if leader == "landfall-a" { (&mut a, "landfall-b") } else { (&mut b, "landfall-a") };
    dead.kill().unwrap();
    dead.wait().unwrap();
    until("the other one leads", || (site.holder() == other).then_some(()));
    let before = site.bundles();
    let patch = json!([{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]);
    let name = format!("landfall-{}", site.namespace);
    plane.told(&["patch", "mutatingwebhookconfiguration", &name, "--type=json", "-p", &patch.to_string()]);
    until("the bundle is as it was", || (site.bundles() == before).then_some(()));
    assert_eq!(site.secret(), secret, "the authority is the same as ever");

    // It comes back, and serves by the same authority at once.
    let port = if leader == "landfall-a" { site.ports[0] } else { site.ports[1] };
    let (mut back, admin_back) = site.replica("landfall-c", port, &[]);
    until_ready(admin_back).await;
    site.until_pods_are_rewritten();
    for process in [&mut a, &mut b, &mut back] {
        drop(process.kill());
        process.wait().unwrap();
    }
    plane.told(&["delete", "mutatingwebhookconfiguration", &name]);
}

/// A Harbor reaches one replica; the other finds it in the EndpointSlices of the Service, and believes it by the authority that
/// both have made themselves.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_harbor_tells_one_replica_the_other_knows() {
    let plane = plane();
    let site = Site::new(plane, "certs-hooks").await;
    let here = plane.net.here();
    let secret = "Bearer 0123456789abcdef0123456789abcdef";
    let file = site.demo.world.write("notifications/ams", secret).unwrap();
    let text = std::fs::read_to_string(&site.config).unwrap();
    let more = format!(
        "pullSecret: harbor-ams-creds, notifications: {{secretFile: {:?}}}",
        file.display().to_string()
    );
    std::fs::write(&site.config, text.replace("pullSecret: harbor-ams-creds", &more)).unwrap();
    let group = "rbac.authorization.k8s.io";
    let mut objects = vec![
        json!({"apiVersion": format!("{group}/v1"), "kind": "Role",
               "metadata": {"name": "landfall-slices", "namespace": site.namespace},
               "rules": [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}]}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
               "metadata": {"name": "landfall-slices", "namespace": site.namespace},
               "roleRef": {"apiGroup": group, "kind": "Role", "name": "landfall-slices"},
               "subjects": [{"kind": "ServiceAccount", "name": "landfall", "namespace": site.namespace}]}),
    ];
    // Both are at one address, so each has a slice of its own.
    let names = ["landfall-a", "landfall-b"];
    let hooks = [free_port(here), free_port(here)];
    for (name, port) in names.into_iter().zip(hooks) {
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-hooks"), "namespace": site.namespace,
                         "labels": {"kubernetes.io/service-name": "landfall"}},
            "ports": [{"name": "hooks", "port": port}],
            "endpoints": [{"addresses": [here], "conditions": {"ready": true},
                           "targetRef": {"kind": "Pod", "name": name, "namespace": site.namespace}}],
        }));
    }
    plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    let mut running = Vec::new();
    for ((name, port), hooks) in names.into_iter().zip(site.ports).zip(hooks) {
        running.push(site.replica(name, port, &[format!("--hooks-listen={here}:{hooks}")]));
    }
    for (_, admin) in &running {
        until_ready(*admin).await;
    }
    let authority = STANDARD.decode(&site.secret()["ca.crt"]).unwrap();
    let name = format!("landfall.{}.svc", site.namespace);
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .no_proxy()
        .resolve(&name, (here, hooks[0]).into())
        .build()
        .unwrap();
    let body = json!({"type": "PUSH_ARTIFACT", "event_data": {
        "resources": [{"digest": format!("sha256:{:064x}", 1), "tag": "v1"}],
        "repository": {"repo_full_name": "production/shop/web"},
    }});
    let post = client.post(format!("https://{name}:{}/hooks/harbor", hooks[0]));
    let post = post.header("authorization", secret).header("content-type", "application/json");
    assert_eq!(post.body(body.to_string()).send().await.unwrap().status(), 202);
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    let told = "landfall_notifications_total{registry=\"ams\",event=\"Relayed\"} 1\n";
    loop {
        let page = admin(running[1].1, "/metrics").await.unwrap().1;
        if page.contains(told) {
            break;
        }
        assert!(tokio::time::Instant::now() < patience, "never told: {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let page = admin(running[0].1, "/metrics").await.unwrap().1;
    assert!(page.contains("landfall_notification_relays_total{result=\"Sent\"} 1\n"), "{page}");
    assert!(!page.contains(told), "it came back");
    for (mut replica, _) in running {
        replica.kill().unwrap();
        replica.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_leads_whoever_issues_the_certificate() {
    let plane = plane();
    let site = Site::new(plane, "certs-leader").await;
    let leaf = site.demo.world.authority().issue(&["127.0.0.1"], Validity::Current).unwrap();
    let files = [("tls.crt", &leaf.certificate_pem), ("tls.key", &leaf.key_pem)];
    let [certificate, key] =
        files.map(|(name, pem)| site.demo.world.write(name, pem).unwrap().display().to_string());
    let issued = [format!("--tls-cert={certificate}"), format!("--tls-key={key}")];
    let (mut a, admin_a) = site.process("landfall-a", site.ports[0], &issued);
    let (mut b, admin_b) = site.process("landfall-b", site.ports[1], &issued);
    until_ready(admin_a).await;
    until_ready(admin_b).await;
    until("one of them holds the Lease", || {
        let found = site.plane.kubectl(&["get", "lease", "landfall", "-n", site.namespace]);
        found.status.success().then_some(())
    });
    let leads = async |port| admin(port, "/metrics").await.unwrap().1.contains("\nlandfall_leader 1\n");
    let (leader, other) = if site.holder() == "landfall-a" { (admin_a, admin_b) } else { (admin_b, admin_a) };
    let known = async {
        while !leads(leader).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), known).await.is_ok(), "the holder never leads");
    assert!(!leads(other).await);
    assert!(site.secret().is_empty(), "nobody makes an authority");
    for process in [&mut a, &mut b] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    plane.told(&["delete", "mutatingwebhookconfiguration", "landfall-certs-leader"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_prove_themselves_where_they_must() {
    let plane = plane();
    let site = Site::new(plane, "certs-callers").await;
    let authority = format!("--client-ca={}", plane.authority_of_callers().display());
    let flags = |name: &str| [authority.clone(), format!("--client-name={name}")];
    let (mut a, admin_a) = site.replica("landfall-a", site.ports[0], &flags("kube-apiserver"));
    let (mut b, admin_b) = site.replica("landfall-b", site.ports[1], &flags("kube-apiserver"));
    until_ready(admin_a).await;
    until_ready(admin_b).await;
    site.until_pods_are_rewritten();

    // The same certificate under a name that is not known: the entry fails, and its policy is Fail.
    b.kill().unwrap();
    b.wait().unwrap();
    let (mut c, admin_c) = site.replica("landfall-c", site.ports[1], &flags("somebody-else"));
    until_ready(admin_c).await;
    let refused = site.pod().unwrap_err();
    assert!(refused.contains("failed calling webhook \"b.landfall.dev\""), "{refused}");
    for process in [&mut a, &mut c] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    plane.told(&["delete", "mutatingwebhookconfiguration", "landfall-certs-callers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_labels_of_namespaces_are_known_as_they_change() {
    let plane = plane();
    let site = Site::new(plane, "certs-namespaces").await;
    let config = Kubeconfig::read_from(&site.account).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let namespaces = Cluster::at(config).unwrap().namespaces();
    let name = |name: &str| ("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    let tier = ("tier".to_owned(), "regulated".to_owned());
    let bank = "certs-namespaces-pods";

    // Nobody watches yet: it is asked for. What nobody has heard of may have any label.
    assert_eq!(*namespaces.labels(bank).await, Labels::from([name(bank)]));
    assert_eq!(*namespaces.labels("nowhere").await, Labels::at_least([name("nowhere")]));

    let watched = namespaces.clone();
    let watch = tokio::spawn(async move { watched.watch(|_| ()).await });
    let until_known = async |of: &str, expected: &Labels| {
        let wait = async {
            while *namespaces.labels(of).await != *expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "never: {expected:?}");
    };
    plane.told(&["label", "namespace", bank, "tier=regulated"]);
    until_known(bank, &Labels::from([name(bank), tier.clone()])).await;
    plane.told(&["label", "namespace", bank, "tier-"]);
    until_known(bank, &Labels::from([name(bank)])).await;
    let new = "certs-namespaces-new";
    plane.apply(&format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {new}, labels: {{tier: regulated}}}}}}"
    ));
    assert_eq!(*namespaces.labels(new).await, Labels::from([name(new), tier]), "at once, watched or not");
    plane.told(&["delete", "namespace", new]);
    until_known(new, &Labels::at_least([name(new)])).await;
    watch.abort();
    plane.told(&["delete", "mutatingwebhookconfiguration", "landfall-certs-namespaces"]);
}

/// Shakes hands as the API server does, trusting this bundle alone.
async fn shake_hands(here: Ipv4Addr, port: u16, name: &str, bundle: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(bundle) {
        roots.add(one.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let tcp = socket.connect((here, port).into()).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    shaken.map(drop).map_err(|error| error.to_string())
}

/// The API server keeps some of its connections, so every handshake that it might make is made beside it: with what is
/// published now, and with what was published up to two seconds ago. Says how many were made, and how many connections of the
/// API server were seen meanwhile.
async fn greet(
    plane: &'static Plane,
    namespace: &str,
    ports: [u16; 3],
    stop: Arc<AtomicBool>,
) -> (usize, usize) {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(plane.client().await);
    let second: Api<ValidatingWebhookConfiguration> = Api::all(plane.client().await);
    let (server, mut old) = (format!("landfall.{namespace}.svc"), VecDeque::new());
    let (mut greetings, mut connections) = (0, BTreeSet::new());
    while !stop.load(Ordering::Relaxed) {
        let found = configurations.get(&format!("landfall-{namespace}")).await.unwrap();
        let entries = found.webhooks.unwrap().into_iter().map(|entry| entry.client_config);
        // Any entry of the second door, another one each time: they come and go, and lead to the same port.
        let found = second.get(&format!("landfall-{namespace}")).await.unwrap();
        let others = found.webhooks.unwrap();
        let other = others[greetings % others.len()].client_config.clone();
        let bundles: Vec<Vec<u8>> =
            entries.chain([other]).map(|client| client.ca_bundle.unwrap().0).collect();
        old.push_back((Instant::now(), bundles.clone()));
        while old[0].0.elapsed() > Duration::from_secs(2) && old.len() > 1 {
            old.pop_front();
        }
        for bundles in [&bundles, &old[0].1] {
            for (port, bundle) in ports.iter().zip(bundles) {
                let failed = shake_hands(plane.net.here(), *port, &server, bundle).await.err();
                assert_eq!(failed, None, "port {port}");
                greetings += 1;
            }
        }
        connections.extend(ports.iter().flat_map(|port| callers(plane.net.here(), *port)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (greetings, connections.len())
}

/// Who is connected to this port from an address of the same machine's network; greetings come from another one.
fn callers(here: Ipv4Addr, port: u16) -> BTreeSet<(u16, String)> {
    let here = format!("{:08X}", u32::from_le_bytes(here.octets()));
    let (local, remote) = (format!("{here}:{port:04X}"), format!("{here}:"));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_port = sockets.filter(|fields| fields[1] == local && fields[2].starts_with(&remote));
    of_port.map(|fields| (port, fields[2].to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_rotation_under_load_is_noticed_by_nobody() {
    let apart = Apart::start();
    let plane = apart.0;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let site = Site::new(plane, "certs-rotation").await;
    // The second door, as the chart renders it; a policy selects the Pods.
    let second = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                        "metadata": {"name": "landfall-certs-rotation"}});
    plane.create(site.namespace, &second.to_string());
    plane.told(&["label", "namespace", "certs-rotation-pods", "tier=regulated"]);
    let periods = Periods {
        authority: Duration::from_secs(60),
        leaf: Duration::from_secs(15),
        settle: Duration::from_secs(3),
    };
    let kubeconfig = |path: &Path| Kubeconfig::read_from(path).unwrap();
    let config = async |path: &Path| {
        let options = KubeConfigOptions::default();
        kube::Config::from_custom_kubeconfig(kubeconfig(path), &options).await.unwrap()
    };
    let mut admins = Vec::new();
    let mut replicas = tokio::task::JoinSet::new();
    for (pod, port) in ["landfall-a", "landfall-b"].into_iter().zip(site.ports) {
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        admins.push(admin.local_addr().unwrap().port());
        let names = Names {
            namespace: site.namespace.into(),
            service: "landfall".into(),
            secret: "landfall-ca".into(),
            webhook: format!("landfall-{}", site.namespace),
        };
        let candidate = Candidate {
            namespace: site.namespace.into(),
            lease: "landfall".into(),
            pod: pod.into(),
            term: Term::default(),
        };
        let parts = Parts {
            config: site.config.clone(),
            listener: TcpListener::bind((plane.net.here(), port)).await.unwrap(),
            // That of the second replica is called.
            validate: TcpListener::bind((
                plane.net.here(),
                if pod == "landfall-b" { site.validate } else { 0 },
            ))
            .await
            .unwrap(),
            admin,
            hooks: None,
            entries: Some(entries::Names {
                namespace: site.namespace.into(),
                service: "landfall".into(),
                webhook: names.webhook.clone(),
                issuer: Issuer::Us,
            }),
            certificate: Source::Own { names, periods },
            versions: TlsVersions::default(),
            callers: None,
            own_namespace: Some(site.namespace.into()),
            cluster: Some(Cluster::at(config(&site.account).await).unwrap()),
            candidate: Some(candidate),
            policies: None,
            sweep: None,
            gap_retention: Duration::from_hours(168),
            propagation: Duration::ZERO,
        };
        replicas.spawn(parts.run(std::future::pending()));
    }
    for admin in &admins {
        until_ready(*admin).await;
    }
    site.until_pods_are_rewritten();
    until("the entry of the policy stands", || (site.second_bundles().len() == 2).then_some(()));
    site.until_pods_are_rewritten();

    // From here on, whatever fails is a Pod that somebody could not start.
    let pods = format!("{}-pods", site.namespace);
    let highest = Load::highest(plane, &pods, 5).await;
    let before = Counted::so_far(plane);
    let load = Load::in_bursts(plane, &pods, highest * SHARE, CLIENTS as u64).await;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn(greet(
        plane,
        site.namespace,
        [site.ports[0], site.ports[1], site.validate],
        stop.clone(),
    ));

    let first = site.secret()["ca.crt"].clone();
    // Entries come and go meanwhile: one while the next authority is published beside the first.
    let config = std::fs::read_to_string(&site.config).unwrap();
    let another = "  - metadata: {name: another}\n    spec: {namespaceSelector: {matchLabels: {tier: another}}, enforcement: Enforce, onMissing: Block}\n";
    let (mut introduced, mut both, mut entries) = (false, false, BTreeSet::new());
    until("the first authority is gone, and the next one signs", || {
        let (secret, bundles) = (site.secret(), site.bundles());
        if !introduced && secret.contains_key("next.crt") {
            introduced = true;
            std::fs::write(&site.config, format!("{config}{another}")).unwrap();
        }
        if introduced && entries.contains(&3) {
            std::fs::write(&site.config, &config).unwrap();
        }
        entries.insert(site.second_bundles().len());
        both |= bundles.iter().all(|bundle| bundle.len() > first.len() * 3 / 2);
        let is_new = secret.get("ca.crt").is_some_and(|current| *current != first);
        (is_new && !secret.contains_key("previous.crt") && bundles[0] == secret["ca.crt"]).then_some(())
    });
    assert_eq!(entries, BTreeSet::from([2, 3]), "one entry more, for some time");
    until("both configurations have the same authorities", || {
        let (first, second) = (site.bundles(), site.second_bundles());
        first.iter().chain(&second).all(|bundle| *bundle == first[0]).then_some(())
    });
    assert!(introduced && both, "the next authority was published beside the first");
    site.until_events_say(&["AuthorityRetired"]);
    let outcome = load.stop().await;
    stop.store(true, Ordering::Relaxed);
    let (greetings, connections) = watch.await.unwrap();
    for admin in &admins {
        assert_eq!(self::admin(*admin, "/readyz").await.unwrap().0, 200);
        // The other side of a certificate that somebody does not like.
        let page = self::admin(*admin, "/metrics").await.unwrap().1;
        assert!(!page.contains("landfall_tls_handshake_failures_total{reason=\"Tls\"}"), "{page}");
    }
    let counted = Counted::since(plane, &before);
    println!(
        "a whole rotation at {:.0} of {highest:.0} Pods a second: {outcome:?}, {counted:?}, {connections} connections of the API server, {greetings} greetings",
        outcome.rate()
    );
    assert!(outcome.missed == 0 && counted.is_clean(), "{outcome:?}, {counted:?}");
    let said = plane.said("kube-apiserver");
    let disliked: Vec<_> =
        said.lines().filter(|line| line.contains("x509") || line.contains("tls: ")).collect();
    assert!(disliked.is_empty(), "{disliked:#?}");
    assert!(outcome.made > 100 && greetings > 100 && connections > 100);
    replicas.shutdown().await;
}
