//! Device profiles: a device as the `[device]` table of a TOML file. Errors give file, line and field.
//!
//! A device is deserialised through trait objects, which lose track of lines. So the text is read twice: once into
//! values, which are followed field by field, and, for an error, into a tree with the place of each field.

use crate::backend::HardwareBackend;
use crate::error::HwError;
use ofa_space::{atomic_file, input_file};
use serde::Serialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use std::path::Path;
use std::sync::Arc;
use toml::Value;
use toml::de::{DeTable, DeValue};

/// A device and the comment at the head of its file.
#[derive(Clone, Debug)]
pub struct DeviceProfile {
    /// The device.
    pub device: Arc<dyn HardwareBackend>,
    /// What is written above the table, one `#` line for each line; empty for no comment. Reading drops it.
    pub comment: String,
}

impl DeviceProfile {
    /// The profile of `device`, without a comment.
    pub fn new(device: Arc<dyn HardwareBackend>) -> Self {
        Self { device, comment: String::new() }
    }

    /// Reads a profile. Files that it names are found from its folder.
    ///
    /// # Errors
    /// [`HwError::Io`]; [`HwError::Profile`] with line and field.
    pub fn load(path: &Path) -> Result<Self, HwError> {
        let text = input_file::read_text(path, input_file::LARGEST_TEXT).map_err(HwError::reading(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), folder)
    }

    /// Reads the text of a profile. `origin` is for messages; files that the profile names are found from `folder`.
    ///
    /// # Errors
    /// [`HwError::Profile`] with line and field.
    pub fn parse(text: &str, origin: &str, folder: &Path) -> Result<Self, HwError> {
        let mut device: Box<dyn HardwareBackend> = read(text, origin)?;
        device.open(folder)?;
        Ok(Self::new(Arc::from(device)))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// [`HwError::Profile`] if a device of a plugin cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, HwError> {
        #[derive(Serialize)]
        struct File<'a> {
            device: &'a dyn HardwareBackend,
        }
        let comment: String = self.comment.lines().map(|line| format!("# {line}\n")).collect();
        let table = toml::to_string(&File { device: self.device.as_ref() }).map_err(|e| {
            let origin = "the device".to_owned();
            HwError::Profile { origin, problem: format!("cannot be written as TOML: {e}") }
        })?;
        Ok(comment + &table)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`HwError::Io`], or as [`to_toml`](Self::to_toml).
    pub fn save(&self, path: &Path) -> Result<(), HwError> {
        atomic_file::write(path, self.to_toml()?.as_bytes()).map_err(HwError::writing(path))
    }
}

/// The table of every profile.
const TABLE: &str = "device";
/// The field that names the kind of device.
const KIND: &str = "kind";

/// Reads the `[device]` table of a profile as `T`; `origin` is for messages.
///
/// # Errors
/// [`HwError::Profile`] with line and field.
pub(crate) fn read<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, HwError> {
    let failed = |problem: String| HwError::Profile { origin: origin.to_owned(), problem };
    let mut file: toml::Table = toml::from_str(text).map_err(|e| failed(e.to_string().trim().to_owned()))?;
    let fields = match file.remove(TABLE) {
        Some(Value::Table(fields)) => fields,
        Some(other) => {
            let found = other.type_str();
            return Err(failed(format!("line {}: `{TABLE}` is a {found}, expected a table", line(text, &[TABLE]))));
        }
        None => return Err(failed(format!("has no table [{TABLE}]"))),
    };
    // The kind comes first: what follows is then read straight into the device of that kind, and can be followed.
    let (kind, others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name == KIND);
    let ordered = MapDeserializer::new(kind.into_iter().chain(others));
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(ordered.into_deserializer(), &mut track);
    T::deserialize(tracked).map_err(|error: toml::de::Error| {
        let mut path = vec![TABLE.to_owned()];
        path.extend(track.path().iter().map(ToString::to_string));
        let message = error.message().trim().to_owned();
        failed(place(text, path, &message))
    })
}

/// The message with the line and field that it is about: the field that was being read, or one inside of it that the
/// message names in backticks.
fn place(text: &str, mut path: Vec<String>, message: &str) -> String {
    for words in message.split('`').skip(1).step_by(2) {
        let whole = path.iter().cloned().chain(words.split('.').map(str::to_owned)).collect::<Vec<_>>();
        if find(text, &whole).is_some() {
            path = whole;
        }
    }
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    format!("line {}, `{}`: {message}", line(text, &names), names.join("."))
}

/// The line, from 1, of the longest known part of a path of fields.
fn line(text: &str, path: &[&str]) -> usize {
    let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
    let start = (0..path.len()).rev().find_map(|last| find(text, &path[..=last])).unwrap_or(0);
    1 + text[..start.min(text.len())].matches('\n').count()
}

/// The place of a field's name in the text.
fn find(text: &str, path: &[String]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    for (index, name) in path.iter().enumerate() {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
        if index + 1 == path.len() {
            return Some(key.span().start);
        }
        let DeValue::Table(inner) = value.get_ref() else { return None };
        table = inner;
    }
    None
}
