//! Named spaces, and spaces read from TOML or from a model file.

use crate::error::SpaceError;
use crate::input_file;
use crate::plugin::{self, Entry};
use crate::spaces::space::SearchSpace;
use crate::weights::model::{Model, ModelError};
use crate::weights::tensors::Weights;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// A registered space. Submit one with [`inventory::submit!`] to make it selectable by name.
pub struct SpaceEntry {
    /// Name to select it by.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    /// Builds the space with its own default number of classes.
    pub build: fn() -> Result<Arc<dyn SearchSpace>, SpaceError>,
}

inventory::collect!(SpaceEntry);

impl Entry for SpaceEntry {
    const WHAT: &'static str = "search space";

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// The space registered under `name`.
///
/// # Errors
/// [`SpaceError::Unknown`] with the nearest name and all names; whatever the space itself refuses.
pub fn named(name: &str) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    (plugin::find::<SpaceEntry>(name)?.build)()
}

/// A space by its registered name, from a TOML file with a `[space]` table, or from a model file
/// ([`Model::elastic_space`]).
///
/// # Errors
/// [`SpaceError`] naming the file and field, or the nearest registered name.
pub fn load(name_or_file: &str) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    let path = Path::new(name_or_file);
    if Weights::is_file(path) {
        return of_model(path);
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) || path.is_file() {
        let text = input_file::read_text(path, input_file::LARGEST_TEXT)
            .map_err(|source| SpaceError::Io { path: path.to_owned(), source })?;
        return from_toml(&text, path);
    }
    named(name_or_file)
}

/// The space of a supernet in a file, or the one derived from a whole network in it.
fn of_model(path: &Path) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    let model = Model::load(path).map_err(|error| SpaceError::Model(Box::new(error)))?;
    model.elastic_space().map_err(|error| match error {
        ModelError::NotElastic { space, .. } => SpaceError::NoSubnets { path: path.to_owned(), space },
        ModelError::Space(error) => SpaceError::File { path: path.to_owned(), problem: error.to_string() },
        other => SpaceError::Model(Box::new(other)),
    })
}

/// Reads the `[space]` table of a TOML text; `path` is for messages.
///
/// # Errors
/// [`SpaceError::File`] with line and column.
pub fn from_toml(text: &str, path: &Path) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    #[derive(Deserialize)]
    struct File {
        space: Box<dyn SearchSpace>,
    }
    toml::from_str::<File>(text)
        .map(|file| Arc::from(file.space))
        .map_err(|e| SpaceError::File { path: path.to_owned(), problem: e.to_string() })
}

/// The same space with another number of classes.
///
/// # Errors
/// [`SpaceError::Config`] if the space has no `classes` field or refuses the number.
pub fn with_classes(space: &dyn SearchSpace, classes: usize) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    with_field(space, "classes", classes.into())
}

/// The same space with one field of its configuration replaced.
///
/// # Errors
/// [`SpaceError::Config`] if the space refuses the value.
pub fn with_field(
    space: &dyn SearchSpace,
    field: &str,
    value: serde_json::Value,
) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    let problem =
        |problem: String| SpaceError::Config { space: space.name().to_owned(), field: field.to_owned(), problem };
    // The configuration is plain serde data, so a round trip through JSON is a generic setter.
    let mut config = serde_json::to_value(space).map_err(|e| problem(e.to_string()))?;
    match config.as_object_mut() {
        Some(object) => object.insert(field.to_owned(), value),
        None => return Err(problem("cannot be set: the space has no fields".to_owned())),
    };
    serde_json::from_value::<Box<dyn SearchSpace>>(config).map(Arc::from).map_err(|e| problem(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_gets_a_hint() {
        let error = named("ofa-mbv3-w1.O").expect_err("unknown").to_string();
        assert!(error.contains("did you mean `ofa-mbv3-w1.0`"), "{error}");
        assert!(named("resnext").expect_err("unknown").to_string().contains("registered:"));
    }
}
