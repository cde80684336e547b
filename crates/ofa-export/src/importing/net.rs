//! Published single networks, a description and its checkpoint, as models.

use crate::error::ExportError;
use crate::importing::net_config::NetConfig;
use crate::importing::state_dict::{self, StateDict};
use crate::importing::supernet::Import;
use ofa_space::{InputFormat, Model, ModelBody, Weights};
use std::path::Path;

/// Reads the weights of the described network, for square images of `image_size` pixels in the format `input`.
///
/// # Errors
/// [`ExportError::Checkpoint`] naming the file and the tensor that is missing or of another shape.
pub fn import_net(
    config: &NetConfig,
    checkpoint: &Path,
    image_size: u32,
    input: InputFormat,
) -> Result<Import, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: checkpoint.to_owned(), problem };
    let spec = config.net(image_size)?;
    let mut found = StateDict::read(checkpoint)?;
    found.spell_as(&spec.tensors().map(|tensor| tensor.name.clone()).collect());
    let mut weights = Weights::default();
    for reference in spec.tensors() {
        let (name, expected) = (&reference.name, &reference.full);
        let tensor = found
            .remove(name)
            .ok_or_else(|| bad(format!("has no tensor `{name}` ({expected:?}), which the described network needs")))?;
        if tensor.shape != *expected {
            return Err(bad(format!("`{name}` has shape {:?}, the description needs {expected:?}", tensor.shape)));
        }
        weights.insert(name.clone(), tensor);
    }
    let model = Model {
        class_names: (0..spec.classes).map(|class| class.to_string()).collect(),
        body: ModelBody::Net { spec: Box::new(spec), space: None, arch: None },
        input,
        provenance: state_dict::provenance(checkpoint)?,
        weights,
    };
    Ok(Import { model, unused: found.into_names(), fresh: Vec::new() })
}
