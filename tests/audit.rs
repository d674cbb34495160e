//! `landfall audit` before the registries of the demo's world, over real TLS: what it says of manifests and of a cluster, in each
//! format and at each width, what a pipeline gets, and what it asks of registries.
#![cfg(feature = "demo")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use http::StatusCode;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed::{self, Demo, demo};
use landfall::facade::demo::world::{PathClass, Scan};
use serde_json::{Value, json};

#[path = "audit/live.rs"]
mod live;
#[path = "audit/schema.rs"]
mod schema;
#[path = "support/site.rs"]
#[expect(dead_code, reason = "no reviews come here")]
mod site;
#[path = "support/wait.rs"]
#[expect(dead_code, reason = "other suites wait for more")]
mod wait;

/// The world, and its configuration in a file.
struct Ground {
    world: Demo,
    config: PathBuf,
}

impl Ground {
    async fn lay() -> Self {
        let world = demo().await.unwrap();
        let config = world.world.write("site.yaml", &site::configuration(&world)).unwrap();
        Self { world, config }
    }

    /// `landfall audit` with these arguments, before no cluster.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.arg("audit").args(arguments).arg("--config").arg(&self.config);
        command.current_dir(fixtures()).env_remove("KUBECONFIG").env_remove("COLUMNS");
        command
    }

    async fn audit(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.arg("--offline");
        ended(command).await
    }

    /// What is printed, and the exit status.
    async fn said(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let Output { status, stdout, stderr } = self.audit(arguments).await;
        (String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap(), status.code())
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        serde_json::from_slice(&self.audit(&arguments).await.stdout).unwrap()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit")
}

/// The world answers on this runtime meanwhile.
async fn ended(mut command: Command) -> Output {
    wait::ends("the command", tokio::task::spawn_blocking(move || command.output().unwrap())).await.unwrap()
}

