//! The stories of `landfall demo`, each held against a golden file, `tests/scenarios/<story>.snap`; and the demo itself, read
//! as a script reads it.
//!
//! What a story must come to stands with the story; the golden file holds the rest, down to the bytes of the patch.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use landfall::facade::demo::story::{Performance, Stage, Told, script};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn stories_end_as_told() {
    let stage = Stage::build().await.unwrap();
    let mut performance = Performance::default();
    for act in script() {
        performance.acts.push(stage.play(act).await.unwrap());
    }
    stage.close().await;
    let otherwise: Vec<(&str, &[String])> = performance
        .stories()
        .filter(|told| !told.as_told)
        .map(|told| (told.story, &*told.differences))
        .collect();
    assert!(otherwise.is_empty(), "{otherwise:#?}");

    let mut golden = insta::Settings::clone_current();
    golden.set_snapshot_path("scenarios");
    golden.set_prepend_module_to_snapshot(false);
    golden.set_omit_expression(true);
    golden.bind(|| {
        for told in performance.stories() {
            insta::assert_json_snapshot!(told.story, scene(told));
        }
    });
    let told: BTreeSet<String> = performance.stories().map(|told| format!("{}.snap", told.story)).collect();
    assert_eq!(told.len(), performance.stories().count(), "no two stories have one name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let held =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let orphans: Vec<String> = held.filter(|file| !told.contains(file)).collect();
    assert!(orphans.is_empty(), "no story tells them: {orphans:?}");
}

/// What of a story is the same in every run.
fn scene(told: &Told) -> Value {
    let patch: Vec<Value> = serde_json::to_value(&told.patch).unwrap().as_array().unwrap().clone();
    let mut audit = told.audit_annotations.clone();
    if let Some(details) = audit.get_mut("details") {
        *details = redacted_details(details);
    }
    if let Some(opened) = audit.get_mut("break-glass") {
        let (before, after) = opened.split_once(" until ").unwrap();
        *opened = format!("{before} until …: {}", after.split_once("Z: ").map_or(after, |(_, why)| why));
    }
    let mut scene = json!({
        "about": told.about,
        "pod": told.pod,
        "ending": told.actual,
        "message": told.message,
        "warnings": told.warnings,
        "audit": audit,
        "patch": patch,
    });
    let Some(more) = scene.as_object_mut() else { return scene };
    if let Some(second) = &told.second {
        more.insert("second door".into(), json!(second));
    }
    if told.door != "/mutate" {
        more.insert("door".into(), json!(told.door));
    }
    scene
}

/// The same of the details in the audit log, where every finding stands with what was seen: `(…)` behind those words.
fn redacted_details(text: &str) -> String {
    let unanswered = |before: &str| {
        let mut words = before.trim_end().rsplit(' ');
        let (_, at, finding) = (words.next(), words.next(), words.next());
        at == Some("at") && matches!(finding, Some("Unreachable" | "Deadline" | "RateLimited" | "Unproved"))
    };
    let (mut out, mut depth) = (String::new(), 0_usize);
    for c in text.chars() {
        match c {
            '(' if depth > 0 => depth += 1,
            ')' if depth > 0 => depth -= 1,
            '(' if unanswered(&out) => {
                out.push_str("(…)");
                depth = 1;
            }
            _ if depth > 0 => {}
            c => out.push(c),
        }
    }
    out
}

fn demo() -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_landfall"));
    demo.arg("demo").stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    demo
}

