//! What operators see of what is missing: before anything restarts, with right words and ages, and gone after it was mended.

use jiff::Timestamp;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::demo::world::{ReplicationRule, Scan};
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
