//! How much of a network must stay in f32 for its f16 file to give nearly the same logits.
//!
//! Well-trained networks lose about 0.3 % of their largest logit in f16. A network that carries small changes of its
//! first features through to its logits magnified (untrained ones do, a hundredfold and more) loses several percent, and
//! most of it in the first few operations, which hold a small share of the weights. So the first operations are left in
//! f32, as few as will do: the idea of `auto_mixed_precision` in Microsoft's onnxconverter-common, with one cut instead
//! of a list of operations, so that a device changes the type once.
//!
//! Runtimes differ in their f16: ONNX Runtime on a CPU without f16 arithmetic rounds weights only, a GPU every value.
//! The stricter of the two is simulated, in f32 and so in any runtime: weights are rounded beforehand, and what each
//! operation gives by Dekker's splitting, `c = 8193 x; c − (c − x)`, which leaves the 11 significant bits of f16.
//! (T. J. Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik 18, 1971.)

use crate::error::ExportError;
use crate::onnx::OUTPUT;
use crate::onnx::file::{floats, read, write};
use crate::onnx::nodes::{Element, is_weighted, node, raw_tensor};
use crate::precision::half::{Halves, half_values, rename_inputs};
use crate::runtime::{SessionOptions, load};
use crate::verification::{Agreement, agreement};
use onnx_protobuf::GraphProto;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A place where a graph may change from f32 to f16.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Cut {
    /// Operations before it, which stay in f32; preprocessing does not count.
    pub operations_in_f32: usize,
    /// Operations of the network.
    pub operations: usize,
    /// Share of the weights before it.
    pub weights_in_f32: f64,
}

/// Places before an operation with weights that only one value crosses, from the input on.
///
/// # Errors
/// [`ExportError::NotOurs`] if it is not an f32 file of this crate.
pub fn cuts(onnx: &[u8]) -> Result<Vec<Cut>, ExportError> {
    let model = read(onnx)?;
    let graph = model.graph.as_ref().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
    let mut sizes = HashMap::new();
    for tensor in &graph.initializer {
        sizes.insert(tensor.name.as_str(), floats(tensor)?.len());
    }
    let all = Halves::new(graph, 0);
    let size = |names: &HashSet<String>| names.iter().filter_map(|name| sizes.get(name.as_str())).sum::<usize>();
    let (operations, weights) = (graph.node.len() - all.first, size(&all.constants).max(1));
    let mut found = Vec::new();
    for operations_in_f32 in 0..operations {
        let rest = Halves::new(graph, operations_in_f32);
        if is_weighted(&graph.node[rest.first]) && rest.entries.len() == 1 {
            let weights_in_f32 = 1.0 - size(&rest.constants) as f64 / weights as f64;
            found.push(Cut { operations_in_f32, operations, weights_in_f32 });
        }
    }
    Ok(found)
}

