//! Files that are right, files that are wrong, and what people read then.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::route::Pin;
use crate::domain::settings::Reports;

const EXAMPLE: &str = include_str!("../../tests/vectors/config/example.yaml");

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, "landfall.yaml", Files::Skip, now()) {
        Ok(loaded) => loaded.warnings.problems,
        Err(problems) => problems.problems,
    }
}

#[test]
fn the_example_means_what_it_says() {
    let loaded =
        parse(EXAMPLE, "example.yaml", Files::Skip, now()).unwrap_or_else(|problems| panic!("{problems}"));
    insta::assert_debug_snapshot!(loaded);
}

/// One snapshot for each file in `tests/vectors/config/bad`: what people read when they got it wrong.
#[test]
fn every_mistake_is_named_where_it_is() {
    let mut files: Vec<_> = std::fs::read_dir("tests/vectors/config/bad").unwrap().collect();
    files.sort_by_key(|file| file.as_ref().unwrap().path());
    for file in files {
        let name = file.as_ref().unwrap().file_name().into_string().unwrap();
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let problems = parse(&text, &name, Files::Skip, now()).unwrap_err();
        assert!(problems.errors().next().is_some(), "{name}");
        insta::assert_snapshot!(name, problems.to_string());
    }
}

#[test]
fn problems_beyond_all_measure_are_not_all_told() {
    let found = problems(&format!("site: ams\n{}: {{{}}}", "x".repeat(1000), "a: 1, ".repeat(50_000)));
    let told: usize = found.iter().map(|problem| problem.path.len()).sum();
    assert!((1..1_000_000).contains(&told), "{} problems, {told} characters of paths", found.len());
}

#[test]
fn ten_mistakes_are_ten_problems() {
    let found = problems(include_str!("../../tests/vectors/config/bad/ten.yaml"));
    let found: Vec<_> = found.iter().map(|problem| (problem.line, problem.path.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "site"),
            (5, "registries.fra.host"),
            (11, "registries.ams.kind"),
            (12, "registries.ams.pull_secret"),
            (15, "routes[0].primary.repositories"),
            (17, "routes[0].replicas[0].namespace"),
            (18, "routes[0].replicas[1].registry"),
            (18, "routes[0].replicas[1].proxi"),
            (19, "cache.present"),
            (20, "budget"),
        ]
    );
}

#[test]
fn the_line_of_a_problem_is_printed_as_compilers_do() {
    let problems = parse("site: [ams]\n", "landfall.yaml", Files::Skip, now()).unwrap_err();
    let text = problems.to_string();
    assert!(text.contains("landfall.yaml:1:7: error: site: expected text, found a list"), "{text}");
}

#[test]
fn the_files_it_names_must_be_there() {
    let root = tempfile::tempdir().unwrap();
    let text = EXAMPLE.replace("/etc/landfall", root.path().to_str().unwrap());
    let file = root.path().join("landfall.yaml");
    std::fs::write(&file, &text).unwrap();
    let missing = load(&file, Files::Check, now()).unwrap_err();
    let paths: Vec<_> = missing.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "registries.fra.credentials.dir",
            "registries.fra.credentials.dir",
            "registries.ams.credentials.dir",
            "registries.ams.credentials.dir",
            "registries.ams.caFile",
            "registries.edge.credentials.dockerConfig",
        ]
    );
    for name in [
        "credentials/fra/username",
        "credentials/fra/password",
        "credentials/ams/username",
        "credentials/ams/password",
        "credentials/edge/config.json",
        "ca/ams.pem",
    ] {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    assert!(load(&file, Files::Check, now()).is_ok());
}

#[test]
fn a_credential_provider_is_a_program_that_is_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("provider");
    let check = |files| {
        let text = format!(
            "site: ams\nregistries:\n  ecr: {{host: ecr.example.com, site: ams, kind: distribution, \
             credentials: {{provider: {{command: {}, args: [a b], env: {{AWS_REGION: eu-central-1}}}}}}}}\n",
            program.display()
        );
        parse(&text, "landfall.yaml", files, now())
    };
    let refused = |words: &str| {
        let problems = check(Files::Check).unwrap_err();
        assert_eq!(problems.problems.len(), 1, "{problems}");
        assert_eq!(problems.problems[0].path, "registries.ecr.credentials.provider.command");
        assert!(problems.problems[0].message.ends_with(words), "{problems}");
    };
    refused("cannot be read: No such file or directory (os error 2)");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    refused("is not executable");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings = check(Files::Check).unwrap().settings;
    let registry = settings.registries.values().next().unwrap();
    let plugin = crate::domain::registry::Plugin {
        command: program.clone(),
        args: vec!["a b".into()],
        env: vec![("AWS_REGION".into(), "eu-central-1".into())],
    };
    assert_eq!(registry.credentials, crate::domain::registry::CredentialSource::Provider(plugin.into()));
    std::fs::remove_file(&program).unwrap();
    std::fs::create_dir(&program).unwrap();
    refused("is not a file");
    assert!(check(Files::Skip).is_ok());
}

