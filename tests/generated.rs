//! Files that are generated from the code must be up to date. `LANDFALL_GENERATE=1 cargo test --test generated` writes
//! them. (`manifests/` is rendered by Helm: see `cluster/chart.rs`.)
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use std::fs;
use std::path::{Path, PathBuf};

use landfall::facade::config::{self, Files};
use landfall::facade::domain::finding::FindingKind;
use landfall::facade::report::drill::Forecast;
use landfall::facade::report::{Audit, Explained};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use strum::VariantArray as _;

#[cfg(feature = "demo")]
#[path = "generated/alerts.rs"]
#[expect(dead_code, reason = "the cases are run by tests/observability.rs")]
mod alerts;
#[path = "generated/command_line.rs"]
mod command_line;
#[path = "generated/configuration.rs"]
mod configuration;
#[cfg(feature = "demo")]
#[path = "generated/dashboard.rs"]
mod dashboard;
#[cfg(feature = "demo")]
#[path = "generated/metrics.rs"]
mod metrics;
#[cfg(feature = "demo")]
#[path = "load/process.rs"]
#[expect(dead_code, reason = "here nobody measures it")]
mod process;
#[cfg(feature = "demo")]
#[path = "generated/promql.rs"]
mod promql;
#[path = "generated/reasons.rs"]
mod reasons;
#[cfg(feature = "demo")]
#[path = "generated/rules.rs"]
mod rules;
#[cfg(feature = "demo")]
#[path = "load/site.rs"]
#[expect(dead_code, reason = "here nobody asks which Landfall asked")]
mod site;
#[cfg(feature = "demo")]
#[path = "support/support.rs"]
#[expect(dead_code, reason = "no suite needs all of it")]
mod support;
#[path = "generated/values.rs"]
mod values;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Checks that the file holds this text, or writes it.
fn holds(path: &PathBuf, text: &str) {
    if std::env::var_os("LANDFALL_GENERATE").is_some() {
        fs::write(path, text).unwrap();
    }
    let held = fs::read_to_string(path).unwrap_or_default();
    let stale = held.lines().zip(text.lines()).find(|(held, text)| held != text);
    assert!(
        held == text,
        "{} is stale: LANDFALL_GENERATE=1 cargo test --test generated. First difference: {stale:?}",
        path.display()
    );
}

#[test]
fn the_schemas_of_what_commands_print_are_made_from_the_code() {
    schema_holds::<Explained>("explain");
    schema_holds::<Audit>("audit");
    schema_holds::<Forecast>("drill");
}

fn schema_holds<T: schemars::JsonSchema>(command: &str) {
    // Of what is written: a field that is left out where it is empty is not required.
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    holds(&root().join(format!("manifests/schemas/{command}.json")), &text);
}

/// The schema of the chart's values, with that of the configuration inside.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<values::Values>().to_value();
    assert!(schema.get("$defs").is_none(), "the names might be those of the configuration");
    let mut file = config::schema().to_value();
    let mut defs = file["$defs"].take();
    file.as_object_mut().unwrap().retain(|key, _| !key.starts_with('$'));
    defs["Configuration"] = file;
    schema["$defs"] = defs;
    // Decide by the type which of the two schemas applies. With `anyOf` one mistake would be reported for both.
    let config = schema["properties"]["config"].as_object_mut().unwrap();
    config.insert("if".into(), json!({"type": "object"}));
    config.insert("then".into(), json!({"$ref": "#/$defs/Configuration"}));
    config.insert("else".into(), json!({"type": "string", "minLength": 1}));
    schema
}

#[test]
fn the_schema_of_the_values_is_made_from_the_code() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    holds(&root().join("helm/landfall/values.schema.json"), &text);
}

/// Each definition, by its plural, as YAML. In the chart somebody else may have defined it, and it outlives the release.
fn crds(labels: Option<&str>) -> Vec<(String, String)> {
    let definitions = landfall::facade::cluster::definitions();
    definitions.iter().map(|definition| crd(serde_json::to_value(definition).unwrap(), labels)).collect()
}

fn crd(mut definition: Value, labels: Option<&str>) -> (String, String) {
    definition.as_object_mut().unwrap().remove("status");
    let spec = serde_saphyr::to_string(&definition["spec"]).unwrap();
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let name = definition["metadata"]["name"].as_str().unwrap();
    let labels = labels.unwrap_or_default();
    let yaml = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: {name}\n{labels}spec:\n{spec}"
    );
    (definition["spec"]["names"]["plural"].as_str().unwrap().to_owned(), yaml)
}

