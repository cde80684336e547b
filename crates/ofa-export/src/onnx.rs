//! A network and its weights as an ONNX graph: input `input` (N,C,H,W) with dynamic N, output `logits` (N, classes).

use crate::error::ExportError;
use crate::fold::{fold, foldable};
use crate::nodes::{batch_value, float, int, ints, metadata, node, tensor};
use ofa_space::net_spec::{Block, Op, OpKind, TensorRef};
use ofa_space::{Activation, Model, ModelBody, NetSpec, PoolRounding, Tensor, Weights, slicing};
use onnx_protobuf::{GraphProto, Message, ModelProto, OperatorSetIdProto};
use std::collections::BTreeMap;

/// Version of the default operator set: the oldest with everything we use (`HardSwish` came with 14) that current
/// runtimes all read.
pub const OPSET: i64 = 17;
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 8;

/// The network of a model as ONNX, with class names, normalisation, input size, arch and provenance as metadata.
///
/// # Errors
/// [`ExportError`] if a tensor is missing or of another shape.
pub fn export(model: &Model, net: &NetSpec) -> Result<Vec<u8>, ExportError> {
    let json = |value: serde_json::Value| value.to_string();
    let mut entries = BTreeMap::from([
        ("classes".to_owned(), json(serde_json::json!(model.class_names))),
        ("mean".to_owned(), json(serde_json::json!(model.input.mean))),
        ("std".to_owned(), json(serde_json::json!(model.input.std))),
        ("resize".to_owned(), json(serde_json::json!(model.input.resize))),
        ("image_size".to_owned(), net.input[1].to_string()),
        ("provenance".to_owned(), json(serde_json::json!(model.provenance))),
    ]);
    if let ModelBody::Net { arch: Some(arch), .. } = &model.body {
        entries.insert("arch".to_owned(), arch.to_string());
    }
    export_net(net, &model.weights, &entries)
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
    let mut graph = Graph { weights, proto: GraphProto::new() };
    graph.proto.name = "ofa".to_owned();
    graph.proto.input.push(batch_value("input", &net.input));
    graph.proto.output.push(batch_value("logits", &[net.classes]));
    let mut value = "input".to_owned();
    for (index, block) in net.blocks.iter().enumerate() {
        let last = index + 1 == net.blocks.len();
        value = graph.block(block, value, last.then_some("logits"))?;
    }
    let mut model = ModelProto::new();
    model.ir_version = IR_VERSION;
    model.producer_name = "ofa".to_owned();
    model.producer_version = env!("CARGO_PKG_VERSION").to_owned();
    model.opset_import.push(OperatorSetIdProto { version: OPSET, ..OperatorSetIdProto::default() });
    model.metadata_props = entries.iter().map(|(key, value)| metadata(key, value)).collect();
    model.graph = protobuf::MessageField::some(graph.proto);
    model.write_to_bytes().map_err(|e| ExportError::Protobuf(e.to_string()))
}

struct Graph<'a> {
    weights: &'a Weights,
    proto: GraphProto,
}

impl Graph<'_> {
    /// Adds a block; returns the name of its output, which is `output_name` if given.
    fn block(&mut self, block: &Block, input: String, output_name: Option<&str>) -> Result<String, ExportError> {
        let folds = foldable(block);
        let mut names = vec![input];
        for (index, op) in block.ops.iter().enumerate() {
            let folded_away = folds.contains(&Some(index));
            let last = index + 1 == block.ops.len();
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
            OpKind::Conv { weight, bias, kernel, stride, padding, groups } => {
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
                    ints("pads", &[*padding; 4]),
                    ints("strides", &[*stride; 2]),
                ];
                let weight = self.initializer(name, "weight", &weight);
                let bias = bias.map(|bias| self.initializer(name, "bias", &bias));
                let mut inputs = vec![x, weight.as_str()];
                inputs.extend(bias.as_deref());
                self.push("Conv", name, &inputs, output, attributes);
            }
            OpKind::BatchNorm { weight, bias, mean, variance, eps } => {
                let parts = [("weight", weight), ("bias", bias), ("mean", mean), ("variance", variance)];
                let mut names = vec![x.to_owned()];
                for (suffix, reference) in parts {
                    let values = self.read(reference)?;
                    names.push(self.initializer(name, suffix, &values));
                }
                let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
                self.push("BatchNormalization", name, &inputs, output, vec![float("epsilon", *eps as f32)]);
            }
            OpKind::Activation { function } => self.activation(*function, name, x, output),
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias } => {
                let part = |suffix: &str| format!("{name}.{suffix}");
                let (pooled, reduced, squeezed) = (part("pooled"), part("reduced"), part("squeezed"));
                let (expanded, gate) = (part("expanded"), part("gate"));
                self.push("GlobalAveragePool", &part("pool"), &[x], &pooled, Vec::new());
                self.pointwise(&part("fc.reduce"), reduce_weight, reduce_bias, &pooled, &reduced)?;
                self.push("Relu", &part("fc.relu"), &[&reduced], &squeezed, Vec::new());
                self.pointwise(&part("fc.expand"), expand_weight, expand_bias, &squeezed, &expanded)?;
                self.push("HardSigmoid", &part("fc.h_sigmoid"), &[&expanded], &gate, hard_sigmoid());
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
            Activation::HSwish => self.push("HardSwish", name, &[x], output, Vec::new()),
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
