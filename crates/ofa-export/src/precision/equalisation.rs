//! Cross-layer equalisation: channels of one value get similar ranges, so that one scale serves them all.
//!
//! What a convolution writes into a channel is multiplied by a factor, and what the next ones read from it is divided by
//! it: the network computes the same (M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
//! Correction", ICCV 2019, arXiv 1906.04721). Here weights have a scale per output channel, so it is the activations that
//! gain: a depthwise convolution takes any factor for nothing, and a value that only such ones read gets channels of equal
//! ranges. Of a value that others read, the factor is shared evenly between activations and weights, as in SmoothQuant
//! with α = ½ (G. Xiao et al., ICML 2023, arXiv 2211.10438).
//!
//! A factor passes rectifiers, sums, pooling, and the product with a gate. ReLU6 cuts at 6: a channel that came near it on
//! the calibration images keeps its factor of 1, any other may grow up to 6.

use crate::error::ExportError;
use crate::onnx::file::floats;
use crate::onnx::nodes::{is_weighted, tensor};
use crate::onnx::{INPUT, OUTPUT};
use crate::precision::calibration::Seen;
use crate::precision::readers::{Readers, readers};
use onnx_protobuf::{GraphProto, NodeProto, TensorProto};
use std::collections::{BTreeMap, BTreeSet};

/// Factors lie between its inverse and it.
const LARGEST_FACTOR: f32 = 64.0;
/// Where ReLU6 cuts.
const CUT: f32 = 6.0;
/// Other images may go this much beyond the calibration images before ReLU6 cuts what it did not cut.
const HEADROOM: f32 = 1.25;

/// Values that share the factors of their channels.
#[derive(Default, Debug)]
struct Group {
    values: Vec<String>,
    /// Operations with weights that write one of the values.
    writers: Vec<usize>,
    /// Operations with weights that read one of them.
    readers: Vec<usize>,
    /// Values that ReLU6 reads.
    cut: Vec<String>,
}

/// Multiplies and divides the weights of a graph, given what was seen of its values.
///
/// # Errors
/// [`ExportError::NotOurs`] if a weight is not f32.
pub(crate) fn equalise(graph: &mut GraphProto, seen: &BTreeMap<String, Seen>) -> Result<(), ExportError> {
    let read_by = readers(&graph.node);
    let mut constants: BTreeMap<String, TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.clone())).collect();
    for group in groups(graph, &constants) {
        let Some(factors) = factors(&group, graph, &constants, seen, &read_by)? else { continue };
        for writer in &group.writers {
            let node = &graph.node[*writer];
            for name in node.input.iter().skip(1) {
                scale(&mut constants, name, |channel, _| channel, |factor| factor, &factors)?;
            }
        }
        for reader in &group.readers {
            let node = &graph.node[*reader];
            let depthwise = is_depthwise(node, &constants);
            let place = |output: usize, input: usize| if depthwise { output } else { input };
            scale(&mut constants, &node.input[1], place, |factor| 1.0 / factor, &factors)?;
        }
    }
    for initializer in &mut graph.initializer {
        if let Some(scaled) = constants.remove(&initializer.name) {
            *initializer = scaled;
        }
    }
    Ok(())
}

/// Multiplies a weight or bias by what `of` makes of the factor of the channel that `place` finds of each
/// `[output, input]`.
fn scale(
    constants: &mut BTreeMap<String, TensorProto>,
    name: &str,
    place: impl Fn(usize, usize) -> usize,
    of: impl Fn(f32) -> f32,
    factors: &[f32],
) -> Result<(), ExportError> {
    let Some(constant) = constants.get_mut(name) else { return Ok(()) };
    let shape: Vec<usize> = constant.dims.iter().map(|d| *d as usize).collect();
    let inputs = shape.get(1).copied().unwrap_or(1).max(1);
    let taps = shape.iter().skip(2).product::<usize>().max(1);
    let mut values = floats(constant)?;
    for (index, kernel) in values.chunks_mut(taps).enumerate() {
        let factor = of(factors[place(index / inputs, index % inputs)]);
        kernel.iter_mut().for_each(|value| *value *= factor);
    }
    *constant = tensor(name, &shape, &values);
    Ok(())
}

fn is_depthwise(node: &NodeProto, constants: &BTreeMap<String, TensorProto>) -> bool {
    let groups = groups_of(node);
    groups > 1 && constants.get(&node.input[1]).is_some_and(|weight| weight.dims[..2] == [groups, 1])
}

fn groups_of(node: &NodeProto) -> i64 {
    node.attribute.iter().find(|attribute| attribute.name == "group").map_or(1, |attribute| attribute.i)
}

