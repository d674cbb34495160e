//! Policies from objects before an API server that knows what they need, by a clock that moves only when nothing else happens.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

use http::{Method, StatusCode};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::*;
use crate::cluster::{Cluster, MOST_POLICIES, Namespaces, Written};
use crate::config::Files;
use crate::config::watch::Watch;
use crate::controllers::entries::{EntryState, Report};
use crate::controllers::leader::{Candidate, Leader, LeaderMetrics, Term};
use crate::controllers::settings::SettingsController;
use crate::domain::finding::{Action, FindingKind};
use crate::domain::name::PolicyName;
use crate::domain::policy::{Enforcement, Labels, NAMESPACE_NAME};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;

const FILE: &str = "site: ams
registries:
  ams: {host: one.example.com, site: ams, kind: harbor}
  fra: {host: two.example.com, site: fra, kind: harbor}
routes:
  - {name: all, primary: {registry: fra, repositories: '**'}, replicas: [{registry: ams}]}
exclude: {namespaces: [harbor]}
";

thread_local! {
    /// Seconds since 2026-11-21. Each test has a thread of its own.
    static NOW: Cell<i64> = const { Cell::new(0) };
}

fn clock() -> Timestamp {
    let day: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    Timestamp::from_second(day.as_second() + NOW.get()).unwrap()
}

/// The API server. A watch ends at once, after the changes since the version that it asks for: its client asks again.
#[derive(Debug, Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    version: u64,
    objects: BTreeMap<String, Value>,
    changes: Vec<(u64, Value)>,
    /// What it answers about policies instead.
    instead: Option<StatusCode>,
    replicas: BTreeMap<String, Value>,
    /// The Pods of the Service, and whether each is ready.
    pods: BTreeMap<String, bool>,
    /// The status of which object was applied.
    applied: Vec<String>,
    /// The reasons and messages of events.
    events: Vec<(String, String)>,
    /// So many writes of a status are answered with a conflict first.
    conflicts: u32,
    /// Whether each write of a status is refused, and how many were.
    refuses: bool,
    refused: usize,
}

impl State {
    fn store(&mut self, name: &str, mut object: Value, kind: &str) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.changes.push((self.version, json!({"type": kind, "object": object})));
        if kind == "DELETED" {
            self.objects.remove(name);
        } else {
            self.objects.insert(name.to_owned(), object);
        }
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &Value) -> (StatusCode, String) {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let fail = |status: StatusCode| {
            let code = status.as_u16();
            let answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                                "message": format!("says {code}"), "reason": if code == 404 { "NotFound" } else { "Because" }});
            (status, answer.to_string())
        };
        let fine = |value: Value| (StatusCode::OK, value.to_string());
        match parts.as_slice() {
            ["apis", "landfall.dev", "v1alpha1", "landingpolicies", rest @ ..] => {
                if let Some(instead) = self.instead {
                    return fail(instead);
                }
                match (method, rest) {
                    (_, []) if query.contains("watch=true") => {
                        let since = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
                        let since: u64 = since.and_then(|since| since.parse().ok()).unwrap_or_default();
                        let news = self.changes.iter().filter(|(version, _)| *version > since);
                        (StatusCode::OK, news.map(|(_, change)| format!("{change}\n")).collect())
                    }
                    (_, []) => fine(json!({
                        "kind": "LandingPolicyList", "apiVersion": "landfall.dev/v1alpha1",
                        "metadata": {"resourceVersion": self.version.to_string()},
                        "items": self.objects.values().collect::<Vec<_>>(),
                    })),
                    (&Method::GET, [name]) => match self.objects.get(*name) {
                        Some(object) => fine(object.clone()),
                        None => fail(StatusCode::NOT_FOUND),
                    },
                    (&Method::PATCH, [name, "status"]) => {
                        let Some(mut object) = self.objects.get(*name).cloned() else {
                            return fail(StatusCode::NOT_FOUND);
                        };
                        if self.refuses {
                            self.refused += 1;
                            return fail(StatusCode::UNPROCESSABLE_ENTITY);
                        }
                        if self.conflicts > 0 {
                            self.conflicts -= 1;
                            return fail(StatusCode::CONFLICT);
                        }
                        if object["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                            return fail(StatusCode::CONFLICT);
                        }
                        if query.contains("fieldManager=landfall-status") {
                            self.applied.push((*name).to_owned());
                        }
                        for (key, value) in body["status"].as_object().unwrap() {
                            object["status"][key] = value.clone();
                        }
                        self.store(name, object.clone(), "MODIFIED");
                        fine(object)
                    }
                    _ => panic!("{method} {path}"),
                }
            }
            [.., "configmaps", "landfall-replicas"] => {
                for (key, value) in body["data"].as_object().into_iter().flatten() {
                    if value.is_null() {
                        self.replicas.remove(key);
                    } else {
                        self.replicas.insert(key.clone(), value.clone());
                    }
                }
                fine(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": self.replicas}))
            }
            [.., "endpointslices"] => {
                let endpoint = |(pod, ready): (&String, &bool)| json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"name": pod}});
                let endpoints: Vec<_> = self.pods.iter().map(endpoint).collect();
                let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": endpoints});
                fine(
                    json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {}, "items": [slice]}),
                )
            }
            [.., "leases", "landfall"] if method == Method::GET => fail(StatusCode::NOT_FOUND),
            [.., "leases"] => fine(body.clone()),
            [.., "events"] => {
                let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
                self.events.push((text("reason"), text("note")));
                fine(body.clone())
            }
            _ => panic!("{method} {path}"),
        }
    }
}

