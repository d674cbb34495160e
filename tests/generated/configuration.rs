//! `helm/landfall/CONFIGURATION.md`: each key of the configuration file, from its schema.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use landfall::facade::config;
use serde_json::{Map, Value};

/// The page.
pub fn reference(example: &str) -> String {
    let schema = config::schema().to_value();
    let defs = schema["$defs"].as_object().unwrap();
    let mut page = String::from(
        "# The configuration, key by key\n\n\
         Made from the code: `LANDFALL_GENERATE=1 cargo test --test generated`. `landfall generate schema` prints the same as a JSON \
         Schema, for editors; `landfall check` says what is wrong in a file.\n\n",
    );
    let mut queue: Vec<(String, Value)> = vec![(String::new(), schema.clone())];
    let mut seen = BTreeSet::new();
    while !queue.is_empty() {
        let (path, object) = queue.remove(0);
        let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
        let _ = writeln!(page, "## {title}\n");
        if !path.is_empty()
            && let Some(text) = object["description"].as_str()
        {
            let _ = writeln!(page, "{}\n", cell(text));
        }
        let _ = writeln!(page, "| key | type | default | meaning |\n|---|---|---|---|");
        let required = object["required"].as_array().cloned().unwrap_or_default();
        for (key, property) in object["properties"].as_object().unwrap() {
            let kind = Kind::of(property, defs);
            let default = match &property["default"] {
                _ if required.iter().any(|one| one == key) => "required".to_owned(),
                Value::Null => String::new(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            let meaning = cell(property["description"].as_str().unwrap_or_default());
            let _ = writeln!(page, "| `{key}` | {} | {default} | {meaning} |", kind.word);
            if let Some((suffix, object)) = kind.object {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                // What is the same shape elsewhere is described once.
                if seen.insert(object["properties"].to_string()) {
                    queue.push((format!("{below}{suffix}"), object));
                }
            }
        }
        page.push('\n');
    }
    let _ = write!(
        page,
        "## An example of each\n\n`landfall generate config` prints it. A line with `#` and no space after it is what may be written besides.\n\n```yaml\n{example}```\n"
    );
    page
}

/// What a key holds: in words, and the object in it, if there is one, with what stands between the two paths.
struct Kind {
    word: String,
    object: Option<(&'static str, Value)>,
}

impl Kind {
    fn of(schema: &Value, defs: &Map<String, Value>) -> Self {
        if let Some(name) = schema["$ref"].as_str() {
            return Self::of(&defs[name.rsplit('/').next().unwrap()], defs);
        }
        if let Some(some) = schema["anyOf"].as_array() {
            let one = some.iter().find(|one| one["type"] != "null").unwrap();
            return Self::of(one, defs);
        }
        if let Some(words) = schema["oneOf"].as_array() {
            let words = words.iter().map(|one| match &one["const"] {
                Value::String(word) => format!("`{word}`"),
                Value::Null => format!("a number from {} to {}", one["minimum"], one["maximum"]),
                other => format!("`{other}`"),
            });
            return Self { word: words.collect::<Vec<_>>().join(", "), object: None };
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").unwrap(),
            kind => kind,
        };
        match kind.as_str().unwrap() {
            "object" if schema["properties"].is_object() => {
                Self { word: "object".to_owned(), object: Some(("", schema.clone())) }
            }
            "object" => {
                let Self { word, object } = Self::of(&schema["additionalProperties"], defs);
                Self { word: format!("map of {word}"), object: object.map(|(_, object)| (".<name>", object)) }
            }
            "array" => {
                let Self { word, object } = Self::of(&schema["items"], defs);
                Self { word: format!("list of {word}"), object: object.map(|(_, object)| ("[]", object)) }
            }
            "boolean" => Self { word: "`true`, `false`".to_owned(), object: None },
            "integer" => Self { word: "number".to_owned(), object: None },
            _ if schema["format"] == "date-time" => Self { word: "time (RFC 3339)".to_owned(), object: None },
            _ => {
                let about = schema["description"].as_str().unwrap_or_default();
                let duration = about.starts_with("A duration");
                Self { word: if duration { "duration" } else { "text" }.to_owned(), object: None }
            }
        }
    }
}

/// One line, for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
