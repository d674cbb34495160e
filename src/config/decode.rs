//! Deserializes a [`Tree`] with serde, and reports *every* problem instead of the first one only.
//!
//! serde stops at its first error. That error is recorded with its position, the node is pruned from the tree, and the
//! tree is deserialized again, until there is no error left:
//!
//! ```text
//! tree ──T::deserialize──► T
//!   ▲            │ Err(at, message)
//!   └── prune ◄──┴──► problems
//! ```
//!
//! So that the rest can be checked further, every field of the raw structs is an `Option`: a pruned field is an absent
//! one. Required fields are checked when the settings are built, where a pruned field is not reported as missing.

mod error;
mod node;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::problem::{Problem, Severity};
use super::tree::{NodeId, Tree};
use error::Error;
pub(super) use error::nearest;
use node::Node;

/// After so many problems, the rest of the file is not read.
const MAX_PROBLEMS: usize = 100;

/// Reads a `T` from the valid part of the tree, and adds everything else to `problems`.
pub(super) fn decode<T: de::DeserializeOwned + Default>(tree: &mut Tree, problems: &mut Vec<Problem>) -> T {
    for _ in 0..MAX_PROBLEMS {
        match T::deserialize(Node { tree, at: Tree::ROOT }) {
            Ok(value) => return value,
            Err(Error { at, message, hint }) => {
                let at = at.unwrap_or(Tree::ROOT);
                problems.push(tree.problem(Severity::Error, at, message, hint));
                tree.prune(at);
                if at == Tree::ROOT {
                    return T::default();
                }
            }
        }
    }
    tree.prune(Tree::ROOT);
    problems.push(tree.problem(
        Severity::Error,
        Tree::ROOT,
        "more than 100 problems; the rest is not listed",
        None,
    ));
    T::default()
}

/// A value, and the node it came from.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) node: NodeId,
    pub(super) value: T,
}

/// The name of the newtype for which [`Node`] yields the pair that [`At`] reads.
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

impl<K: schemars::JsonSchema, V: schemars::JsonSchema> schemars::JsonSchema for Entries<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Map_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (key, value) = (generator.subschema_for::<K>(), generator.subschema_for::<V>());
        schemars::json_schema!({ "type": "object", "propertyNames": key, "additionalProperties": value })
    }
}
