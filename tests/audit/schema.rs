//! The few words of JSON Schema that the schemas here use: a validator for tests.

use serde_json::Value;

/// Fails where the value is not as the schema says.
pub fn holds(schema: &Value, value: &Value) {
    let mut wrong = Vec::new();
    check(schema, schema, value, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The words that are understood. Another one must not be taken for fulfilled.
const WORDS: [&str; 23] = [
    "$schema",
    "$id",
    "$ref",
    "title",
    "description",
    "format",
    "default",
    "definitions",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minimum",
    "anyOf",
    "oneOf",
    "pattern",
    "x-note",
];

fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(words) = schema.as_object() else {
        if schema == &Value::Bool(false) {
            wrong.push(format!("{at}: nothing may stand here"));
        }
        return;
    };
    for word in words.keys() {
        assert!(WORDS.contains(&word.as_str()), "the validator does not know `{word}`");
    }
    let mut fail = |what: String| wrong.push(format!("{at}: {what}"));
    if let Some(path) = schema["$ref"].as_str() {
        let target = root.pointer(path.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{path}"));
        return check(root, target, value, at, wrong);
    }
    if let Some(kinds) = words.get("type") {
        let kinds: Vec<&str> = kinds.as_array().map_or_else(
            || vec![kinds.as_str().unwrap()],
            |kinds| kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        );
        let is = |kind: &&str| match *kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            kind => panic!("{kind}"),
        };
        if !kinds.iter().any(is) {
            fail(format!("no {kinds:?}: {value}"));
        }
    }
    if words.get("enum").is_some_and(|all| !all.as_array().unwrap().contains(value)) {
        fail(format!("none of {}: {value}", schema["enum"]));
    }
    if words.get("const").is_some_and(|only| only != value) {
        fail(format!("not {}: {value}", schema["const"]));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        fail(format!("{number} is less than {least}"));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        fail(format!("{text} is not {pattern}"));
    }
    for word in ["anyOf", "oneOf"] {
        let Some(all) = schema[word].as_array() else { continue };
        let fits = |one: &&Value| {
            let mut wrong = Vec::new();
            check(root, one, value, at, &mut wrong);
            wrong.is_empty()
        };
        let fitting = all.iter().filter(fits).count();
        if fitting == 0 || word == "oneOf" && fitting > 1 {
            wrong.push(format!("{at}: {fitting} of {word} fit: {value}"));
        }
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
            if !object.contains_key(name) {
                wrong.push(format!("{at}: `{name}` is missing"));
            }
        }
        for (name, inner) in object {
            let at = format!("{at}/{name}");
            match (schema["properties"].get(name), words.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => check(root, schema, inner, &at, wrong),
                (None, None) => {}
            }
        }
    }
    if let Some(items) = value.as_array() {
        let length = u64::try_from(items.len()).unwrap();
        if schema["minItems"].as_u64().is_some_and(|least| length < least)
            || schema["maxItems"].as_u64().is_some_and(|most| length > most)
        {
            wrong.push(format!("{at}: {length} items"));
        }
        let twice = items.iter().enumerate().any(|(n, item)| items[..n].contains(item));
        if schema["uniqueItems"] == true && twice {
            wrong.push(format!("{at}: an item stands twice"));
        }
        for (n, item) in items.iter().enumerate() {
            if let Some(schema) = words.get("items") {
                check(root, schema, item, &format!("{at}/{n}"), wrong);
            }
        }
    }
}

#[test]
fn what_is_wrong_is_found() {
    let schema = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["a"],
        "properties": {"a": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/definitions/n"}}},
        "definitions": {"n": {"anyOf": [{"type": "integer", "minimum": 1}, {"enum": ["x"]}]}},
    });
    holds(&schema, &serde_json::json!({"a": [1, "x"]}));
    for wrong in [
        serde_json::json!({}),
        serde_json::json!([]),
        serde_json::json!({"a": []}),
        serde_json::json!({"a": [0]}),
        serde_json::json!({"a": ["y"]}),
        serde_json::json!({"a": [1, 1]}),
        serde_json::json!({"a": [1], "b": 1}),
    ] {
        assert!(std::panic::catch_unwind(|| holds(&schema, &wrong)).is_err(), "{wrong}");
    }
}
