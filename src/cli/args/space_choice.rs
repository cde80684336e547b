//! `--space` and `--classes`, and the space of a supernet.

use super::Failure;
use ofa_space::{Model, SearchSpace, registry};
use std::path::Path;
use std::sync::Arc;

/// The space of `--space`, with `--classes` applied.
pub fn space(name: &str, classes: Option<usize>) -> Result<Arc<dyn SearchSpace>, Failure> {
    let space = registry::load(name)?;
    Ok(match classes {
        Some(classes) => registry::with_classes(space.as_ref(), classes)?,
        None => space,
    })
}

/// The space of a supernet in a file.
pub fn space_of(model: &Model, path: &Path) -> Result<Arc<dyn SearchSpace>, Failure> {
    let space = model.space().cloned();
    space.ok_or_else(|| Failure::Input(format!("{} is a single network, expected a supernet", path.display())))
}
