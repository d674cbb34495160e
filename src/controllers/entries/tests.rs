//! The entries before an API server that holds both configurations and knows versions, by a clock that moves only when
//! nothing else happens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::MOST;
use super::*;
use crate::controllers::leader::{Candidate, Leader, LeaderMetrics, Term};
use crate::domain::policy::{BreakGlass, Enforcement, LabelRequirement, LabelTest, Policy, Selector};
use crate::domain::settings::sample;

/// The API server: the validating configuration, and the bundle of the other one.
#[derive(Debug, Clone)]
struct Server(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    validating: Value,
    version: u64,
    other: &'static str,
    /// Whether there is a validating configuration.
    there: bool,
    /// What the platform does to each write.
    platform: fn(&mut Value),
    writes: usize,
    events: Vec<String>,
}

impl Server {
    /// With these annotations on the validating configuration.
    fn new(annotations: &Value) -> Self {
        let validating = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "landfall", "resourceVersion": "1", "annotations": annotations},
        });
        let state = State {
            validating,
            version: 1,
            other: "b3RoZXI=",
            there: true,
            platform: |_| {},
            writes: 0,
            events: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn cluster(&self) -> Cluster {
        let this = self.clone();
        Cluster::answered_by(move |head, body| {
            let (status, answer) = this.answer(&head.method, head.uri.path(), body);
            std::future::ready((status, answer.to_string()))
        })
    }

    fn answer(&self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        let mut state = self.0.lock().unwrap();
        if path.contains("mutatingwebhookconfigurations") {
            let entry = json!({"name": "mutate.landfall.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                               "clientConfig": {"url": "https://landfall", "caBundle": state.other}});
            return (StatusCode::OK, json!({"metadata": {"name": "landfall"}, "webhooks": [entry]}));
        }
        if path.contains("/events") {
            state.events.push(body["reason"].as_str().unwrap().to_owned());
            return (StatusCode::CREATED, body);
        }
        if !state.there {
            let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                                 "message": "missing", "reason": "NotFound"});
            return (StatusCode::NOT_FOUND, missing);
        }
        if *method == Method::GET {
            return (StatusCode::OK, state.validating.clone());
        }
        if body["metadata"]["resourceVersion"] != state.validating["metadata"]["resourceVersion"] {
            let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409,
                                 "message": "refused", "reason": "Conflict"});
            return (StatusCode::CONFLICT, refused);
        }
        state.writes += 1;
        let (webhooks, platform) = (body["webhooks"].clone(), state.platform);
        drop(state);
        self.edit(|validating| {
            validating["webhooks"] = webhooks;
            platform(validating);
        });
        (StatusCode::OK, self.0.lock().unwrap().validating.clone())
    }

    /// Somebody writes.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        edit(&mut state.validating);
        state.version += 1;
        state.validating["metadata"]["resourceVersion"] = json!(state.version.to_string());
    }

    fn entries(&self) -> Vec<Value> {
        self.0.lock().unwrap().validating["webhooks"].as_array().cloned().unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        self.entries().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    }

    fn bundles(&self) -> Vec<Value> {
        self.entries().iter().map(|entry| entry["clientConfig"]["caBundle"].clone()).collect()
    }

    fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }
}

/// The bundle `ours`, beside the entries.
fn ours() -> Value {
    json!({"landfall.dev/ca-bundle": "ours"})
}

fn policy(name: &str, tier: &str, enforcement: Enforcement) -> Policy {
    let tier = LabelRequirement { key: "tier".into(), test: LabelTest::In(vec![tier.into()]) };
    Policy { enforcement, ..sample::policy(name, Selector::new(vec![tier])) }
}

fn settings(policies: Vec<Policy>) -> Settings {
    sample::settings(Duration::from_millis(2500)).with_policies(policies.into_iter().map(Arc::new).collect())
}

fn name_of(policy: &Policy) -> String {
    format!("validate-{}.landfall.dev", policy.selector.id())
}

/// One replica.
struct Replica {
    keeper: EntryKeeper,
    memory: Memory,
    ready: Arc<AtomicBool>,
    told: watch::Sender<Report>,
}