/// Values joined by operations that factors pass, but for those that something else writes or reads.
fn groups(graph: &GraphProto, constants: &BTreeMap<String, TensorProto>) -> Vec<Group> {
    let mut roots: BTreeMap<String, String> = BTreeMap::new();
    fn root(roots: &BTreeMap<String, String>, value: &str) -> String {
        let mut value = value.to_owned();
        while let Some(next) = roots.get(&value) {
            value.clone_from(next);
        }
        value
    }
    let mut blocked: Vec<String> = vec![INPUT.to_owned(), OUTPUT.to_owned()];
    for node in &graph.node {
        let output = &node.output[0];
        let mut join = |other: &str| {
            let (a, b) = (root(&roots, other), root(&roots, output));
            if a != b {
                roots.insert(a, b);
            }
        };
        match node.op_type.as_str() {
            "Conv" | "Gemm" => {
                if groups_of(node) > 1 && !is_depthwise(node, constants) {
                    blocked.push(node.input[0].clone());
                }
            }
            "Add" => node.input.iter().for_each(|input| join(input)),
            "Relu" | "Clip" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "Flatten" => join(&node.input[0]),
            "Mul" => {
                // The gate keeps its range.
                join(&node.input[0]);
                blocked.push(node.input[1].clone());
            }
            _ => blocked.extend(node.input.iter().chain(&node.output).cloned()),
        }
    }
    blocked.extend(constants.keys().cloned());
    let blocked: BTreeSet<String> = blocked.iter().map(|value| root(&roots, value)).collect();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        let (input, output) = (&node.input[0], &node.output[0]);
        let group = groups.entry(root(&roots, output)).or_default();
        group.values.push(output.clone());
        if is_weighted(node) {
            group.writers.push(index);
            groups.entry(root(&roots, input)).or_default().readers.push(index);
        } else if node.op_type == "Clip" {
            group.cut.push(input.clone());
        }
    }
    groups.into_iter().filter(|(root, _)| !blocked.contains(root)).map(|(_, group)| group).collect()
}

/// The factor of every channel of a group; `None` where it has nothing to gain, or is not whole.
fn factors(
    group: &Group,
    graph: &GraphProto,
    constants: &BTreeMap<String, TensorProto>,
    seen: &BTreeMap<String, Seen>,
    read_by: &BTreeMap<String, Readers>,
) -> Result<Option<Vec<f32>>, ExportError> {
    if group.writers.is_empty() || group.readers.is_empty() {
        return Ok(None);
    }
    let Some(all) = group.values.iter().map(|value| seen.get(value)).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let channels = all[0].channels.len();
    if all.iter().any(|value| value.channels.len() != channels) {
        return Ok(None);
    }
    // Ranges of what is quantised.
    let quantised = group.values.iter().zip(&all).filter(|(name, _)| read_by.get(*name) != Some(&Readers::Rectifier));
    let mut ranges = vec![0.0f32; channels];
    for (_, value) in quantised {
        for (range, channel) in ranges.iter_mut().zip(&value.channels) {
            *range = range.max(channel.largest());
        }
    }
    // The largest share that a channel has in an output channel's range of weights.
    let mut shares = vec![0.0f32; channels];
    let mut has_dense_readers = false;
    for reader in &group.readers {
        let node = &graph.node[*reader];
        if is_depthwise(node, constants) {
            continue;
        }
        has_dense_readers = true;
        let weight = &constants[&node.input[1]];
        let (values, inputs) = (floats(weight)?, weight.dims[1] as usize);
        if inputs != channels {
            return Ok(None);
        }
        let taps = weight.dims.iter().skip(2).map(|d| *d as usize).product::<usize>().max(1);
        for row in values.chunks(inputs * taps) {
            let largest = row.iter().fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
            for (share, kernel) in shares.iter_mut().zip(row.chunks(taps)) {
                *share = kernel.iter().fold(*share, |share, v| share.max(v.abs() / largest));
            }
        }
    }
    let mut limits = vec![LARGEST_FACTOR; channels];
    for value in group.cut.iter().filter_map(|name| seen.get(name)) {
        for (limit, channel) in limits.iter_mut().zip(&value.channels) {
            *limit = limit.min(CUT / (HEADROOM * channel.high).max(f32::MIN_POSITIVE));
        }
    }
    let is_cut = |limit: f32| !group.cut.is_empty() && limit <= 1.0;
    let wanted = |channel: usize| match has_dense_readers {
        true => (shares[channel] / ranges[channel]).sqrt(),
        false => 1.0 / ranges[channel],
    };
    let free: Vec<usize> =
        (0..channels).filter(|c| ranges[*c] > 0.0 && !is_cut(limits[*c]) && wanted(*c) > 0.0).collect();
    // The range of the whole value stays.
    let largest = ranges.iter().copied().fold(0.0, f32::max);
    let largest_wanted = free.iter().map(|c| wanted(*c) * ranges[*c]).fold(0.0, f32::max);
    let mut factors = vec![1.0; channels];
    for channel in free {
        let factor = wanted(channel) * largest / largest_wanted;
        factors[channel] = factor.clamp(1.0 / LARGEST_FACTOR, limits[channel]);
    }
    Ok(Some(factors))
}
