//! A written f32 graph in int8, as pairs of `QuantizeLinear` and `DequantizeLinear` around every operation (QDQ).
//!
//! Runtimes with int8 kernels fuse the pairs into integer operations; others compute the same in f32. Activations have
//! one scale and zero point each, from watched ranges; weights one scale per output channel, symmetric; biases are
//! int32 in the scale of the products they are added to. (ONNX Runtime's static quantisation, S8S8.)

use crate::error::ExportError;
use crate::onnx::file::{floats, read, write};
use crate::onnx::nodes::{Element, int, node, raw_tensor};
use crate::onnx::{INPUT, OUTPUT, PREPROCESSING};
use crate::precision::Ranges;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto};
use std::collections::BTreeMap;

/// The operations that read a value, which decide how it is quantised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readers {
    /// Anything else: the watched range.
    Any,
    /// A rectifier alone. What it cuts off needs no integers: quantised after it, in one piece with the convolution.
    Rectifier,
    /// `HardSwish` alone, which is 0 below −3.
    HardSwish,
    /// `HardSigmoid` alone, which is constant outside −3 to 3.
    HardSigmoid,
}

/// Readers of every value that an operation makes.
fn readers(nodes: &[NodeProto]) -> BTreeMap<String, Readers> {
    let mut found: BTreeMap<String, Readers> = BTreeMap::new();
    for node in nodes {
        let own = match node.op_type.as_str() {
            "Relu" | "Clip" => Readers::Rectifier,
            "HardSwish" => Readers::HardSwish,
            "HardSigmoid" => Readers::HardSigmoid,
            _ => Readers::Any,
        };
        for name in &node.input {
            // A value of two readers is read by anything.
            found.entry(name.clone()).and_modify(|readers| *readers = Readers::Any).or_insert(own);
        }
    }
    found
}

/// A bias may take this share of an int32, so that sums have room.
const LARGEST_BIAS: f64 = (1u64 << 30) as f64;

/// The file with int8 weights and activations.
///
/// # Errors
/// [`ExportError::NotOurs`] if it is not an f32 file of this crate or a range is missing.
pub fn quantise(onnx: &[u8], ranges: &Ranges) -> Result<Vec<u8>, ExportError> {
    let mut model = read(onnx)?;
    quantise_model(&mut model, ranges)?;
    write(&model)
}

pub(crate) fn quantise_model(model: &mut ModelProto, ranges: &Ranges) -> Result<(), ExportError> {
    let graph = model.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
    let mut quantiser = Quantiser {
        ranges,
        constants: graph.initializer.iter().map(|t| (t.name.clone(), t.clone())).collect(),
        readers: readers(&graph.node),
        scales: BTreeMap::new(),
        initializers: Vec::new(),
        nodes: Vec::new(),
    };
    let nodes = std::mem::take(&mut graph.node);
    let starts_with_bytes = nodes.iter().any(|n| n.name.starts_with(PREPROCESSING));
    if !starts_with_bytes {
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
            if !is_cut_off {
                quantiser.activation(output)?;
            }
        }
    }
    quantiser.store(graph);
    Ok(())
}

struct Quantiser<'a> {
    ranges: &'a Ranges,
    /// Initializers of the f32 graph.
    constants: BTreeMap<String, TensorProto>,
    readers: BTreeMap<String, Readers>,
    /// Scales of activations that are quantised.
    scales: BTreeMap<String, f32>,
    initializers: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

fn restored(name: &str) -> String {
    format!("{name}.restored")
}

impl Quantiser<'_> {
    /// Adds the pair after a value; operations that read the value read the restored one from here on.
    fn activation(&mut self, value: &str) -> Result<(), ExportError> {
        // What preprocessing in the graph ends in is what the network without it takes.
        let watched = if value.starts_with(PREPROCESSING) { INPUT } else { value };
        let (low, high) = *self
            .ranges
            .get(watched)
            .ok_or_else(|| ExportError::NotOurs(format!("has a value `{value}` whose range was not watched")))?;
        let (low, high) = match self.readers.get(value) {
            Some(Readers::HardSwish) => (low.max(-3.0), high),
            Some(Readers::HardSigmoid) => (low.max(-3.0), high.min(3.0)),
            _ => (low, high),
        };
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
        let weighted = matches!(node.op_type.as_str(), "Conv" | "Gemm");
        let scale = self.scales.get(&node.input[0]).copied();
        if let (true, Some(scale)) = (weighted, scale) {
            let bias = node.input.get(2).and_then(|name| self.constants.get(name)).map(floats).transpose()?;
            let weight = &self.constants[&node.input[1]];
            let (weight, shape) = (floats(weight)?, weight.dims.iter().map(|d| *d as usize).collect::<Vec<_>>());
            let scales = channel_scales(&weight, shape[0], bias.as_deref(), scale);
            node.input[1] = self.weight(&node.input[1], &weight, &shape, &scales);
            if let Some(bias) = bias {
                node.input[2] = self.bias(&node.input[2], &bias, &scales, scale);
            }
        } else {
            // A constant of any other operation stays f32.
            for name in node.input.iter().skip(1) {
                if let Some(constant) = self.constants.get(name) {
                    self.initializers.push(constant.clone());
                }
            }
        }
        for name in &mut node.input {
            if self.scales.contains_key(name.as_str()) {
                *name = restored(name);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    fn weight(&mut self, name: &str, values: &[f32], shape: &[usize], scales: &[f32]) -> String {
        let per_channel = values.len() / scales.len().max(1);
        let bytes = values
            .chunks(per_channel.max(1))
            .zip(scales)
            .flat_map(|(channel, scale)| channel.iter().map(move |v| (v / scale).round().clamp(-127.0, 127.0) as i8))
            .flat_map(i8::to_le_bytes)
            .collect();
        let zeros = vec![0; scales.len()];
        self.restore(name, Element::I8, shape, bytes, scales, Some(zeros))
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