/// The f32 file that computes what [`crate::precision::half::convert`]'s file computes on a device that rounds every
/// value to f16. Values beyond f16's range are not cut off.
///
/// # Errors
/// [`ExportError::NotOurs`] if it is not an f32 file of this crate.
pub fn simulate(onnx: &[u8], operations_in_f32: usize) -> Result<Vec<u8>, ExportError> {
    let mut model = read(onnx)?;
    let graph = model.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
    let halves = Halves::new(graph, operations_in_f32);
    for initializer in graph.initializer.iter_mut().filter(|tensor| halves.constants.contains(&tensor.name)) {
        let raw = half_values(initializer)?.flat_map(|v| v.to_f32().to_le_bytes()).collect();
        let shape: Vec<usize> = initializer.dims.iter().map(|d| *d as usize).collect();
        *initializer = raw_tensor(&initializer.name, Element::F32, &shape, raw);
    }
    /// 2¹³ + 1: f32 has 13 significant bits more than f16.
    const SPLITTER: f32 = 8193.0;
    const SPLITTER_NAME: &str = "splitter";
    let tail = graph.node.split_off(halves.first);
    let round = |graph: &mut GraphProto, from: &str, to: &str| {
        let (spread, rest) = (format!("{from}.spread"), format!("{from}.rest"));
        let step =
            |op: &str, inputs: [&str; 2], output: &str| node(op, &format!("round.{output}"), &inputs, output, vec![]);
        graph.node.push(step("Mul", [from, SPLITTER_NAME], &spread));
        graph.node.push(step("Sub", [&spread, from], &rest));
        graph.node.push(step("Sub", [&spread, &rest], to));
    };
    let rounded = |value: &str| format!("{value}.rounded");
    for entry in &halves.entries {
        round(graph, entry, &rounded(entry));
    }
    let own: Vec<String> = tail.iter().flat_map(|node| node.output.clone()).collect();
    for mut node in tail {
        rename_inputs(std::slice::from_mut(&mut node), &halves.entries, rounded);
        rename_inputs(std::slice::from_mut(&mut node), &own, rounded);
        let value = node.output.first().cloned().unwrap_or_default();
        let exact = if value == OUTPUT { format!("{OUTPUT}.exact") } else { value.clone() };
        let result = if value == OUTPUT { OUTPUT.to_owned() } else { rounded(&value) };
        node.output = vec![exact.clone()];
        graph.node.push(node);
        round(graph, &exact, &result);
    }
    graph.initializer.push(raw_tensor(SPLITTER_NAME, Element::F32, &[], SPLITTER.to_le_bytes().to_vec()));
    write(&model)
}

/// The first cut whose simulated f16 logits differ from f32's by at most `tolerance` of the largest, on images
/// (N,C,H,W); and how far apart they are.
///
/// `plain` is an f32 file without preprocessing in its graph.
///
/// # Errors
/// [`ExportError::F16Tolerance`] if no cut is near enough; [`ExportError`] if the file is not of this crate or does not run.
pub fn first_cut_within(
    plain: &[u8],
    images: &[f32],
    shape: [usize; 4],
    tolerance: f64,
) -> Result<(Cut, Agreement), ExportError> {
    let logits = |onnx: &[u8]| -> Result<Vec<f32>, ExportError> {
        Ok(load(onnx, &SessionOptions::default())?.run(images, shape)?)
    };
    let expected = logits(plain)?;
    let mut nearest = f64::INFINITY;
    for cut in cuts(plain)? {
        let found = agreement(&expected, &logits(&simulate(plain, cut.operations_in_f32)?)?);
        if found.within(tolerance) {
            return Ok((cut, found));
        }
        nearest = nearest.min(found.max_abs_diff / found.max_abs_logit);
    }
    Err(ExportError::F16Tolerance { tolerance, nearest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::nodes::{batch_value, tensor};
    use half::f16;
    use onnx_protobuf::{ModelProto, OperatorSetIdProto};

    #[test]
    fn values_are_rounded_as_f16_is() {
        // One operation that changes nothing, so that only the rounding is left.
        let mut graph = GraphProto::new();
        graph.input.push(batch_value(crate::onnx::INPUT, Element::F32, None, &[1, 1, 100]));
        graph.output.push(batch_value(OUTPUT, Element::F32, None, &[1, 1, 100]));
        graph.initializer.push(tensor("zero", &[], &[0.0]));
        graph.node.push(node("Add", "nothing", &[crate::onnx::INPUT, "zero"], OUTPUT, vec![]));
        let mut model = ModelProto::new();
        model.ir_version = 8;
        model.opset_import.push(OperatorSetIdProto { version: 17, ..OperatorSetIdProto::default() });
        model.graph = protobuf::MessageField::some(graph);
        let onnx = simulate(&write(&model).unwrap_or_default(), 0).unwrap_or_default();
        let values: Vec<f32> = (0..100).map(|i| (i as f32 * 0.71).sin() * 4f32.powi(i % 9 - 4)).collect();
        let mut session = load(&onnx, &SessionOptions::default()).expect("loads");
        let found = session.run(&values, [1, 1, 1, 100]).expect("runs");
        let expected: Vec<f32> = values.iter().map(|v| f16::from_f32(*v).to_f32()).collect();
        assert_ne!(values, expected);
        assert_eq!(found, expected);
    }
}
