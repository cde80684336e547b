//! A network as a plain PyTorch module: a Python file with its layers, and a file with its weights beside it.
//!
//! The Python file defines `Net`, `build()`, which returns it with its weights, and `normalise()`; class names, input size and
//! normalisation are constants. It imports nothing but PyTorch. Batch norms stay as they are, so the network can be trained on.

mod checkpoint;
mod layers;
mod source;

use crate::error::ExportError;
use crate::onnx::model_metadata;
use checkpoint::Entry;
use ofa_space::{Model, ModelError, atomic_file, slicing};
use serde::Serialize;
use source::Notes;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How the name of the Python file ends.
pub const MODULE_EXTENSION: &str = "py";
/// How that of its weights ends.
pub const WEIGHTS_EXTENSION: &str = "pth";

/// Metadata of an ONNX file that are constants of the module, or are written one by one.
const ELSEWHERE: [&str; 6] = ["classes", "mean", "std", "resize", "image_size", "provenance"];

/// A module and its weights, in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct TorchModule {
    /// The Python file.
    pub source: String,
    /// The file that `torch.load` reads.
    pub weights: Vec<u8>,
}

/// What was written. Serialises to the JSON of `ofa export`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TorchReport {
    /// The Python file.
    pub output: PathBuf,
    /// The file of its weights, with another ending.
    pub weights: PathBuf,
    /// Size of the weights.
    pub bytes: usize,
}

impl TorchModule {
    /// The module of a standalone model. `entries` are noted in it beside arch, space and provenance. The same model gives the
    /// same bytes.
    ///
    /// # Errors
    /// [`ModelError::ArchNeeded`] for a supernet: [extract](Model::extract) a subnet first. [`ExportError::Weights`] if a
    /// tensor is missing or of another shape.
    pub fn of(model: &Model, entries: &BTreeMap<String, String>) -> Result<Self, ExportError> {
        let net = model.net(None)?;
        net.check().map_err(ModelError::from)?;
        let parts = layers::parts(&net);
        let mut tensors = Vec::new();
        for part in &parts {
            for (index, (_, layer)) in part.blocks.iter().enumerate() {
                layer.tensors(&format!("{}.{index}", part.name), &mut |name, held| {
                    tensors.push((name, held.tensor, held.shape.clone()));
                });
            }
        }
        let read = |(name, tensor, shape)| {
            slicing::read(&model.weights, tensor).map(|read| Entry { name, shape, values: read.data })
        };
        let tensors: Vec<Entry> = tensors.into_iter().map(read).collect::<Result<_, _>>()?;
        let weights = checkpoint::write(&tensors).map_err(|error| ExportError::TorchArchive(error.to_string()))?;

        let mut origin = model.provenance.clone();
        origin.extend(model_metadata(model, &net).into_iter().filter(|(key, _)| !ELSEWHERE.contains(&key.as_str())));
        origin.extend(entries.clone());
        let origin: Vec<(String, String)> = origin.into_iter().collect();
        let notes = Notes { class_names: &model.class_names, input: &model.input, origin: &origin };
        Ok(Self { source: source::source(&net, &parts, &notes), weights })
    }

    /// Writes both files or none: the Python file at `path`, whose name ends in `.py`, and the weights under the same name with
    /// `.pth`.
    ///
    /// # Errors
    /// [`ExportError::ModuleName`] for another ending, [`ExportError::WeightsInTheWay`] if another program's file has the
    /// weights' name, and [`ExportError::Write`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<TorchReport, ExportError> {
        let output = path.as_ref().to_owned();
        let weights = weights_beside(&output)?;
        let files = [(weights.as_path(), self.weights.as_slice()), (output.as_path(), self.source.as_bytes())];
        if let Err((path, source)) = atomic_file::write_together(&files) {
            return Err(ExportError::Write { path: path.to_owned(), source });
        }
        Ok(TorchReport { output, weights, bytes: self.weights.len() })
    }
}

/// The file of the weights that belongs to a Python file. Its name follows from the other, so a file that is there is replaced
/// only if an export wrote it.
///
/// # Errors
/// [`ExportError::ModuleName`] and [`ExportError::WeightsInTheWay`].
pub fn weights_beside(module: &Path) -> Result<PathBuf, ExportError> {
    if module.extension().is_none_or(|extension| extension != MODULE_EXTENSION) {
        return Err(ExportError::ModuleName { path: module.to_owned() });
    }
    let weights = module.with_extension(WEIGHTS_EXTENSION);
    let mut beginning = Vec::new();
    let is_free = match std::fs::File::open(&weights) {
        Ok(file) => {
            let read = file.take(checkpoint::BEGINNING as u64).read_to_end(&mut beginning);
            read.is_ok() && checkpoint::is_ours(&beginning)
        }
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    match is_free {
        true => Ok(weights),
        false => Err(ExportError::WeightsInTheWay { path: weights }),
    }
}
