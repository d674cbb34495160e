//! `landfall check` and `landfall generate`, as people run them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn landfall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn a_good_file_is_good() {
    let output = landfall(&["check", "--no-files", "tests/vectors/config/example.yaml"]);
    assert_eq!(stdout(&output), "1 file checked: 0 errors, 0 warnings\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_bad_file_is_named_with_its_lines() {
    let output = landfall(&["check", "--no-files", "tests/vectors/config/bad/tabs.yaml"]);
    let text = stdout(&output);
    assert!(text.contains("tests/vectors/config/bad/tabs.yaml:3:2: error: "), "{text}");
    assert!(text.ends_with("1 file checked: 1 error, 0 warnings\n"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn json_says_the_same() {
    let bad = "tests/vectors/config/bad/ten.yaml";
    let output =
        landfall(&["check", "--no-files", "--output", "json", "tests/vectors/config/example.yaml", bad]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["errors"], 10);
    assert_eq!(summary["files"][1]["file"], bad);
    assert_eq!(summary["files"][1]["problems"][0]["path"], "site");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_policy_may_not_name_landfalls_own_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("landfall.yaml");
    let example = std::fs::read_to_string("tests/vectors/config/example.yaml").unwrap();
    let text = example.replace("{tier: regulated}", "{kubernetes.io/metadata.name: port}");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let output = landfall(&["check", "--no-files", "--namespace", "port", file]);
    let told = "error: policies[0].spec.namespaceSelector: the policy names the namespace `port`, in which Landfall runs";
    assert!(stdout(&output).contains(told), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(landfall(&["check", "--no-files", file]).status.code(), Some(0));
}

#[test]
fn policies_of_files_of_their_own_are_checked_against_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (config, policies, other) = (path("landfall.yaml"), path("policies.yaml"), path("other.json"));
    let text = "site: a
registries: {a: {host: a.example, site: a, kind: harbor}}
exclude: {namespaces: [harbor]}
policies: [{metadata: {name: taken}, spec: {namespaceSelector: {}, enforcement: Observe}}]
";
    std::fs::write(&config, text).unwrap();
    let head = "apiVersion: landfall.dev/v1alpha1\nkind: LandingPolicy\n";
    let named = |namespace: &str| {
        format!(
            "spec: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}, enforcement: Enforce}}\n"
        )
    };
    let text = [
        format!("# three\n---\n{head}metadata: {{name: one}}\n{}", named("harbor")),
        format!("---\n{head}metadata: {{name: taken}}\n{}", named("shop")),
        format!("---\n{head}metadata: {{name: own}}\n{}", named("port")),
    ];
    std::fs::write(&policies, text.concat()).unwrap();
    let json = r#"{"kind": "LandingPolicy", "metadata": {"name": "own"}, "spec": {"namespaceSelector": {}, "enforcement": "Observed"}}"#;
    std::fs::write(&other, json).unwrap();
    // The order of the files does not matter.
    let output = landfall(&["check", "--no-files", "--namespace", "port", &other, &policies, &config]);
    let said = stdout(&output);
    for (line, words) in [
        (6, "error: spec.namespaceSelector: the policy names the namespace `harbor`, which is excluded"),
        (
            7,
            "warning: metadata.name: the configuration has a policy `taken`, too, which applies instead of this one",
        ),
        (12, "error: spec.namespaceSelector: the policy names the namespace `port`, in which Landfall runs"),
    ] {
        let place = said.lines().find(|one| one.contains(words)).unwrap_or_else(|| panic!("{words}: {said}"));
        assert!(place.starts_with(&format!("{policies}:{line}:")), "{line}: {place}");
    }
    assert!(said.contains("other.json:1:") && said.contains("did you mean `Observe`?"), "{said}");
    assert!(said.contains("3 files checked: 3 errors, "), "{said}");
    assert_eq!(output.status.code(), Some(1));

    // Twice the same name, in two files.
    let (a, b) = (path("a.yaml"), path("b.yaml"));
    for file in [&a, &b] {
        std::fs::write(file, format!("{head}metadata: {{name: same}}\n{}", named("shop"))).unwrap();
    }
    let output = landfall(&["check", &a, &b]);
    let said = stdout(&output);
    assert!(
        said.contains(&format!("the policy name `same` is used twice; it is first used in {a}:1")),
        "{said}"
    );
    assert_eq!(landfall(&["check", &a]).status.code(), Some(0));
}

#[test]
fn the_ready_policies_pass() {
    let mut arguments =
        vec!["check".to_owned(), "--no-files".to_owned(), "manifests/landfall.yaml".to_owned()];
    let files = std::fs::read_dir("manifests/policies").unwrap().map(|entry| entry.unwrap().path());
    arguments.extend(
        files
            .filter(|path| path.extension().is_some_and(|of| of == "yaml"))
            .map(|path| path.display().to_string()),
    );
    let output = landfall(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(stdout(&output).contains("7 files checked: 0 errors, "), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_definitions_of_resources_can_be_printed() {
    let output = landfall(&["generate", "crd"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let definitions = list["items"].as_array().unwrap().iter();
    let names: Vec<_> =
        definitions.map(|definition| definition["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["landingpolicies.landfall.dev", "replicationgaps.landfall.dev"]);
}

#[test]
fn a_file_that_is_not_there_is_a_problem_too() {
    let output = landfall(&["check", "tests/vectors/config/none.yaml"]);
    assert!(stdout(&output).contains("none.yaml: error: cannot be read: "));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_docker_configuration_without_credentials_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (file, docker) = (folder.path().join("landfall.yaml"), folder.path().join("config.json"));
    std::fs::write(
        &file,
        format!(
            "site: a\nregistries:\n  art: {{host: art.example, site: a, kind: distribution, credentials: {{dockerConfig: {:?}}}}}\n",
            docker.display().to_string()
        ),
    )
    .unwrap();
    for (content, words) in [
        (
            r#"{"auths":{"art.example":{}},"credsStore":"desktop"}"#,
            "credential helper `docker-credential-desktop`",
        ),
        (
            r#"{"auths":{},"credHelpers":{"art.example":"ecr-login"}}"#,
            "credential helper `docker-credential-ecr-login`",
        ),
        (r#"{"auths":{"other.example":{"auth":"dTpw"}}}"#, "holds no credentials for `art.example`"),
        (r#"{"auths":"#, "cannot be used: not a JSON object, at line 1"),
        (r#"{"auths":{"art.example":{"auth":"dTpw"}}}"#, ""),
    ] {
        std::fs::write(&docker, content).unwrap();
        let output = landfall(&["check", file.to_str().unwrap()]);
        let text = stdout(&output);
        let warned =
            text.contains("warning: registries.art.credentials.dockerConfig: ") && text.contains(words);
        assert_eq!(warned, !words.is_empty(), "{content}: {text}");
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
}

#[test]
fn the_schema_is_json() {
    let output = landfall(&["generate", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Landfall configuration");
    assert_eq!(schema["additionalProperties"], false);
}
