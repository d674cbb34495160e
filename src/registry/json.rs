//! JSON objects. Serde also reads a struct from an array, field by field, and would read a token from `["…"]`. Go's
//! decoder does not, so neither do we.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that must be a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<T>(pub T);

/// Parses a body that must be a JSON object.
///
/// ```
/// # use std::collections::BTreeMap;
/// let parsed: BTreeMap<String, u8> = landfall::facade::registry::object(br#"{"a": 1}"#).unwrap();
/// assert_eq!(parsed["a"], 1);
/// assert!(landfall::facade::registry::object::<BTreeMap<String, u8>>(b"[]").is_err());
/// ```
///
/// # Errors
/// It is not an object, or its fields do not fit.
pub fn object<'de, T: Deserialize<'de>>(body: &'de [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body).map(|Object(read)| read)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn an_array_is_no_object() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Outer {
            inner: Option<Object<Inner>>,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct Inner {
            text: String,
        }
        let read = |body: &str| object::<Outer>(body.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(
            read(r#"{"inner": {"text": "a"}}"#),
            Ok(Outer { inner: Some(Object(Inner { text: "a".into() })) })
        );
        assert_eq!(read(r#"{"inner": null}"#), Ok(Outer { inner: None }));
        for body in [r#"[{"text": "a"}]"#, r#"{"inner": ["a"]}"#] {
            assert!(
                read(body).unwrap_err().starts_with("invalid type: sequence, expected an object"),
                "{body}"
            );
        }
    }
}
