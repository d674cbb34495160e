//! A policy means the same in the file and in the cluster: what the definition of LandingPolicy refuses (its schema and its
//! CEL rules), the parser of the file refuses, and the other way round.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use kube::core::cel::validate_cel_schema;
use landfall::facade::cluster::{LandingPolicy, definitions};
use landfall::facade::config;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use regex::Regex;
use serde_json::{Map, Value, json};

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

/// Whether a text matches a pattern. To compile one takes a thousand times as long.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local!(static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default());
    KNOWN.with_borrow_mut(|known| {
        let compiled = known.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap());
        compiled.is_match(text)
    })
}

/// What is wrong by the part of OpenAPI that the definition uses. An unknown keyword is a mistake of this test.
fn by_schema(schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let mut check = |fits: bool, what: &str| {
        if !fits {
            wrong.push(format!("{path}: {what}"));
        }
    };
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let number = |value: &Value| value.as_u64().map(|number| number as usize);
    for (keyword, says) in schema.as_object().unwrap() {
        let fits = match (keyword.as_str(), value) {
            ("type", _) => match says.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                other => panic!("type {other}"),
            },
            ("enum", _) => says.as_array().unwrap().contains(value),
            ("minLength", Value::String(text)) => text.chars().count() >= number(says).unwrap(),
            ("maxLength", Value::String(text)) => text.chars().count() <= number(says).unwrap(),
            ("minItems", Value::Array(list)) => list.len() >= number(says).unwrap(),
            ("maxItems", Value::Array(list)) => list.len() <= number(says).unwrap(),
            ("maxProperties", Value::Object(map)) => map.len() <= number(says).unwrap(),
            ("pattern", Value::String(text)) => matches(says.as_str().unwrap(), text),
            // As in the API server: the day must exist.
            ("format", Value::String(text)) if says == "date-time" => {
                text.get(..10).is_some_and(|day| day.parse::<jiff::civil::Date>().is_ok())
            }
            ("required", Value::Object(map)) => {
                says.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
            }
            (
                "minLength"
                | "maxLength"
                | "minItems"
                | "maxItems"
                | "maxProperties"
                | "pattern"
                | "required"
                | "format"
                | "minimum"
                | "nullable"
                | "description"
                | "properties"
                | "items"
                | "additionalProperties"
                | "x-kubernetes-validations"
                | "x-kubernetes-list-type"
                | "x-kubernetes-list-map-keys",
                _,
            ) => true,
            (other, _) => panic!("{path}: the keyword {other}"),
        };
        check(fits, &format!("{keyword} {says}"));
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let inner = [&schema["properties"][key], &schema["additionalProperties"]];
                match inner.into_iter().find(|inner| inner.is_object()) {
                    Some(inner) => by_schema(inner, value, &format!("{path}.{key}"), wrong),
                    // A client that asks for strict validation, as kubectl does, is told.
                    None => wrong.push(format!("{path}.{key}: unknown")),
                }
            }
        }
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate() {
                by_schema(&schema["items"], value, &format!("{path}[{n}]"), wrong);
            }
        }
        _ => {}
    }
}

fn spec_schema() -> Value {
    let definition = serde_json::to_value(&definitions()[0]).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

fn object(spec: &Value) -> Value {
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LandingPolicy", "metadata": {"name": "one"}, "spec": spec})
}

/// What the API server would say against it. It looks at the rules only where the schema is fulfilled.
fn by_definition(schema: &Value, spec: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    by_schema(schema, spec, "spec", &mut wrong);
    if wrong.is_empty()
        && let Err(errors) = validate_cel_schema::<LandingPolicy>(&object(spec), None)
    {
        wrong.push(format!("{errors:?}"));
    }
    wrong
}

/// What `landfall check` says against it.
fn by_file(spec: &Value) -> Vec<String> {
    let text = object(spec).to_string();
    match config::policy(&text, "policy", &config::built_in(), &[], now()) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            problems.errors().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
        }
    }
}