#[test]
fn what_is_left_out_is_built_in() {
    let text = "
site: ams
registries:
  ams: {host: harbor.ams.example.com, site: ams, kind: harbor}
policies:
  - metadata: {name: p, labels: {a: b}}
    spec: {namespaceSelector: {}, enforcement: Observe, onUnrouted: Block, scan: {projectAllowlist: true}}
";
    let settings = parse(text, "", Files::Skip, now()).unwrap().settings;
    let built_in = parse(EXAMPLE, "", Files::Skip, now()).unwrap().settings;
    assert_eq!(settings.cache, built_in.cache);
    assert_eq!(settings.budget, built_in.budget);
    assert_eq!(settings.platforms, built_in.platforms);
    assert_eq!(settings.defaults.actions, built_in.defaults.actions);
    let policy = &settings.policies[0].rules;
    assert_eq!(policy.actions.on_unrouted, crate::domain::finding::Action::Block);
    assert_eq!(policy.scan, settings.defaults.scan);
}

#[test]
fn registries_of_different_sites_may_share_an_alias() {
    let file = |registries: &str| format!("site: ams\nregistries:\n{registries}");
    let fra = "  fra: {host: fra.example.com, site: fra, kind: harbor, aliases: [harbor.example.com]}\n";
    let ams =
        "  ams: {host: ams.example.com, site: ams, kind: harbor, aliases: ['HARBOR.example.com:443']}\n";
    let two = "  two: {host: two.example.com, site: ams, kind: harbor, aliases: [harbor.example.com]}\n";
    let own = "  own: {host: harbor.example.com, site: dub, kind: harbor}\n";
    let aliases = |name: &str, text: &str| {
        let settings = parse(text, "", Files::Skip, now()).unwrap().settings;
        settings.registries.values().find(|one| one.name.as_str() == name).unwrap().aliases.len()
    };
    let shared = file(&format!("{fra}{ams}"));
    assert_eq!((aliases("ams", &shared), aliases("fra", &shared)), (1, 0), "it means the one on our site");
    let theirs = shared.replace("site: ams\n", "site: fra\n");
    assert_eq!((aliases("ams", &theirs), aliases("fra", &theirs)), (0, 1));
    for both in
        [format!("{ams}{two}"), format!("{fra}{ams}{two}"), format!("{ams}{own}"), format!("{own}{ams}")]
    {
        let problems = parse(&file(&both), "", Files::Skip, now()).unwrap_err();
        let told: Vec<_> = problems.errors().map(|one| one.message.to_string()).collect();
        assert_eq!(told.len(), 1, "{both}: {told:?}");
        assert!(told[0].to_lowercase().contains("the host `harbor.example.com"), "{told:?}");
    }
}

