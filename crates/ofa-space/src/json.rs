//! JSON in which no object has two fields of the same name: readers would differ on which of them counts.

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Reads a value.
///
/// # Errors
/// What the parser reports; the name of a field that comes twice.
pub fn from_str<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str::<Unique>(text)?;
    serde_json::from_str(text)
}

/// [`from_str`] of UTF-8.
///
/// # Errors
/// As [`from_str`].
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<Unique>(bytes)?;
    serde_json::from_slice(bytes)
}

/// Any value whose objects have every field once.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Unique, A::Error> {
                while values.next_element::<Unique>()?.is_some() {}
                Ok(Unique)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Unique, A::Error> {
                let mut names = HashSet::new();
                while let Some(name) = fields.next_key::<String>()? {
                    fields.next_value::<Unique>()?;
                    if let Some(twice) = names.replace(name) {
                        return Err(de::Error::custom(format_args!(
                            "the field `{}` comes twice",
                            twice.escape_debug()
                        )));
                    }
                }
                Ok(Unique)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_field_that_comes_twice_is_an_error_at_any_depth() {
        for text in ["{\"a\":1,\"a\":1}", "[{\"b\":{\"a\":1,\"c\":[],\"a\":null}}]", "{\"a\":1,\"\\u0061\":1}"] {
            let error = from_str::<Value>(text).unwrap_err().to_string();
            assert!(error.contains("the field `a` comes twice") && error.contains("line 1"), "{error}");
            assert!(from_slice::<Value>(text.as_bytes()).is_err());
        }
        for text in ["{\"a\":{\"a\":[1,-2,0.5,true,null,\"x\"]}}", "[{\"a\":1},{\"a\":1}]"] {
            assert_eq!(from_str::<Value>(text).unwrap().to_string(), text);
        }
    }
}