fn agree(schema: &Value, spec: &Value) -> Result<(), String> {
    let (definition, file) = (by_definition(schema, spec), by_file(spec));
    if definition.is_empty() == file.is_empty() {
        return Ok(());
    }
    Err(format!("{spec:#}\nthe definition: {definition:?}\nthe file: {file:?}"))
}

/// One of the first two of these mostly, which are good; else another one, or a text that is nearly one of them.
fn text(some: &'static [&'static str]) -> BoxedStrategy<Value> {
    let good = select(&some[..2]).prop_map(str::to_owned);
    let known = select(some).prop_map(str::to_owned);
    let nearly = (
        select(some),
        any::<proptest::sample::Index>(),
        select(&["", ".", "-", "/", ":", "{", "}", ",", "A", "é", "0", "*", " "][..]),
    )
        .prop_map(|(text, at, piece)| {
            let mut characters: Vec<char> = text.chars().collect();
            let at = at.index(characters.len() + 1);
            let end = (at + 1).min(characters.len());
            characters.splice(at..end, piece.chars());
            characters.into_iter().collect()
        });
    prop_oneof![30 => good, 2 => known, 1 => nearly].prop_map(Value::String).boxed()
}

/// The value, or rarely one of another type.
fn mostly(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let other = select(vec![json!(5), json!(true), json!([]), json!({}), json!("x"), json!("")]);
    prop_oneof![150 => value, 1 => other].boxed()
}

fn list(item: BoxedStrategy<Value>, most: usize) -> BoxedStrategy<Value> {
    let few = proptest::collection::vec(item.clone(), 1..3);
    let many = (item, most - 1..most + 2).prop_map(|(item, many)| vec![item; many]);
    prop_oneof![25 => few, 1 => many, 1 => Just(Vec::new())].prop_map(Value::Array).boxed()
}