#[test]
fn pull_secrets_are_managed_where_there_are_credentials_and_each_mistake_is_told() {
    let file = |ams: &str, fra: &str, pulls: &str| {
        format!(
            "site: ams
registries:
  ams: {{host: ams.example.com, site: ams, kind: harbor, credentials: {{dir: /own}}, {ams}}}
  fra: {{host: fra.example.com, site: fra, kind: harbor, {fra}}}
pullSecrets: {pulls}
"
        )
    };
    let (ams, fra) = ("pullSecret: a, pullCredentials: {dir: /a}", "pullSecret: f");
    let shop = "namespaceSelector: {matchLabels: {team: shop}}, credentials: {dir: /shop}";
    let managed = |ams: &str, fra: &str, pulls: &str| {
        let settings = parse(&file(ams, fra, pulls), "", Files::Skip, now()).unwrap().settings;
        settings.pull_secrets.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let a = "the pull secret a of ams, from /a";
    assert_eq!(managed(ams, fra, "{mode: Managed}"), [a]);
    assert!(managed(ams, fra, "{mode: Unmanaged}").is_empty());
    assert!(managed(ams, fra, "{}").is_empty());
    let both = format!("{{mode: Managed, perNamespace: [{{registry: fra, {shop}}}]}}");
    assert_eq!(managed(ams, fra, &both), [a, "the pull secret f of fra, from /shop, in some namespaces"]);
    for (ams, fra, pulls, path, message) in [
        (
            ams,
            "pullSecret: a",
            "{mode: Managed}",
            "registries.fra.pullSecret",
            "two registries have the pull secret `a`",
        ),
        (
            "pullCredentials: {dir: /a}",
            fra,
            "{mode: Managed}",
            "registries.ams",
            "`pullSecret` of `ams` is missing",
        ),
        (
            "pullSecret: a, pullCredentials: {}",
            fra,
            "{}",
            "registries.ams.pullCredentials",
            "`dir` is missing",
        ),
        ("pullSecret: a", fra, "{mode: Managed}", "pullSecrets", "no registry has credentials"),
        ("pullSecret: Not_a_name", fra, "{}", "registries.ams.pullSecret", "Not_a_name"),
        (
            "pullSecret: a, pullCredentials: {dir: /own}",
            fra,
            "{mode: Managed}",
            "registries.ams",
            "Landfall itself asks",
        ),
        (ams, fra, "{mode: managed}", "pullSecrets.mode", "managed"),
        (
            ams,
            fra,
            &format!("{{perNamespace: [{{registry: dub, {shop}}}]}}"),
            "pullSecrets.perNamespace[0].registry",
            "`dub`",
        ),
        (
            ams,
            fra,
            "{perNamespace: [{registry: ams, credentials: {dir: /b}}]}",
            "pullSecrets.perNamespace[0]",
            "`namespaceSelector` is missing",
        ),
        (
            ams,
            fra,
            "{perNamespace: [{registry: ams, namespaceSelector: {}}]}",
            "pullSecrets.perNamespace[0]",
            "`credentials` is missing",
        ),
    ] {
        let found = problems(&file(ams, fra, pulls));
        let told: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.message.as_str())).collect();
        let is_it = |(at, said): &(&str, &str)| *at == path && said.contains(message);
        assert!(told.len() == 1 && told.iter().all(is_it), "{path}: {told:?}");
        assert!(found[0].hint.is_some(), "{told:?}");
    }
}

/// A file with one policy: its selector, its enforcement and its further rules.
fn with_policy(selector: &str, enforcement: &str, rules: &str) -> String {
    format!(
        "site: ams
registries: {{ams: {{host: harbor.ams.example.com, site: ams, kind: harbor}}}}
exclude: {{namespaces: [harbor]}}
policies:
  - metadata: {{name: p}}
    spec: {{namespaceSelector: {selector}, enforcement: {enforcement}{rules}}}
"
    )
}

#[test]
fn what_no_scanner_can_scan_follows_on_unscanned_only_where_a_scan_is_always_required() {
    use crate::domain::finding::{Action, FindingKind};
    for (defaults, rules, expected) in [
        ("{}", "", Action::Accept),
        ("{}", ", onUnscanned: Block", Action::Accept),
        ("{}", ", onUnscanned: Block, scan: {required: Always}", Action::Block),
        ("{}", ", onUnscanned: Block, onUnscannable: Fallback, scan: {required: Always}", Action::Fallback),
        ("{onUnscanned: Block, scan: {required: Always}}", ", scan: {required: Auto}", Action::Accept),
        ("{scan: {required: Always}}", ", onUnscanned: Block", Action::Block),
        ("{onUnscannable: Fallback}", ", onUnscanned: Block, scan: {required: Always}", Action::Fallback),
    ] {
        let text = with_policy("{}", "Enforce", rules) + &format!("defaults: {defaults}\n");
        let settings = parse(&text, "", Files::Skip, now()).unwrap().settings;
        let found = settings.policies[0].rules.actions.on(FindingKind::Unscannable);
        assert_eq!(found, expected, "{defaults}{rules}");
    }
}

const NOT_OPTED_OUT: &str = "{key: landfall.dev/mode, operator: NotIn, values: [Skip]}";

