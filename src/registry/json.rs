//! JSON of registries: an object is an object, as it is to Go. Serde alone takes an array for a struct, field by field,
//! and would make a token of a token server's `["…"]`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// An object, within another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<T>(pub T);

/// Reads a body that is an object.
///
/// # Errors
/// Where it is none, or not such a one.
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
