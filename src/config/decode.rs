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
                tree.prune(at);
                if at == Tree::ROOT {
                    return T::default();
                }
            }
        }
    }
    tree.prune(Tree::ROOT);
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
