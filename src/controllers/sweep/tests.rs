//! Sweeps over an API server in memory and the demo's registries over real HTTP.

use std::sync::Mutex;

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::cluster::Cluster;
use crate::config::{self, Files};
use crate::demo::world::entry;
use crate::demo::world::seed::{self, Demo, Named};
use crate::domain::gap::GapSubject;
use crate::domain::verdict::Ruling;

const POLICIES: &str = "
policies:
- metadata: {name: regulated}
  spec:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bank}}
    enforcement: Enforce
    onVulnerable: Block
    scan: {required: Always, maxSeverity: Medium}
";

/// An API server with these objects, in pages of two, and the demo's registries.
struct Stage {
    demo: Demo,
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    objects: Arc<Mutex<HashMap<&'static str, Vec<Value>>>>,
    /// How many pages were asked for; each of these numbers is answered 410.
    pages: Arc<Mutex<(usize, Vec<usize>)>>,
}

impl Stage {
    async fn new() -> Self {
        let demo = seed::demo().await.unwrap();
        let fra = entry(&demo.fra.registry("fra", "harbor.fra.example.com"), "");
        let ams = entry(&demo.ams.registry("ams", "harbor.ams.example.com"), "");
        let edge = entry(&demo.edge.registry("ams", "registry.edge:5000"), "");
        let text = format!(
            "site: ams
registries: {{fra: {fra}, ams: {ams}, edge: {edge}}}
routes:
- name: production
  primary: {{registry: fra, repositories: 'production/**'}}
  replicas: [{{registry: ams, namespace: production, flatten: 1}}, {{registry: edge, namespace: ''}}]
defaults: {{scan: {{required: Auto}}}}
exclude: {{namespaces: [harbor]}}
{POLICIES}"
        );
        let settings = config::parse(&text, "test.yaml", Files::Check, Timestamp::now()).unwrap().settings;
        let observatory = Arc::new(Observatory::new(&settings, &mut Default::default()));
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        Self { demo, settings, observatory, objects: Arc::default(), pages: Arc::default() }
    }

    fn put(&self, list: &'static str, object: Value) {
        self.objects.lock().unwrap().entry(list).or_default().push(object);
    }

    fn pod(&self, namespace: &str, name: &str, image: &str) {
        self.put("pods", pod(namespace, name, image));
    }

    fn sweeper(&self, templates: Templates) -> Sweeper {
        let (objects, pages) = (self.objects.clone(), self.pages.clone());
        let cluster = Cluster::answered_by(move |head, _| {
            let mut counted = pages.lock().unwrap();
            counted.0 += 1;
            let answer = if counted.1.contains(&counted.0) {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410});
                (StatusCode::GONE, status.to_string())
            } else {
                let list = head.uri.path().rsplit('/').next().unwrap();
                let query = head.uri.query().unwrap_or_default();
                let from = query.rsplit_once("continue=").map_or(0, |(_, from)| from.parse().unwrap());
                let objects = objects.lock().unwrap();
                let all = objects.get(list).map(Vec::as_slice).unwrap_or_default();
                let items: Vec<_> = all.iter().skip(from).take(2).collect();
                let next = if from + 2 < all.len() { (from + 2).to_string() } else { String::new() };
                (StatusCode::OK, json!({"metadata": {"continue": next}, "items": items}).to_string())
            };
            std::future::ready(answer)
        });
        Sweeper::new(
            &cluster,
            Namespaces::nowhere(),
            self.observatory.clone(),
            self.settings.clone(),
            Leading::always(),
            "landfall",
            Terms { every: Duration::from_secs(900), inspect: Duration::from_secs(3600), templates },
            (SweepMetrics::default(), ReplicationMetrics::register(&mut Default::default())),
            Timestamp::now,
            watch::Sender::new(None),
        )
    }

    /// What a sweep finds: `finding subject at registry: pods, namespaces, owners`.
    async fn sweep(&self, templates: Templates) -> (Vec<String>, Survey) {
        let sweeper = self.sweeper(templates);
        let (needs, settings) = sweeper.sweep().await.unwrap();
        let mut inspections = Inspections::new(Timestamp::UNIX_EPOCH);
        let survey = sweeper.judge(&needs, sweeper.ground(&settings), &mut inspections).await;
        (told(&survey), survey)
    }

    /// What is found when everything was inspected, and how many rounds changed something.
    async fn inspected(&self) -> (Vec<String>, usize) {
        let sweeper = self.sweeper(Templates::Left);
        let (needs, settings) = sweeper.sweep().await.unwrap();
        let mut inspections = Inspections::new(Timestamp::UNIX_EPOCH);
        let mut survey = sweeper.judge(&needs, sweeper.ground(&settings), &mut inspections).await;
        let (metrics, mut changes) = ((&sweeper.metrics, &sweeper.replication), 0);
        while let Some(changed) = inspections.round(&self.observatory, Duration::MAX, metrics).await {
            if changed == Changed::Findings {
                survey = sweeper.judge(&needs, sweeper.ground(&settings), &mut inspections).await;
                changes += 1;
            }
        }
        (told(&survey), changes)
    }
}

