//! Reading back files that this crate wrote: their metadata, and their graph for conversion.

use crate::error::ExportError;
use crate::onnx::INPUT;
use crate::onnx::nodes::Element;
use ofa_space::{InputFormat, Resize, json};
use onnx_protobuf::{Message, ModelProto, TensorProto};
use std::collections::BTreeMap;

/// Metadata and input of an exported file.
#[derive(Clone, PartialEq, Debug)]
pub struct OnnxFile {
    /// Metadata entries.
    pub metadata: BTreeMap<String, String>,
    /// `[channels, height, width]` of an image.
    pub image: [usize; 3],
    /// The batch size, if it is fixed.
    pub batch: Option<usize>,
    /// Whether the input is bytes (N,H,W,C), normalised by the graph, instead of f32 (N,C,H,W).
    pub takes_bytes: bool,
}

impl OnnxFile {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// [`ExportError::NotOurs`] naming what is missing.
    pub fn read(onnx: &[u8]) -> Result<Self, ExportError> {
        let model = read(onnx)?;
        let not_ours = |problem: &str| ExportError::NotOurs(problem.to_owned());
        let metadata = model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
        let graph = model.graph.as_ref().ok_or_else(|| not_ours("has no graph"))?;
        let [input] = graph.input.as_slice() else { return Err(not_ours("has more than one input")) };
        let tensor = input.type_.tensor_type();
        let dims: Vec<Option<usize>> =
            tensor.shape.dim.iter().map(|d| d.has_dim_value().then(|| d.dim_value() as usize)).collect();
        let [batch, Some(a), Some(b), Some(c)] = dims.as_slice() else {
            return Err(not_ours("has no input of four dimensions with a fixed image size"));
        };
        let takes_bytes = i64::from(tensor.elem_type) == Element::U8.code();
        let image = if takes_bytes { [*c, *a, *b] } else { [*a, *b, *c] };
        Ok(Self { metadata, image, batch: *batch, takes_bytes })
    }

    /// Class names, from the metadata.
    ///
    /// # Errors
    /// [`ExportError::NotOurs`] if they are not there.
    pub fn class_names(&self) -> Result<Vec<String>, ExportError> {
        self.json("classes")
    }

    /// Normalisation and resizing, from the metadata.
    ///
    /// # Errors
    /// [`ExportError::NotOurs`] if they are not there.
    pub fn input_format(&self) -> Result<InputFormat, ExportError> {
        let resize: Resize = self.json("resize")?;
        Ok(InputFormat { mean: self.json("mean")?, std: self.json("std")?, resize })
    }

    fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, ExportError> {
        let text = self.metadata.get(key).ok_or_else(|| {
            ExportError::NotOurs(format!("has no metadata `{key}`, which files written by `ofa export` have"))
        })?;
        json::from_str(text).map_err(|e| ExportError::NotOurs(format!("has unreadable metadata `{key}`: {e}")))
    }
}

pub(crate) fn read(onnx: &[u8]) -> Result<ModelProto, ExportError> {
    let model = ModelProto::parse_from_bytes(onnx).map_err(|e| ExportError::NotOurs(format!("cannot be read: {e}")))?;
    let graph = model.graph.as_ref();
    match graph.is_some_and(|graph| graph.input.iter().any(|input| input.name == INPUT)) {
        true => Ok(model),
        false => Err(ExportError::NotOurs(format!("has no input called `{INPUT}`"))),
    }
}

pub(crate) fn write(model: &ModelProto) -> Result<Vec<u8>, ExportError> {
    model.write_to_bytes().map_err(|e| ExportError::Protobuf(e.to_string()))
}

/// Values of an f32 initializer.
pub(crate) fn floats(tensor: &TensorProto) -> Result<Vec<f32>, ExportError> {
    if i64::from(tensor.data_type) != Element::F32.code() {
        return Err(ExportError::NotOurs(format!("is not an f32 file: `{}` is of another type", tensor.name)));
    }
    Ok(tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