#[test]
fn the_definitions_of_resources_are_made_from_the_code() {
    let group = landfall::facade::domain::api_group::API_GROUP;
    let plain: Vec<String> = crds(None).into_iter().map(|(_, yaml)| yaml).collect();
    let plain = plain.join("---\n");
    assert!(!plain.contains("{{"), "Helm would read it");
    holds(&root().join("manifests/crds.yaml"), &plain);
    let labels = "  labels:\n    {{- include \"landfall.labels\" . | nindent 4 }}\n  annotations:\n    # With the definition, the API server would delete all objects.\n    helm.sh/resource-policy: keep\n";
    let mut template = "{{- /* Made from the code: LANDFALL_GENERATE=1 cargo test --test generated. Not in crds/, which Helm never upgrades. */}}\n".to_owned();
    for (plural, yaml) in crds(Some(labels)) {
        let yaml = yaml.replace(group, "{{ include \"landfall.group\" . }}");
        template += &format!(
            r#"{{{{- $known := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (printf "{plural}.%s" (include "landfall.group" .)) }}}}
{{{{- $by := dig "metadata" "annotations" (dict) ($known | default dict) }}}}
{{{{- $ours := and (eq (dig "meta.helm.sh/release-name" "" $by) .Release.Name) (eq (dig "meta.helm.sh/release-namespace" "" $by) .Release.Namespace) }}}}
{{{{- if or (eq .Values.crds.create "Always") (and (eq .Values.crds.create "Auto") (or $ours (not $known))) }}}}
---
{yaml}{{{{- end }}}}
"#
        );
    }
    holds(&root().join("helm/landfall/templates/crds.yaml"), &template);
}

#[cfg(feature = "demo")]
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_of_metrics_says_what_a_page_shows() {
    holds(&root().join("helm/landfall/METRICS.md"), &metrics::reference().await);
}

/// A rule or a panel that names a metric, a label or a word that no page shows fails here.
#[cfg(feature = "demo")]
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_and_the_dashboard_are_made_from_the_metrics() {
    let samples = metrics::samples().await;
    holds(&root().join("helm/landfall/rules/landfall.yaml"), &rules::file(&samples));
    holds(&root().join("helm/landfall/dashboards/landfall.json"), &dashboard::file(&samples));
}

#[cfg(feature = "demo")]
#[test]
fn every_alert_has_a_section_in_the_runbooks() {
    rules::look_at_runbooks(&fs::read_to_string(root().join("helm/landfall/RUNBOOKS.md")).unwrap());
}

#[test]
fn the_reference_of_reasons_is_made_from_the_code() {
    holds(&root().join("helm/landfall/REASONS.md"), &reasons::reference());
}

#[test]
fn the_reference_of_the_configuration_is_made_from_the_code() {
    let example = fs::read_to_string(root().join("src/cli/generate/config.yaml")).unwrap();
    holds(&root().join("helm/landfall/CONFIGURATION.md"), &configuration::reference(&example));
}

/// With all features: without the demo there is a command less.
#[cfg(feature = "demo")]
#[test]
fn the_reference_of_the_command_line_is_made_from_the_code() {
    holds(&root().join("helm/landfall/CLI.md"), &command_line::reference());
}

#[test]
fn each_command_has_examples() {
    assert_eq!(command_line::without_examples(), Vec::<String>::new());
}