/// An object with some of these keys; those that are needed are rarely left out.
fn map(keys: Vec<(&'static str, bool, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let entries: Vec<BoxedStrategy<Option<(String, Value)>>> = keys
        .into_iter()
        .map(|(key, needed, value)| {
            let (there, left_out) = if needed { (100, 1) } else { (1, 2) };
            let value = mostly(value).prop_map(move |value| Some((key.to_owned(), value)));
            prop_oneof![there => value, left_out => Just(None)].boxed()
        })
        .collect();
    entries.prop_map(|entries| Value::Object(entries.into_iter().flatten().collect())).boxed()
}

const KEYS: &[&str] =
    &["kubernetes.io/metadata.name", "a.b/c", "tier", "-bad", "a/b/c", "A/b", "x_y.z", "a..b/c", ""];
const NAMES: &[&str] = &["kube-system", "shop", "kube-node-lease", "a_b.c", "Bad-", "", "a.b"];
const IMAGES: &[&str] = &[
    "harbor.example.com/production/legacy/**",
    "registry:5000/a/{b,c/d}-*",
    "localhost/x",
    "registry/a",
    "[::1]:5000/a",
    "[ab]/a",
    "HARBOR/a",
    "harbor/a",
    "a.b/{x,{y,z}}",
    "a.b/x{,y}",
    "a.b/x,y",
    "a.b//x",
    "a.b/",
    "a.b/{a,b}{c,d}{e,f}",
    "a.b/{a,b,c,d,e}{a,b,c,d,e}",
    "a.b/{a,b,c,d,e}{a,b,c,d,e,f}",
    "a.b:/x",
    "-a.b/x",
    "a.b/x/{a/b,/c}",
];
const TIMES: &[&str] = &[
    "2027-01-31T00:00:00Z",
    "2020-01-31T00:00:00.5+01:00",
    "2027-02-30T00:00:00Z",
    "2028-02-29T23:59:59-23:59",
    "2027-01-31",
    "2027-01-31t00:00:00z",
    "2027-01-31T24:00:00Z",
    "2027-01-31T00:00:60Z",
    "2027-01-31T00:00:00+24:00",
    "1999-01-31T00:00:00Z",
    "9999-12-31T00:00:00Z",
    "2027-01-31 00:00:00Z",
    "2027-01-31T00:00:00.1234567891Z",
];
const LENGTHS: &[&str] = &[
    "168h",
    "1h30m",
    "0s",
    "999999999h",
    "1234567890s",
    "10",
    "5d",
    "",
    "1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h",
];

fn long(most: usize) -> BoxedStrategy<Value> {
    let odd = select(vec![String::new(), "é".repeat(most + 1), "x".repeat(most + 1)]);
    let good = select(vec!["x".to_owned(), "é".repeat(most)]);
    prop_oneof![40 => good, 1 => odd].prop_map(Value::String).boxed()
}

fn specs() -> BoxedStrategy<Value> {
    let word = |words: &'static [&'static str]| text(words);
    let labels = proptest::collection::btree_map(
        text(KEYS).prop_map(|key| key.as_str().unwrap().to_owned()),
        mostly(text(NAMES)),
        0..3,
    );
    let many = (7_usize..10).prop_map(|many| (0..many).map(|n| (format!("k{n}"), json!("v"))).collect());
    let labels = prop_oneof![8 => labels, 1 => many]
        .prop_map(|labels| Value::Object(labels.into_iter().collect::<Map<_, _>>()))
        .boxed();
    let long_key = (250_usize..256, 60_usize..66)
        .prop_map(|(prefix, name)| json!(format!("{}/{}", "a".repeat(prefix), "b".repeat(name))));
    let expression = map(vec![
        ("key", true, prop_oneof![12 => text(KEYS), 1 => long_key].boxed()),
        ("operator", true, word(&["In", "NotIn", "Exists", "DoesNotExist"])),
        ("values", false, list(text(NAMES), 32)),
    ]);
    let selector =
        map(vec![("matchLabels", false, labels), ("matchExpressions", false, list(expression, 16))]);
    let scan = map(vec![
        ("required", false, word(&["Never", "Auto", "Always"])),
        ("maxSeverity", false, word(&["None", "Low", "Critical"])),
        ("maxAge", false, text(LENGTHS)),
        ("ignore", false, list(long(128), 256)),
        ("projectAllowlist", false, Just(json!(true)).boxed()),
    ]);
    let exception = map(vec![
        (
            "images",
            true,
            list(
                prop_oneof![20 => text(IMAGES), 1 => Just(json!(format!("a.b/{}", "x".repeat(253))))].boxed(),
                16,
            ),
        ),
        ("findings", true, list(word(&["Vulnerable", "Missing", "NotRouted"]), 32)),
        ("until", true, text(TIMES)),
        ("reason", true, long(1024)),
    ]);
    let glass = map(vec![
        ("until", true, text(TIMES)),
        ("namespaces", false, list(text(NAMES), 32)),
        ("reason", true, long(1024)),
    ]);
    let any = || word(&["Accept", "Fallback", "Block"]);
    map(vec![
        ("namespaceSelector", true, selector),
        ("enforcement", true, word(&["Enforce", "Observe"])),
        ("onMissing", false, word(&["Fallback", "Block", "Accept", "block"])),
        ("onStale", false, any()),
        ("onUnknown", false, word(&["Fallback", "Block"])),
        ("onUnproved", false, any()),
        ("onUnscanned", false, any()),
        ("onUnscannable", false, any()),
        ("onVulnerable", false, word(&["Accept", "Block", "Fallback"])),
        ("onUnrouted", false, word(&["Allow", "Block", "Accept"])),
        ("scan", false, scan),
        ("exceptions", false, list(exception, 32)),
        ("contact", false, long(256)),
        ("warn", false, Just(json!(false)).boxed()),
        ("breakGlass", false, glass),
    ])
}

