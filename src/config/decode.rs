//! serde over a [`Tree`], so that *every* problem is named and not only the first.
//!
//! serde stops at its first error. So whatever it stumbles over is noted with its place, pruned from
//! the tree, and the tree is asked again, until it goes through:
//!
//! ```text
//! tree ──T::deserialize──► T
//!   ▲            │ Err(at, message)
//!   └── prune ◄──┴──► problems
//! ```
//!
//! For this to leave something worth checking further, every field of the raw structs is an `Option`:
//! a pruned field is an absent one. Whether a field *must* be there is asked when the settings are built,
//! where a pruned one is told from one that was never written.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::problem::{Problem, Severity};
use super::tree::{NodeId, Tree, Value};

/// After so many, the rest of a file that is this wrong is not worth reading.
const MAX_PROBLEMS: usize = 100;

/// Reads a `T` from what is right in the tree, and adds what is not to `problems`.
pub(super) fn decode<T: de::DeserializeOwned + Default>(tree: &mut Tree, problems: &mut Vec<Problem>) -> T {
    for _ in 0..MAX_PROBLEMS {
        match T::deserialize(Node { tree, at: Tree::ROOT }) {
            Ok(value) => return value,
            Err(Error { at, message, hint }) => {
                let at = at.unwrap_or(Tree::ROOT);
                problems.push(tree.problem(Severity::Error, at, message, hint));
                if at == Tree::ROOT {
                    return T::default();
                }
                tree.prune(at);
            }
        }
    }
    problems.push(tree.problem(Severity::Error, Tree::ROOT, "more problems than are worth naming", None));
    T::default()
}

/// A value, and the node it came from.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) node: NodeId,
    pub(super) value: T,
}

/// Under this name [`Node`] hands out the pair that [`At`] reads.
const AT: &str = "$landfall::At";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pair<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pair<T> {
            type Value = At<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a node of a tree")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut pair: A) -> Result<At<T>, A::Error> {
                let node = pair.next_element()?.map(NodeId);
                let value = pair.next_element()?;
                let pair = node.zip(value).map(|(node, value)| At { node, value });
                pair.ok_or_else(|| de::Error::invalid_length(0, &self))
            }
        }
        from.deserialize_newtype_struct(AT, Pair(PhantomData))
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// A mapping with free keys, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Entries<K, V>(pub(super) Vec<(At<K>, At<V>)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Read<K, V> {
            type Value = Entries<K, V>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Entries<K, V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(Read(PhantomData))
    }
}

impl<K, V: schemars::JsonSchema> schemars::JsonSchema for Entries<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Map_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<V>();
        schemars::json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// What serde did not like, and where.
#[derive(Debug)]
struct Error {
    at: Option<NodeId>,
    message: String,
    hint: Option<String>,
}

impl Error {
    fn new(message: String, hint: Option<String>) -> Self {
        Self { at: None, message, hint }
    }

    /// The innermost place is the right one.
    fn at(mut self, node: NodeId) -> Self {
        self.at.get_or_insert(node);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    /// By our own custom: the first line says what is wrong, the others what would be right.
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, hint)) => Self::new(message.to_owned(), Some(hint.to_owned())),
            None => Self::new(text, None),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected = match expected.as_str() {
            text if text.strip_prefix("struct ").is_some() => "a mapping",
            "a map" => "a mapping",
            "a sequence" => "a list",
            "u8" | "u32" | "u64" => "a whole number from 0",
            text => text,
        };
        let (found, is_scalar) = match found {
            de::Unexpected::Bool(value) => (format!("the boolean `{value}`"), true),
            de::Unexpected::Unsigned(value) => (format!("the number `{value}`"), true),
            de::Unexpected::Signed(value) => (format!("the number `{value}`"), true),
            de::Unexpected::Float(value) => (format!("the number `{value}`"), true),
            de::Unexpected::Str(text) => (format!("the text `{}`", shorten(text)), false),
            de::Unexpected::Unit => ("nothing".to_owned(), false),
            de::Unexpected::Seq => ("a list".to_owned(), false),
            de::Unexpected::Map => ("a mapping".to_owned(), false),
            other => (other.to_string(), false),
        };
        let wants_text = !matches!(expected, "a mapping" | "a list" | "a boolean" | "a whole number from 0");
        let hint = (is_scalar && wants_text).then(|| "if it is meant as text, quote it".to_owned());
        Self::new(format!("expected {expected}, found {found}"), hint)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("`{}` is no word for this", shorten(variant)), Some(choose(variant, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(field, expected.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", list(expected)),
        };
        Self::new(format!("unknown field `{}`", shorten(field)), Some(hint))
    }
}

