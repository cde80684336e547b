//! A written f32 graph in int8, as pairs of `QuantizeLinear` and `DequantizeLinear` around every operation (QDQ).
//!
//! Runtimes with int8 kernels fuse the pairs into integer operations; others compute the same in f32. Activations have
//! one scale and zero point each, from watched ranges; weights one scale per output channel, symmetric; biases are
//! int32 in the scale of the products they are added to. (ONNX Runtime's static quantisation, S8S8.)

use crate::error::ExportError;
use crate::onnx::file::{floats, read, write};
use crate::onnx::nodes::{Element, int, is_weighted, node, raw_tensor};
use crate::onnx::{INPUT, OUTPUT, PREPROCESSING};
use crate::precision::readers::{Readers, readers};
use crate::precision::{Ranges, bias_correction};
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto};
use std::collections::{BTreeMap, BTreeSet};

/// What decides the integers of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers<'a> {
    /// Of activations.
    pub ranges: &'a Ranges,
    /// Layers that stay in f32, by the name of their operation with weights.
    pub in_f32: &'a BTreeSet<String>,
    /// Mean of every channel of the values, by which biases are corrected.
    pub means: &'a BTreeMap<String, Vec<f64>>,
}

/// A bias may take this share of an int32, so that sums have room.
const LARGEST_BIAS: f64 = (1u64 << 30) as f64;

/// The file with int8 weights and activations.
///
/// # Errors
/// [`ExportError::NotOurs`] if it is not an f32 file of this crate or a range is missing.
pub fn quantise(onnx: &[u8], ranges: &Ranges) -> Result<Vec<u8>, ExportError> {
    let mut model = read(onnx)?;
    quantise_model(&mut model, &Numbers { ranges, in_f32: &BTreeSet::new(), means: &BTreeMap::new() })?;
    write(&model)
}

/// The same, with some layers in f32: an operation with weights and what follows it up to the next one. Between two of
/// them nothing is rounded; what an integer layer gives them is, as on a device whose integer operations write integers.
pub(crate) fn quantise_model(model: &mut ModelProto, numbers: &Numbers<'_>) -> Result<(), ExportError> {
    let graph = model.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
    let floats = Floats::of(graph, numbers.in_f32);
    let mut quantiser = Quantiser {
        numbers: *numbers,
        floats,
        constants: graph.initializer.iter().map(|t| (t.name.clone(), t.clone())).collect(),
        readers: readers(&graph.node),
        scales: BTreeMap::new(),
        initializers: Vec::new(),
        nodes: Vec::new(),
    };
    let nodes = std::mem::take(&mut graph.node);
    let starts_with_bytes = nodes.iter().any(|n| n.name.starts_with(PREPROCESSING));
    if !starts_with_bytes && !quantiser.floats.alone.contains(INPUT) {
        quantiser.activation(INPUT)?;
    }
    let last_of_preprocessing = nodes.iter().rposition(|n| n.name.starts_with(PREPROCESSING));
    for (index, node) in nodes.into_iter().enumerate() {
        let outputs = node.output.clone();
        let is_preprocessing = node.name.starts_with(PREPROCESSING);
        match is_preprocessing {
            true => quantiser.nodes.push(node),
            false => quantiser.operation(node)?,
        }
        let is_inner = is_preprocessing && Some(index) != last_of_preprocessing;
        for output in outputs.iter().filter(|output| *output != OUTPUT && !is_inner) {
            let is_cut_off = quantiser.readers.get(output) == Some(&Readers::Rectifier);
            if !is_cut_off && !quantiser.floats.alone.contains(output) {
                quantiser.activation(output)?;
            }
        }
    }
    quantiser.store(graph);
    Ok(())
}

/// Values around layers in f32.
struct Floats {
    /// Computed in f32: the input, and what such layers write.
    written: BTreeSet<String>,
    /// Those of them that nothing else reads, so that they are not quantised.
    alone: BTreeSet<String>,
}

impl Floats {
    fn of(graph: &GraphProto, in_f32: &BTreeSet<String>) -> Self {
        // A layer is an operation with weights and what follows it.
        let mut layer_of: BTreeMap<&str, &str> = BTreeMap::new();
        let (mut written, mut read_in_integers) = (BTreeSet::from([INPUT.to_owned()]), BTreeSet::new());
        for node in &graph.node {
            if node.name.starts_with(PREPROCESSING) {
                written.extend(node.output.iter().cloned());
                continue;
            }
            let layer = match is_weighted(node) {
                true => node.name.as_str(),
                false => layer_of.get(node.input[0].as_str()).copied().unwrap_or_default(),
            };
            layer_of.extend(node.output.iter().map(|output| (output.as_str(), layer)));
            match in_f32.contains(layer) {
                true => written.extend(node.output.iter().cloned()),
                false => read_in_integers.extend(node.input.iter().cloned()),
            }
        }
        let alone = written.difference(&read_in_integers).cloned().collect();
        Self { written, alone }
    }
}