/// With the time left out, which differs from run to run.
fn timeless(text: &str) -> String {
    let time = regex::Regex::new(r"20\d\d-\d\d-\d\dT[0-9:.]+Z").unwrap();
    time.replace_all(text, "[time]").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_says_what_is_not_here() {
    let ground = Ground::lay().await;
    for format in ["json", "sarif", "junit", "csv"] {
        let (said, code) = ground.said(&["-f", "rendered.yaml", "-o", format]).await;
        assert_eq!(code, Some(1), "{said}");
        insta::assert_snapshot!(format, timeless(&said));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_fits_a_terminal_and_a_pipe_gets_whole_lines() {
    let ground = Ground::lay().await;
    for width in [Some(60), Some(80), Some(200), None] {
        let mut command = ground.command(&["--offline", "--deep", "-f", "rendered.yaml"]);
        if let Some(width) = width {
            command.env("COLUMNS", width.to_string());
        }
        let Output { status, stdout, stderr } = ended(command).await;
        let said = String::from_utf8(stdout).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(stderr.is_empty(), "no progress in a pipe: {}", String::from_utf8_lossy(&stderr));
        let longest = said.lines().map(|line| line.chars().count()).max();
        assert!(width.is_none_or(|width| longest <= Some(width)), "{said}");
        insta::assert_snapshot!(width.map_or("pipe".to_owned(), |width| width.to_string()), said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_told_by_the_exit_status() {
    let ground = Ground::lay().await;
    let chart = std::fs::read_to_string(fixtures().join("rendered.yaml")).unwrap();
    // Without the namespace whose policy denies.
    let shop = chart.split("---").filter(|part| !part.contains("bank")).collect::<Vec<_>>().join("---");
    let good = shop.split("---").filter(|part| part.contains("Deployment")).collect::<Vec<_>>().join("---");
    for (text, fail_on, code) in [
        (&chart, "deny", 1),
        (&chart, "none", 0),
        (&shop, "deny", 0),
        (&shop, "missing", 1),
        (&shop, "Stale", 1),
        (&shop, "Vulnerable,LayerMissing", 0),
        (&shop, "scan", 1),
        (&shop, "unknown", 0),
        (&good, "any", 0),
        (&good, "NotRouted", 1),
    ] {
        let mut command = ground.command(&["-f", "-", "-o", "sarif", "--fail-on", fail_on, "--offline"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let ends = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let output = wait::ends("the audit of the standard input", ends).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "--fail-on {fail_on}: {said}");
        let sarif: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(sarif["runs"][0]["invocations"][0]["executionSuccessful"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_machines_read_is_of_its_published_form() {
    let ground = Ground::lay().await;
    let of = |path: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (sarif, audit) = (of("tests/vectors/sarif-2.1.0.trimmed.json"), of("manifests/schemas/audit.json"));
    for file in ["rendered.yaml", "hostile.yaml"] {
        for deep in [&[][..], &["--deep"]] {
            let arguments = [&["-f", file][..], deep].concat();
            schema::holds(&audit, &ground.json(&arguments).await);
            let Output { stdout, .. } = ground.audit(&[&arguments[..], &["-o", "sarif"]].concat()).await;
            let log: Value = serde_json::from_slice(&stdout).unwrap();
            schema::holds(&sarif, &log);
            let run = &log["runs"][0];
            for result in run["results"].as_array().unwrap() {
                let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
                assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
            }
        }
    }
}

/// Whoever writes a manifest, and whoever runs a registry, writes into a report that others open.
#[tokio::test(flavor = "multi_thread")]
async fn texts_from_outside_stay_texts() {
    let ground = Ground::lay().await;
    let hidden = |text: &str| {
        text.chars().find(|one| {
            one.is_control() && *one != '\n'
                || matches!(one, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
    };
    let message = "\\u001b[2J=cmd|'/C calc'!A0 \\u202e\\u0000]]></system-out>";
    let refusal = format!(r#"{{"errors":[{{"code":"PROJECTPOLICYVIOLATION","message":"{message}"}}]}}"#);
    let refusal = Fault::Instead(StatusCode::PRECONDITION_FAILED, "application/json", refusal.into());
    ground.world.ams.faults().add(Scope::ManifestsOf("production/shop/web"), refusal);
    for format in ["table", "json", "sarif", "junit", "csv"] {
        let (said, code) = ground.said(&["-f", "hostile.yaml", "-o", format]).await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(hidden(&said), None, "{format}: {said:?}");
        insta::assert_snapshot!(format!("hostile-{format}"), timeless(&said));
    }
    let (said, _) = ground.said(&["-f", "hostile.yaml", "-o", "csv"]).await;
    let mut lines = csv::Reader::from_reader(said.as_bytes());
    for line in lines.records() {
        for cell in &line.unwrap() {
            let first = cell.trim_start().chars().next();
            assert!(!matches!(first, Some('=' | '+' | '-' | '@')), "{cell}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_learned_is_never_fine() {
    let ground = Ground::lay().await;
    for registry in [&ground.world.ams, &ground.world.edge, &ground.world.fra] {
        registry.down().await;
    }
    let audit = ground.json(&["-f", "rendered.yaml"]).await;
    let summary = &audit["summary"];
    assert_eq!((&summary["fine"], &summary["missing"]), (&json!(0), &json!(0)), "{audit}");
    assert!(summary["withUnknown"].as_u64() >= Some(6), "{audit}");
    let (_, code) = ground.said(&["-f", "rendered.yaml", "--fail-on", "unknown"]).await;
    assert_eq!(code, Some(1));
    let (said, _) = ground.said(&["-f", "rendered.yaml", "-o", "junit"]).await;
    assert!(said.contains("<error "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_looks_at_layers_and_at_what_holds_the_copy() {
    let ground = Ground::lay().await;
    let found = async |name: seed::Named| {
        let (repository, tag) = (name.repository, name.tag);
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: one}}\nspec: {{containers: [{{name: a, image: 'harbor.fra.example.com/{repository}:{tag}'}}]}}\n"
        );
        let file = ground.world.world.write("one.yaml", &pod).unwrap();
        let file = file.to_str().unwrap();
        let shallow = ground.json(&["-f", file]).await["rows"].clone();
        let deep = ground.json(&["-f", file, "--deep"]).await["rows"].clone();
        (shallow, deep)
    };
    let (web, api) = (seed::PRESENT, seed::MULTI_ARCH);
    let digest = ground.world.ams.store().digest(web.repository, web.tag).unwrap();
    ground.world.ams.store().lose_layers(web.repository, &digest);
    let (shallow, deep) = found(web).await;
    assert_eq!(shallow, json!([]));
    assert_eq!(
        (&deep[0]["class"], &deep[0]["finding"]),
        (&json!("Missing"), &json!("LayerMissing")),
        "{deep}"
    );
    // A signature is at the primary alone.
    let digest = ground.world.fra.store().digest(api.repository, api.tag).unwrap();
    ground.world.fra.store().sign(api.repository, &digest);
    let (shallow, deep) = found(api).await;
    assert_eq!(shallow, json!([]));
    assert_eq!(
        (&deep[0]["class"], &deep[0]["finding"]),
        (&json!("Risk"), &json!("AccessoryMissing")),
        "{deep}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said() {
    let ground = Ground::lay().await;
    let broken = ground.world.world.write("broken.yaml", "kind: Pod\n---\na: {{ .Values.a }}: [\n").unwrap();
    let broken = broken.to_str().unwrap();
    for (arguments, expected) in [
        (&["-f", "nowhere.yaml"][..], "cannot read `nowhere.yaml`"),
        (&["-f", broken], "broken.yaml:3: a key is no text"),
        (&["-f", broken], "render the chart first with `helm template`"),
        (&["-n", "../x"], "is no name of a namespace"),
        (&["--fail-on", "everything"], "`everything` is none of deny, missing"),
        (&[], "set KUBECONFIG"),
    ] {
        let (said, code) = ground.said(arguments).await;
        assert!(code == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_audit_tells_what_it_knows() {
    let ground = Ground::lay().await;
    let images: Vec<String> =
        (0..200).map(|n| format!("harbor.fra.example.com/production/many/image-{n}:1")).collect();
    let pods = images.iter().enumerate().map(|(n, image)| {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}}}\nspec: {{containers: [{{name: a, image: '{image}'}}]}}\n")
    });
    let file = ground.world.world.write("many.yaml", &pods.collect::<String>()).unwrap();
    ground.world.ams.faults().add(Scope::Everything, Fault::Delay(wait::HELD));
    for (format, expected) in [
        ("json", "\"complete\": false"),
        ("table", "This report is not complete."),
        ("junit", "<error "),
        ("sarif", "\"executionSuccessful\": false"),
        ("csv", "class,finding"),
    ] {
        let mut command = ground.command(&["-f", file.to_str().unwrap(), "-o", format, "--offline"]);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let asked = ground.world.ams.log().len();
        let id = child.id().to_string();
        wait::until("it asks", || ground.world.ams.log().len() > asked).await;
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let ends = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let output = wait::ends("the interrupted audit", ends).await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains(expected), "{format}: {said}");
        if format == "json" {
            let audit: Value = serde_json::from_str(&said).unwrap();
            assert!(audit["summary"]["notJudged"].as_u64() > Some(0), "{said}");
            assert!(said.contains("of 200 images"), "{said}");
        }
    }
}

/// The most memory that a process has had, in kB.
fn memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// However many Pods: each image is asked for a few times, whatever names it.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_images_are_asked_for_a_few_times_each() {
    // A figure for a release: `IMAGES=5000 cargo test --release --test audit thousands -- --nocapture`.
    let images: usize = std::env::var("IMAGES").map_or(1_000, |images| images.parse().unwrap());
    let ground = Ground::lay().await;
    let mut text = String::new();
    {
        let (mut fra, mut ams) = (ground.world.fra.store(), ground.world.ams.store());
        for n in 0..images {
            let repository = format!("production/many/image-{n}");
            let content = landfall::facade::demo::world::content::Content::image(&repository);
            let digest = fra.push(&repository, "1", &content);
            ams.push(&repository, "1", &content);
            ams.set_scan(&digest, Scan::clean());
            for copy in 0..3 {
                text += &format!(
                    "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d{n}-{copy}}}\nspec:\n  template:\n    spec:\n      containers:\n      - name: a\n        image: harbor.fra.example.com/{repository}:1\n"
                );
            }
        }
    }
    let file = ground.world.world.write("many.yaml", &text).unwrap();
    for registry in [&ground.world.ams, &ground.world.fra, &ground.world.edge] {
        registry.clear_log();
    }
    let began = std::time::Instant::now();
    let mut command = ground.command(&["-f", file.to_str().unwrap(), "-o", "json", "--offline"]);
    let out = ground.world.world.write("out.json", "").unwrap();
    let mut child = command.stdout(std::fs::File::create(&out).unwrap()).spawn().unwrap();
    let id = child.id();
    let ends = tokio::task::spawn_blocking(move || child.wait().unwrap());
    let mut most = 0;
    while !ends.is_finished() {
        most = most.max(memory(id).unwrap_or_default());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(wait::ends("the audit", ends).await.unwrap().success());
    let audit: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let took = began.elapsed();
    assert_eq!(audit["summary"]["fine"], images, "{}", audit["summary"]);
    assert_eq!(audit["summary"]["workloads"], 3 * images);
    let count = |registry: &landfall::facade::demo::world::Embedded| registry.log().len();
    let (ams, fra, edge) = (count(&ground.world.ams), count(&ground.world.fra), count(&ground.world.edge));
    println!(
        "{images} images of {} workloads: {took:?}, {most} kB; requests: ams {ams}, fra {fra}, edge {edge}",
        3 * images
    );
    assert!(ams <= 4 * images + 200, "{ams} requests of Amsterdam");
    assert!(fra <= 2 * images + 200, "{fra} requests of Frankfurt");
    assert_eq!(ground.world.edge.log().iter().filter(|one| one.class == PathClass::Manifests).count(), 0);
}
