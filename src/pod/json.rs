//! Helpers for JSON as the API server writes it: `null` means absent, strings are borrowed, and only an object is
//! accepted for a struct.
//!
//! They are used with `deserialize_with` on the fields of structs. Serde's own code would copy every `Option<Cow<str>>`,
//! and would accept an array for a struct. A JSON pointer into such an array would be wrong.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Writes a JSON string with its quotes, escaped where needed.
pub(crate) fn push_text(to: &mut String, text: &str) {
    to.push('"');
    push_escaped(to, text);
    to.push('"');
}

/// Writes the content of a JSON string without its quotes, escaped where needed.
pub(crate) fn push_escaped(to: &mut String, text: &str) {
    if is_plain(text) {
        return to.push_str(text);
    }
    let quoted = serde_json::Value::from(text).to_string();
    to.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
}

/// Whether a text needs no escape in JSON. Images and names nearly never need one.
pub(crate) fn is_plain(text: &str) -> bool {
    // There is no early exit, so that the compiler can check many bytes at a time.
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

/// Reads a string; borrowed unless it contains escapes.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    from.deserialize_any(TextVisitor)
}

/// A string where `deserialize_with` cannot be used: a key or a value of a map.
pub(crate) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from).map(Self)
    }
}

/// The length in bytes of a string that is not kept.
pub(crate) struct Length(pub(crate) usize);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LengthVisitor).map(Self)
    }
}

/// Reads an object; `None` where it is `null`.
pub(crate) fn object<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_any(ObjectVisitor(PhantomData))
}

/// Reads an object, or returns its default where it is absent.
pub(crate) fn object_or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    object(from).map(Option::unwrap_or_default)
}

/// What is kept of a list of objects. It decides while the list is read, so that a long list of things that nobody needs
/// costs no memory.
pub(crate) trait Kept<'de>: Default {
    /// The type of the items.
    type Item: Deserialize<'de>;

    /// Takes the item at this index of the list. A `null` item is not given, but has an index.
    fn add(&mut self, index: usize, item: Self::Item);

    /// Is called after the last item.
    fn end(&mut self) {}
}

/// Reads a list of objects, one at a time.
pub(crate) fn list<'de, D, L>(from: D) -> Result<Option<L>, D::Error>
where
    D: Deserializer<'de>,
    L: Kept<'de>,
{
    from.deserialize_any(ListVisitor(PhantomData))
}

/// Reads a list of objects; empty where it is absent.
pub(crate) fn list_or_empty<'de, D, L>(from: D) -> Result<L, D::Error>
where
    D: Deserializer<'de>,
    L: Kept<'de>,
{
    list(from).map(Option::unwrap_or_default)
}

/// An object where `deserialize_with` cannot be used: the whole body, or an item of a list.
pub(crate) struct Object<T>(pub(crate) Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        object(from).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

struct LengthVisitor;

impl Visitor<'_> for LengthVisitor {
    type Value = usize;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.len())
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(0)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

struct ListVisitor<L>(PhantomData<L>);

impl<'de, L: Kept<'de>> Visitor<'de> for ListVisitor<L> {
    type Value = Option<L>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut list, mut index) = (L::default(), 0);
        while let Some(Object(item)) = items.next_element()? {
            if let Some(item) = item {
                list.add(index, item);
            }
            index += 1;
        }
        list.end();
        Ok(Some(list))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
