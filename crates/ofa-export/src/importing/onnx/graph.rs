//! The nodes and constants of an ONNX file.

use crate::error::ExportError;
use ofa_space::{Tensor, input_file};
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{Message, ModelProto, NodeProto, TensorProto};
use protobuf::Enum;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

/// A value that is known from the file.
#[derive(Clone, PartialEq, Debug)]
pub enum Constant {
    /// Numbers of type f32.
    Floats(Tensor),
    /// Whole numbers.
    Ints(Vec<i64>),
}

/// A graph with one input and one output.
#[derive(Debug)]
pub struct Graph {
    /// Name of the input.
    pub input: String,
    /// Channels, height and width of an image, where the file holds them.
    pub image: [Option<usize>; 3],
    /// Name of the output.
    pub output: String,
    /// Nodes in order of execution.
    pub nodes: Vec<Node>,
    /// Values that are known, by name.
    pub constants: BTreeMap<String, Constant>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Operation.
    pub op: String,
    /// Name, or that of its output if it has none.
    pub name: String,
    /// Names of its inputs; empty for one that is left out.
    pub inputs: Vec<String>,
    /// Name of its first output.
    pub output: String,
    proto: NodeProto,
}

impl Node {
    /// A whole number.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    /// A number.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.f)
    }

    /// Whole numbers; empty if there are none.
    pub fn ints(&self, name: &str) -> &[i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    /// Text; empty if there is none.
    pub fn text(&self, name: &str) -> String {
        self.attribute(name).map_or_else(String::new, |attribute| String::from_utf8_lossy(&attribute.s).into_owned())
    }

    fn attribute(&self, name: &str) -> Option<&onnx_protobuf::AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name == name)
    }
}

impl Graph {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ExportError::Checkpoint`] naming the file and what is missing.
    pub fn read(path: &Path) -> Result<Self, ExportError> {
        let bad = |problem: String| ExportError::Checkpoint { path: path.to_owned(), problem };
        let bytes =
            input_file::read(path, input_file::LARGEST_MODEL).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let model = ModelProto::parse_from_bytes(&bytes)
            .map_err(|e| bad(format!("is not a readable ONNX file, or damaged ({e})")))?;
        Self::of(model, path.parent().unwrap_or(Path::new(""))).map_err(bad)
    }

    /// The graph of a model; `folder` holds weights that lie in files of their own.
    fn of(model: ModelProto, folder: &Path) -> Result<Self, String> {
        let graph = model.graph.into_option().ok_or("has no graph")?;
        let mut constants = BTreeMap::new();
        for tensor in &graph.initializer {
            constants.insert(tensor.name.clone(), constant(tensor, folder)?);
        }
        let inputs: Vec<_> = graph.input.iter().filter(|input| !constants.contains_key(&input.name)).collect();
        let [input] = inputs[..] else {
            return Err(format!("has {} inputs, expected one of images", inputs.len()));
        };
        let [output] = graph.output.as_slice() else {
            return Err(format!("has {} outputs, expected one of logits", graph.output.len()));
        };
        let dims: Vec<Option<usize>> = input
            .type_
            .tensor_type()
            .shape
            .dim
            .iter()
            .map(|d| (d.has_dim_value() && d.dim_value() > 0).then(|| d.dim_value() as usize))
            .collect();
        let [_, channels, height, width] = dims[..] else {
            return Err(format!("has an input of {} dimensions, expected images (N,C,H,W)", dims.len()));
        };
        let mut nodes = Vec::with_capacity(graph.node.len());
        for proto in &graph.node {
            let output = proto.output.first().cloned().unwrap_or_default();
            if proto.op_type == "Constant" {
                let value = proto.attribute.iter().find(|attribute| attribute.name == "value");
                if let Some(tensor) = value.and_then(|attribute| attribute.t.as_ref()) {
                    constants.insert(output, constant(tensor, folder)?);
                    continue;
                }
            }
            nodes.push(Node {
                op: proto.op_type.clone(),
                name: if proto.name.is_empty() { output.clone() } else { proto.name.clone() },
                inputs: proto.input.clone(),
                output,
                proto: proto.clone(),
            });
        }
        let (input, output) = (input.name.clone(), output.name.clone());
        Ok(Self { input, image: [channels, height, width], output, nodes, constants })
    }
}

/// The bytes of a tensor that lies in a file of its own, beside the ONNX file.
fn external(tensor: &TensorProto, folder: &Path) -> Result<Vec<u8>, String> {
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let name = &tensor.name;
    let location = Path::new(entry("location").unwrap_or_default());
    let is_inside = location.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_inside || location.as_os_str().is_empty() {
        return Err(format!("keeps `{name}` in `{}`, expected a file beside it", location.display()));
    }
    let number = |key: &str| entry(key).map(str::parse::<u64>).transpose();
    let (Ok(offset), Ok(length)) = (number("offset"), number("length")) else {
        return Err(format!("gives a place of `{name}` in `{}` that is not in numbers", location.display()));
    };
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = input_file::open(&folder.join(location))?;
        file.seek(SeekFrom::Start(offset.unwrap_or(0)))?;
        let mut bytes = Vec::new();
        file.take(length.unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|e| format!("keeps `{name}` in `{}` beside it, which cannot be read: {e}", location.display()))
}

/// The values of a tensor.
fn constant(tensor: &TensorProto, folder: &Path) -> Result<Constant, String> {
    const F32: i32 = 1;
    const I32: i32 = 6;
    const I64: i32 = 7;
    let is_external = tensor.data_location.enum_value_or_default().value() == DataLocation::EXTERNAL.value();
    let raw = if is_external { external(tensor, folder)? } else { tensor.raw_data.clone() };
    let shape: Vec<usize> = tensor.dims.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size)).unwrap_or(usize::MAX);
    let read = match tensor.data_type {
        F32 => {
            let data: Vec<f32> = match raw.is_empty() {
                true => tensor.float_data.clone(),
                false => raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            };
            (data.len(), Constant::Floats(Tensor { shape, data }))
        }
        I64 => {
            let data: Vec<i64> = match raw.is_empty() {
                true => tensor.int64_data.clone(),
                false => raw
                    .chunks_exact(8)
                    .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                    .collect(),
            };
            (data.len(), Constant::Ints(data))
        }
        I32 => {
            let data: Vec<i64> = match raw.is_empty() {
                true => tensor.int32_data.iter().map(|value| i64::from(*value)).collect(),
                false => raw.chunks_exact(4).map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
            };
            (data.len(), Constant::Ints(data))
        }
        other => return Err(format!("`{}` is of ONNX type {other}, expected float32", tensor.name)),
    };
    match read.0 == count {
        true => Ok(read.1),
        false => Err(format!("`{}` has {} values, its shape needs {count}", tensor.name, read.0)),
    }
}
