//! A network and its weights as an ONNX graph: input `input` (N,C,H,W) with dynamic N, output `logits` (N, classes).

pub mod file;
pub mod folding;
pub mod nodes;

use crate::error::ExportError;
use crate::onnx::folding::{fold, foldable};
use crate::onnx::nodes::{Element, batch_value, float, int, ints, metadata, node, tensor};
use ofa_space::settings::{self, InvalidSetting, Settings};
use ofa_space::{
    Activation, Block, CALIBRATED, Gate, InputFormat, Model, ModelBody, NetSpec, Op, OpKind, PoolRounding, Tensor,
    TensorRef, Weights, slicing,
};
use onnx_protobuf::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Version of the default operator set: the oldest with everything we use (`HardSwish` came with 14) that current
/// runtimes all read.
pub const OPSET: i64 = 17;
/// Supported operator sets. Below 14, `HardSwish` is written as its parts.
pub const OPSETS: RangeInclusive<i64> = 13..=21;
/// Supported versions of the file format.
pub const IR_VERSIONS: RangeInclusive<i64> = 7..=10;
/// The oldest operator set with `HardSwish`.
const HARD_SWISH_OPSET: i64 = 14;

/// Name of the graph's input.
pub const INPUT: &str = "input";
/// Name of the graph's output.
pub const OUTPUT: &str = "logits";
/// What the names of preprocessing values and constants begin with.
pub(crate) const PREPROCESSING: &str = "preprocessing.";

/// How the file is written.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `opset` | 17 | operator set | 13–21 |
/// | `ir_version` | that of the operator set | version of the file format, for old readers | 7–10 |
/// | `batch` | none | fixed batch size; dynamic if none | 1 to 65,536 |
/// | `preprocessing` | outside | whether the graph takes bytes | |
#[derive(Clone, PartialEq, Debug)]
pub struct ExportOptions {
    /// Operator set.
    pub opset: i64,
    /// Version of the file format; the one that came with the operator set if `None`.
    pub ir_version: Option<i64>,
    /// Fixed batch size; dynamic if `None`.
    pub batch: Option<usize>,
    /// What the input is.
    pub preprocessing: Preprocessing,
}

/// What the graph takes for input.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Preprocessing {
    /// f32 (N,C,H,W), normalised by the caller.
    #[default]
    Outside,
    /// Bytes (N,H,W,C), as image decoders give them; the graph normalises. Resizing stays with the caller.
    InGraph(InputFormat),
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { opset: OPSET, ir_version: None, batch: None, preprocessing: Preprocessing::Outside }
    }
}

/// Images of a fixed batch.
const MOST_IMAGES: usize = 65_536;

impl Settings for ExportOptions {
    fn check(&self) -> Result<(), InvalidSetting> {
        let within = |field: &str, value: i64, range: RangeInclusive<i64>| match range.contains(&value) {
            true => Ok(()),
            false => {
                let expected = format!("is {value}, expected {} to {}", range.start(), range.end());
                Err(InvalidSetting::new(field, expected))
            }
        };
        within("opset", self.opset, OPSETS)?;
        if let Some(version) = self.ir_version {
            within("ir_version", version, IR_VERSIONS)?;
        }
        match self.batch {
            Some(size) => settings::count("batch", size, 1..=MOST_IMAGES),
            None => Ok(()),
        }
    }
}

impl ExportOptions {
    /// Refuses impossible options, and preprocessing for another number of channels than the network's.
    fn check_for(&self, net: &NetSpec) -> Result<(), InvalidSetting> {
        self.check()?;
        let channels = net.input[0];
        match &self.preprocessing {
            Preprocessing::InGraph(format) if format.mean.len() != channels || format.std.len() != channels => {
                let (mean, std) = (format.mean.len(), format.std.len());
                let problem = format!(
                    "has {mean} means and {std} standard deviations, expected {channels} of each, one a channel"
                );
                Err(InvalidSetting::new("preprocessing", problem))
            }
            _ => Ok(()),
        }
    }

    /// The version of the file format; the official table pairs them.
    fn ir_version(&self) -> i64 {
        self.ir_version.unwrap_or(match self.opset {
            ..=14 => 7,
            15..=18 => 8,
            19..=20 => 9,
            _ => 10,
        })
    }
}

/// The network of a model as ONNX, with class names, normalisation, input size, arch and provenance as metadata.
///
/// # Errors
/// [`ExportError`] if a tensor is missing or of another shape.
pub fn export(model: &Model, net: &NetSpec) -> Result<Vec<u8>, ExportError> {
    export_net(net, &model.weights, &model_metadata(model, net))
}