struct Quantiser<'a> {
    numbers: Numbers<'a>,
    floats: Floats,
    /// Initializers of the f32 graph.
    constants: BTreeMap<String, TensorProto>,
    readers: BTreeMap<String, Readers>,
    /// Scales of activations that are quantised.
    scales: BTreeMap<String, f32>,
    initializers: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

/// The name of a value in the network without preprocessing: what preprocessing ends in is what that network takes.
fn watched(value: &str) -> &str {
    if value.starts_with(PREPROCESSING) { INPUT } else { value }
}

fn restored(name: &str) -> String {
    format!("{name}.restored")
}

impl Quantiser<'_> {
    /// Adds the pair after a value; operations that read the value read the restored one from here on.
    fn activation(&mut self, value: &str) -> Result<(), ExportError> {
        let (low, high) = *self
            .numbers
            .ranges
            .get(watched(value))
            .ok_or_else(|| ExportError::NotOurs(format!("has a value `{value}` whose range was not watched")))?;
        let (lowest, highest) = self.readers.get(value).map_or((low, high), |readers| readers.matters());
        let (low, high) = (low.max(lowest), high.min(highest));
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
        let zero = (-128.0 - low / scale).round().clamp(-128.0, 127.0) as i8;
        let (scale_name, zero_name) = (format!("{value}.scale"), format!("{value}.zero"));
        self.initializers.push(raw_tensor(&scale_name, Element::F32, &[], scale.to_le_bytes().to_vec()));
        self.initializers.push(raw_tensor(&zero_name, Element::I8, &[], zero.to_le_bytes().to_vec()));
        let (quantised, restored) = (format!("{value}.int8"), restored(value));
        let (quantise, dequantise) = (format!("{value}.quantise"), format!("{value}.restore"));
        self.nodes.push(node("QuantizeLinear", &quantise, &[value, &scale_name, &zero_name], &quantised, vec![]));
        let inputs = [quantised.as_str(), &scale_name, &zero_name];
        self.nodes.push(node("DequantizeLinear", &dequantise, &inputs, &restored, vec![]));
        self.scales.insert(value.to_owned(), scale);
        Ok(())
    }

    /// Adds an operation that reads restored values, its weight and bias in integers.
    fn operation(&mut self, mut node: NodeProto) -> Result<(), ExportError> {
        let is_float = node.output.iter().all(|output| self.floats.written.contains(output));
        let scale = self.scales.get(&node.input[0]).copied();
        if let (true, false, Some(scale)) = (is_weighted(&node), is_float, scale) {
            let mut bias = node.input.get(2).and_then(|name| self.constants.get(name)).map(floats).transpose()?;
            let weight = &self.constants[&node.input[1]];
            let (weight, shape) = (floats(weight)?, weight.dims.iter().map(|d| *d as usize).collect::<Vec<_>>());
            let scales = channel_scales(&weight, shape[0], bias.as_deref(), scale);
            let integers = integers_of(&weight, &scales);
            if let (Some(bias), Some(means)) = (&mut bias, self.numbers.means.get(watched(&node.input[0]))) {
                let rounded = restored_weights(&integers, &scales);
                bias_correction::correct(bias, &weight, &rounded, shape[1], means);
            }
            node.input[1] = self.weight(&node.input[1], &integers, &shape, &scales);
            if let Some(bias) = bias {
                node.input[2] = self.bias(&node.input[2], &bias, &scales, scale);
            }
        } else {
            // A constant of any other operation stays f32.
            for name in &node.input {
                if let Some(constant) = self.constants.get(name) {
                    self.initializers.push(constant.clone());
                }
            }
        }
        for name in &mut node.input {
            let is_kept = is_float && self.floats.written.contains(name.as_str());
            if self.scales.contains_key(name.as_str()) && !is_kept {
                *name = restored(name);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    fn weight(&mut self, name: &str, integers: &[i8], shape: &[usize], scales: &[f32]) -> String {
        let bytes = integers.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.restore(name, Element::I8, shape, bytes, scales, Some(vec![0; scales.len()]))
    }

    fn bias(&mut self, name: &str, values: &[f32], scales: &[f32], activation: f32) -> String {
        let scales: Vec<f32> = scales.iter().map(|scale| scale * activation).collect();
        let limit = f64::from(i32::MAX);
        let integers = values
            .iter()
            .zip(&scales)
            .map(|(v, scale)| (f64::from(*v) / f64::from(*scale)).round().clamp(-limit, limit) as i32);
        let bytes = integers.flat_map(i32::to_le_bytes).collect();
        self.restore(name, Element::I32, &[values.len()], bytes, &scales, None)
    }

    /// Adds integers and the operation that restores them along axis 0; returns the name of the restored value.
    fn restore(
        &mut self,
        name: &str,
        element: Element,
        shape: &[usize],
        bytes: Vec<u8>,
        scales: &[f32],
        zeros: Option<Vec<u8>>,
    ) -> String {
        let channels = [scales.len()];
        let (integers, scale, zero) = (format!("{name}.int"), format!("{name}.scale"), format!("{name}.zero"));
        self.initializers.push(raw_tensor(&integers, element, shape, bytes));
        let scale_bytes = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
        self.initializers.push(raw_tensor(&scale, Element::F32, &channels, scale_bytes));
        let mut inputs = vec![integers.as_str(), scale.as_str()];
        if let Some(zeros) = zeros {
            self.initializers.push(raw_tensor(&zero, element, &channels, zeros));
            inputs.push(&zero);
        }
        let output = restored(name);
        let restore = node("DequantizeLinear", &format!("{name}.restore"), &inputs, &output, vec![int("axis", 0)]);
        self.nodes.push(restore);
        output
    }

    fn store(self, graph: &mut GraphProto) {
        let Self { constants, mut initializers, nodes, .. } = self;
        let preprocessing = constants.into_values().filter(|t| t.name.starts_with(PREPROCESSING));
        initializers.extend(preprocessing);
        initializers.sort_by(|a, b| a.name.cmp(&b.name));
        initializers.dedup_by(|a, b| a.name == b.name);
        graph.initializer = initializers;
        graph.node = nodes;
    }
}

/// Weights in steps of their output channel's scale.
fn integers_of(weight: &[f32], scales: &[f32]) -> Vec<i8> {
    let per_channel = (weight.len() / scales.len().max(1)).max(1);
    let channels = weight.chunks(per_channel).zip(scales);
    let rounded = |(channel, scale): (&[f32], &f32)| -> Vec<i8> {
        channel.iter().map(|v| (v / scale).round().clamp(-127.0, 127.0) as i8).collect()
    };
    channels.flat_map(rounded).collect()
}

/// The weights that the integers represent.
fn restored_weights(integers: &[i8], scales: &[f32]) -> Vec<f32> {
    let per_channel = (integers.len() / scales.len().max(1)).max(1);
    let channels = integers.chunks(per_channel).zip(scales);
    channels.flat_map(|(channel, scale)| channel.iter().map(move |v| f32::from(*v) * scale)).collect()
}

/// One scale per output channel: 127 stands for the largest weight, and the bias fits its integers.
fn channel_scales(weight: &[f32], channels: usize, bias: Option<&[f32]>, activation: f32) -> Vec<f32> {
    let per_channel = weight.len() / channels.max(1);
    let channels = weight.chunks(per_channel.max(1)).enumerate();
    channels
        .map(|(index, channel)| {
            let largest = channel.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
            let bias = bias.and_then(|b| b.get(index)).copied().unwrap_or(0.0);
            let for_bias = (f64::from(bias.abs()) / (f64::from(activation) * LARGEST_BIAS)) as f32;
            let scale = (largest / 127.0).max(for_bias);
            if scale > f32::MIN_POSITIVE { scale } else { 1.0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_channel_with_a_large_bias_keeps_it() {
        let scales = channel_scales(&[0.0, 0.0, 1.27, -0.5], 2, Some(&[3.0, 0.0]), 0.02);
        let restored = (3.0 / f64::from(scales[0] * 0.02)).round() * f64::from(scales[0] * 0.02);
        assert!((restored - 3.0).abs() < 1e-4 && restored / f64::from(scales[0] * 0.02) < f64::from(i32::MAX));
        assert!((scales[1] - 0.01).abs() < 1e-7);
        assert_eq!(channel_scales(&[0.0], 1, Some(&[0.0]), 0.1), [1.0]);
    }
}