#[test]
fn a_policy_that_blocks_and_does_not_state_it_blocks_what_is_unknown_and_that_is_said() {
    use crate::domain::finding::{Action, FindingKind};
    let selector = format!("{{matchExpressions: [{NOT_OPTED_OUT}]}}");
    let said = "the policy blocks something and leaves out `onUnknown`, so it blocks what is unknown, too";
    for (rules, unknown, unproved, is_said) in [
        (", onMissing: Block", Action::Block, Action::Fallback, true),
        (", onStale: Block", Action::Block, Action::Fallback, true),
        (", onUnproved: Block", Action::Block, Action::Block, true),
        (", onUnscanned: Block", Action::Block, Action::Fallback, true),
        (", onVulnerable: Block, onUnproved: Accept", Action::Block, Action::Accept, true),
        (", onUnrouted: Block", Action::Block, Action::Fallback, true),
        (", onUnrouted: Block, onUnknown: Block", Action::Block, Action::Fallback, false),
        (", onUnrouted: Block, onUnknown: Fallback", Action::Fallback, Action::Fallback, false),
        (", onMissing: Fallback", Action::Fallback, Action::Fallback, false),
    ] {
        for enforcement in ["Enforce", "Observe"] {
            let loaded = parse(&with_policy(&selector, enforcement, rules), "", Files::Skip, now()).unwrap();
            let actions = loaded.settings.policies[0].rules.actions;
            for kind in [FindingKind::Deadline, FindingKind::TooMany, FindingKind::Unreachable] {
                assert_eq!(actions.on(kind), unknown, "{rules}: {kind}");
            }
            assert_eq!(actions.on(FindingKind::Unproved), unproved, "{rules}");
            let warnings: Vec<_> = loaded.warnings.warnings().map(|warning| &*warning.message).collect();
            let expected: &[&str] = if is_said && enforcement == "Enforce" { &[said] } else { &[] };
            assert_eq!(warnings, expected, "{rules}, {enforcement}");
        }
    }
    // What `defaults` block is inherited, and so is what follows; `defaults` themselves block only what they name.
    let text = with_policy(&selector, "Enforce", "") + "defaults: {onMissing: Block}\n";
    let settings = parse(&text, "", Files::Skip, now()).unwrap().settings;
    assert_eq!(settings.policies[0].rules.actions.on(FindingKind::Deadline), Action::Block);
    assert_eq!(settings.defaults.actions.on(FindingKind::Deadline), Action::Fallback);
    let text = with_policy(&selector, "Enforce", "") + "defaults: {onUnknown: Block}\n";
    let loaded = parse(&text, "", Files::Skip, now()).unwrap();
    assert_eq!(loaded.settings.policies[0].rules.actions.on(FindingKind::Deadline), Action::Block);
    assert_eq!(loaded.warnings.problems, []);
}

#[test]
fn a_policy_may_not_name_a_namespace_that_is_left_alone() {
    let name = "kubernetes.io/metadata.name";
    let among = |operator: &str, values: &str| {
        format!(
            "{{matchExpressions: [{NOT_OPTED_OUT}, {{key: {name}, operator: {operator}, values: {values}}}]}}"
        )
    };
    for (selector, named) in [
        (format!("{{matchLabels: {{{name}: kube-system}}}}"), Some("kube-system")),
        (format!("{{matchLabels: {{{name}: kube-node-lease}}}}"), Some("kube-node-lease")),
        (among("In", "[payments, harbor]"), Some("harbor")),
        (among("In", "[payments, harbors]"), None),
        (among("NotIn", "[harbor]"), None),
        (format!("{{matchLabels: {{tier: harbor}}, matchExpressions: [{NOT_OPTED_OUT}]}}"), None),
        (format!("{{matchExpressions: [{NOT_OPTED_OUT}]}}"), None),
    ] {
        for enforcement in ["Enforce", "Observe"] {
            let found = problems(&with_policy(&selector, enforcement, ""));
            let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
            assert_eq!(errors.len(), usize::from(named.is_some()), "{selector}: {found:?}");
            if let (Some(name), [error]) = (named, &*errors) {
                assert!(error.message.contains(&format!("the namespace `{name}`, which")), "{error:?}");
                assert_eq!(error.path, "policies[0].spec.namespaceSelector");
            }
        }
    }
}

