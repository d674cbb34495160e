//! Reports of drills as pages: what stands on them, what has changed, many sites, hostile names, size, and what a browser prints.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use browser::browse;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A workload: its namespace and name, its image, and what hinders it.
type Workload<'a> = (&'a str, &'a str, Option<(&'a str, &'a str)>);

/// The JSON of a drill.
fn drill(site: &str, at: &str, workloads: &[Workload<'_>]) -> Value {
    let of = |(name, image, obstacle): &Workload<'_>| {
        let prospect = match obstacle {
            None => "Starts",
            Some(("NotTold", _)) => "Unknown",
            Some(_) => "Fails",
        };
        let mut told = json!({"slot": "containers/main", "image": image, "prospect": prospect});
        if let Some((obstacle, why)) = obstacle {
            told["obstacle"] = json!(obstacle);
            told["why"] = json!(why);
            told["todo"] = json!("run the replication rule again, or `landfall copy`");
            told["since"] = json!("2026-11-20T08:00:00Z");
        } else {
            told["becomes"] = json!(format!("harbor.ams.example.com/{image}@sha256:{}", "a".repeat(64)));
        }
        let (namespace, name) = name.split_once('/').unwrap();
        json!({"kind": "Deployment", "namespace": namespace, "name": name, "prospect": prospect, "images": [told]})
    };
    let count = |wanted: &str| {
        let of = workloads.iter().filter(|(.., obstacle)| match obstacle {
            None => wanted == "Starts",
            Some(("NotTold", _)) => wanted == "Unknown",
            Some(_) => wanted == "Fails",
        });
        of.count()
    };
    json!({
        "method": "a forecast, not a switchover", "at": at, "version": "0.1.0", "site": site, "lost": ["fra"],
        "total": workloads.len(), "start": count("Starts"), "fail": count("Fails"), "unknown": count("Unknown"),
        "workloads": workloads.iter().map(of).collect::<Vec<_>>(),
        "recovery": {"bytes": 5_368_709_120_u64, "layers": 412, "bytesPerSecond": 104_857_600, "bandwidthIs": "given", "seconds": 52,
                     "lacking": [{"image": "harbor.fra.example.com/shop/search:2", "registry": "ams", "since": "2026-11-20T08:00:00Z"}],
                     "lackingTotal": 1, "longestLagSeconds": 410, "unknown": ["artefacts of the primary that no workload names"]},
        "assumptions": ["every node is new"], "notCovered": ["volumes and their data"], "notes": [],
    })
}