impl Server {
    fn cluster(&self) -> Cluster {
        let this = self.clone();
        Cluster::answered_by(move |head, body| {
            let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
            std::future::ready(this.0.lock().unwrap().answer(&head.method, path, query, &body))
        })
    }

    /// Creates an object, or changes its text.
    fn put(&self, name: &str, spec: &Value) {
        let mut state = self.0.lock().unwrap();
        let (kind, mut object) = match state.objects.get(name) {
            Some(object) => ("MODIFIED", object.clone()),
            None => {
                let (uid, created) = (format!("{:08x}-uid", state.version + 1), clock().to_string());
                let metadata =
                    json!({"name": name, "uid": uid, "generation": 0, "creationTimestamp": created});
                (
                    "ADDED",
                    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LandingPolicy", "metadata": metadata}),
                )
            }
        };
        object["metadata"]["generation"] = (object["metadata"]["generation"].as_i64().unwrap() + 1).into();
        object["spec"] = spec.clone();
        state.store(name, object, kind);
    }

    fn delete(&self, name: &str) {
        let mut state = self.0.lock().unwrap();
        let object = state.objects[name].clone();
        state.store(name, object, "DELETED");
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    fn object(&self, name: &str) -> Value {
        self.0.lock().unwrap().objects[name].clone()
    }

    /// Status and reason of one condition of an object.
    fn says(&self, name: &str, kind: &str) -> (String, String, String) {
        let object = self.object(name);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }
}

/// A replica: its file, and what it has in force.
struct Replica {
    _folder: TempDir,
    path: PathBuf,
    settings: Arc<arc_swap::ArcSwap<Settings>>,
    standing: Arc<Mutex<Standing>>,
    held: watch::Receiver<Arc<[Held]>>,
    page: Registry,
    entries: watch::Sender<Report>,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

impl Replica {
    /// Starts one; with the name of its Pod it also says what it has in force, and leads.
    fn start(server: &Server, file: &str, pod: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("landfall.yaml");
        std::fs::write(&path, file).unwrap();
        let (cluster, config) = (server.cluster(), Watch::open(path.clone(), Files::Check, clock).unwrap());
        let (handle, mut page) = (config.handle(), Registry::default());
        let metrics = PolicyMetrics::register(&mut page);
        let controller =
            PolicyController::new(cluster.policies(), handle.clone(), "landfall", metrics, clock);
        let observatory = Observatory::new(&handle.snapshot().settings, &mut Registry::default());
        let in_force = SettingsController::new(
            config,
            controller.policies(),
            Arc::new(observatory),
            crate::config::Metrics::default(),
        );
        let (settings, held) = (in_force.settings(), controller.held());
        let standing = Arc::new(Mutex::new(Standing::Unlisted(String::new())));
        let (shown, (entries, told)) = (standing.clone(), watch::channel(Report::default()));
        let (stop, stopped) = oneshot::channel::<()>();
        let reporting = pod.map(|pod| {
            let namespace = "landfall".to_owned();
            let candidate = Candidate {
                namespace: namespace.clone(),
                lease: namespace.clone(),
                pod: pod.to_owned(),
                term: Term::default(),
            };
            let leader = Leader::new(&cluster, &candidate, LeaderMetrics::default(), clock);
            let (events, writer) = cluster.events(pod);
            let names =
                ReporterNames { namespace: namespace.clone(), release: namespace, pod: pod.to_owned() };
            let reporter = Reporter::new(
                &cluster,
                names,
                Namespaces::nowhere(),
                leader.leading(),
                events,
                held.clone(),
                told,
                settings.clone(),
                handle,
                clock,
            );
            async move {
                tokio::join!(reporter.run(), leader.run(std::future::pending()), writer.run());
            }
        });
        tokio::spawn(async move {
            let reporting = async {
                match reporting {
                    Some(reporting) => reporting.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = controller.run(|standing| *shown.lock().unwrap() = standing) => {}
                () = in_force.run(|_| ()) => {}
                () = reporting => {}
                _ = stopped => {}
            }
        });
        Self { _folder: folder, path, settings, standing, held, page, entries, stop: Some(stop) }
    }

    fn standing(&self) -> Standing {
        self.standing.lock().unwrap().clone()
    }

    fn policy(&self, name: &str) -> Option<Arc<Policy>> {
        self.settings.load().policies.iter().find(|policy| policy.name.as_str() == name).cloned()
    }
}

/// Everything that is going to happen happens.
async fn settle() {
    sleep(Duration::from_secs(12)).await;
}

fn blocking(tier: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {"tier": tier}}, "enforcement": "Enforce", "onMissing": "Block"})
}