#[test]
fn a_policy_says_which_namespaces_can_opt_out() {
    for (selector, enforcement, warned) in [
        ("{}".to_owned(), "Enforce", true),
        ("{matchLabels: {tier: regulated}}".to_owned(), "Enforce", true),
        ("{matchLabels: {landfall.dev/mode: Skip}}".to_owned(), "Enforce", true),
        ("{matchLabels: {landfall.dev/mode: Rewrite}}".to_owned(), "Enforce", false),
        (format!("{{matchLabels: {{tier: a}}, matchExpressions: [{NOT_OPTED_OUT}]}}"), "Enforce", false),
        ("{}".to_owned(), "Observe", false),
    ] {
        let found = problems(&with_policy(&selector, enforcement, ""));
        let found: Vec<_> = found.iter().map(|one| (one.severity, one.message.contains("Skip`"))).collect();
        let expected: &[(Severity, bool)] = if warned { &[(Severity::Warning, true)] } else { &[] };
        assert_eq!(found, expected, "{selector}");
    }
}

/// Whoever writes every default of the schema out gets what leaving them out gives.
#[test]
fn the_schema_tells_the_defaults() {
    let schema = schema().to_value();
    let defaults = |name: &str| {
        let object = if name == "File" { &schema } else { &schema["$defs"][name] };
        let fields = object["properties"].as_object().unwrap();
        let stated =
            fields.iter().filter_map(|(key, field)| Some((key.clone(), field.get("default")?.clone())));
        let stated: serde_json::Map<_, _> = stated.collect();
        assert!(!stated.is_empty(), "{name}");
        stated
    };
    let with = |name: &str, required: serde_json::Value, written: bool| {
        let mut object = required.as_object().unwrap().clone();
        object.extend(written.then(|| defaults(name)).into_iter().flatten());
        serde_json::Value::Object(object)
    };
    let text = |written: bool| {
        let registry = |site: &str| {
            let host = format!("harbor.{site}.example.com");
            with("Registry", json!({"host": host, "site": site, "kind": "harbor"}), written)
        };
        let replica = with("Replica", json!({"registry": "ams", "namespace": "", "flatten": 0}), written);
        let route = json!({
            "name": "r", "primary": {"registry": "fra", "repositories": "a/**"}, "replicas": [replica],
        });
        let file = json!({
            "site": "ams",
            "registries": {"ams": registry("ams"), "fra": registry("fra")},
            "routes": [with("Route", route, written)],
            "defaults": with("Defaults", json!({}), written),
            "cache": with("Cache", json!({}), written),
            "budget": with("Budget", json!({}), written),
        });
        with("File", file, written).to_string()
    };
    let settings = |text: &str| {
        let loaded = parse(text, "", Files::Skip, now());
        format!("{:#?}", loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}")).settings)
    };
    assert_eq!(settings(&text(true)), settings(&text(false)));
}

/// The schema refuses what the parser refuses: only Kubernetes' own `metadata` may hold more than we read.
#[test]
fn the_schema_knows_every_key() {
    let schema = schema();
    let definitions = schema.as_value()["$defs"].as_object().unwrap();
    for (name, definition) in definitions.iter().filter(|(_, definition)| definition["type"] == "object") {
        let closed = definition["additionalProperties"] == serde_json::Value::Bool(false);
        assert_eq!(closed, name != "Metadata", "{name}");
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
}

/// One edit of a text: some of it is left out, said twice, or replaced by what YAML takes for something else.
fn edit() -> impl Strategy<Value = (prop::sample::Index, usize, &'static str)> {
    let words = [
        "",
        " ",
        "\n",
        "  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "&a ",
        "*a",
        "!x ",
        "| ",
        "---\n",
        "#",
        "\t",
        "null",
        "~",
        "5",
        "-1",
        "1e9",
        "true",
        "10m",
        "99999999999999999999h",
        "all",
        "**",
        "{a,b",
        "é",
        "\u{0}",
    ];
    (any::<prop::sample::Index>(), 0..40_usize, prop::sample::select(words.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_panics(edits in prop::collection::vec(edit(), 1..8)) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, length, word) in edits {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, word.chars());
            text.push('\n');
        }
        let text: String = text.into_iter().collect();
        let lines = text.lines().count();
        match parse(&text, "x", Files::Skip, now()) {
            Ok(loaded) => prop_assert_eq!(loaded.warnings.errors().count(), 0),
            Err(problems) => {
                prop_assert!(problems.errors().count() > 0);
                prop_assert!(problems.problems.iter().all(|problem| (1..=lines + 1).contains(&problem.line)));
            }
        }
    }

    #[test]
    fn no_noise_panics(text in "[ -~\n\t]{0,200}") {
        drop(parse(&text, "x", Files::Skip, now()));
    }
}