impl Replica {
    fn new(server: &Server, issuer: Issuer) -> Self {
        let cluster = server.cluster();
        let candidate = Candidate {
            namespace: "landfall".into(),
            lease: "landfall".into(),
            pod: "landfall-0".into(),
            term: Term::default(),
        };
        let leading = Leader::new(&cluster, &candidate, LeaderMetrics::default(), Timestamp::now).leading();
        let (events, writer) = cluster.events("landfall-0");
        tokio::spawn(writer.run());
        let ready = Arc::new(AtomicBool::new(true));
        let is_ready = ready.clone();
        let names = Names {
            namespace: "landfall".into(),
            service: "landfall".into(),
            webhook: "landfall".into(),
            issuer,
        };
        let keeper = EntryKeeper::new(
            &cluster,
            names,
            Arc::new(ArcSwap::from_pointee(settings(vec![]))),
            leading,
            move || is_ready.load(Ordering::Relaxed),
            events,
            Metrics::default(),
        );
        Self { keeper, memory: Memory::default(), ready, told: watch::Sender::new(Report::default()) }
    }

    /// Rounds until one has nothing to write, as the loop does them.
    async fn settle(&mut self, settings: &Settings) {
        loop {
            let pause = self.keeper.round(&self.told, &mut self.memory, true, settings).await.unwrap();
            self.memory.expected = Some(Instant::now() + pause);
            if !pause.is_zero() {
                return;
            }
        }
    }

