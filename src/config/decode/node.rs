//! A serde deserializer for a node of a [`Tree`].

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::AT;
use super::error::{Error, list};
use crate::config::tree::{NodeId, Tree, Value};

/// One node of the tree.
#[derive(Clone, Copy)]
pub(super) struct Node<'t> {
    pub(super) tree: &'t Tree,
    pub(super) at: NodeId,
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

    /// serde would also fill a struct from a list, by position. In a configuration that is a mistake.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.tree.value(self.at) {
            Value::List(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
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
                Err(Error::new("expected one word".to_owned(), Some(format!("use one of {}", list(words)))))
            }
        }
    }

    /// A field name is always text, even `on` or `1`.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.tree.value(self.at) {
            Value::Plain(text) | Value::Quoted(text) => visitor.visit_str(text),
            Value::List(_) | Value::Map(_) => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map ignored_any
    }
}

/// A plain scalar, resolved by the core schema of YAML 1.2 (`yes` and `on` are text).
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
    let is_number = text.chars().next().is_some_and(|first| first.is_ascii_digit() || "+-.".contains(first));
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