/// Every text alone in a policy that is good otherwise, so that nothing else hides what is thought of it.
#[test]
fn the_definition_and_the_file_think_the_same_of_each_text() {
    let schema = spec_schema();
    let mut specs = Vec::new();
    let base = || json!({"namespaceSelector": {}, "enforcement": "Enforce"});
    let mut with = |pointer: &str, key: &str, value: Value| {
        let mut spec = base();
        spec["exceptions"] =
            json!([{"images": ["a.b/c"], "findings": ["Stale"], "until": TIMES[0], "reason": "x"}]);
        spec["breakGlass"] = json!({"until": TIMES[0], "reason": "x"});
        spec["scan"] = json!({});
        spec["namespaceSelector"] =
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]});
        spec.pointer_mut(pointer).unwrap()[key] = value;
        specs.push(spec);
    };
    for image in IMAGES {
        with("/exceptions/0", "images", json!([image]));
    }
    for time in TIMES {
        with("/exceptions/0", "until", json!(time));
        with("/breakGlass", "until", json!(time));
    }
    for length in LENGTHS {
        with("/scan", "maxAge", json!(length));
    }
    for key in KEYS {
        with("/namespaceSelector/matchExpressions/0", "key", json!(key));
        with("/namespaceSelector", "matchLabels", json!({(*key): "v"}));
    }
    for name in NAMES {
        with("/breakGlass", "namespaces", json!([name]));
        with("/namespaceSelector", "matchLabels", json!({"kubernetes.io/metadata.name": name}));
        for operator in ["In", "NotIn", "Exists", "DoesNotExist"] {
            let expression =
                json!({"key": "kubernetes.io/metadata.name", "operator": operator, "values": [name]});
            with("/namespaceSelector", "matchExpressions", json!([expression]));
        }
    }
    let wrong: Vec<_> = specs.iter().filter_map(|spec| agree(&schema, spec).err()).collect();
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), specs.len(), wrong.join("\n"));
    let good = specs.iter().filter(|spec| by_file(spec).is_empty()).count();
    assert!(good > 30 && good < specs.len() - 30, "{good} of {} are good", specs.len());
}

#[test]
fn the_definition_and_the_file_agree_on_any_policy() {
    const CASES: u32 = 1_500;
    let (schema, good) = (spec_schema(), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    runner
        .run(&specs(), |spec| {
            good.set(good.get() + u32::from(by_file(&spec).is_empty()));
            agree(&schema, &spec).map_err(TestCaseError::fail)
        })
        .unwrap();
    let good = good.get();
    assert!(
        (CASES / 5..CASES * 4 / 5).contains(&good),
        "{good} of {CASES} are good: the generator proves little"
    );
}

/// What a list or a text may hold must be bounded everywhere: the API server refuses rules whose cost it cannot bound.
#[test]
fn every_list_and_text_has_a_bound() {
    fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
        let bounded = |keyword: &str| schema[keyword].is_u64();
        match schema["type"].as_str() {
            Some("string") if !bounded("maxLength") && schema["enum"].is_null() => {
                found.push(path.to_owned())
            }
            Some("array") if !bounded("maxItems") => found.push(path.to_owned()),
            Some("object") if schema["additionalProperties"].is_object() && !bounded("maxProperties") => {
                found.push(path.to_owned());
            }
            _ => {}
        }
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(inner, &format!("{path}.{key}"), found);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], &format!("{path}[]"), found);
            }
        }
    }
    let definition = serde_json::to_value(&definitions()[0]).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut found = Vec::new();
    walk(&schema["spec"], "spec", &mut found);
    walk(&schema["status"], "status", &mut found);
    assert!(found.is_empty(), "{found:?}");
    assert!(
        !definition.to_string().contains("\"default\""),
        "a default would be written into every stored object"
    );
}

/// The ready ones can be used as they are, in the file's terms and in the cluster's.
#[test]
fn the_policies_of_the_manifests_can_be_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/policies");
    let schema = spec_schema();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, warnings) =
            config::policy(&text, &path.display().to_string(), &config::built_in(), &[], now())
                .unwrap_or_else(|problems| panic!("{problems}"));
        // Whoever may label a namespace can take it out: a warning of every policy that goes by labels.
        let meant = |problem: &config::Problem| problem.message.contains("landfall.dev/mode: Skip");
        assert!(warnings.problems.iter().all(meant), "{warnings}");
        let object: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(by_definition(&schema, &object["spec"]), [""; 0], "{}", path.display());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(path.file_stem().unwrap(), name.as_str());
        names.push(name);
    }
    names.sort();
    let expected = [
        "block-unscanned",
        "block-vulnerable",
        "digests-only",
        "observe-everything",
        "only-local",
        "regulated",
    ];
    assert_eq!(names, expected);
}
