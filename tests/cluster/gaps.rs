//! What operators see of what is missing: before anything restarts, with right words and ages, and gone after it was mended.

use jiff::Timestamp;
use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::seed::{self, Demo, Named};
use landfall::facade::demo::world::{Execution, ReplicationRule, Scan};
use landfall::facade::domain::digest::Digest;
use serde_json::{Value, json};

use crate::chapter::Chapter;
use crate::plane::{Apart, Plane, until};
use crate::release::Release;

/// Sweeps and inspections that a test can wait for, in all namespaces.
const SOON: [&str; 3] =
    ["--set-json=namespaces.matchExpressions=[]", "--set=sweep.every=3s", "--set=sweep.inspect=5s"];

fn image(Named { repository, tag }: Named) -> String {
    format!("harbor.fra.example.com/{repository}:{tag}")
}

/// A Pod that runs already: Landfall is not there yet.
fn run(plane: &Plane, namespace: &str, name: &str, named: Named) {
    plane.told(&["run", name, "--image", &image(named), "-n", namespace]);
}

/// What replication has not brought, as it will.
fn content(Named { repository, tag }: Named) -> Content {
    Content::image(&format!("{repository} {tag}"))
}

/// All gaps of the cluster, by the last part of their image's name, or by their rule.
fn gaps(plane: &Plane) -> Vec<(String, Value)> {
    let all: Value = serde_json::from_str(&plane.told(&["get", "gaps", "-o", "json"])).unwrap();
    let named = |gap: &Value| {
        let image = gap["spec"]["image"].as_str().map(|image| image.rsplit('/').next().unwrap());
        let name =
            image.map(|image| image.split(['@', ':']).next().unwrap()).or(gap["spec"]["rule"].as_str());
        (name.unwrap().to_owned(), gap.clone())
    };
    all["items"].as_array().unwrap().iter().map(named).collect()
}