fn selects(policy: &Policy, namespace: &str) -> bool {
    policy.selector.matches(&Labels::at_least([(NAMESPACE_NAME.to_owned(), namespace.to_owned())]))
}

#[tokio::test(start_paused = true)]
async fn a_text_that_cannot_be_understood_opens_nothing() {
    let server = Server::default();
    server.put("regulated", &blocking("bank"));
    let replica = Replica::start(&server, FILE, None);
    assert!(matches!(replica.standing(), Standing::Unlisted(_)), "it judges nobody yet");
    settle().await;
    assert_eq!(replica.standing(), Standing::Good("1 from objects".to_owned()));
    let before = replica.policy("regulated").unwrap();

    // A field of a later version; a mistake; an object without a text.
    let mut later = blocking("bank");
    later["onSigned"] = "Block".into();
    for broken in [
        later,
        json!({"namespaceSelector": {}, "enforcement": "Enforce", "onMissing": "Accept"}),
        json!(null),
    ] {
        server.put("regulated", &broken);
        settle().await;
        assert!(Arc::ptr_eq(&before, &replica.policy("regulated").unwrap()), "{broken}");
        assert_eq!(
            replica.standing(),
            Standing::Degraded("1 from objects; 1 not in force as written: regulated".to_owned())
        );
        assert_eq!(replica.held.borrow()[0].generation(), Some(1));
    }
    // What is meant by what it leaves out goes on to follow the file.
    std::fs::write(&replica.path, format!("{FILE}defaults: {{onStale: Block}}\n")).unwrap();
    settle().await;
    let now = replica.policy("regulated").unwrap();
    assert_eq!(
        (now.rules.actions.on(FindingKind::Stale), now.rules.actions.on(FindingKind::Missing)),
        (Action::Block, Action::Block)
    );

    server.delete("regulated");
    settle().await;
    assert!(replica.policy("regulated").is_none(), "the object is gone");
    assert_eq!(replica.standing(), Standing::Good("0 from objects".to_owned()));
    // A new object of that name has no earlier text.
    server.put("regulated", &json!({"enforcement": "Enforce"}));
    settle().await;
    assert_eq!(replica.held.borrow()[0].generation(), None);
    assert!(replica.policy("regulated").is_some());
    // Mended.
    server.put("regulated", &blocking("bank"));
    settle().await;
    assert_eq!(replica.held.borrow()[0].generation(), Some(2));
    assert_eq!(*replica.policy("regulated").unwrap().selector.requirements()[0].key, *"tier");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_never_understood_a_text_takes_it_as_the_strictest() {
    let server = Server::default();
    let mut later = blocking("bank");
    later["onSigned"] = "Block".into();
    server.put("known-selector", &later);
    later["enforcement"] = "Observe".into();
    later["scan"] = json!({"maxSeverity": "Low"});
    server.put("observing", &later);
    let system = json!({"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}});
    server.put(
        "system",
        &json!({"namespaceSelector": system, "enforcement": "Warn", "scan": {"maxSeverity": "Mild"}}),
    );
    server.put("nothing", &json!(null));
    let replica = Replica::start(&server, FILE, None);
    settle().await;
    for name in ["known-selector", "observing", "system", "nothing"] {
        let policy = replica.policy(name).unwrap();
        let actions = policy.rules.actions;
        for kind in <FindingKind as strum::VariantArray>::VARIANTS {
            assert_eq!(actions.on(*kind), Action::Block, "{name} {kind}");
        }
        assert_eq!(policy.rules.scan.required, crate::domain::scan::Required::Always, "{name}");
        let expected = if name == "observing" { Enforcement::Observe } else { Enforcement::Enforce };
        assert_eq!(policy.enforcement, expected, "{name}");
    }
    let tier = |name: &str| replica.policy(name).unwrap().selector.requirements()[0].key.to_string();
    assert_eq!((tier("known-selector"), tier("observing")), ("tier".to_owned(), "tier".to_owned()));
    for name in ["system", "nothing"] {
        let policy = replica.policy(name).unwrap();
        assert!(selects(&policy, "shop"), "{name}");
        for left_alone in ["kube-system", "kube-node-lease", "landfall", "harbor"] {
            assert!(!selects(&policy, left_alone), "{name} {left_alone}");
        }
    }
    let severity = |name: &str| replica.policy(name).unwrap().rules.scan.max_severity;
    assert_eq!(severity("observing"), Some(crate::domain::scan::Severity::Low), "that much is clear");
    assert_eq!(severity("system"), Some(crate::domain::scan::Severity::None));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_stays_while_the_api_server_is_away_and_nobody_is_judged_before() {
    let server = Server::default();
    server.put("regulated", &blocking("bank"));
    server.set(|state| state.instead = Some(StatusCode::FORBIDDEN));
    let replica = Replica::start(&server, FILE, None);
    settle().await;
    let Standing::Unlisted(said) = replica.standing() else { panic!("{:?}", replica.standing()) };
    assert!(said.contains("cannot be listed") && said.contains("says 403"), "{said}");

    server.set(|state| state.instead = None);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(replica.standing(), Standing::Good("1 from objects".to_owned()));
    server.set(|state| state.instead = Some(StatusCode::SERVICE_UNAVAILABLE));
    settle().await;
    let Standing::Degraded(said) = replica.standing() else { panic!("{:?}", replica.standing()) };
    assert!(said.starts_with("1 from objects; changes do not arrive: "), "{said}");
    assert!(replica.policy("regulated").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_the_resource_has_no_policies_until_it_is_defined() {
    let server = Server::default();
    server.set(|state| state.instead = Some(StatusCode::NOT_FOUND));
    let replica = Replica::start(&server, FILE, None);
    settle().await;
    assert!(
        matches!(replica.standing(), Standing::Good(said) if said.contains("does not know the resource"))
    );
    server.set(|state| state.instead = None);
    server.put("regulated", &blocking("bank"));
    sleep(Duration::from_secs(60)).await;
    assert!(replica.policy("regulated").is_some());
    // An API server that does not know it for a moment, such as one that has just begun, takes nothing away.
    server.set(|state| state.instead = Some(StatusCode::NOT_FOUND));
    sleep(Duration::from_millis(2_100)).await;
    assert!(replica.policy("regulated").is_some());
    sleep(Duration::from_secs(120)).await;
    assert!(replica.policy("regulated").is_none(), "the resource and all objects are gone");
}

#[tokio::test(start_paused = true)]
async fn a_policy_moves_from_the_file_to_an_object_and_back_without_a_gap() {
    let in_file = format!(
        "{FILE}policies:\n  - {{metadata: {{name: regulated}}, spec: {{namespaceSelector: {{matchLabels: {{tier: bank}}}}, enforcement: Enforce, onStale: Block}}}}\n"
    );
    let server = Server::default();
    let replica = Replica::start(&server, &in_file, Some("pod-a"));
    settle().await;
    // Whoever looks at any moment sees the policy.
    let (settings, gaps) = (replica.settings.clone(), Arc::new(Mutex::new(0)));
    let seen = gaps.clone();
    let looking = tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(1)).await;
            *seen.lock().unwrap() += usize::from(settings.load().policies.len() != 1);
        }
    });
    let blocks = |finding| replica.policy("regulated").unwrap().rules.actions.on(finding) == Action::Block;
    server.put("regulated", &blocking("bank"));
    settle().await;
    assert!(blocks(FindingKind::Stale) && !blocks(FindingKind::Missing), "the file's applies");
    assert_eq!(server.says("regulated", "Enforcing").1, "FileApplies");
    assert!(
        server.says("regulated", "Warnings").2.contains("the configuration file has a policy of this name")
    );
    std::fs::write(&replica.path, FILE).unwrap();
    settle().await;
    assert!(blocks(FindingKind::Missing) && !blocks(FindingKind::Stale), "the object's applies");
    assert_eq!(server.says("regulated", "Enforcing").1, "NoReplicas");
    std::fs::write(&replica.path, &in_file).unwrap();
    settle().await;
    server.delete("regulated");
    settle().await;
    assert!(blocks(FindingKind::Stale));
    assert_eq!(*gaps.lock().unwrap(), 0);
    looking.abort();
}

#[tokio::test(start_paused = true)]
async fn too_many_policies_leave_the_oldest_in_force() {
    let server = Server::default();
    for n in 0..MOST_POLICIES {
        server.put(&format!("p{n}"), &blocking("bank"));
    }
    NOW.set(10);
    // By its name it would be the first.
    server.put("a", &blocking("bank"));
    let replica = Replica::start(&server, FILE, Some("pod-a"));
    settle().await;
    assert_eq!(replica.settings.load().policies.len(), MOST_POLICIES);
    assert!(replica.policy("a").is_none());
    let (status, reason, message) = server.says("a", "Accepted");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "TooMany"), "{message}");
    server.delete("p7");
    settle().await;
    assert!(replica.policy("a").is_some());
    assert_eq!(server.says("a", "Accepted").0, "True");
}

