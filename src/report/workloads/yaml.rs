//! YAML and JSON as values, with the lines of images.
//!
//! It reads what `kubectl` reads: several documents, anchors, merge keys. JSON is YAML.

use std::collections::HashMap;

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// The most values of one text, with aliases expanded: aliases of aliases grow without bound.
const MOST_NODES: usize = 2_000_000;

/// The most bytes of scalars that aliases may repeat.
const MOST_REPEATED: usize = 64 << 20;

/// The deepest nesting. Objects of Kubernetes have some 20 levels, but for definitions of resources.
const DEEPEST: usize = 120;

/// One document.
pub(super) struct Document {
    /// What it says; `Null` where it is empty.
    pub value: Value,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The lines of images, aliases and items of lists, by JSON pointer.
    pub lines: HashMap<String, usize>,
}

/// What is wrong with a text, and where.
#[derive(Debug)]
pub(super) struct Broken {
    pub line: usize,
    pub why: String,
}

/// Reads all documents of a text.
///
/// # Errors
/// It is no YAML, or a key is written twice.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, Broken> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        lines: HashMap::new(),
        nodes: 0,
        repeated: 0,
    };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::DocumentStart(..) => reader.anchors.clear(),
            event if event.is_node() => {
                let line = span.start.line();
                let value = reader.node(event, span, &mut String::new(), 0)?;
                documents.push(Document { value, line, lines: std::mem::take(&mut reader.lines) });
            }
            _ => {}
        }
    }
    Ok(documents)
}

struct Reader<'input> {
    events: Parser<'input, StrInput<'input>>,
    anchors: HashMap<usize, Value>,
    lines: HashMap<String, usize>,
    nodes: usize,
    repeated: usize,
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Broken> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                Err(Broken { line: error.marker().line(), why: format!("it is no YAML: {}", error.info()) })
            }
        }
    }

    /// The next node of a list or a map; `None` at its end.
    fn item(&mut self) -> Result<Option<(Event<'input>, Span)>, Broken> {
        loop {
            match self.next()? {
                Some((event, span)) if event.is_node() => return Ok(Some((event, span))),
                Some((Event::SequenceEnd | Event::MappingEnd, _)) | None => return Ok(None),
                Some(_) => {}
            }
        }
    }

    /// `at`: the JSON pointer of the node.
    fn node(
        &mut self,
        event: Event<'input>,
        span: Span,
        at: &mut String,
        depth: usize,
    ) -> Result<Value, Broken> {
        let line = span.start.line();
        let broken = |why: &str| Broken { line, why: why.to_owned() };
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Broken {
                line,
                why: format!("it has more than {MOST_NODES} values, with aliases expanded"),
            });
        }
        if depth > DEEPEST {
            return Err(Broken { line, why: format!("it is nested deeper than {DEEPEST} levels") });
        }
        let anchor = event.anchor_id().filter(|_| !event.is_alias());
        let is_text =
            event.tag().and_then(|tag| tag.core_suffix().map(|suffix| suffix == "str")).unwrap_or(false);
        let value = match event {
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned();
                let value = value.ok_or_else(|| broken("an alias stands inside the value that it names"))?;
                let (nodes, bytes) = size(&value);
                (self.nodes, self.repeated) = (self.nodes + nodes, self.repeated + bytes);
                if self.nodes > MOST_NODES || self.repeated > MOST_REPEATED {
                    return Err(broken("its aliases repeat too much"));
                }
                self.lines.insert(at.clone(), line);
                value
            }
            Event::UnresolvedAlias(..) => return Err(broken("an alias names no anchor of the document")),
            Event::Scalar(text, style, ..) => {
                if at.ends_with("/image") || at.ends_with("/reference") {
                    self.lines.insert(at.clone(), line);
                }
                if style == ScalarStyle::Plain && !is_text {
                    plain(&text)
                } else {
                    Value::String(text.into_owned())
                }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                while let Some((event, span)) = self.item()? {
                    let length = at.len();
                    at.push_str(&format!("/{}", items.len()));
                    if depth <= 1 {
                        // The objects of a `List`.
                        self.lines.insert(at.clone(), span.start.line());
                    }
                    items.push(self.node(event, span, at, depth + 1)?);
                    at.truncate(length);
                }
                Value::Array(items)
            }
            Event::MappingStart(..) => Value::Object(self.map(at, depth)?),
            _ => Value::Null,
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn map(&mut self, at: &mut String, depth: usize) -> Result<Map<String, Value>, Broken> {
        let (mut map, mut merged) = (Map::new(), Vec::new());
        while let Some((event, span)) = self.item()? {
            let line = span.start.line();
            let Event::Scalar(key, style, ..) = event else {
                return Err(Broken { line, why: "a key is no text".to_owned() });
            };
            let Some((event, span)) = self.item()? else { break };
            let length = at.len();
            at.push('/');
            at.push_str(&key.replace('~', "~0").replace('/', "~1"));
            let value = self.node(event, span, at, depth + 1)?;
            at.truncate(length);
            if key == "<<" && style == ScalarStyle::Plain {
                merged.push(value);
            } else if map.insert(key.clone().into_owned(), value).is_some() {
                return Err(Broken { line, why: format!("the key `{key}` is written twice") });
            }
        }
        // What the map says itself comes first, then the merged ones in their order.
        for value in merged {
            let maps = if let Value::Array(maps) = value { maps } else { vec![value] };
            for (key, value) in maps
                .into_iter()
                .filter_map(|map| if let Value::Object(map) = map { Some(map) } else { None })
                .flatten()
            {
                map.entry(key).or_insert(value);
            }
        }
        Ok(map)
    }
}