/// Metadata of a model's file: class names, normalisation, input size, space, arch and provenance.
pub fn model_metadata(model: &Model, net: &NetSpec) -> BTreeMap<String, String> {
    let json = |value: serde_json::Value| value.to_string();
    let mut entries = BTreeMap::from([
        ("classes".to_owned(), json(serde_json::json!(model.class_names))),
        ("mean".to_owned(), json(serde_json::json!(model.input.mean))),
        ("std".to_owned(), json(serde_json::json!(model.input.std))),
        ("resize".to_owned(), json(serde_json::json!(model.input.resize))),
        ("image_size".to_owned(), net.input[1].to_string()),
        ("provenance".to_owned(), json(serde_json::json!(model.provenance))),
    ]);
    let calibrated = model.provenance.get(CALIBRATED);
    entries.extend(calibrated.map(|value| (CALIBRATED.to_owned(), value.clone())));
    if let ModelBody::Net { arch, space, .. } = &model.body {
        entries.extend(arch.as_ref().map(|arch| ("arch".to_owned(), arch.to_string())));
        entries.extend(space.as_ref().map(|space| ("space".to_owned(), space.clone())));
    }
    entries
}

/// A network as ONNX; `entries` become metadata. The same input gives the same bytes.
///
/// # Errors
/// [`ExportError`] if a tensor is missing or of another shape.
pub fn export_net(
    net: &NetSpec,
    weights: &Weights,
    entries: &BTreeMap<String, String>,
) -> Result<Vec<u8>, ExportError> {
    let options = ExportOptions::default();
    let mut model = Body::new(net, weights, &options)?.file(&options);
    model.metadata_props = metadata_props(entries);
    file::write(&model)
}

/// Metadata in the form of the file.
pub(crate) fn metadata_props(entries: &BTreeMap<String, String>) -> Vec<StringStringEntryProto> {
    entries.iter().map(|(key, value)| metadata(key, value)).collect()
}

/// The operations and folded weights of a network, which files with different inputs share.
pub(crate) struct Body<'a> {
    net: &'a NetSpec,
    graph: GraphProto,
}

impl<'a> Body<'a> {
    /// Folds and writes every operation.
    pub(crate) fn new(net: &'a NetSpec, weights: &Weights, options: &ExportOptions) -> Result<Self, ExportError> {
        options.check_for(net)?;
        let mut graph = Graph { weights, proto: GraphProto::new(), opset: options.opset };
        graph.proto.name = "ofa".to_owned();
        let mut value = INPUT.to_owned();
        for (index, block) in net.blocks.iter().enumerate() {
            let last = index + 1 == net.blocks.len();
            value = graph.block(block, value, last.then_some(OUTPUT))?;
        }
        Ok(Self { net, graph: graph.proto })
    }

    /// The f32 file, without metadata.
    pub(crate) fn file(&self, options: &ExportOptions) -> ModelProto {
        let (net, mut graph) = (self.net, self.graph.clone());
        let [channels, height, width] = net.input;
        let input = match &options.preprocessing {
            Preprocessing::Outside => batch_value(INPUT, Element::F32, options.batch, &net.input),
            Preprocessing::InGraph(format) => {
                preprocess(&mut graph, format);
                batch_value(INPUT, Element::U8, options.batch, &[height, width, channels])
            }
        };
        graph.input.push(input);
        // A block on its own, as it is timed for a table, ends in a map of features.
        let output = net.blocks.last().map_or(net.input, |block| block.output);
        let ends_flat = net.ops().last().is_some_and(|op| matches!(op.kind, OpKind::Linear { .. }));
        let output_shape = if ends_flat { &output[..1] } else { &output };
        graph.output.push(batch_value(OUTPUT, Element::F32, options.batch, output_shape));
        let mut model = ModelProto::new();
        model.ir_version = options.ir_version();
        model.producer_name = "ofa".to_owned();
        model.producer_version = env!("CARGO_PKG_VERSION").to_owned();
        model.opset_import.push(OperatorSetIdProto { version: options.opset, ..OperatorSetIdProto::default() });
        model.graph = protobuf::MessageField::some(graph);
        model
    }
}