#[tokio::test(start_paused = true)]
async fn the_status_says_what_is_still_missing_until_a_policy_acts_everywhere() {
    let server = Server::default();
    server.put("regulated", &blocking("bank"));
    server.set(|state| {
        state.pods =
            [("pod-a".to_owned(), true), ("pod-b".to_owned(), true), ("pod-c".to_owned(), false)].into()
    });
    server.set(|state| drop(state.replicas.insert("pod-gone".to_owned(), "x".into())));
    let replica = Replica::start(&server, FILE, Some("pod-a"));
    settle().await;
    assert_eq!(server.says("regulated", "Accepted").0, "True");
    let enforcing = || server.says("regulated", "Enforcing");
    let (status, reason, message) = enforcing();
    assert_eq!(
        (status.as_str(), reason.as_str(), message.as_str()),
        ("False", "WaitingForReplicas", "not yet in force at `pod-b`")
    );
    let keys: BTreeSet<String> = server.0.lock().unwrap().replicas.keys().cloned().collect();
    assert_eq!(keys, ["pod-a".to_owned()].into(), "keys of Pods that are gone are removed");

    let other = Replica::start(&server, FILE, Some("pod-b"));
    settle().await;
    assert_eq!(
        enforcing(),
        (
            "Unknown".to_owned(),
            "Unknown".to_owned(),
            "it is not known: its entry of the validating webhook was not looked at yet".to_owned()
        )
    );
    let id = replica.policy("regulated").unwrap().selector.id();
    let entry = |state| {
        for replica in [&replica, &other] {
            replica.entries.send_replace(Report { entries: [(id, state)].into(), trouble: None });
        }
    };
    for (state, expected) in [
        (EntryState::Missing, "WaitingForEntry"),
        (EntryState::Refused, "TooManyEntries"),
        (EntryState::Standing, "Enforced"),
    ] {
        entry(state);
        settle().await;
        assert_eq!(enforcing().1, expected);
    }
    assert_eq!((enforcing().0, enforcing().1), ("True".to_owned(), "Enforced".to_owned()));

    // Nothing is written where nothing changes, by two replicas that both take themselves for the leader.
    let writes = || server.0.lock().unwrap().applied.len();
    let before = writes();
    NOW.set(3_600);
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(writes(), before);
    // Somebody removes the key of a replica: it is written again.
    server.set(|state| state.replicas.clear());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.0.lock().unwrap().replicas.len(), 2);
    assert_eq!(enforcing().1, "Enforced");

    // A mistake: what was said before stays in force, and since when a condition stands stays true.
    let since = |kind: &str| {
        let object = server.object("regulated");
        let all = object["status"]["conditions"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["type"] == kind).unwrap()["lastTransitionTime"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(since("Accepted"), "2026-11-21T00:00:00Z");
    server
        .put("regulated", &json!({"namespaceSelector": {}, "enforcement": "Enforce", "onMissing": "Allow"}));
    settle().await;
    let (status, reason, message) = server.says("regulated", "Accepted");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Invalid"));
    assert!(
        message.starts_with("spec.onMissing: `Allow` is not a valid value (")
            && message.ends_with("; generation 1 stays in force"),
        "{message}"
    );
    assert_eq!(enforcing().1, "EarlierGeneration");
    assert_eq!(
        (since("Accepted").as_str(), server.object("regulated")["status"]["observedGeneration"].as_i64()),
        ("2026-11-21T01:00:00Z", Some(2))
    );
    let reasons: Vec<String> =
        server.0.lock().unwrap().events.iter().map(|(reason, _)| reason.clone()).collect();
    assert!(
        reasons.contains(&"PolicyAccepted".to_owned()) && reasons.contains(&"PolicyRefused".to_owned()),
        "{reasons:?}"
    );
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn what_ends_by_itself_is_said_without_an_event_from_outside() {
    let server = Server::default();
    server.set(|state| state.pods = [("pod-a".to_owned(), true)].into());
    let mut spec = blocking("bank");
    spec["onUnknown"] = "Block".into();
    spec["breakGlass"] =
        json!({"until": "2026-11-21T00:01:00Z", "namespaces": ["shop"], "reason": "incident 7"});
    spec["exceptions"] = json!([{"images": ["two.example.com/a/**"], "findings": ["Missing"], "until": "2026-11-21T00:02:00Z", "reason": "x"}]);
    server.put("regulated", &spec);
    let mut replica = Replica::start(&server, FILE, Some("pod-a"));
    settle().await;
    let id = replica.policy("regulated").unwrap().selector.id();
    replica.entries.send_replace(Report { entries: [(id, EntryState::Standing)].into(), trouble: None });
    settle().await;
    let (status, reason, message) = server.says("regulated", "Enforcing");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "BreakGlass"));
    assert_eq!(message, "until 2026-11-21T00:01:00Z the policy only reports in `shop`: incident 7");
    let shown = |page: &Registry| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, page).unwrap();
        text.contains("landfall_policies_opened 1")
    };
    assert!(shown(&replica.page));
    let ended = "the exception ended at";
    assert!(!server.says("regulated", "Warnings").2.contains(ended));

    NOW.set(60);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(server.says("regulated", "Enforcing").1, "Enforced");
    assert!(!shown(&replica.page));
    NOW.set(120);
    sleep(Duration::from_secs(30)).await;
    assert!(
        server.says("regulated", "Warnings").2.contains(ended),
        "{}",
        server.says("regulated", "Warnings").2
    );
    let reasons: Vec<String> =
        server.0.lock().unwrap().events.iter().map(|(reason, _)| reason.clone()).collect();
    assert_eq!(reasons, ["PolicyAccepted", "PolicyOpened", "PolicyClosed"]);
    drop(replica.stop.take());
}

