//! A written f32 graph as f16: half the file, for devices whose arithmetic is f16.
//!
//! Input and output stay f32; the graph casts where the type changes. Preprocessing inside the graph stays f32, since
//! bytes divided by small deviations lose digits in f16, and so may the first operations of a network: few weights,
//! but every rounding there is carried through all that follows ([`crate::precision::mixed`] finds how many).

use crate::error::ExportError;
use crate::onnx::file::{floats, read, write};
use crate::onnx::nodes::{Element, int, node, raw_tensor};
use crate::onnx::{OUTPUT, PREPROCESSING};
use half::f16;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto};
use std::collections::HashSet;

/// Weights beyond the range of f16 take its largest value.
const LARGEST: f32 = 65504.0;

/// The file with f16 weights and arithmetic, but for its first operations; 0 leaves none in f32.
///
/// # Errors
/// [`ExportError::NotOurs`] if it is not an f32 file of this crate.
pub fn convert(onnx: &[u8], operations_in_f32: usize) -> Result<Vec<u8>, ExportError> {
    let mut model = read(onnx)?;
    convert_model(&mut model, operations_in_f32)?;
    write(&model)
}

pub(crate) fn convert_model(model: &mut ModelProto, operations_in_f32: usize) -> Result<(), ExportError> {
    let graph = model.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
    let halves = Halves::new(graph, operations_in_f32);
    for initializer in &mut graph.initializer {
        if halves.constants.contains(&initializer.name) {
            let raw = half_values(initializer)?.flat_map(f16::to_le_bytes).collect();
            let shape: Vec<usize> = initializer.dims.iter().map(|d| *d as usize).collect();
            *initializer = raw_tensor(&initializer.name, Element::F16, &shape, raw);
        } else {
            floats(initializer)?;
        }
    }
    let mut tail = graph.node.split_off(halves.first);
    if let Some(last) = tail.last_mut() {
        let cast = |from: &str, to: &str, element: Element| {
            node("Cast", &format!("cast.{to}"), &[from], to, vec![int("to", element.code())])
        };
        let half_logits = in_half(OUTPUT);
        for name in last.output.iter_mut().filter(|name| *name == OUTPUT) {
            *name = half_logits.clone();
        }
        tail.push(cast(&half_logits, OUTPUT, Element::F32));
        rename_inputs(&mut tail, &halves.entries, in_half);
        let casts = halves.entries.iter().map(|entry| cast(entry, &in_half(entry), Element::F16));
        graph.node.extend(casts);
    }
    graph.node.extend(tail);
    Ok(())
}

/// The name of a value's f16 twin.
fn in_half(value: &str) -> String {
    format!("{value}.f16")
}

/// What nodes read under other names.
pub(crate) fn rename_inputs(nodes: &mut [NodeProto], values: &[String], renamed: impl Fn(&str) -> String) {
    for name in nodes.iter_mut().flat_map(|node| &mut node.input) {
        if values.contains(name) {
            *name = renamed(name);
        }
    }
}

/// Which part of a graph is in f16.
pub(crate) struct Halves {
    /// Index of its first node; all that follow are.
    pub(crate) first: usize,
    /// Values from outside that it reads.
    pub(crate) entries: Vec<String>,
    /// Initializers that it reads.
    pub(crate) constants: HashSet<String>,
}

impl Halves {
    pub(crate) fn new(graph: &GraphProto, operations_in_f32: usize) -> Self {
        // Nodes of preprocessing come first.
        let preprocessing = graph.node.iter().take_while(|node| node.name.starts_with(PREPROCESSING)).count();
        let first = (preprocessing + operations_in_f32).min(graph.node.len());
        let nodes = &graph.node[first..];
        let own: HashSet<&String> = nodes.iter().flat_map(|node| &node.output).collect();
        let known: HashSet<&String> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
        let (mut entries, mut constants) = (Vec::new(), HashSet::new());
        for name in nodes.iter().flat_map(|node| &node.input) {
            if known.contains(name) {
                constants.insert(name.clone());
            } else if !own.contains(name) && !entries.contains(name) {
                entries.push(name.clone());
            }
        }
        Self { first, entries, constants }
    }
}

/// The nearest f16 of every value of an f32 initializer.
pub(crate) fn half_values(tensor: &TensorProto) -> Result<impl Iterator<Item = f16>, ExportError> {
    Ok(floats(tensor)?.into_iter().map(|v| f16::from_f32(v.clamp(-LARGEST, LARGEST))))
}
