//! A written f32 graph as f16: half the file, for devices whose arithmetic is f16.
//!
//! Input and output stay f32; the graph casts at both ends. Preprocessing inside the graph stays f32, since bytes
//! divided by small deviations lose digits in f16.

use crate::error::ExportError;
use crate::nodes::{Element, int, node, raw_tensor};
use crate::onnx::{INPUT, OUTPUT, PREPROCESSING};
use crate::onnx_file::{floats, read, write};
use half::f16;
use onnx_protobuf::TensorProto;

/// Weights beyond the range of f16 take its largest value.
const LARGEST: f32 = 65504.0;

/// The file with f16 weights and arithmetic.
///
/// # Errors
/// [`ExportError::NotOurs`] if it is not an f32 file of this crate.
pub fn convert(onnx: &[u8]) -> Result<Vec<u8>, ExportError> {
    let mut model = read(onnx)?;
    let graph = model.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
    for initializer in &mut graph.initializer {
        if !initializer.name.starts_with(PREPROCESSING) {
            *initializer = half_tensor(initializer)?;
        }
    }
    // Nodes of preprocessing come first; the cast goes behind them.
    let first = graph.node.iter().position(|n| !n.name.starts_with(PREPROCESSING)).unwrap_or(0);
    let entry = match first {
        0 => INPUT.to_owned(),
        n => graph.node[n - 1].output.first().cloned().unwrap_or_default(),
    };
    const CAST_INPUT: &str = "input.f16";
    const CAST_OUTPUT: &str = "logits.f16";
    for node in &mut graph.node[first..] {
        for name in node.input.iter_mut().filter(|name| **name == entry) {
            *name = CAST_INPUT.to_owned();
        }
        for name in node.output.iter_mut().filter(|name| *name == OUTPUT) {
            *name = CAST_OUTPUT.to_owned();
        }
    }
    let cast = |name: &str, from: &str, to: &str, element: Element| {
        node("Cast", name, &[from], to, vec![int("to", element.code())])
    };
    graph.node.insert(first, cast("cast_input", &entry, CAST_INPUT, Element::F16));
    graph.node.push(cast("cast_logits", CAST_OUTPUT, OUTPUT, Element::F32));
    write(&model)
}

fn half_tensor(tensor: &TensorProto) -> Result<TensorProto, ExportError> {
    let shape: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
    let halves = floats(tensor)?.into_iter().map(|v| f16::from_f32(v.clamp(-LARGEST, LARGEST)));
    Ok(raw_tensor(&tensor.name, Element::F16, &shape, halves.flat_map(f16::to_le_bytes).collect()))
}