fn choose(word: &str, expected: &'static [&'static str]) -> String {
    match nearest(word, expected.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? One of {}", list(expected)),
        None => format!("one of {}", list(expected)),
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What is quoted in a message is bounded.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The word that was probably meant: equal but for case, or a third of it mistyped at most.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    let near = known.map(|known| (distance(&word, &known.to_lowercase()), known)).min()?;
    (near.0 <= 1.max(length / 3)).then_some(near.1)
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above + 1).min(left + 1).min(diagonal + usize::from(a != *b)));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// One node, as serde reads it.
#[derive(Clone, Copy)]
struct Node<'t> {
    tree: &'t Tree,
    at: NodeId,
}

impl<'t> Node<'t> {
    fn child(self, at: NodeId) -> Self {
        Self { at, ..self }
    }

    fn is_null(self) -> bool {
        matches!(self.tree.value(self.at), Value::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn list(self, items: &'t [NodeId]) -> impl Iterator<Item = NodeId> + 't {
        items.iter().copied().filter(move |item| !self.tree.is_pruned(*item))
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.tree.value(self.at) {
            Value::Quoted(text) => visitor.visit_str(text),
            Value::Plain(_) if self.is_null() => visitor.visit_unit(),
            Value::Plain(text) => plain(text, visitor),
            Value::List(items) => visitor.visit_seq(Items { node: self, items: self.list(items) }),
            Value::Map(entries) => {
                let shown = entries.iter().copied();
                let shown = shown
                    .filter(move |(key, value)| !self.tree.is_pruned(*key) && !self.tree.is_pruned(*value));
                visitor.visit_map(Fields { node: self, entries: shown, value: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == AT {
            return visitor.visit_seq(Pair { node: self, next: 0 });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.tree.value(self.at) {
            Value::Plain(text) | Value::Quoted(text) => {
                visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(text.as_str()))
            }
            Value::List(_) | Value::Map(_) => {
                Err(Error::new("expected one word".to_owned(), Some(format!("one of {}", list(words)))))
            }
        }
    }

    /// The name of a field is text, even `on` or `1`.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.tree.value(self.at) {
            Value::Plain(text) | Value::Quoted(text) => visitor.visit_str(text),
            Value::List(_) | Value::Map(_) => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct ignored_any
    }
}

/// A plain scalar, resolved as YAML 1.2's core schema does (`yes` and `on` are text).
fn plain<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
    match text {
        "true" | "True" | "TRUE" => return visitor.visit_bool(true),
        "false" | "False" | "FALSE" => return visitor.visit_bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<u64>() {
        return visitor.visit_u64(number);
    }
    if let Ok(number) = text.parse::<i64>() {
        return visitor.visit_i64(number);
    }
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    match text.parse::<f64>() {
        Ok(number) if is_number => visitor.visit_f64(number),
        _ => visitor.visit_str(text),
    }
}

struct Pair<'t> {
    node: Node<'t>,
    next: u8,
}

impl<'de> de::SeqAccess<'de> for Pair<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.next += 1;
        match self.next {
            1 => seed.deserialize(self.node.at.0.into_deserializer()).map(Some),
            2 => seed.deserialize(self.node).map(Some),
            _ => Ok(None),
        }
    }
}

struct Items<'t, I> {
    node: Node<'t>,
    items: I,
}

impl<'de, I: Iterator<Item = NodeId>> de::SeqAccess<'de> for Items<'_, I> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(item) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.node.child(item)).map(Some).map_err(|error| error.at(item))
    }
}

struct Fields<'t, I> {
    node: Node<'t>,
    entries: I,
    value: Option<NodeId>,
}

impl<'de, I: Iterator<Item = (NodeId, NodeId)>> de::MapAccess<'de> for Fields<'_, I> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(self.node.child(key)).map(Some).map_err(|error| error.at(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some(value) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        seed.deserialize(self.node.child(value)).map_err(|error| error.at(value))
    }
}