/// What aliases of aliases would multiply to is bounded.
#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
    }
    assert!(problems(&text)[0].message.contains("aliases expanded"));
}

/// The same object loads from a file of its own, as `kubectl` would apply it.
#[test]
fn a_policy_loads_alone() {
    let settings = parse(EXAMPLE, "", Files::Skip, now()).unwrap().settings;
    let (_, of_its_own) = EXAMPLE.split_once("policies:\n").unwrap();
    let of_its_own = of_its_own.replacen("  - ", "    ", 1);
    let (alone, warnings) = policy(&of_its_own, "policy.yaml", &settings.defaults, &[], now()).unwrap();
    assert_eq!(alone, settings.policies[0]);
    assert_eq!(warnings.problems, []);

    let broken = of_its_own.replace("onStale: Block", "onStale: Blok");
    let problems = policy(&broken, "policy.yaml", &settings.defaults, &[], now()).unwrap_err();
    assert_eq!(problems.problems[0].path, "spec.onStale");
    assert_eq!(problems.problems.len(), 1);
}

fn routes(routes: &str) -> (Settings, Vec<Problem>) {
    let text = format!(
        "
site: ams
registries:
  fra: {{host: harbor.fra.example.com, site: fra, kind: harbor}}
  dub: {{host: harbor.dub.example.com, site: dub, kind: harbor}}
  ams: {{host: harbor.ams.example.com, site: ams, kind: harbor}}
routes:
{routes}"
    );
    let Loaded { settings, warnings } =
        parse(&text, "", Files::Skip, now()).unwrap_or_else(|all| panic!("{all}"));
    (settings, warnings.problems)
}

/// Which replicas may collide, in the order of the file, and that each of them is warned of.
fn collisions(text: &str) -> Vec<bool> {
    let (settings, warnings) = routes(text);
    let replicas = settings.routes.iter().flat_map(|route| &route.replicas);
    let found: Vec<bool> =
        replicas.map(|replica| replica.collision == crate::domain::route::Collision::Possible).collect();
    assert_eq!(warnings.len(), found.iter().filter(|may| **may).count(), "{warnings:?}");
    found
}

