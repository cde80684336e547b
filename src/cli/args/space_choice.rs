//! `--space` and `--classes`.

use super::Failure;
use ofa_space::{SearchSpace, registry};
use std::sync::Arc;

/// The space of `--space`, with `--classes` applied: a registered name, a TOML file, or the space of a model.
pub fn space(name: &str, classes: Option<usize>) -> Result<Arc<dyn SearchSpace>, Failure> {
    let space = registry::load(name)?;
    Ok(match classes {
        Some(classes) => registry::with_classes(space.as_ref(), classes)?,
        None => space,
    })
}