/// Puts what turns bytes (N,H,W,C) into normalised f32 (N,C,H,W) before a graph: `x · 1/(255·std) − mean/std`.
fn preprocess(graph: &mut GraphProto, format: &InputFormat) {
    let name = |part: &str| format!("{PREPROCESSING}{part}");
    let shape = [1, format.std.len(), 1, 1];
    let scale: Vec<f32> = format.std.iter().map(|std| (1.0 / (255.0 * f64::from(*std))) as f32).collect();
    let deviations = format.mean.iter().zip(&format.std);
    let shift: Vec<f32> = deviations.map(|(m, s)| (-f64::from(*m) / f64::from(*s)) as f32).collect();
    let [scale_name, shift_name] = ["normalise.scale", "normalise.shift"].map(name);
    let [planes, floats, scaled, normalised] = ["planes", "floats", "scaled", "normalised"].map(name);
    for value in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|value| *value == INPUT) {
        normalised.clone_into(value);
    }
    let nodes = [
        node("Transpose", &name("to_planes"), &[INPUT], &planes, vec![ints("perm", &[0, 3, 1, 2])]),
        node("Cast", &name("to_floats"), &[&planes], &floats, vec![int("to", Element::F32.code())]),
        node("Mul", &name("scale"), &[&floats, &scale_name], &scaled, Vec::new()),
        node("Add", &name("shift"), &[&scaled, &shift_name], &normalised, Vec::new()),
    ];
    graph.node.splice(0..0, nodes);
    graph.initializer.splice(0..0, [tensor(&scale_name, &shape, &scale), tensor(&shift_name, &shape, &shift)]);
}

struct Graph<'a> {
    weights: &'a Weights,
    proto: GraphProto,
    opset: i64,
}