const THREE: [Workload<'static>; 5] = [
    ("shop/web", "shop/web:1.4.2", None),
    ("shop/search", "shop/search:2", Some(("Missing", "ams does not have it"))),
    ("shop/mail", "shop/mail:1", Some(("LayerMissing", "ams has lost a layer"))),
    ("payments/ledger", "payments/ledger:7", Some(("NoPermission", "the pull secret does not allow it"))),
    ("batch/report", "batch/report:3", None),
];

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, drill: &Value) {
        fs::write(self.path(name), drill.to_string()).unwrap();
    }

    fn report(&self, line: &str) -> Output {
        let words = line.split_whitespace();
        let landfall = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .arg("report")
            .args(words)
            .current_dir(&self.0)
            .output();
        landfall.unwrap()
    }

    fn page(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn what_was_mended_is_told_and_what_is_new_is_a_failure() {
    let desk = Desk::new();
    desk.put("old.json", &drill("ams", "2026-11-20T09:00:00Z", &THREE));
    let mut mended = THREE;
    mended[1].2 = None;
    mended[2].2 = None;
    desk.put("new.json", &drill("ams", "2026-11-27T09:00:00Z", &mended));
    let told = desk.report("diff old.json new.json --html diff.html");
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    insta::assert_snapshot!("diff", text(&told));
    let page = desk.page("diff.html");
    for said in [
        "Mended: 2",
        "Still there: 1",
        "Deployment shop/search",
        "SHA-256",
        "old.json",
        "Signature",
        "It is no statement that anything complies",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    // The other way round, both are new.
    let told = desk.report("diff new.json old.json -o json");
    assert_eq!(told.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["new"].as_array().unwrap().len(), 2);
    assert_eq!(told["notes"].as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn many_sites_stand_side_by_side_the_worst_first() {
    let desk = Desk::new();
    let sites: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
    for (n, site) in sites.iter().enumerate() {
        let mut workloads = THREE.to_vec();
        if n % 2 == 0 {
            workloads[1].2 = None;
        }
        desk.put(&format!("{site}.json"), &drill(site, "2026-11-27T09:00:00Z", &workloads));
    }
    let files: Vec<String> = sites.iter().map(|site| format!("{site}.json")).collect();
    let told = desk.report(&format!("merge {} --html sites.html", files.join(" ")));
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let page = desk.page("sites.html");
    let at = |image: &str| {
        page.find(&format!("<code>{image}</code>")).unwrap_or_else(|| panic!("{image}: {page}"))
    };
    assert!(at("payments/ledger:7") < at("shop/search:2") && at("shop/mail:1") < at("shop/search:2"));
    assert_eq!(page.matches("✗ Missing").count(), 10);
    assert!(!page.contains("<code>shop/web:1.4.2</code>"), "what starts everywhere is not listed");
}

#[test]
fn what_is_no_drill_is_refused_with_what_to_do() {
    let desk = Desk::new();
    fs::write(desk.path("x.json"), "{\"gaps\": []}").unwrap();
    for line in ["diff x.json x.json", "merge x.json", "merge away.json"] {
        let told = desk.report(line);
        assert_eq!(told.status.code(), Some(2), "{line}");
        let said = String::from_utf8(told.stderr).unwrap();
        assert!(
            said.contains("landfall drill") || said.contains("cannot read `away.json`"),
            "{line}: {said}"
        );
    }
}

#[test]
fn names_are_text_and_a_page_of_five_thousand_images_stays_small() {
    let desk = Desk::new();
    let evil = "<script>alert(1)</script>\u{202e}\u{1b}[31m\"onload=\"x";
    let names: Vec<(String, String)> = (0..5_000)
        .map(|n| {
            (
                format!("team-{}/service-with-a-name-{n}", n % 50),
                format!("harbor.fra.example.com/production/team/service-{n}:1.{n}"),
            )
        })
        .collect();
    let mut workloads: Vec<Workload<'_>> =
        names.iter().map(|(name, image)| (name.as_str(), image.as_str(), None)).collect();
    for one in workloads.iter_mut().step_by(10) {
        one.2 = Some(("Missing", evil));
    }
    let mut whole = drill("ams", "2026-11-27T09:00:00Z", &workloads);
    whole["notes"] = json!([evil]);
    desk.put("new.json", &whole);
    desk.put("old.json", &drill("ams", "2026-11-20T09:00:00Z", &[]));
    let told = desk.report("diff old.json new.json --html diff.html");
    assert_eq!(told.status.code(), Some(1));
    assert!(!text(&told).contains('\u{1b}') && !text(&told).contains('\u{202e}'));
    desk.report("merge new.json --html sites.html");
    for page in ["diff.html", "sites.html"] {
        let page = desk.page(page);
        assert!(page.len() < 2_000_000, "{}", page.len());
        assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{1b}'));
    }
}

#[test]
fn a_browser_prints_it() {
    let desk = Desk::new();
    desk.put("old.json", &drill("ams", "2026-11-20T09:00:00Z", &THREE));
    desk.put("new.json", &drill("ams", "2026-11-27T09:00:00Z", &THREE[..2]));
    desk.report("diff old.json new.json --html diff.html");
    let url = format!("file://{}", desk.path("diff.html").display());
    let print = format!("--print-to-pdf={}", desk.path("diff.pdf").display());
    if browse("report", &url, &["--no-pdf-header-footer", &print]).is_none() {
        return;
    }
    assert!(fs::read(desk.path("diff.pdf")).unwrap().starts_with(b"%PDF"));
}

#[test]
fn every_colour_of_a_report_can_be_read() {
    let style = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/sheet/sheet.css");
    let schemes = colours::schemes(&fs::read_to_string(style).unwrap());
    assert_eq!(schemes.len(), 3, "by day, by night, on paper");
    for scheme in schemes {
        for text in ["ink", "soft", "good", "bad", "warn", "link"] {
            let contrast = colours::contrast(&scheme[text], &scheme["paper"]);
            assert!(contrast >= 4.5, "{text}: {contrast:.2}");
        }
    }
}

#[path = "support/browser.rs"]
mod browser;
#[path = "status/colours.rs"]
mod colours;
