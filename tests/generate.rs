//! `landfall generate`: what it prints, and that those for whom it is take it.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use axum::Router;
use axum::http::header;
use landfall::facade::demo::world::{Account, ReplicationRule, World};
use serde_json::Value;

fn landfall(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(args).env_remove("LANDFALL_CONFIG").env_remove("COLUMNS");
    command.output().unwrap()
}

/// Standard output and standard error of a command that does its work.
fn done(args: &[&str]) -> (String, String) {
    let Output { status, stdout, stderr } = landfall(args);
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(status.success(), "{args:?}: {out}{err}");
    (out, err)
}

/// `landfall check` accepts it, with so many warnings.
fn is_accepted(text: &str, warnings: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("generated.yaml");
    fs::write(&file, text).unwrap();
    let (said, _) = done(&["check", "--no-files", file.to_str().unwrap()]);
    assert!(said.ends_with(&format!("1 file checked: 0 errors, {warnings}\n")), "{said}\n{text}");
}

#[test]
fn a_configuration_and_policies_to_begin_with_are_accepted() {
    is_accepted(&done(&["generate", "config"]).0, "0 warnings");
    for options in [
        &["--name", "nothing"][..],
        &["--name", "trial", "--require-scan", "--block-missing", "--observe"],
        &[
            "--name",
            "regulated",
            "--namespace-label",
            "tier=regulated",
            "--namespace-label",
            "example.com/zone=\"a\"",
            "--require-scan",
            "168h",
            "--max-severity",
            "Medium",
            "--block-missing",
            "--block-unrouted",
            "--contact",
            "\"ann\": #security",
        ][..6],
        &[
            "--name",
            "regulated",
            "--namespace-label",
            "tier=regulated",
            "--require-scan",
            "168h",
            "--max-severity",
            "Medium",
            "--block-missing",
            "--block-unrouted",
            "--contact",
            "\"ann\": #security",
        ],
        &["--name", "lenient", "--block-missing", "--allow-unknown"],
    ] {
        let whole: Vec<&str> = ["generate", "policy"].iter().chain(options).copied().collect();
        if options.contains(&"example.com/zone=\"a\"") {
            let Output { status, stderr, .. } = landfall(&whole);
            let said = String::from_utf8(stderr).unwrap();
            assert!(!status.success() && said.contains("the policy would not be accepted"), "{said}");
            continue;
        }
        let (text, _) = done(&whole);
        is_accepted(&text, "0 warnings");
        if options.len() > 8 {
            insta::assert_snapshot!("policy", text);
        }
    }
    let Output { status, stderr, .. } = landfall(&["generate", "policy", "--name", "Regulated"]);
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && said.contains("is no name of an object"), "{said}");
}

#[test]
fn completions_are_for_four_shells() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let (script, _) = done(&["generate", "completions", shell]);
        assert!(script.contains("landfall") && script.contains("guard-rails"), "{shell}");
    }
    // Where bash is, it reads its own.
    let (script, _) = done(&["generate", "completions", "bash"]);
    let line = format!(
        "{script}\nCOMP_WORDS=(landfall ga) COMP_CWORD=1 COMP_LINE='landfall ga'\n_landfall landfall ga landfall 2>/dev/null\necho \"${{COMPREPLY[@]}}\""
    );
    if let Ok(output) = Command::new("bash").args(["-c", &line]).output() {
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "gaps\n");
    }
}

const SITES: &str = r#"site: ams
registries:
  fra: {host: harbor.fra.example.com, site: fra, kind: harbor, aliases: [images.example.com]}
  hub: {host: docker.io, url: "https://registry-1.docker.io", site: world, kind: distribution}
  ams: {host: harbor.ams.example.com, site: ams, kind: harbor, url: "https://harbor-core.harbor.svc", caFile: CA}
  edge: {host: "registry.edge:5000", url: "http://registry.edge:5000", site: ams, kind: distribution}
  old: {host: old.ams.example.com, site: ams, kind: harbor, drain: true}
  sub: {host: sub.ams.example.com, url: "https://sub.ams.example.com/registry", site: ams, kind: distribution}
routes:
  - name: production
    primary: {registry: fra, repositories: "production/**"}
    replicas:
      - {registry: ams, namespace: production, flatten: 1}
      - {registry: edge, namespace: "", tags: "v*"}
      - {registry: old, namespace: ""}
  - name: tools
    primary: {registry: fra, repositories: "tools/*"}
    replicas:
      - {registry: ams, namespace: mirror/fra, flatten: 0}
      - {registry: sub, namespace: "", repositories: "tools/a*"}
      - {registry: edge, namespace: flat, flatten: all}
  - name: hub
    primary: {registry: hub, repositories: "**"}
    replicas:
      - {registry: ams, namespace: hub, flatten: 0, proxy: true}
  - name: renamed
    primary: {registry: fra, repositories: "staging/**"}
    replicas:
      - {registry: ams, namespace: other, flatten: 1}
  - name: watched
    primary: {registry: fra, repositories: "watched/**"}
    replicas: [{registry: ams, namespace: ""}]
    rewrite: false
  - name: far
    primary: {registry: fra, repositories: "far/**"}
  - name: ours
    primary: {registry: ams, repositories: "ours/**"}
    replicas: [{registry: fra, namespace: ""}]