impl Graph<'_> {
    /// Adds a block; returns the name of its output, which is `output_name` if given.
    fn block(&mut self, block: &Block, input: String, output_name: Option<&str>) -> Result<String, ExportError> {
        let folds = foldable(block);
        let mut names = vec![input];
        for (index, op) in block.ops.iter().enumerate() {
            let folded_away = folds.contains(&Some(index));
            // A batch norm that ends the block hands its name to the convolution that it is folded into.
            let last = folds[index].unwrap_or(index) + 1 == block.ops.len();
            let output = match output_name {
                Some(name) if last => name.to_owned(),
                _ => format!("{}.out", op.name),
            };
            let inputs: Vec<String> = op.inputs.iter().map(|i| names[*i].clone()).collect();
            if folded_away {
                names.push(inputs[0].clone());
                continue;
            }
            let norm = folds[index].map(|norm| &block.ops[norm].kind);
            self.op(op, norm, &inputs, &output)?;
            names.push(output);
        }
        Ok(names.pop().unwrap_or_default())
    }

    fn op(&mut self, op: &Op, norm: Option<&OpKind>, inputs: &[String], output: &str) -> Result<(), ExportError> {
        let x = inputs[0].as_str();
        let name = op.name.as_str();
        match &op.kind {
            OpKind::Conv { weight, bias, kernel, stride, padding, extra_padding, groups, .. } => {
                let (weight, bias) = match norm {
                    Some(norm) => {
                        let (weight, bias) = fold(&op.kind, norm, self.weights)?;
                        (weight, Some(bias))
                    }
                    None => (self.read(weight)?, bias.as_ref().map(|b| self.read(b)).transpose()?),
                };
                let attributes = vec![
                    ints("dilations", &[1, 1]),
                    int("group", *groups as i64),
                    ints("kernel_shape", &[*kernel; 2]),
                    ints("pads", &[*padding, *padding, padding + extra_padding, padding + extra_padding]),
                    ints("strides", &[*stride; 2]),
                ];
                let weight = self.initializer(name, "weight", &weight);
                let bias = bias.map(|bias| self.initializer(name, "bias", &bias));
                let mut inputs = vec![x, weight.as_str()];
                inputs.extend(bias.as_deref());
                self.push("Conv", name, &inputs, output, attributes);
            }
            OpKind::BatchNorm(norm) => {
                let parts = [
                    ("weight", &norm.weight),
                    ("bias", &norm.bias),
                    ("mean", &norm.mean),
                    ("variance", &norm.variance),
                ];
                let mut names = vec![x.to_owned()];
                for (suffix, reference) in parts {
                    let values = self.read(reference)?;
                    names.push(self.initializer(name, suffix, &values));
                }
                let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
                self.push("BatchNormalization", name, &inputs, output, vec![float("epsilon", norm.eps as f32)]);
            }
            OpKind::Activation { function } => self.activation(*function, name, x, output),
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate: function } => {
                let part = |suffix: &str| format!("{name}.{suffix}");
                let (pooled, reduced, squeezed) = (part("pooled"), part("reduced"), part("squeezed"));
                let (expanded, gate) = (part("expanded"), part("gate"));
                self.push("GlobalAveragePool", &part("pool"), &[x], &pooled, Vec::new());
                self.pointwise(&part("fc.reduce"), reduce_weight, reduce_bias, &pooled, &reduced)?;
                let inner_name = part(if *inner == Activation::Relu { "fc.relu" } else { "fc.inner" });
                self.activation(*inner, &inner_name, &reduced, &squeezed);
                self.pointwise(&part("fc.expand"), expand_weight, expand_bias, &squeezed, &expanded)?;
                match function {
                    Gate::HardSigmoid => {
                        self.push("HardSigmoid", &part("fc.h_sigmoid"), &[&expanded], &gate, hard_sigmoid());
                    }
                    Gate::Sigmoid => self.push("Sigmoid", &part("fc.sigmoid"), &[&expanded], &gate, Vec::new()),
                }
                self.push("Mul", name, &[x, &gate], output, Vec::new());
            }
            OpKind::GlobalAveragePool => self.push("GlobalAveragePool", name, &[x], output, Vec::new()),
            OpKind::AveragePool { kernel, stride, padding, rounding } => {
                let mut attributes = pool(*kernel, *stride, *padding);
                attributes.insert(0, int("ceil_mode", i64::from(*rounding == PoolRounding::Ceil)));
                attributes.insert(1, int("count_include_pad", 0));
                self.push("AveragePool", name, &[x], output, attributes);
            }
            OpKind::MaxPool { kernel, stride, padding } => {
                self.push("MaxPool", name, &[x], output, pool(*kernel, *stride, *padding));
            }
            OpKind::Add => self.push("Add", name, &[x, &inputs[1]], output, Vec::new()),
            OpKind::Linear { weight, bias } => {
                let flat = format!("{name}.flat");
                self.push("Flatten", &format!("{name}.flatten"), &[x], &flat, vec![int("axis", 1)]);
                let values = self.read(weight)?;
                let weight = self.initializer(name, "weight", &values);
                let bias = match bias {
                    Some(bias) => {
                        let values = self.read(bias)?;
                        Some(self.initializer(name, "bias", &values))
                    }
                    None => None,
                };
                let mut inputs = vec![flat.as_str(), weight.as_str()];
                inputs.extend(bias.as_deref());
                self.push("Gemm", name, &inputs, output, vec![int("transB", 1)]);
            }
        }
        Ok(())
    }

    /// A 1×1 convolution with bias.
    fn pointwise(
        &mut self,
        name: &str,
        weight: &TensorRef,
        bias: &TensorRef,
        input: &str,
        output: &str,
    ) -> Result<(), ExportError> {
        let (weight, bias) = (self.read(weight)?, self.read(bias)?);
        let weight = self.initializer(name, "weight", &weight);
        let bias = self.initializer(name, "bias", &bias);
        self.push("Conv", name, &[input, &weight, &bias], output, vec![ints("kernel_shape", &[1, 1])]);
        Ok(())
    }

    fn activation(&mut self, function: Activation, name: &str, x: &str, output: &str) {
        match function {
            Activation::Relu => self.push("Relu", name, &[x], output, Vec::new()),
            Activation::HSwish if self.opset < HARD_SWISH_OPSET => {
                let gate = format!("{name}.gate");
                self.push("HardSigmoid", &format!("{name}.h_sigmoid"), &[x], &gate, hard_sigmoid());
                self.push("Mul", name, &[x, &gate], output, Vec::new());
            }
            Activation::HSwish => self.push("HardSwish", name, &[x], output, Vec::new()),
            Activation::Silu => {
                let gate = format!("{name}.gate");
                self.push("Sigmoid", &format!("{name}.sigmoid"), &[x], &gate, Vec::new());
                self.push("Mul", name, &[x, &gate], output, Vec::new());
            }
            Activation::Relu6 => {
                let scalar = |value| Tensor { shape: Vec::new(), data: vec![value] };
                let low = self.initializer(name, "low", &scalar(0.0));
                let high = self.initializer(name, "high", &scalar(6.0));
                self.push("Clip", name, &[x, &low, &high], output, Vec::new());
            }
        }
    }

    fn read(&self, reference: &TensorRef) -> Result<Tensor, ExportError> {
        Ok(slicing::read(self.weights, reference)?)
    }

    /// Adds an initializer called after its operation.
    fn initializer(&mut self, op: &str, suffix: &str, values: &Tensor) -> String {
        let name = format!("{op}.{suffix}");
        self.proto.initializer.push(tensor(&name, &values.shape, &values.data));
        name
    }

    fn push(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<onnx_protobuf::AttributeProto>,
    ) {
        self.proto.node.push(node(op, name, inputs, output, attributes));
    }
}

fn pool(kernel: usize, stride: usize, padding: usize) -> Vec<onnx_protobuf::AttributeProto> {
    vec![ints("kernel_shape", &[kernel; 2]), ints("pads", &[padding; 4]), ints("strides", &[stride; 2])]
}

/// relu6(x + 3) / 6.
fn hard_sigmoid() -> Vec<onnx_protobuf::AttributeProto> {
    vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)]
}