fn told(survey: &Survey) -> Vec<String> {
    let said = |(gap, running): &(Gap, Running)| {
        let GapSubject::Image { name, .. } = &gap.key.subject else { panic!("{gap:?}") };
        let image = name.rsplit('/').next().unwrap();
        let owners: Vec<_> =
            running.owners.iter().map(|owner| format!("{}/{}", owner.kind, owner.name)).collect();
        let namespaces: Vec<&str> = running.namespaces.iter().map(AsRef::as_ref).collect();
        let (kind, registry, pods) = (gap.kind.as_str(), &gap.key.registry, running.pods);
        format!("{kind} {image} at {registry}: {pods} {} {}", namespaces.join(","), owners.join(","))
    };
    let mut found: Vec<String> = survey.swept.found.iter().map(said).collect();
    found.sort();
    found
}

fn fra(named: Named) -> String {
    format!("harbor.fra.example.com/{}:{}", named.repository, named.tag)
}

fn pod(namespace: &str, name: &str, image: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

#[tokio::test]
async fn what_runs_is_judged_at_each_local_replica() {
    let stage = Stage::new().await;
    stage.pod("shop", "web", &fra(seed::PRESENT));
    for n in 0..3 {
        stage.pod("shop", &format!("checkout-{n}"), &fra(seed::MISSING));
    }
    stage.pod("bank", "checkout", &fra(seed::MISSING));
    stage.pod("shop", "billing", &fra(seed::VULNERABLE));
    stage.pod("bank", "billing", &fra(seed::VULNERABLE));
    stage.pod("shop", "other", "docker.io/library/nginx:1");
    for left_alone in ["kube-system", "harbor", "landfall"] {
        stage.pod(left_alone, "checkout", &fra(seed::MISSING));
    }
    let (found, swept) = stage.sweep(Templates::Left).await;
    // That the edge, a plain registry, has no scans is no Gap.
    let expected = [
        "Missing billing at edge: 2 bank,shop Pod/billing,Pod/billing",
        "Missing checkout at ams: 4 bank,shop Pod/checkout,Pod/checkout-0,Pod/checkout-1,Pod/checkout-2",
        "Missing checkout at edge: 4 bank,shop Pod/checkout,Pod/checkout-0,Pod/checkout-1,Pod/checkout-2",
        "Vulnerable billing at ams: 1 bank Pod/billing",
    ];
    assert_eq!(found, expected);
    assert!(swept.swept.complete);
    // Each image once for each set of rules.
    assert_eq!(swept.cases.len(), 5);
}

/// What a new Pod would get, for each namespace, where there are reports.
#[tokio::test]
async fn the_people_of_each_namespace_are_told_what_new_pods_would_get() {
    let stage = Stage::new().await;
    assert!(stage.sweep(Templates::Left).await.1.standings.is_none(), "nobody reads it");
    let settings = Settings { reports: Reports::OpenReports, ..Settings::clone(&stage.settings.load()) };
    stage.settings.store(Arc::new(settings));
    stage.pod("shop", "web", &fra(seed::PRESENT));
    stage.pod("shop", "other", "docker.io/library/nginx:1");
    stage.pod("shop", "billing", &fra(seed::VULNERABLE));
    stage.pod("bank", "billing", &fra(seed::VULNERABLE));
    for n in 0..40 {
        stage.pod(&format!("team-{n:02}"), "checkout", &fra(seed::MISSING));
    }
    stage.pod("kube-system", "checkout", &fra(seed::MISSING));
    let (_, survey) = stage.sweep(Templates::Left).await;
    let standings = survey.standings.unwrap();
    // Without a policy the vulnerability is no obstacle, and the one that is left alone has no route.
    assert_eq!(standings.namespaces["shop"], Tally { passed: 2, skipped: 1 });
    assert!(standings.whole);
    let mut told: Vec<String> = standings
        .lacking
        .iter()
        .map(|standing| {
            let Standing { written, finding, ruling, place, gap, namespaces, .. } = standing;
            let image = written.rsplit('/').next().unwrap();
            let ruling = if *ruling == Ruling::Deny { "denied" } else { "from elsewhere" };
            let policies = finding.policies.len();
            let (place, gap) = (place.as_ref().unwrap(), gap.is_some());
            format!(
                "{image} {} at {place}: {ruling} by {policies}, gap {gap}, {} namespaces",
                finding.kind,
                namespaces.len()
            )
        })
        .collect();
    told.sort();
    let expected = [
        "billing:1.0.7 Vulnerable at ams: denied by 1, gap true, 1 namespaces",
        "checkout:5.0.0 Missing at ams: from elsewhere by 0, gap true, 40 namespaces",
    ];
    assert_eq!(told, expected);
    // The ledger keeps the first, as before.
    assert!(survey.swept.found.iter().all(|(_, running)| running.namespaces.len() <= 16));
}

#[tokio::test]
async fn a_pod_that_was_changed_needs_what_it_was_created_with_too() {
    let stage = Stage::new().await;
    let digest = stage.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    let (was, is) = (
        fra(seed::PRESENT),
        format!("harbor.ams.example.com/{}:{}@{digest}", seed::PRESENT.repository, seed::PRESENT.tag),
    );
    let changed = |was: &str, is: &str| {
        let mut pod = pod("shop", "web", is);
        let images = json!({"containers/c": {"was": was, "is": is, "why": "Local", "place": "ams"}});
        pod["metadata"]["annotations"] = json!({"landfall.dev/images": images.to_string()});
        pod
    };
    stage.put("pods", changed(&was, &is));
    let (_, swept) = stage.sweep(Templates::Left).await;
    let mut written: Vec<_> = swept.cases.iter().map(|case| &*case.written).collect();
    written.sort_unstable();
    assert_eq!(written, [&*is, &*was]);
    // What the annotation says is never believed: no mapping leads from this one to what stands there.
    stage.objects.lock().unwrap().clear();
    stage.put("pods", changed(&fra(seed::MISSING), &is));
    let (found, swept) = stage.sweep(Templates::Left).await;
    assert_eq!(swept.cases.iter().map(|case| &*case.written).collect::<Vec<_>>(), [&*is]);
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn templates_tell_what_is_scaled_down_or_runs_at_night() {
    let stage = Stage::new().await;
    let template = pod("", "", &fra(seed::MISSING));
    let meta = |name: &str| json!({"namespace": "shop", "name": name, "uid": format!("u-{name}")});
    stage.put(
        "deployments",
        json!({"metadata": meta("asleep"), "spec": {"replicas": 0, "template": template}}),
    );
    stage.put(
        "cronjobs",
        json!({"metadata": meta("nightly"), "spec": {"jobTemplate": {"spec": {"template": template}}}}),
    );
    let mut owned = json!({"metadata": meta("asleep-7f"), "spec": {"template": template}});
    owned["metadata"]["ownerReferences"] = json!([{"kind": "Deployment", "name": "asleep"}]);
    stage.put("replicasets", owned);
    assert!(stage.sweep(Templates::Left).await.0.is_empty());
    let (found, _) = stage.sweep(Templates::Read).await;
    let owners = "0 shop Deployment/asleep,CronJob/nightly";
    assert_eq!(
        found,
        [format!("Missing checkout at ams: {owners}"), format!("Missing checkout at edge: {owners}")]
    );
}

#[tokio::test]
async fn a_list_that_expires_is_begun_anew_a_few_times() {
    let stage = Stage::new().await;
    for n in 0..4 {
        stage.pod("shop", &format!("web-{n}"), &fra(seed::PRESENT));
    }
    stage.pages.lock().unwrap().1 = vec![2, 4];
    let (_, swept) = stage.sweep(Templates::Left).await;
    assert_eq!((stage.pages.lock().unwrap().0, swept.cases.len()), (6, 1));
    *stage.pages.lock().unwrap() = (0, (1..9).collect());
    let error = stage.sweeper(Templates::Left).sweep().await.unwrap_err();
    assert_eq!(
        (error.to_string(), stage.pages.lock().unwrap().0),
        ("what runs cannot be read".to_owned(), 3)
    );
}

#[tokio::test]
async fn what_could_not_be_learned_is_no_gap_and_makes_the_sweep_partial() {
    let stage = Stage::new().await;
    stage.pod("shop", "checkout", &fra(seed::MISSING));
    stage.demo.ams.down().await;
    let (found, swept) = stage.sweep(Templates::Left).await;
    assert_eq!((found.len(), swept.swept.complete), (1, false));
    assert_eq!(found, ["Missing checkout at edge: 1 shop Pod/checkout"]);
}

#[tokio::test]
async fn a_lost_layer_is_found_by_an_inspection_and_gone_after_it_was_restored() {
    let stage = Stage::new().await;
    stage.pod("shop", "web", &fra(seed::PRESENT));
    let digest = stage.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    assert_eq!(stage.inspected().await, (Vec::new(), 0));
    // What was looked at a moment ago is not asked for again, so this one is asked by an Observatory of its own.
    let stage = Stage::new().await;
    stage.pod("shop", "web", &fra(seed::PRESENT));
    stage.demo.ams.store().lose_layers(seed::PRESENT.repository, &digest);
    assert!(stage.sweep(Templates::Left).await.0.is_empty(), "the manifest is there");
    let lost = "LayerMissing web at ams: 1 shop Pod/web".to_owned();
    assert_eq!(stage.inspected().await, (vec![lost.clone()], 1));
    // It stands, also for whoever only judges, until a look finds it whole.
    assert_eq!(stage.sweep(Templates::Left).await.0, [lost]);
    {
        let mut store = stage.demo.ams.store();
        for layer in store.layers(seed::PRESENT.repository, &digest) {
            store.restore_layer(seed::PRESENT.repository, &layer);
        }
    }
    assert_eq!(stage.inspected().await, (Vec::new(), 1));
}

#[tokio::test]
async fn a_pod_that_was_changed_is_one_pod() {
    let stage = Stage::new().await;
    let digest = stage.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    let (was, is) = (
        fra(seed::PRESENT),
        format!("harbor.ams.example.com/{}:{}@{digest}", seed::PRESENT.repository, seed::PRESENT.tag),
    );
    let mut changed = pod("shop", "web", &is);
    let images = json!({"containers/c": {"was": was, "is": is, "why": "Local", "place": "ams"}});
    changed["metadata"]["annotations"] = json!({"landfall.dev/images": images.to_string()});
    stage.put("pods", changed);
    stage.demo.fra.store().sign(seed::PRESENT.repository, &digest);
    assert_eq!(stage.inspected().await.0, ["AccessoryMissing web at ams: 1 shop Pod/web"]);
}

#[tokio::test]
async fn a_layer_that_one_repository_lost_is_not_lost_in_another() {
    use crate::demo::world::content::Content;

    let stage = Stage::new().await;
    let content = Content::image("promoted");
    let (one, other) = ("production/own/copy", "production/shop/checkout-api");
    let mut digest = None;
    for at in [&stage.demo.fra, &stage.demo.ams, &stage.demo.edge] {
        for repository in [one, other] {
            digest = Some(at.store().push(repository, "1", &content));
        }
    }
    let digest = digest.unwrap();
    // Somebody may do this to his own repository.
    stage.demo.ams.store().lose_layers(one, &digest);
    stage.pod("own", "copy", &format!("harbor.fra.example.com/{one}:1"));
    let lost = ["LayerMissing copy at ams: 1 own Pod/copy"];
    let of_layers = |found: Vec<String>| {
        found.into_iter().filter(|found| found.starts_with("LayerMissing")).collect::<Vec<_>>()
    };
    assert_eq!(of_layers(stage.inspected().await.0), lost);
    stage.pod("shop", "checkout-api", &format!("harbor.fra.example.com/{other}:1"));
    assert_eq!(of_layers(stage.sweep(Templates::Left).await.0), lost);
}

#[tokio::test]
async fn a_copy_whose_registry_was_down_is_not_taken_for_inspected() {
    let stage = Stage::new().await;
    stage.pod("shop", "web", &fra(seed::PRESENT));
    let sweeper = stage.sweeper(Templates::Left);
    let (needs, settings) = sweeper.sweep().await.unwrap();
    let mut inspections = Inspections::new(Timestamp::UNIX_EPOCH);
    sweeper.judge(&needs, sweeper.ground(&settings), &mut inspections).await;
    stage.demo.ams.down().await;
    stage.demo.edge.down().await;
    let metrics = (&sweeper.metrics, &sweeper.replication);
    inspections.round(&stage.observatory, Duration::MAX, metrics).await;
    assert_eq!(inspections.due(Duration::from_hours(6), Instant::now() + Duration::from_mins(15)).len(), 2);
}

#[tokio::test]
async fn names_that_no_registry_has_take_no_memory() {
    let stage = Stage::new().await;
    let long = "x".repeat(1 << 20);
    stage.pod("shop", "a", &long);
    stage.pod("shop", "b", &format!("harbor.fra.example.com/production/shop/web:{long}"));
    let mut owned = pod("shop", "c", &fra(seed::PRESENT));
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": long, "uid": "u"}]);
    stage.put("pods", owned);
    let (needs, _) = stage.sweeper(Templates::Left).sweep().await.unwrap();
    let kept: usize = needs.iter().map(|need| format!("{need:?}").len()).sum();
    assert!(kept < 4096, "{kept} bytes of three Pods");
}

#[tokio::test]
async fn what_the_primary_has_beside_it_and_what_nothing_keeps_is_a_risk() {
    let stage = Stage::new().await;
    stage.pod("shop", "web", &fra(seed::PRESENT));
    let digest = stage.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    stage.demo.fra.store().sign(seed::PRESENT.repository, &digest);
    let (found, _) = stage.inspected().await;
    assert_eq!(found, ["AccessoryMissing web at ams: 1 shop Pod/web"]);
    stage.demo.ams.store().sign(seed::PRESENT.repository, &digest);
    assert_eq!(stage.inspected().await.0, Vec::<String>::new());
    // Only Pods that name the digest still need it.
    stage.objects.lock().unwrap().clear();
    stage.pod("shop", "web", &format!("{}@{digest}", fra(seed::PRESENT)));
    stage.demo.ams.store().untag(seed::PRESENT.repository, seed::PRESENT.tag);
    assert_eq!(stage.inspected().await.0, ["Untagged web at ams: 1 shop Pod/web"]);
}

#[tokio::test]
async fn what_a_kubelet_says_is_a_hint_and_what_a_look_finds_counts() {
    let stage = Stage::new().await;
    let digest = stage.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    let copy =
        |registry: &str| format!("{registry}/{}:{}@{digest}", seed::PRESENT.repository, seed::PRESENT.tag);
    let failed = |image: String| FailedPull {
        image,
        namespace: "shop".to_owned(),
        pod: "web-1".to_owned(),
        message: "Failed to pull image".to_owned(),
    };
    let sweeper = stage.sweeper(Templates::Left);
    let (mut needs, settings) = sweeper.sweep().await.unwrap();
    let ams = copy("harbor.ams.example.com");
    // The registry serves it; another site's; no route; nothing there; nonsense.
    for image in [
        ams.clone(),
        copy("harbor.fra.example.com"),
        "docker.io/library/nginx:1".to_owned(),
        "harbor.ams.example.com/production/shop/nothing:1".to_owned(),
        "::".to_owned(),
    ] {
        let changed = sweeper.look_at_pull(&failed(image), &mut needs, sweeper.ground(&settings)).await;
        assert_eq!(changed, Changed::Nothing);
    }
    assert!(stage.observatory.damages().is_empty() && needs.len() == 0, "forged Events change nothing");
    // Now a layer is lost, and no sweep has seen the Pod.
    stage.demo.ams.store().lose_layers(seed::PRESENT.repository, &digest);
    let changed = sweeper.look_at_pull(&failed(ams), &mut needs, sweeper.ground(&settings)).await;
    assert_eq!(changed, Changed::Findings);
    let mut inspections = Inspections::new(Timestamp::UNIX_EPOCH);
    let survey = sweeper.judge(&needs, sweeper.ground(&settings), &mut inspections).await;
    assert_eq!(told(&survey), ["LayerMissing web at ams: 1 shop Pod/web-1"]);
}