#[test]
fn a_script_reads_the_demo() {
    let output = demo().args(["--output", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stories: Vec<&Value> = report["acts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|act| act["stories"].as_array().unwrap())
        .collect();
    assert_eq!(report["summary"]["stories"], stories.len());
    assert_eq!(report["summary"]["as_told"], stories.len());
    assert_eq!(report["summary"]["otherwise"], json!([]));

    // The script does not take the demo's word: it compares what was foretold with what was seen.
    for story in &stories {
        let (expected, actual) = (&story["expected"], &story["actual"]);
        assert_eq!(expected["admission"], actual["admission"], "{story}");
        assert_eq!(expected["reasons"], actual["reasons"], "{story}");
        for (image, seen) in images(expected).zip(images(actual)) {
            assert_eq!(
                [&image["was"], &image["is"], &image["reason"], &image["findings"]],
                [&seen["was"], &seen["is"], &seen["reason"], &seen["findings"]]
            );
        }
        assert_eq!(story["uid"].as_str().unwrap().len(), 36, "{story}");
        assert!(story["ms"].as_f64().unwrap() > 0.0, "{story}");
        // Whatever an image became, the patch says so.
        let patched = story["patch"].as_array().unwrap();
        for image in images(actual).filter(|image| image["is"] != image["was"]) {
            assert!(patched.iter().any(|operation| operation["value"] == image["is"]), "{story}");
        }
    }

    // Every kind of image that the demo promises was met.
    let seen = stories.iter().flat_map(|story| images(&story["actual"]));
    let words: BTreeSet<&str> = seen
        .flat_map(|image| {
            let findings = image["findings"].as_array().unwrap().iter().map(|found| &found["finding"]);
            findings.chain([&image["reason"]]).filter_map(Value::as_str)
        })
        .collect();
    for word in [
        "Local",
        "AlreadyLocal",
        "Accepted",
        "Presumed",
        "Fallback",
        "Denied",
        "Observed",
        "NotRouted",
        "Excluded",
        "Exempt",
        "PullNever",
        "Placeholder",
        "Unparsable",
        "Missing",
        "ChildMissing",
        "ProxyCache",
        "Refused",
        "Stale",
        "Unreachable",
        "Deadline",
        "RateLimited",
        "Unproved",
        "Unscanned",
        "ScanPending",
        "ScanFailed",
        "Unscannable",
        "Vulnerable",
    ] {
        assert!(words.contains(word), "nobody met {word}: {words:?}");
    }
    let gaps = report["summary"]["gaps"].as_array().unwrap();
    let states = |state: &str| gaps.iter().filter(|gap| gap["state"] == state).count();
    assert_eq!((states("Open"), states("Closed")), (8, 8), "{gaps:#?}");
}

fn images(ending: &Value) -> impl Iterator<Item = &Value> {
    ending["images"].as_array().into_iter().flatten()
}

#[test]
fn served_it_answers_the_commands_that_it_prints() {
    let mut child = demo().arg("--serve").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = Vec::new();
    let posts: Vec<String> = lines
        .by_ref()
        .inspect(|line| told.push(line.clone()))
        .filter(|line| line.contains("--data @'"))
        .take(2)
        .collect();
    assert_eq!(posts.len(), 2, "{told:#?}");
    assert!(told.iter().any(|line| line.contains("all as told")), "{told:#?}");
    assert!(told.iter().all(|line| !line.contains('\u{1b}')), "colours belong on a terminal");

    let answers: Vec<Value> = posts.iter().map(|post| answer(post)).collect();
    assert_eq!(answers[0]["response"]["allowed"], true);
    assert_eq!(answers[0]["response"]["patchType"], "JSONPatch");
    assert_eq!(answers[1]["response"]["allowed"], false);
    assert!(answers[1]["response"]["status"]["message"].as_str().unwrap().contains("policy regulated"));

    // Ctrl-C.
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    assert!(child.wait().unwrap().success());
    let mut complaints = String::new();
    child.stderr.unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "");
}

/// Does what a printed `curl` command would do; there need not be a curl here.
fn answer(command: &str) -> Value {
    let after = |start: &str| command.split_once(start).unwrap().1.split('\'').next().unwrap().to_owned();
    let ca = std::fs::read(after("--cacert '")).unwrap();
    let body = std::fs::read_to_string(after("--data @'")).unwrap();
    let url = format!("https://{}", after("'https://"));
    let post = async move {
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
        let request = client.post(url).header("Content-Type", "application/json").body(body);
        request.send().await.unwrap().bytes().await.unwrap()
    };
    let body = tokio::runtime::Runtime::new().unwrap().block_on(post);
    serde_json::from_slice(&body).unwrap()
}