/// Each gap as `name: presence, scan, risk, pods`, in order; `-` where nothing is lacking.
fn told(plane: &Plane) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let said = |(name, gap): &(String, Value)| {
        let status = &gap["status"];
        let [presence, scan, risk] = ["presence", "scan", "risk"].map(|axis| word(&status[axis]["finding"]));
        format!("{name}: {presence} {scan} {risk} {} {}", word(&status["state"]), status["pods"])
    };
    let mut told: Vec<String> = gaps(plane).iter().map(said).collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_known_before_anything_restarts_and_closed_by_evidence() {
    let apart = Apart::start();
    let plane = apart.0;
    let began = Timestamp::now();
    let release = Release::prepare(plane, "mission").await;
    let demo = &release.demo;
    // Everything is well but four things.
    plane.namespace("shop");
    run(plane, "shop", "checkout", seed::MISSING);
    run(plane, "shop", "web", seed::PRESENT);
    run(plane, "shop", "report", seed::SCAN_FAILED);
    run(plane, "shop", "api", seed::MULTI_ARCH);
    let web = demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    demo.ams.store().lose_layers(seed::PRESENT.repository, &web);
    let rule = || ReplicationRule::to("to-amsterdam", &demo.ams.url()).filter("name", "production/**");
    demo.fra.store().add_rule(rule().disabled());
    release.helm("install", &SOON);
    let expected = [
        "checkout: Missing - - Open 1",
        "report: - ScanFailed - Open 1",
        "to-amsterdam: - - RuleDisabled Open null",
        "web: LayerMissing - - Open 1",
    ];
    until("the four gaps", || (told(plane) == expected).then_some(()));
    for (name, gap) in gaps(plane) {
        let status = &gap["status"];
        let seen: Timestamp = status["firstSeen"].as_str().unwrap().parse().unwrap();
        assert!(began <= seen && seen <= Timestamp::now(), "{name}: {status}");
        let message = status["message"].as_str().unwrap();
        let about = if name == "to-amsterdam" { "disabled" } else { name.as_str() };
        assert!(message.contains(about), "{message}");
        let owners = status["owners"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_named =
            |owner: &Value| (owner["kind"].as_str(), owner["name"].as_str()) == (Some("Pod"), Some(&name));
        assert!(name == "to-amsterdam" || owners.iter().any(is_named), "{status}");
    }
    // The doors know of the lost layer, on every replica.
    let pod = |name: &str, named: Named| {
        let image = image(named);
        plane.told(&["run", name, "--image", &image, "-n", "shop", "--dry-run=server", "-o", "json"])
    };
    until("no new Pod is sent to the damaged copy", || {
        let answers = (0..6).map(|_| pod("again", seed::PRESENT)).collect::<Vec<_>>();
        answers.iter().all(|answer| answer.contains("\\\"LayerMissing\\\"")).then_some(())
    });

    // Mended, one after the other.
    let pushed = Timestamp::from_second(Timestamp::now().as_second() - 100).unwrap();
    {
        let (mut fra, mut ams) = (demo.fra.store(), demo.ams.store());
        let digest = ams.push(seed::MISSING.repository, seed::MISSING.tag, &content(seed::MISSING));
        ams.set_scan(&digest, Scan::clean());
        fra.set_pushed(seed::MISSING.repository, &digest, pushed);
        for layer in ams.layers(seed::PRESENT.repository, &web) {
            ams.restore_layer(seed::PRESENT.repository, &layer);
        }
        let report = ams.digest(seed::SCAN_FAILED.repository, seed::SCAN_FAILED.tag).unwrap();
        ams.set_scan(&report, Scan::clean());
        fra.remove_rules();
        fra.add_rule(rule());
    }
    let closed = [
        "checkout: - - - Closed 0",
        "report: - - - Closed 0",
        "to-amsterdam: - - - Closed null",
        "web: - - - Closed 0",
    ];
    until("all are closed", || (told(plane) == closed).then_some(()));
    until("the copy that was damaged is used again", || {
        pod("again", seed::PRESENT).contains("harbor.ams.example.com/production/shop/web").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_readme_says_of_what_is_missing_is_what_happens() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "landfall").await;
    plane.namespace("shop");
    run(plane, "shop", "checkout", seed::MISSING);
    run(plane, "shop", "report", seed::SCAN_FAILED);
    release.helm("install", &SOON);
    let found = ["checkout: Missing - - Open 1", "report: - ScanFailed - Open 1"];
    until("the gaps", || (told(plane) == found).then_some(()));

    let mut chapter = Chapter::open(plane, "See what is missing");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let header = |text: &str| words(text.lines().find(|line| line.starts_with("NAME ")).unwrap());
    let (_, said) = chapter.follow();
    let shown = chapter.next("text");
    assert_eq!(header(&shown), header(&said));
    for row in ["Missing", "ScanFailed"] {
        assert!(shown.contains(row) && said.contains(row), "{said}");
    }
    let (_, said) = chapter.follow();
    assert!(said.contains("something is missing here") && said.contains("shop/checkout"), "{said}");
    {
        let mut ams = release.demo.ams.store();
        let digest = ams.push(seed::MISSING.repository, seed::MISSING.tag, &content(seed::MISSING));
        ams.set_scan(&digest, Scan::clean());
        let report = ams.digest(seed::SCAN_FAILED.repository, seed::SCAN_FAILED.tag).unwrap();
        ams.set_scan(&report, Scan::clean());
    }
    let (_, said) = chapter.follow();
    assert!(said.matches("condition met").count() == 2 && said.contains("LAG"), "{said}");
    assert!(chapter.is_over(), "not all of it was followed");
    let events = plane.told(&["get", "events", "-n", "shop", "-o", "json"]);
    let events: Value = serde_json::from_str(&events).unwrap();
    let reasons: Vec<&str> =
        events["items"].as_array().unwrap().iter().filter_map(|event| event["reason"].as_str()).collect();
    assert!(reasons.contains(&"GapClosed"), "{reasons:?}");
    assert_eq!(json!(gaps(plane).len()), json!(2));
}

/// A route for the images that Harbor refuses to hand out, and one whose replica is a proxy cache that is not declared as one.
const MORE_ROUTES: &str = "routes:
  - name: regulated
    primary: {registry: fra, repositories: \"regulated/**\"}
    replicas: [{registry: ams, namespace: regulated, flatten: 1}]
  - name: cache
    primary: {registry: fra, repositories: \"cache/**\"}
    replicas: [{registry: ams, namespace: cache, flatten: 1}]
";

/// Replication rules that fill this site, in Frankfurt: with what is wrong with each, or as they should be.
fn rules(release: &Release, wrong: bool) {
    let (url, now) = (release.demo.ams.url(), Timestamp::now());
    let ago = |seconds: i64| Timestamp::from_second(now.as_second() - seconds).unwrap();
    let mut fra = release.demo.fra.store();
    fra.remove_rules();
    let rule = |name: &str| ReplicationRule::to(name, &url).filter("name", "production/**");
    let mut add = |rule: ReplicationRule, executions: Vec<Execution>| {
        let id = fra.add_rule(rule);
        executions.into_iter().for_each(|execution| fra.execute(id, execution));
    };
    if wrong {
        add(
            rule("asleep").scheduled("0 0 * * * *").created(ago(86_400)),
            vec![Execution::succeeded(ago(30_000))],
        );
        add(rule("failing"), vec![Execution::failed(ago(60), "the destination does not answer")]);
        // The seed was pushed just now, and this rule has followed nothing since yesterday.
        add(rule("idle").created(ago(86_400)), vec![Execution::succeeded(ago(80_000))]);
        let web = fra.digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
        fra.set_pushed(seed::PRESENT.repository, &web, ago(3_600));
    } else {
        for name in ["asleep", "failing", "idle"] {
            let id = fra.add_rule(rule(name).created(ago(60)));
            fra.execute(id, Execution::succeeded(now));
        }
    }
}

/// Everything that somebody should fix has a gap of its own, and an end that a look finds.
#[tokio::test(flavor = "multi_thread")]
async fn every_finding_has_a_gap_and_an_end() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "every").await;
    let demo = &release.demo;
    for (namespace, tier) in [("shop", "free"), ("bank", "regulated")] {
        plane.namespace(namespace);
        plane.told(&["label", "namespace", namespace, &format!("tier={tier}")]);
    }
    let signed = named_image(demo, "production/shop/signed", "1");
    let kept = named_image(demo, "production/shop/kept", "1");
    let old = named_image(demo, "production/shop/old", "1");
    for (namespace, name, image) in [
        ("shop", "checkout", image(seed::MISSING)),
        ("shop", "render", image(seed::CHILD_LOST)),
        ("shop", "ledger", image(seed::REFUSED)),
        ("shop", "proxied", image(seed::PROXIED)),
        ("shop", "cart", image(seed::MOVED)),
        ("shop", "search", image(seed::UNSCANNED)),
        ("shop", "mail", image(seed::SCANNING)),
        ("shop", "report", image(seed::SCAN_FAILED)),
        ("bank", "billing", image(seed::VULNERABLE)),
        ("shop", "signed", "harbor.fra.example.com/production/shop/signed:1".to_owned()),
        ("shop", "kept", format!("harbor.fra.example.com/production/shop/kept:1@{kept}")),
        ("shop", "old", "harbor.fra.example.com/production/shop/old:1".to_owned()),
    ] {
        plane.told(&["run", name, "--image", &image, "-n", namespace]);
    }
    let long_ago = Timestamp::from_second(Timestamp::now().as_second() - 10_000_000).unwrap();
    demo.fra.store().sign("production/shop/signed", &signed);
    {
        let mut ams = demo.ams.store();
        ams.untag("production/shop/kept", "1");
        ams.set_scan(&old, Scan::found_at(long_ago, &[]));
    }
    rules(&release, true);
    let config = release.config().replacen("routes:\n", MORE_ROUTES, 1);
    release.helm_with("install", &config, &SOON);
    let open = [
        "asleep: - - RuleOverdue",
        "billing: - Vulnerable -",
        "cart: Stale - -",
        "checkout: Missing - -",
        "checkout: ProxyCache - -",
        "failing: - - RuleFailing",
        "idle: - - RuleIdle",
        "kept: - - Untagged",
        "ledger: Refused - -",
        "mail: - ScanPending -",
        "old: - ScanExpired -",
        "render: ChildMissing - -",
        "report: - ScanFailed -",
        "search: - Unscanned -",
        "signed: - - AccessoryMissing",
    ];
    let lacking = || -> Vec<String> {
        let open = told(plane).into_iter().filter(|line| line.contains(" Open "));
        open.map(|line| line.split_once(" Open ").unwrap().0.to_owned()).collect()
    };
    until("every gap", || {
        let now = lacking();
        open.iter().all(|line| now.iter().any(|one| one == line)).then_some(())
    });

    // All of it is mended.
    {
        let (mut fra, mut ams) = (demo.fra.store(), demo.ams.store());
        let moved = Content::image("shop/cart, the new one");
        for (named, content) in [(seed::MISSING, content(seed::MISSING)), (seed::MOVED, moved)] {
            let digest = ams.push(named.repository, named.tag, &content);
            ams.set_scan(&digest, Scan::clean());
        }
        let index = Content::index("shop/render", Flavour::Oci, &["linux/amd64", "linux/arm64"]);
        ams.restore(seed::CHILD_LOST.repository, &index.child("linux/arm64").unwrap().digest);
        // The primary refuses the same: as long as it does, nobody knows what the tag means.
        fra.project("regulated").prevent_vul = None;
        ams.project("regulated").prevent_vul = None;
        for named in [seed::UNSCANNED, seed::SCANNING, seed::SCAN_FAILED, seed::VULNERABLE, seed::REFUSED] {
            let digest = ams.digest(named.repository, named.tag).unwrap();
            ams.set_scan(&digest, Scan::clean());
        }
        ams.set_scan(&old, Scan::clean());
        ams.sign("production/shop/signed", &signed);
        ams.tag("production/shop/kept", "1", &kept);
        fra.tag("production/shop/kept", "1", &kept);
    }
    // What was only behind a proxy cache is named where it was replicated by now.
    plane.told(&["delete", "pod", "proxied", "-n", "shop", "--force", "--grace-period=0"]);
    rules(&release, false);
    let left = until("nothing is lacking but what still is in a proxy cache", || {
        let now = lacking();
        now.iter().all(|line| line == "checkout: ProxyCache - -").then_some(now)
    });
    assert!(left.len() <= 1, "{left:?}");
}

/// An image that all registries hold, scanned clean.
fn named_image(demo: &Demo, repository: &str, tag: &str) -> Digest {
    let content = Content::image(repository);
    for mut store in [demo.fra.store(), demo.ams.store(), demo.edge.store()] {
        store.push(repository, tag, &content);
        store.set_scan(&content.digest, Scan::clean());
    }
    content.digest
}

/// Without the resource Landfall serves, and says so; while the API server is away nothing is lost but counts.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_resource_and_without_an_api_server_pods_are_served_and_gaps_are_not_lost() {
    let apart = Apart::start();
    let plane = apart.0;
    plane.told(&["delete", "crd", "replicationgaps.landfall.dev"]);
    let release = Release::install(plane, "without", &["--set=crds.create=Never"]).await;
    let replicas = release.replicas();
    let log = || -> String {
        replicas.keys().map(|pod| std::fs::read_to_string(plane.log(pod)).unwrap_or_default()).collect()
    };
    let said = "the cluster does not know the resource ReplicationGap";
    let checkout =
        |name: &str| plane.told(&["run", name, "--image", &image(seed::MISSING), "-n", &release.pods]);
    checkout("before");
    until("it says that gaps are not recorded", || log().contains(said).then_some(()));
    // It is defined, and what was met meanwhile is recorded.
    let definition = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/crds.yaml");
    plane.told(&["apply", "--server-side", "--force-conflicts", "-f", &definition.display().to_string()]);
    until("what was met before is recorded", || (told_after_definition(plane) == Some(1)).then_some(()));
    // The API server is away for a while.
    plane.kill("kube-apiserver");
    until("it notices that", || log().contains("the Lease can be neither read nor written").then_some(()));
    plane.revive("kube-apiserver");
    plane.until_ready();
    checkout("after");
    until("what was met after it is recorded", || (told_after_definition(plane) == Some(2)).then_some(()));
}

/// How often the only gap was met, once it can be asked for.
fn told_after_definition(plane: &Plane) -> Option<i64> {
    let output = plane.kubectl(&["get", "gaps", "-o", "json"]);
    let all: Value = serde_json::from_slice(&output.stdout).ok()?;
    let [gap] = &all["items"].as_array()?[..] else { return None };
    gap["status"]["fellBack"].as_i64()
}
