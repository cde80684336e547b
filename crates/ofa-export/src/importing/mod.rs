//! Networks that others trained, as models: the authors' supernet checkpoints, single networks with their descriptions,
//! and pretrained networks of a table of families.

pub mod net;
pub mod net_config;
pub mod onnx;
pub mod pretrained;
pub mod state_dict;
pub mod supernet;

use crate::error::ExportError;
use pretrained::{PretrainedImport, Wanted};
use std::path::Path;

/// Reads a pretrained network: an ONNX file by its ending, anything else as a checkpoint.
///
/// # Errors
/// As [`onnx::import_onnx`] and [`pretrained::import_pretrained`].
pub fn import(file: &Path, wanted: &Wanted) -> Result<PretrainedImport, ExportError> {
    match file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
        true => onnx::import_onnx(file, wanted),
        false => pretrained::import_pretrained(file, wanted),
    }
}