"#;

/// Keys and their values, as they stand there.
type Keys = BTreeMap<String, String>;

/// A `hosts.toml`, read as containerd does: keys at the top, then tables of hosts. What it does not know is refused.
fn read_as_containerd(text: &str) -> (Keys, Vec<(String, Keys)>) {
    let (mut top, mut hosts): (Keys, Vec<(String, Keys)>) = (Keys::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(url) = line.strip_prefix("[host.\"").and_then(|rest| rest.strip_suffix("\"]")) {
            let url = url::Url::parse(url).unwrap();
            assert!(hosts.iter().all(|(other, _)| *other != url.to_string()), "twice: {url}");
            hosts.push((url.to_string(), Keys::new()));
            continue;
        }
        let (key, value) = line.split_once(" = ").unwrap();
        let known = match hosts.last() {
            None => ["server", "ca"].contains(&key),
            Some(_) => ["capabilities", "override_path", "ca"].contains(&key),
        };
        assert!(known, "{line}");
        let _: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{line}: {error}"));
        let keys = hosts.last_mut().map_or(&mut top, |(_, keys)| keys);
        assert!(keys.insert(key.to_owned(), value.to_owned()).is_none(), "twice: {line}");
    }
    for (url, keys) in &hosts {
        assert!(keys["capabilities"].starts_with("[\"pull\""), "{url}");
        // Otherwise containerd would add `/v2` to a path that has it, or ask a path that is no API.
        assert_eq!(url.contains("/v2"), keys.contains_key("override_path"), "{url}");
    }
    (top, hosts)
}

#[test]
fn containerd_gets_the_same_routes_and_what_it_cannot_express_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (file, ca) = (folder.path().join("landfall.yaml"), folder.path().join("authority.pem"));
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
    fs::write(&file, SITES.replace("CA", ca.to_str().unwrap())).unwrap();
    let config = ["generate", "hosts-toml", "--config", file.to_str().unwrap()];
    let (text, said) = done(&config);
    insta::assert_snapshot!("hosts-toml", format!("{text}--- said\n{said}"));

    let out = folder.path().join("certs.d");
    let (listed, _) = done(&[&config[..], &["--out", out.to_str().unwrap(), "--resolve"]].concat());
    let files: Vec<&Path> = listed.lines().map(Path::new).collect();
    let hosts: Vec<_> =
        files.iter().map(|file| file.parent().unwrap().file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(hosts, ["harbor.fra.example.com", "images.example.com", "docker.io"]);
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let (top, hosts) = read_as_containerd(&text);
        assert!(top["server"].starts_with("\"https://"), "{text}");
        for (url, keys) in hosts {
            assert_eq!(keys["capabilities"], "[\"pull\", \"resolve\"]");
            // The authority lies beside, or containerd would refuse the whole host.
            if url.contains("harbor.ams") {
                assert!(file.parent().unwrap().join(keys["ca"].trim_matches('"')).is_file(), "{url}");
            }
        }
    }
    for part in text.split("/hosts.toml\n").skip(1) {
        read_as_containerd(part.rsplit_once("\n# ").map_or(part, |(text, _)| text));
    }
}

