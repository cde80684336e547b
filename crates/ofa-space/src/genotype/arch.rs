//! Genotypes: which choice an elastic gene takes, and their official JSON form.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A genotype in canonical form: one choice index per gene of its space, and the input resolution.
///
/// Genes of skipped blocks hold choice 0, so `==` means "the same subnet at the same resolution".
/// Only [`Genes`](crate::Genes) build one ([`parse`](crate::Genes::parse), [`sample`](crate::Genes::sample), …), which is
/// what keeps the invariant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Arch {
    pub(crate) choices: Box<[u8]>,
    pub(crate) resolution: Option<u32>,
}

impl Arch {
    /// Choice index of every gene, in the order of [`crate::Genes::genes`].
    pub fn choices(&self) -> &[u8] {
        &self.choices
    }

    /// Height and width of the input image in pixels, if given.
    pub fn resolution(&self) -> Option<u32> {
        self.resolution
    }

    /// The same subnet at another input resolution.
    pub fn with_resolution(&self, resolution: u32) -> Self {
        Self { choices: self.choices.clone(), resolution: Some(resolution) }
    }
}

/// The official JSON of an arch: lists of values by gene group, and the resolution `r`.
///
/// MobileNetV3: `{"ks":[…20],"e":[…20],"d":[…5],"r":224}`. Integral values print without a decimal point.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ArchJson {
    /// Values by group (`ks`, `e`, `d`, `w`, or a plugin's own).
    pub groups: BTreeMap<String, Vec<f64>>,
    /// Input resolution in pixels.
    pub resolution: Option<u32>,
}

/// Order in which the official code writes the groups; other groups follow alphabetically.
const GROUP_ORDER: [&str; 4] = ["ks", "e", "d", "w"];

impl Serialize for ArchJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        let official = GROUP_ORDER.iter().filter_map(|name| self.groups.get_key_value(*name));
        let others = self.groups.iter().filter(|(name, _)| !GROUP_ORDER.contains(&name.as_str()));
        for (name, values) in official.chain(others) {
            let numbers: Vec<serde_json::Value> = values.iter().map(|v| number(*v)).collect();
            map.serialize_entry(name, &numbers)?;
        }
        if let Some(resolution) = self.resolution {
            map.serialize_entry("r", &resolution)?;
        }
        map.end()
    }
}

/// A JSON number, written as an integer where it is one.
pub(crate) fn number(value: f64) -> serde_json::Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        serde_json::Value::from(value as i64)
    } else {
        serde_json::Value::from(value)
    }
}

impl<'de> Deserialize<'de> for ArchJson {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Field {
            List(Vec<f64>),
            Number(f64),
        }
        use serde::de::Error;
        let fields = BTreeMap::<String, Field>::deserialize(deserializer)
            .map_err(|e| D::Error::custom(format!("an arch is an object of lists of numbers and `r`: {e}")))?;
        let mut arch = ArchJson::default();
        for (name, field) in fields {
            match field {
                Field::List(values) if name == "r" => match values.as_slice() {
                    // The authors' tutorial writes the resolution as a list of one.
                    [value] => arch.resolution = Some(resolution(*value).map_err(D::Error::custom)?),
                    _ => return Err(D::Error::custom("`r` must be one number of pixels")),
                },
                Field::List(values) => {
                    arch.groups.insert(name, values);
                }
                Field::Number(value) if name == "r" || name == "image_size" => {
                    arch.resolution = Some(resolution(value).map_err(D::Error::custom)?);
                }
                // Published records carry their accuracy beside the genes.
                Field::Number(_) => {}
            }
        }
        Ok(arch)
    }
}

fn resolution(value: f64) -> Result<u32, String> {
    if value.fract() == 0.0 && (1.0..=8192.0).contains(&value) {
        Ok(value as u32)
    } else {
        Err(format!("`r` must be a whole number of pixels from 1 to 8192, found {value}"))
    }
}

impl fmt::Display for ArchJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_json_round_trips() {
        let text = r#"{"ks":[3,5],"e":[0.25,6],"d":[2],"r":224}"#;
        let arch: ArchJson = serde_json::from_str(text).expect("valid");
        assert_eq!(arch.to_string(), text);
    }

    #[test]
    fn published_flat_records_are_read() {
        let text = r#"{"ks":[3],"e":[6],"d":[2],"image_size":192,"top1":0.73}"#;
        let arch: ArchJson = serde_json::from_str(text).expect("valid");
        assert_eq!(arch.resolution, Some(192));
    }

    #[test]
    fn nonsense_resolutions_are_refused() {
        for r in ["-1", "0", "12.5", "1e9", "[1,2]"] {
            assert!(serde_json::from_str::<ArchJson>(&format!(r#"{{"r":{r}}}"#)).is_err(), "{r}");
        }
    }
}