#[test]
fn where_two_sources_meet_a_tag_needs_proof() {
    let fan_in = "
- {name: fra, primary: {registry: fra, repositories: apps/**}, replicas: [{registry: ams, namespace: apps, flatten: 1}]}
- {name: dub, primary: {registry: dub, repositories: apps/**}, replicas: [{registry: ams, namespace: apps, flatten: 1}]}
";
    assert_eq!(collisions(fan_in), [true, true]);
    let apart = fan_in.replacen("namespace: apps", "namespace: apps-fra", 1);
    assert_eq!(collisions(&apart), [false, false]);

    let folded = "
- {name: a, primary: {registry: fra, repositories: apps/**}, replicas: [{registry: ams, namespace: apps, flatten: all}]}
";
    assert_eq!(collisions(folded), [true]);
    // `apps/*` has two components: the last one is all that differs.
    assert_eq!(collisions(&folded.replace("apps/**", "apps/*")), [false]);
    // The rule's own filter may be what keeps it apart.
    let filtered = folded.replace("flatten: all", "flatten: all, repositories: apps/*");
    assert_eq!(collisions(&filtered), [false]);

    let two_projects_of_one_registry = "
- {name: a, primary: {registry: fra, repositories: a/**}, replicas: [{registry: ams, namespace: x, flatten: 1}]}
- {name: b, primary: {registry: fra, repositories: b/**}, replicas: [{registry: ams, namespace: x, flatten: 1}]}
";
    assert_eq!(collisions(two_projects_of_one_registry), [true, true]);
    let same_paths = two_projects_of_one_registry.replace("namespace: x, flatten: 1", "namespace: ''");
    assert_eq!(collisions(&same_paths), [false, false]);

    let copied_into_a_primary = "
- {name: a, primary: {registry: fra, repositories: a/**}, replicas: [{registry: ams, namespace: ''}]}
- {name: b, primary: {registry: ams, repositories: a/**}}
";
    assert_eq!(collisions(copied_into_a_primary), [true]);
}

#[test]
fn a_more_specific_route_does_not_tie() {
    let (settings, warnings) = routes(
        "
- {name: all, primary: {registry: fra, repositories: apps/**}}
- {name: some, primary: {registry: fra, repositories: apps/pay/**}}
- {name: elsewhere, primary: {registry: dub, repositories: apps/**}}
",
    );
    assert_eq!((settings.routes.len(), warnings.len()), (3, 0));
}

#[test]
fn a_case_holds_255_places() {
    let with = |replicas: usize| {
        let replicas: Vec<_> =
            (0..replicas).map(|at| format!("{{registry: ams, namespace: n{at}, flatten: 1}}")).collect();
        let text = format!(
            "{{site: ams, registries: {{ams: {{host: a.example.com, site: ams, kind: harbor}}}}, routes: [{{name: a, \
             primary: {{registry: ams, repositories: p/**}}, replicas: [{}]}}]}}",
            replicas.join(", ")
        );
        problems(&text)
    };
    assert_eq!(with(254), []);
    assert_eq!(with(255)[0].path, "routes[0].replicas");
}

/// Helm reads YAML 1.1, in which an unquoted `Off` is `false`, and so hands it on.
#[test]
fn pin_is_one_word_and_off_may_arrive_as_false() {
    let with = |pin: &str| {
        let text = EXAMPLE.replace("pin: TagAndDigest", pin);
        parse(&text, "landfall.yaml", Files::Skip, now()).map(|parsed| parsed.settings.routes[0].pin)
    };
    for (pin, meant) in [
        ("", Pin::TagAndDigest),
        ("pin: TagAndDigest", Pin::TagAndDigest),
        ("pin: Digest", Pin::Digest),
        ("pin: Off", Pin::Off),
        ("pin: 'Off'", Pin::Off),
        ("pin: false", Pin::Off),
    ] {
        assert_eq!(with(pin).unwrap(), meant, "{pin}");
    }
    let message = with("pin: true").unwrap_err().to_string();
    assert!(message.contains("`TagAndDigest`") && message.contains("`Digest`"), "{message}");
}

#[test]
fn reports_are_off_unless_they_are_asked_for() {
    let of = |reports: &str| {
        let text = format!(
            "site: ams\nregistries: {{ams: {{host: harbor.ams.example.com, site: ams, kind: harbor}}}}\n{reports}\n"
        );
        parse(&text, "test.yaml", Files::Skip, Timestamp::UNIX_EPOCH)
    };
    for off in ["", "reports: {}", "reports: {mode: Off}", "reports: {mode: false}"] {
        assert_eq!(of(off).map(|loaded| loaded.settings.reports).ok(), Some(Reports::Off), "{off}");
    }
    let on = of("reports: {mode: OpenReports}").unwrap();
    assert_eq!((on.settings.reports, on.warnings.problems.len()), (Reports::OpenReports, 0));
    let wrong = of("reports: {mode: OpenReport}").unwrap_err().to_string();
    assert!(wrong.contains("reports.mode") && wrong.contains("OpenReports"), "{wrong}");
}

#[test]
fn healing_without_a_robot_is_a_warning_and_an_unquoted_off_is_off() {
    use crate::domain::settings::{Healing, HealingMode};
    let of = |healing: &str| {
        let text = format!(
            "site: ams\nregistries: {{ams: {{host: harbor.ams.example.com, site: ams, kind: harbor}}}}\nhealing: {healing}\n"
        );
        parse(&text, "landfall.yaml", Files::Skip, now()).unwrap()
    };
    let loaded = of("{mode: Scan}");
    let warnings: Vec<_> = loaded.warnings.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(warnings, ["no registry has `healing.credentials`, so nothing can be healed"]);
    let after = std::time::Duration::from_secs(60);
    assert_eq!(loaded.settings.healing, Healing { mode: HealingMode::Scan, after });
    for off in ["{mode: false}", "{mode: Off, after: 1m}", "{}"] {
        let loaded = of(off);
        assert_eq!(loaded.settings.healing, Healing::default(), "{off}");
        assert!(loaded.warnings.problems.is_empty(), "{off}");
    }
}