/// `LANDFALL_MAN` names the folder that `.ci/man` wants them in.
#[test]
fn there_is_a_man_page_for_each_command() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("LANDFALL_MAN").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let pages = command_line::man(&folder);
    assert!(
        ["landfall.1", "landfall-generate-routes.1"].iter().all(|page| pages.iter().any(|one| one == page))
    );
    for page in pages {
        let text = fs::read_to_string(folder.join(&page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn the_manifest_of_krew_is_of_this_version() {
    let text = fs::read_to_string(root().join("manifests/krew.yaml")).unwrap();
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&json!("Plugin"), &json!("landfall")));
    assert_eq!(manifest["spec"]["version"], format!("v{}", env!("CARGO_PKG_VERSION")));
    for platform in manifest["spec"]["platforms"].as_array().unwrap() {
        let labels = &platform["selector"]["matchLabels"];
        let (os, arch) = (labels["os"].as_str().unwrap(), labels["arch"].as_str().unwrap());
        assert_eq!(platform["bin"], "kubectl-landfall");
        // What `.ci/krew` fills in, from the archives themselves.
        assert_eq!(
            platform["uri"],
            format!("ADDRESS/landfall-v{}-{os}-{arch}.tar.gz", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(platform["sha256"], format!("SHA256-{os}-{arch}"));
        let files = platform["files"].as_array().unwrap();
        assert!(files.iter().any(|file| file["from"] == "LICENSE"), "{files:?}");
    }
}

#[test]
fn the_values_say_every_name_and_no_other() {
    let text = fs::read_to_string(root().join("helm/landfall/values.yaml")).unwrap();
    let values: values::Values = serde_saphyr::from_str(&text).unwrap();
    assert!(values.config.is_none(), "there is no default configuration");
}

/// What the chart's page shows as values can be copied into a file of values.
#[test]
fn the_examples_of_the_charts_page_are_values_of_the_chart() {
    fn over(base: &mut Value, more: Value) {
        match (base, more) {
            (Value::Object(base), Value::Object(more)) => {
                for (key, value) in more {
                    over(base.entry(key).or_insert(Value::Null), value);
                }
            }
            (base, more) => *base = more,
        }
    }
    let read = |name: &str| fs::read_to_string(root().join("helm/landfall").join(name)).unwrap();
    let (values, page) = (read("values.yaml"), read("README.md"));
    let examples: Vec<&str> =
        page.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    for example in &examples {
        let mut whole: Value = serde_saphyr::from_str(&values).unwrap();
        over(&mut whole, serde_saphyr::from_str(example).unwrap());
        let read = serde_json::from_value::<values::Values>(whole);
        assert!(read.is_ok(), "{example}{}", read.err().unwrap());
    }
    for shown in ["metricsFrom", "namespaceLabels"] {
        assert!(examples.iter().any(|example| example.contains(shown)), "{shown}");
    }
}

/// The table of findings in README, which is written by hand.
#[test]
fn the_readme_has_every_finding_at_its_policy_key() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split_once("### What happens when").unwrap().1;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for kind in FindingKind::VARIANTS {
        let said: Vec<_> =
            rows.iter().filter(|row| row[1].split(", ").any(|name| name == kind.as_str())).collect();
        assert_eq!(said.len(), 1, "{kind}: {said:?}");
        assert_eq!(said[0][3], format!("`{}`", reasons::key(*kind)), "{kind}");
    }
}

#[test]
fn the_chart_is_of_this_version() {
    let text = fs::read_to_string(root().join("helm/landfall/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}

/// Resources, annotations and labels have one prefix, and the chart has it where the code has it.
#[test]
fn the_api_group_is_written_once_in_the_code_and_once_in_the_chart() {
    let group = landfall::facade::domain::api_group::API_GROUP;
    let helpers = fs::read_to_string(root().join("helm/landfall/templates/_helpers.tpl")).unwrap();
    let defined = helpers.split_once("{{- define \"landfall.group\" -}}\n").unwrap().1;
    assert_eq!(defined.lines().next(), Some(group));
    for entry in fs::read_dir(root().join("helm/landfall/templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = if path.is_file() { fs::read_to_string(&path).unwrap() } else { continue };
        let times = usize::from(path.ends_with("_helpers.tpl"));
        assert_eq!(
            text.matches(group).count(),
            times,
            "{}: write `include \"landfall.group\" .`",
            path.display()
        );
    }
    let policy = &config::schema().to_value()["$defs"]["ApiVersion"]["oneOf"][0]["const"];
    assert_eq!(policy.as_str(), Some(&*format!("{group}/v1alpha1")));
    for key in [landfall::facade::pod::surface::IMAGES, landfall::facade::pod::surface::MODE] {
        assert!(key.starts_with(&format!("{group}/")), "{key}");
    }
}

#[test]
fn the_configuration_of_the_manifests_can_be_used() {
    let path = root().join("manifests/landfall.yaml");
    let loaded = config::load(&path, Files::Skip, jiff::Timestamp::UNIX_EPOCH)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.problems.is_empty(), "{}", loaded.warnings);
}

#[test]
fn the_image_is_built_from_every_file_that_the_package_names() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (package, context) = (read("Cargo.toml"), read(".dockerignore"));
    let named = package.lines().filter_map(|line| line.strip_prefix("path = \"")?.split('"').next());
    let left_out: Vec<_> =
        named.filter(|path| !context.lines().any(|line| line == format!("!{path}"))).collect();
    assert!(left_out.is_empty(), ".dockerignore leaves out {left_out:?}");
}

#[test]
fn the_image_is_built_by_the_toolchain_that_is_tested() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (image, pinned) = (read("Dockerfile"), read("rust-toolchain.toml"));
    let bases: Vec<_> = image.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let channel =
        pinned.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"')).unwrap();
    assert!(bases[0].starts_with(&format!("rust:{channel}-slim-bookworm@sha256:")), "{bases:?}");
    for base in bases {
        assert!(base == "scratch" || base.contains("@sha256:"), "{base} may be another image tomorrow");
    }
}
