//! Reading the authors' PyTorch checkpoints of supernets.
//!
//! The pickle reader builds tensors only; anything else in a file is an error, never executed.

use crate::error::ExportError;
use ofa_space::model::{InputFormat, Resize};
use ofa_space::{Model, ModelBody, SearchSpace, Tensor, Weights, supernet};
use pytorch_reader::{DType, PytorchReader};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A supernet read from a checkpoint.
#[derive(Debug)]
pub struct Import {
    /// The supernet.
    pub model: Model,
    /// Tensors of the file that the space does not use, apart from step counters of batch norm.
    pub unused: Vec<String>,
}

/// Reads a supernet of `space` from a state dict, `{"state_dict": …}` or bare, in either spelling of the keys:
/// `blocks.N.mobile_inverted_conv.…` of the published files or `blocks.N.conv.…` of today's code, with or without a
/// `module.` prefix.
///
/// # Errors
/// [`ExportError::Checkpoint`] naming the file and the tensor that is missing or of another shape.
pub fn import_supernet(path: &Path, space: &Arc<dyn SearchSpace>) -> Result<Import, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: path.to_owned(), problem };
    let mut found = read_state_dict(path)?;
    let mut weights = Weights::default();
    for (name, def) in supernet::tensors(space.as_ref())? {
        let tensor = found.remove(&name).ok_or_else(|| {
            let classes = if name.starts_with("classifier") { "; is the number of classes right?" } else { "" };
            bad(format!(
                "has no tensor `{name}` ({:?}), which a supernet of `{}` needs{classes}",
                def.shape,
                space.name()
            ))
        })?;
        if tensor.shape != def.shape {
            let hint = match name.starts_with("classifier") {
                true => "; the number of classes differs: pass --classes",
                false => "; is it the right space and width?",
            };
            return Err(bad(format!("`{name}` has shape {:?}, expected {:?}{hint}", tensor.shape, def.shape)));
        }
        weights.insert(name, tensor);
    }
    let classes = space.info().classes;
    let provenance = BTreeMap::from([(
        "imported_from".to_owned(),
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    )]);
    let model = Model {
        body: ModelBody::Supernet { space: space.clone() },
        class_names: (0..classes).map(|class| class.to_string()).collect(),
        input: imagenet_input(),
        provenance,
        weights,
    };
    Ok(Import { model, unused: found.into_keys().collect() })
}

/// ImageNet normalisation and evaluation crop, as the authors train with (`ImagenetDataProvider`).
pub fn imagenet_input() -> InputFormat {
    InputFormat {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        resize: Resize::CenterCrop { numerator: 8, denominator: 7 },
    }
}

/// The f32 tensors of a state dict under today's names; batch norm's step counters are left out.
///
/// # Errors
/// [`ExportError::Checkpoint`] naming the file and what is wrong.
pub fn read_state_dict(path: &Path) -> Result<BTreeMap<String, Tensor>, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: path.to_owned(), problem };
    let reader = PytorchReader::with_top_level_key(path, "state_dict")
        .or_else(|_| PytorchReader::new(path))
        .map_err(|e| bad(format!("is not a readable PyTorch checkpoint: {e}")))?;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in reader.into_tensors() {
        let name = current_name(&name);
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        if tensor.dtype() != DType::F32 {
            return Err(bad(format!("`{name}` holds {:?}, expected float32", tensor.dtype())));
        }
        let bytes = tensor.read().map_err(|e| bad(format!("`{name}`: {e}")))?;
        let data = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.insert(name, Tensor { shape: tensor.shape().to_vec(), data });
    }
    if tensors.is_empty() {
        return Err(bad("holds no tensors".into()));
    }
    Ok(tensors)
}

/// Today's spelling of a published key.
fn current_name(name: &str) -> String {
    let name = name.strip_prefix("module.").unwrap_or(name);
    name.replace(".mobile_inverted_conv.", ".conv.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_become_todays() {
        let published = "module.blocks.3.mobile_inverted_conv.depth_conv.conv.7to5_matrix";
        assert_eq!(current_name(published), "blocks.3.conv.depth_conv.conv.7to5_matrix");
        assert_eq!(current_name("first_conv.bn.weight"), "first_conv.bn.weight");
    }
}