#[tokio::test(start_paused = true)]
async fn denied_pods_are_counted_by_all_replicas_together() {
    let server = Server::default();
    server.put("regulated", &blocking("bank"));
    server.set(|state| state.pods = [("pod-a".to_owned(), true)].into());
    let replica = Replica::start(&server, FILE, Some("pod-a"));
    settle().await;
    let (held, objects) = (replica.held.borrow().clone(), server.cluster().policies());
    let (a, b) = (Denials::new(clock), Denials::new(clock));
    let (name, other) = (PolicyName::new("regulated"), PolicyName::new("of-the-file"));
    for _ in 0..3 {
        a.count(&name);
        b.count(&name);
    }
    b.count(&other);
    // Somebody else writes in between.
    server.set(|state| state.conflicts = 2);
    tokio::join!(a.fold(&objects, &held), b.fold(&objects, &held));
    let denied = || {
        (
            server.object("regulated")["status"]["denied"].clone(),
            server.object("regulated")["status"]["lastDenied"].clone(),
        )
    };
    assert_eq!(denied(), (json!(6), json!("2026-11-21T00:00:00Z")));

    // While the API server is away nothing is lost, and nothing is counted twice.
    b.count(&name);
    server.set(|state| state.instead = Some(StatusCode::SERVICE_UNAVAILABLE));
    b.fold(&objects, &held).await;
    server.set(|state| state.instead = None);
    NOW.set(5);
    b.count(&name);
    b.fold(&objects, &held).await;
    b.fold(&objects, &held).await;
    assert_eq!(denied(), (json!(8), json!("2026-11-21T00:00:05Z")));
    settle().await;
    assert_eq!(denied().0, json!(8), "the leader's status leaves the number alone");

    // An object of the same name that came later is not the one that denied.
    server.delete("regulated");
    server.put("regulated", &blocking("bank"));
    b.count(&name);
    b.fold(&objects, &held).await;
    assert_eq!(denied().0, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_computed_from_an_older_object_is_refused() {
    let server = Server::default();
    server.put("regulated", &blocking("bank"));
    let replica = Replica::start(&server, FILE, None);
    settle().await;
    let object = replica.held.borrow()[0].object.clone();
    server.put("regulated", &blocking("shop"));
    let written = server.cluster().policies().show(&object, &object.status).await.unwrap();
    assert_eq!(written, Written::Outdated);
}

/// Two releases in one cluster: each has a leader, and they do not see the same entries.
#[tokio::test(start_paused = true)]
async fn two_that_say_other_things_of_a_policy_do_not_answer_each_other_at_once() {
    let server = Server::default();
    server.put("regulated", &blocking("bank"));
    server.set(|state| state.pods = [("pod-a".to_owned(), true), ("pod-b".to_owned(), true)].into());
    let (one, other) =
        (Replica::start(&server, FILE, Some("pod-a")), Replica::start(&server, FILE, Some("pod-b")));
    settle().await;
    let id = one.policy("regulated").unwrap().selector.id();
    for (replica, state) in [(&one, EntryState::Standing), (&other, EntryState::Missing)] {
        replica.entries.send_replace(Report { entries: [(id, state)].into(), trouble: None });
    }
    settle().await;
    let writes = || server.0.lock().unwrap().applied.len();
    let before = writes();
    sleep(Duration::from_secs(600)).await;
    assert!((10..=70).contains(&(writes() - before)), "{}", writes() - before);
    // Where one of them is gone, the other's stays.
    drop(other);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.says("regulated", "Enforcing").1, "Enforced");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_refused_is_not_written_again_at_once() {
    let server = Server::default();
    server.put("regulated", &blocking("bank"));
    server.set(|state| state.refuses = true);
    let _replica = Replica::start(&server, FILE, Some("pod-a"));
    sleep(Duration::from_secs(60)).await;
    let refused = server.0.lock().unwrap().refused;
    assert!((5..=15).contains(&refused), "{refused}");
    server.set(|state| state.refuses = false);
    settle().await;
    assert_eq!(server.says("regulated", "Accepted").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_break_glass_that_does_not_end_soon_has_a_warning() {
    let server = Server::default();
    let mut spec = blocking("bank");
    spec["breakGlass"] = json!({"until": "2026-11-22T00:01:00Z", "reason": "incident 7"});
    server.put("regulated", &spec);
    let _replica = Replica::start(&server, FILE, Some("pod-a"));
    settle().await;
    let warned = || {
        server.says("regulated", "Warnings").2.contains("open until 2026-11-22T00:01:00Z, for more than 24")
    };
    assert!(warned(), "{:?}", server.says("regulated", "Warnings"));
    NOW.set(61);
    settle().await;
    assert!(!warned() && server.says("regulated", "Enforcing").1 == "BreakGlass");
}
