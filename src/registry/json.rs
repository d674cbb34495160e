//! JSON as Go's decoder reads it, where serde would read something else.
//!
//! - Serde also reads a struct from an array, field by field, and would read a token from `["…"]`. Go does not, so neither
//!   do we: [`Object`].
//! - Go (`encoding/json`, which containerd, Harbor and distribution use) finds the field of a key without regard to case,
//!   and merges what a key says that stands there twice. What such an object means to Go cannot be told from one of its
//!   keys, so we refuse it: [`exact`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

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

/// The keys of an object that somebody reads; of a list of objects, those of each. Each may have keys below it.
#[derive(Debug)]
pub(super) struct Keys(pub(super) &'static [(&'static str, Option<&'static Self>)]);

/// Checks that each of these keys stands in its object at most once, and in no other case. All other keys are ignored.
///
/// # Errors
/// A key stands there twice or in another case; or the body is not JSON.
pub(super) fn exact(body: &[u8], keys: &'static Keys) -> serde_json::Result<()> {
    let mut body = serde_json::Deserializer::from_slice(body);
    keys.deserialize(&mut body)?;
    body.end()
}

/// Whether Go takes this key for that of a field (`foldName` of `encoding/json`). The names of fields are ASCII; two other
/// characters fold to letters of them.
fn folds_to(key: &str, field: &str) -> bool {
    let fold = |character| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(field.chars().map(fold))
}

impl<'de> DeserializeSeed<'de> for &'static Keys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(KeysVisitor(self))
    }
}

struct KeysVisitor(&'static Keys);

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object or a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(Keys(known)) = self;
        let mut seen: Vec<&str> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let Some((field, below)) = known.iter().find(|(field, _)| folds_to(&key, field)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if key != *field {
                return Err(A::Error::custom(format!("nodes read the key `{key}` as `{field}`")));
            }
            if seen.contains(field) {
                return Err(A::Error::custom(format!("the key `{field}` stands there twice")));
            }
            seen.push(field);
            match below {
                Some(keys) => map.next_value_seed(*keys)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.0)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
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