/// The output with the same ports in each run.
fn stable(text: &str, harbors: &[(&str, &str)]) -> String {
    harbors.iter().fold(text.to_owned(), |text, (url, name)| {
        let authority = url.split_once("://").unwrap().1.trim_end_matches('/');
        text.replace(authority, &format!("{name}:1"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_a_harbor_become_routes() {
    let world = World::new().unwrap();
    let (fra, ams) = (world.harbor("fra").await.unwrap(), world.harbor("ams").await.unwrap());
    let (here, there) = (fra.url(), ams.url());
    let edge = "https://registry.edge.example.com:5000";
    {
        let mut store = fra.store();
        store.add_account(Account::admin("admin-Secret1"));
        let name = "production/**";
        for rule in [
            ReplicationRule::to("production", &there).filter("name", name).into_namespace("production", 1),
            ReplicationRule::to("to the edge", edge)
                .filter("name", name)
                .filter("tag", "v*")
                .excluding("name", "production/scratch/**"),
            ReplicationRule::to("flat", &there).filter("name", "tools/*/*").into_namespace("mirror", -1),
            ReplicationRule::to("all levels", &there)
                .filter("name", "{lib,a}/**")
                .into_namespace("", 1)
                .excluding("tag", "*-rc*"),
            ReplicationRule::from("from elsewhere", "https://harbor.par.example.com")
                .filter("name", "base/**")
                .into_namespace("paris", 0),
            ReplicationRule::to("labelled", &there).filter("name", "l/**").labelled("release"),
            ReplicationRule::to("off", &there).filter("name", "off/**").disabled(),
            ReplicationRule::to("nowhere", "").filter("name", "n/**"),
            ReplicationRule::to("service", "http://core").filter("name", "s/**"),
            ReplicationRule::to("twice", &there).filter("name", "t/**").filter("name", "**/x"),
            ReplicationRule::to("below zero", &there).filter("name", "z/**").into_namespace("z", -2),
            ReplicationRule::to("hard", &there).filter("name", "h/[ab]/**"),
            ReplicationRule::to("the same again", &there).filter("name", name).into_namespace("again", 1),
            ReplicationRule::to("a\u{202e}b\n\"c\" #: {d}", &there).filter("name", "odd/**"),
        ] {
            store.add_rule(rule);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [("username", "admin"), ("password", "admin-Secret1")] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let (credentials, ca) =
        (folder.path().to_str().unwrap().to_owned(), world.ca_file().display().to_string());
    let (text, said) = tokio::task::spawn_blocking({
        let here = here.clone();
        move || {
            done(&[
                "generate",
                "routes",
                "--from-harbor",
                &here,
                "--credentials",
                &credentials,
                "--ca-file",
                &ca,
                "--name",
                "fra",
            ])
        }
    })
    .await
    .unwrap();
    // What flattening may mix up is a warning.
    is_accepted(&text, "1 warning");
    // What is left out is said twice: in the file, and to the person.
    for line in said.lines() {
        let line = line.strip_prefix("landfall: ").unwrap();
        assert!(text.contains(&format!("# Left out: {line}")), "{line}");
    }
    insta::assert_snapshot!("routes", stable(&text, &[(&here, "fra"), (&there, "ams")]));

    // Somebody without the right is told which.
    let ca = world.ca_file().display().to_string();
    let Output { status, stderr, .. } = tokio::task::spawn_blocking(move || {
        landfall(&["generate", "routes", "--from-harbor", &here, "--ca-file", &ca])
    })
    .await
    .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(2) && said.contains("does not tell its rules"), "{said}");
}

/// The rules of a real Harbor, as it answered.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_a_real_harbor_become_routes() {
    let rows: Vec<Value> =
        serde_json::from_str(&fs::read_to_string("tests/vectors/harbor/resources-by-caller.json").unwrap())
            .unwrap();
    let row = rows.iter().find(|row| row["name"] == "o01-repl-policies-admin").unwrap();
    let body = row["response"]["body"].to_string();
    let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], body) };
    let router = Router::new().route("/api/v2.0/replication/policies", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let from = url.clone();
    let (text, _) =
        tokio::task::spawn_blocking(move || done(&["generate", "routes", "--from-harbor", &from]))
            .await
            .unwrap();
    server.abort();
    is_accepted(&text, "5 warnings");
    insta::assert_snapshot!("routes-recorded", stable(&text, &[(&url, "here")]));
}

#[test]
fn krew_gets_archives_and_a_manifest_that_fits_them() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("landfall");
    fs::write(&program, "#!/bin/sh\necho it runs\n").unwrap();
    let pack = |out: &str, platforms: &[&str]| {
        let mut command = Command::new(".ci/krew");
        command.arg(folder.path().join(out)).arg("https://downloads.example.com/v0");
        command.args(platforms.iter().map(|platform| format!("{platform}={}", program.display())));
        command.output().unwrap()
    };
    let output = pack("out", &["linux-amd64", "linux-arm64"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.path().join("out/landfall.yaml")).unwrap();
    assert!(!text.contains("SHA256-") && !text.contains("ADDRESS"), "{text}");
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    for platform in manifest["spec"]["platforms"].as_array().unwrap() {
        let uri = platform["uri"].as_str().unwrap();
        let archive =
            folder.path().join("out").join(uri.strip_prefix("https://downloads.example.com/v0/").unwrap());
        let sum = Command::new("sha256sum").arg(&archive).output().unwrap().stdout;
        assert!(String::from_utf8(sum).unwrap().starts_with(platform["sha256"].as_str().unwrap()));
        // What krew does with it.
        let into = tempfile::tempdir().unwrap();
        assert!(
            Command::new("tar")
                .arg("xzf")
                .arg(&archive)
                .arg("-C")
                .arg(into.path())
                .status()
                .unwrap()
                .success()
        );
        let said = Command::new(into.path().join(platform["bin"].as_str().unwrap())).output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap(), "it runs\n");
        assert!(into.path().join("LICENSE").is_file());
    }
    let again = fs::read(folder.path().join("out/landfall.yaml")).unwrap();
    assert!(pack("again", &["linux-amd64", "linux-arm64"]).status.success());
    assert_eq!(fs::read(folder.path().join("again/landfall.yaml")).unwrap(), again, "the same archives");
    let output = pack("half", &["linux-amd64"]);
    assert!(!output.status.success() && !folder.path().join("half/landfall.yaml").exists());
}