/// How many values one is, and the bytes of its scalars.
fn size(value: &Value) -> (usize, usize) {
    let of = |(nodes, bytes): (usize, usize), value: &Value| {
        let (more, longer) = size(value);
        (nodes + more, bytes + longer)
    };
    match value {
        Value::String(text) => (1, text.len()),
        Value::Array(items) => items.iter().fold((1, 0), of),
        Value::Object(map) => map.iter().fold((1, 0), |sum, (key, value)| {
            let (nodes, bytes) = of(sum, value);
            (nodes, bytes + key.len())
        }),
        _ => (1, 1),
    }
}

/// What a scalar without quotes means.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let number = is_number.then(|| {
        let whole = text.parse::<i64>().ok().map(Value::from);
        whole.or_else(|| text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from))
    });
    number.flatten().unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_lines_of_their_images() {
        let text = "# a chart\n---\nkind: Pod\nspec:\n  containers:\n  - name: a\n    image: web:1\n---\n---\n{\"kind\": \"List\",\n\t\"items\": [\n\t{\"spec\": {\"image\": \"x\"}}]}\n";
        let found = documents(text).unwrap();
        let lines: Vec<_> = found.iter().map(|document| document.line).collect();
        assert_eq!((found.len(), lines), (3, vec![3, 8, 10]));
        assert_eq!(found[0].lines["/spec/containers/0/image"], 7);
        assert_eq!(found[1].value, Value::Null);
        assert_eq!((found[2].lines["/items/0"], found[2].lines["/items/0/spec/image"]), (12, 12));
    }

    #[test]
    fn anchors_and_merge_keys_are_expanded() {
        let text =
            "base: &base\n  image: web:1\n  tty: true\none:\n  <<: *base\n  image: web:2\ntwo: *base\n";
        let found = documents(text).unwrap().remove(0);
        assert_eq!(found.value["one"], serde_json::json!({"image": "web:2", "tty": true}));
        assert_eq!(found.value["two"]["image"], "web:1");
        assert_eq!(found.lines["/two"], 7);
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        for (text, expected) in [
            ("1.10", serde_json::json!(1.1)),
            ("\"1.10\"", serde_json::json!("1.10")),
            ("!!str 1", serde_json::json!("1")),
            ("~", Value::Null),
            ("web:1", serde_json::json!("web:1")),
            ("1e999", serde_json::json!("1e999")),
        ] {
            let found = documents(&format!("a: {text}")).map(|mut found| found.remove(0).value["a"].take());
            assert_eq!(found.unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb += &format!("a{n}: &a{n} [{aliases}]\n");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let (deep, deeper) = (nested(DEEPEST + 3), nested(100_000));
        for (text, line, why) in [
            ("a: 1\nb: [1\nc: 2\n", 3, "it is no YAML"),
            ("a: 1\nb: 2\na: 3\n", 3, "the key `a` is written twice"),
            ("image: {{ .Values.image }}\n", 1, ""),
            ("a: *nothing\n", 1, ""),
            ("a: &a [*a]\n", 1, "inside the value"),
            (&bomb, 7, "repeat too much"),
            (&deep, 1, "nested deeper"),
            (&deeper, 1, "recursion limit exceeded"),
        ] {
            let broken = documents(text).map(|found| found.len()).unwrap_err();
            assert!(broken.why.contains(why), "{text:.40}: {broken:?}");
            assert_eq!(broken.line, line, "{text:.40}: {broken:?}");
        }
    }
}