    /// The same every two seconds for so long.
    async fn settle_for(&mut self, settings: &Settings, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::time::sleep(AGAIN).await;
            self.settle(settings).await;
        }
    }

    fn trouble(&self) -> String {
        self.told.borrow().trouble.clone().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn each_selector_of_a_policy_that_is_to_enforce_has_one_entry() {
    let server = Server::new(&ours());
    let mut replica = Replica::new(&server, Issuer::Us);
    let (bank, shop) =
        (policy("bank", "bank", Enforcement::Enforce), policy("shop", "shop", Enforcement::Enforce));
    let same = policy("another-of-banks", "bank", Enforcement::Enforce);
    let watched = policy("watched", "lab", Enforcement::Observe);
    let mut open = policy("open", "open", Enforcement::Enforce);
    open.break_glass =
        Some(BreakGlass { until: Timestamp::MAX, namespaces: vec![], reason: "INC-42".into() });
    let mut expected: Vec<_> = [&bank, &shop, &open].map(name_of).into();
    expected.sort();
    replica.settle(&settings(vec![])).await;
    assert_eq!((server.writes(), &*replica.trouble()), (0, ""));
    let all = settings(vec![bank, shop, same, watched, open]);
    replica.settle(&all).await;
    assert_eq!((server.names(), server.writes()), (expected, 1));
    assert_eq!(server.bundles(), vec![json!("b3Vycw=="); 3]);
    let told = replica.told.borrow().clone();
    assert!(told.trouble.is_none() && told.entries.values().all(|state| *state == EntryState::Standing));
    replica.settle(&all).await;
    assert_eq!(server.writes(), 1, "what stands is not written again");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_changes_is_as_before() {
    let server = Server::new(&ours());
    let mut replica = Replica::new(&server, Issuer::Us);
    let all = settings(vec![policy("bank", "bank", Enforcement::Enforce)]);
    replica.settle(&all).await;
    let good = server.entries();
    let edits: [fn(&mut Value); 7] = [
        |found| found["webhooks"][0]["failurePolicy"] = json!("Ignore"),
        |found| found["webhooks"] = json!([]),
        |found| found["webhooks"][0]["namespaceSelector"] = json!({"matchLabels": {"none": "here"}}),
        |found| found["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"a": "b"}}),
        |found| {
            let none = json!({"name": "none", "expression": "false"});
            found["webhooks"][0]["matchConditions"].as_array_mut().unwrap().push(none);
        },
        |found| found["webhooks"][0]["clientConfig"]["caBundle"] = json!("c3RyYW5nZXI="),
        |found| {
            let mut other = found["webhooks"][0].clone();
            other["name"] = json!("other.example.com");
            found["webhooks"].as_array_mut().unwrap().push(other);
        },
    ];
    for (place, edit) in edits.into_iter().enumerate() {
        server.edit(edit);
        // Even where it could not answer for the moment: only a new entry waits for that.
        replica.ready.store(place == 1, Ordering::Relaxed);
        assert_ne!(server.entries(), good);
        replica.settle(&all).await;
        assert_eq!(server.entries(), good, "edit {place}");
        assert_eq!(replica.keeper.metrics.restored.get(), place as u64 + 1);
    }
    assert!(server.0.lock().unwrap().events.iter().all(|reason| reason == "EntriesRestored"));
}

/// As AKS does, unless an annotation forbids it.
#[tokio::test(start_paused = true)]
async fn what_the_platform_changes_as_it_is_written_is_no_loop_without_a_pause() {
    let server = Server::new(&ours());
    server.0.lock().unwrap().platform = |found| {
        for entry in found["webhooks"].as_array_mut().unwrap() {
            let control_plane = json!({"key": "control-plane", "operator": "DoesNotExist"});
            entry["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(control_plane);
        }
    };
    let mut replica = Replica::new(&server, Issuer::Us);
    let all = settings(vec![policy("bank", "bank", Enforcement::Enforce)]);
    let settled = timeout(LOOK, async {
        for _ in 0..10 {
            let pause = replica.keeper.round(&replica.told, &mut replica.memory, true, &all).await.unwrap();
            tokio::time::sleep(pause).await;
        }
    });
    settled.await.unwrap();
    let began = Instant::now();
    for _ in 0..10 {
        let pause = replica.keeper.round(&replica.told, &mut replica.memory, true, &all).await.unwrap();
        tokio::time::sleep(pause).await;
    }
    assert!(began.elapsed() >= AGAIN * 10, "{:?}", began.elapsed());
    assert!(replica.trouble().contains("`bank`: something changes what"), "{}", replica.trouble());
    // It goes on where nobody changes it any more.
    server.0.lock().unwrap().platform = |_| {};
    replica.settle_for(&all, AGAIN * 2).await;
    assert_eq!((replica.trouble(), replica.memory.undone), (String::new(), false));
}

#[tokio::test(start_paused = true)]
async fn without_a_configuration_nothing_stands() {
    let server = Server::new(&ours());
    let mut replica = Replica::new(&server, Issuer::Us);
    let bank = policy("bank", "bank", Enforcement::Enforce);
    let (id, all) = (bank.selector.id(), settings(vec![bank]));
    replica.settle(&all).await;
    assert_eq!(replica.told.borrow().entries[&id], EntryState::Standing);
    server.0.lock().unwrap().there = false;
    let _ = replica.keeper.round(&replica.told, &mut replica.memory, true, &all).await;
    assert_eq!(replica.told.borrow().entries[&id], EntryState::Missing);
    assert!(replica.trouble().contains("ValidatingWebhookConfiguration `landfall`"), "{}", replica.trouble());
    // One that cannot be read may have lost them, too.
    server.0.lock().unwrap().there = true;
    replica.settle(&all).await;
    assert_eq!(replica.told.borrow().entries[&id], EntryState::Standing);
    server.0.lock().unwrap().validating = json!("not an object");
    let round = replica.keeper.round(&replica.told, &mut replica.memory, true, &all).await;
    assert!(round.is_err() && replica.told.borrow().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_entry_waits_for_readiness_and_for_an_authority() {
    let server = Server::new(&json!({}));
    let mut replica = Replica::new(&server, Issuer::Us);
    let all = settings(vec![policy("bank", "bank", Enforcement::Enforce)]);
    replica.settle(&all).await;
    assert!(server.names().is_empty() && replica.trouble().contains("`bank`: the certificate authority"));
    server.edit(|found| found["metadata"]["annotations"] = ours());
    replica.ready.store(false, Ordering::Relaxed);
    replica.settle(&all).await;
    assert!(server.names().is_empty() && replica.trouble().contains("not ready"), "{}", replica.trouble());
    replica.ready.store(true, Ordering::Relaxed);
    replica.settle(&all).await;
    assert_eq!(server.names().len(), 1);
    // Neither an unready replica nor a lost annotation opens it again.
    replica.ready.store(false, Ordering::Relaxed);
    server.edit(|found| found["metadata"]["annotations"] = json!({}));
    replica.settle_for(&all, LINGER * 3).await;
    assert_eq!(server.bundles(), ["b3Vycw=="]);
    replica.settle_for(&settings(vec![]), LINGER * 3).await;
    assert_eq!(server.names().len(), 1, "who is not ready removes nothing");
}

#[tokio::test(start_paused = true)]
async fn an_entry_goes_some_time_after_the_last_policy_of_its_selector() {
    let server = Server::new(&ours());
    let mut replica = Replica::new(&server, Issuer::Us);
    let two = vec![policy("a", "bank", Enforcement::Enforce), policy("b", "bank", Enforcement::Enforce)];
    let (both, one, none) = (settings(two.clone()), settings(vec![two[0].clone()]), settings(vec![]));
    replica.settle(&both).await;
    replica.settle_for(&one, LINGER * 3).await;
    assert_eq!(server.names().len(), 1);
    replica.settle_for(&none, LINGER - AGAIN).await;
    assert_eq!(server.names().len(), 1, "not at once");
    replica.settle_for(&none, AGAIN * 2).await;
    assert!(server.names().is_empty());

    // Whoever was suspended has seen nothing meanwhile: he waits again.
    replica.settle(&both).await;
    replica.settle(&none).await;
    tokio::time::sleep(LINGER * 100).await;
    replica.settle(&none).await;
    assert_eq!(server.names().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_leaders_one_with_old_settings_opens_nothing() {
    let server = Server::new(&ours());
    let (mut one, mut other) = (Replica::new(&server, Issuer::Us), Replica::new(&server, Issuer::Us));
    let (new, old) = (settings(vec![policy("bank", "bank", Enforcement::Enforce)]), settings(vec![]));
    for _ in 0..5 {
        one.settle(&new).await;
        other.settle(&old).await;
        assert_eq!(server.names().len(), 1);
        tokio::time::sleep(AGAIN).await;
    }
    assert_eq!(server.writes(), 1, "they do not fight");
}

#[tokio::test(start_paused = true)]
async fn more_entries_than_an_api_server_has_clients_for_are_refused_and_those_that_stand_stay() {
    let server = Server::new(&ours());
    let mut replica = Replica::new(&server, Issuer::Us);
    let mut policies: Vec<_> = (0..MOST)
        .map(|number| policy(&format!("p{number}"), &format!("t{number}"), Enforcement::Enforce))
        .collect();
    replica.settle(&settings(policies.clone())).await;
    let before = server.names();
    assert_eq!(before.len(), MOST);
    policies.insert(0, policy("new", "new", Enforcement::Enforce));
    let id = policies[0].selector.id();
    replica.settle(&settings(policies)).await;
    assert_eq!(server.names(), before);
    assert!(replica.trouble().contains("no entry for the policies `new`: there are at most 200"));
    assert_eq!(replica.told.borrow().entries[&id], EntryState::Refused);
}

#[tokio::test(start_paused = true)]
async fn where_others_issue_the_certificate_entries_have_the_bundle_of_the_other_door() {
    let all = settings(vec![policy("bank", "bank", Enforcement::Enforce)]);
    let server = Server::new(&json!({}));
    let mut replica = Replica::new(&server, Issuer::Others);
    replica.settle(&all).await;
    assert_eq!(server.bundles(), ["b3RoZXI="]);
    server.0.lock().unwrap().other = "bmV3";
    replica.settle(&all).await;
    assert_eq!(server.bundles(), ["bmV3"]);
    server.0.lock().unwrap().other = "";
    replica.settle(&all).await;
    assert_eq!(server.bundles(), ["bmV3"], "what stands is better than nothing");

    // What cert-manager has written stays: the two would fight.
    let server = Server::new(&json!({"cert-manager.io/inject-ca-from": "landfall/landfall"}));
    let mut replica = Replica::new(&server, Issuer::Others);
    replica.settle(&all).await;
    assert_eq!(server.bundles(), ["b3RoZXI="]);
    server.edit(|found| found["webhooks"][0]["clientConfig"]["caBundle"] = json!("aW5qZWN0ZWQ="));
    replica.settle(&all).await;
    assert_eq!(server.bundles(), ["aW5qZWN0ZWQ="]);
}

#[test]
fn namespaces_that_must_start_without_us_are_kept_out() {
    let names = Names {
        namespace: "ours".into(),
        service: "landfall".into(),
        webhook: "landfall".into(),
        issuer: Issuer::Us,
    };
    let text = "site: ams
registries:
  ams: {host: harbor.example.com, url: 'https://harbor-core.harbor.svc:8443', site: ams, kind: harbor}
  fra: {host: fra.example.com, url: 'https://harbor.svc.example.com', site: fra, kind: harbor}
routes: []
exclude: {namespaces: [platform]}
budget: {request: 6500ms}
";
    let now = Timestamp::now();
    let loaded = crate::config::parse(text, "site.yaml", crate::config::Files::Skip, now).unwrap();
    let common = common(&names, &loaded.settings);
    assert_eq!(common.kept_out, ["harbor", "kube-node-lease", "kube-system", "ours", "platform"]);
    assert_eq!(common.timeout, Duration::from_secs(8));
    let common = super::common(&names, &sample::settings(Duration::from_millis(2500)));
    assert_eq!(common.timeout, Duration::from_secs(5));
}
