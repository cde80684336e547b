//! What a result depends on, by name: a change is noticed, and can be named.
//!
//! ```
//! use ofa_space::dependencies::Dependencies;
//!
//! let mut before = Dependencies::default();
//! before.add("train", &serde_json::json!({ "seed": 7, "batch_size": 16 }));
//! let mut now = Dependencies::default();
//! now.add("train", &serde_json::json!({ "seed": 7, "batch_size": 32 }));
//! assert_ne!(before.digest(), now.digest());
//! assert_eq!(now.since(&before)[0].to_string(), "`train.batch_size` was 16, is 32");
//! ```

use crate::{atomic_file, digest, input_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Settings by value, images and files by digest. Values are kept as text, so that they read back the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dependencies(BTreeMap<String, String>);

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub name: String,
    /// As it was; `None` if there was none.
    pub before: Option<String>,
    /// As it is; `None` if there is none any more.
    pub now: Option<String>,
}

/// Dependencies in a file of their own, with their digest as a checksum.
#[derive(Serialize, Deserialize)]
struct Written {
    key: String,
    depends_on: Dependencies,
}

impl Dependencies {
    /// Adds a value. Every field of a table becomes an entry of its own (`name.field`); numbers, texts and lists are entries.
    pub fn add<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.add_value(name, serde_json::to_value(value).unwrap_or_default());
    }

    fn add_value(&mut self, name: &str, value: Value) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    self.add_value(&format!("{name}.{field}"), value);
                }
            }
            Value::String(text) => {
                self.0.insert(name.to_owned(), text);
            }
            other => {
                self.0.insert(name.to_owned(), other.to_string());
            }
        }
    }

    /// Adds all of others.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.clone());
    }

    /// Takes out an entry and everything under its name.
    pub fn remove(&mut self, name: &str) {
        self.0
            .retain(|known, _| known.strip_prefix(name).is_none_or(|rest| !rest.is_empty() && !rest.starts_with('.')));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// SHA-256 over names and values, hexadecimal.
    pub fn digest(&self) -> String {
        digest::sha256(serde_json::to_vec(&self.0).unwrap_or_default())
    }

    /// What differs from an earlier time, by name.
    pub fn since(&self, before: &Self) -> Vec<Difference> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        let (before, now) = (&before.0, &self.0);
        let differing = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
        differing
            .map(|name| Difference {
                name: name.clone(),
                before: before.get(name).cloned(),
                now: now.get(name).cloned(),
            })
            .collect()
    }

    /// Reads a file of [`write`](Self::write); `None` if it is missing, or is not as it was written.
    pub fn read(path: &Path) -> Option<Self> {
        let Written { key, depends_on } =
            serde_json::from_slice(&input_file::read(path, input_file::LARGEST_RECORDS).ok()?).ok()?;
        (depends_on.digest() == key).then_some(depends_on)
    }

    /// Writes the dependencies to a file of their own.
    ///
    /// # Errors
    /// What the system reports.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let written = Written { key: self.digest(), depends_on: self.clone() };
        atomic_file::write(path, &serde_json::to_vec_pretty(&written)?)
    }
}

/// Longest value that is shown whole.
const SHOWN: usize = 60;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &str| match value.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value.to_owned(),
        };
        let Self { name, before, now } = self;
        match (before.as_deref(), now.as_deref()) {
            (Some(before), Some(now)) => {
                // Of long values, what follows their common beginning shows the difference.
                let (mut old, mut new) = (shown(before), shown(now));
                if old == new {
                    let same = before.chars().zip(now.chars()).take_while(|(old, new)| old == new).count();
                    let end = |value: &str| "…".to_owned() + &value.chars().skip(same).collect::<String>();
                    (old, new) = (shown(&end(before)), shown(&end(now)));
                }
                write!(f, "`{name}` was {old}, is {new}")
            }
            (Some(before), None) => write!(f, "`{name}` was {}, is not there", shown(before)),
            (None, now) => write!(f, "`{name}` was not there, is {}", shown(now.unwrap_or_default())),
        }
    }
}

/// The differences as one text, the first few in words.
pub fn in_words(differences: &[Difference]) -> String {
    const MOST: usize = 8;
    let mut words: Vec<String> = differences.iter().take(MOST).map(ToString::to_string).collect();
    if differences.len() > MOST {
        words.push(format!("and {} more", differences.len() - MOST));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn of(value: &Value) -> Dependencies {
        let mut dependencies = Dependencies::default();
        dependencies.add("train", value);
        dependencies
    }

    #[test]
    fn every_change_is_named() {
        let before = of(&json!({ "seed": 7, "space": { "width": 0.1, "depths": [1, 2] }, "gone": true }));
        let now = of(&json!({ "seed": 7, "space": { "width": 0.1, "depths": [1, 3] }, "new": "text" }));
        let words = in_words(&now.since(&before));
        assert_eq!(
            words,
            "`train.gone` was true, is not there; `train.new` was not there, is text; `train.space.depths` was [1,2], \
             is [1,3]"
        );
        assert!(before.since(&before).is_empty());
        let long = |end: &str| of(&json!("x".repeat(100) + end));
        assert_eq!(long("b").since(&long("a"))[0].to_string(), "`train` was …a, is …b");
    }

    #[test]
    fn a_file_reads_back_the_same_and_is_nothing_once_a_byte_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(Dependencies::read(&path), None);
        let dependencies = of(&json!({ "rate": 0.1 + 0.2, "f": 0.1f32, "list": [1.5e-300, "é"] }));
        dependencies.write(&path).unwrap();
        assert_eq!(Dependencies::read(&path), Some(dependencies));
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [("0.3", "0.4"), ("rate", "rote"), ("\"key\": \"", "\"key\": \"0")] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            assert_eq!(Dependencies::read(&path), None, "{from}");
        }
        for end in [0, 1, text.len() / 2, text.len() - 1] {
            std::fs::write(&path, &text[..end]).unwrap();
            assert_eq!(Dependencies::read(&path), None);
        }
    }
}
