//! Nodes of an ONNX graph as operations.
//!
//! Some operations are several nodes: `x · sigmoid(x)` is SiLU, and pooling, two 1×1 convolutions, a gate and a product are
//! a squeeze-excite. Batch norms that an exporter folded stay folded: a convolution with bias.

use super::graph::{Constant, Graph, Node};
use ofa_space::{
    Activation, BatchNorm, Gate, OpKind, PaddingRule, PoolRounding, Tensor, TensorRef, TensorRole, Weights,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// An operation in a chain: value 0 is the image, operation `i` makes value `i + 1`.
#[derive(Clone, Debug)]
pub struct FlatOp {
    /// Values read.
    pub inputs: Vec<usize>,
    /// What is computed; tensors are named after the node.
    pub kind: OpKind,
}

/// A graph as operations.
#[derive(Debug)]
pub struct Flat {
    /// In order of execution.
    pub ops: Vec<FlatOp>,
    /// Their tensors.
    pub weights: Weights,
}

/// What a name in the graph stands for.
#[derive(Clone, Debug)]
enum Value {
    /// What an operation makes.
    Made(usize),
    /// That, with zeros around it: top, left, bottom, right.
    Padded(usize, [usize; 4]),
    /// A factor made of it.
    Factor(usize, Gate),
    /// Something that could not be read; the reason is noted.
    Unknown,
}

/// Operations that are read.
const READ: [&str; 23] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Constant",
    "Conv",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Squeeze",
    "Swish",
];

/// Strides that are read.
const STRIDES: RangeInclusive<usize> = 1..=64;

struct Reader<'a> {
    graph: &'a Graph,
    values: BTreeMap<String, Value>,
    ops: Vec<Option<FlatOp>>,
    weights: Weights,
    /// What could not be read, and how often.
    problems: BTreeMap<String, usize>,
}

impl Flat {
    /// Reads the nodes of a graph.
    ///
    /// # Errors
    /// What cannot be read: every operation with its count.
    pub fn read(graph: &Graph) -> Result<Self, String> {
        let values = BTreeMap::from([(graph.input.clone(), Value::Made(0))]);
        let problems = BTreeMap::new();
        let mut reader = Reader { graph, values, ops: Vec::new(), weights: Weights::default(), problems };
        for node in graph.nodes.iter().filter(|node| !READ.contains(&node.op.as_str())) {
            *reader.problems.entry(format!("`{}`", node.op)).or_default() += 1;
        }
        if reader.problems.is_empty() {
            for node in &graph.nodes {
                let value = match reader.node(node) {
                    Ok(value) => value,
                    Err(problem) => {
                        *reader.problems.entry(format!("`{}` {problem}", node.op)).or_default() += 1;
                        Value::Unknown
                    }
                };
                reader.values.insert(node.output.clone(), value);
            }
        }
        reader.finish()
    }
}

impl Reader<'_> {
    fn finish(self) -> Result<Flat, String> {
        if !self.problems.is_empty() {
            let list: Vec<String> =
                self.problems.into_iter().map(|(problem, count)| format!("{problem} ({count})")).collect();
            return Err(format!("has operations that cannot be imported: {}", list.join(", ")));
        }
        let Some(Value::Made(last)) = self.values.get(&self.graph.output) else {
            return Err(format!("does not compute its output `{}`", self.graph.output));
        };
        // Only what the output depends on, numbered anew.
        let mut wanted = BTreeSet::from([*last]);
        for value in (1..=*last).rev().filter(|value| *value > 0) {
            if wanted.contains(&value)
                && let Some(op) = &self.ops[value - 1]
            {
                wanted.extend(op.inputs.iter().copied());
            }
        }
        let order: Vec<usize> = wanted.into_iter().filter(|value| *value > 0).collect();
        let renumbered = |value: usize| match value {
            0 => Some(0),
            value => order.iter().position(|known| *known == value).map(|at| at + 1),
        };
        let mut ops = Vec::with_capacity(order.len());
        for value in &order {
            let op = self.ops[value - 1].as_ref().ok_or("reads inside a squeeze-excite")?;
            let inputs = op.inputs.iter().map(|input| renumbered(*input)).collect::<Option<Vec<usize>>>();
            ops.push(FlatOp { inputs: inputs.ok_or("is no chain of operations")?, kind: op.kind.clone() });
        }
        Ok(Flat { ops, weights: self.weights })
    }

    fn push(&mut self, inputs: Vec<usize>, kind: OpKind) -> Value {
        self.ops.push(Some(FlatOp { inputs, kind }));
        Value::Made(self.ops.len())
    }

    fn value(&self, node: &Node, index: usize) -> Result<Value, String> {
        let name = node.inputs.get(index).ok_or("lacks an input")?;
        match self.values.get(name) {
            Some(value) => Ok(value.clone()),
            None => Err(format!("reads `{name}`, which is no value of an operation")),
        }
    }

    /// The value that an operation makes, as it is.
    fn made(&self, node: &Node, index: usize) -> Result<Option<usize>, String> {
        match self.value(node, index)? {
            Value::Made(value) => Ok(Some(value)),
            Value::Unknown => Ok(None),
            Value::Padded(..) => Err("reads what is padded with zeros".to_owned()),
            Value::Factor(..) => Err("reads what a sigmoid makes".to_owned()),
        }
    }

    fn floats(&self, node: &Node, index: usize) -> Result<Option<&Tensor>, String> {
        match node.inputs.get(index).filter(|name| !name.is_empty()) {
            None => Ok(None),
            Some(name) => match self.graph.constants.get(name) {
                Some(Constant::Floats(tensor)) => Ok(Some(tensor)),
                _ => Err(format!("has weights `{name}` that the file does not hold")),
            },
        }
    }

    /// Keeps a tensor of a node.
    fn tensor(&mut self, node: &Node, suffix: &str, role: TensorRole, tensor: Tensor) -> TensorRef {
        let name = format!("{}.{suffix}", node.name);
        let (full, take) = (tensor.shape.clone(), tensor.shape.clone());
        self.weights.insert(name.clone(), tensor);
        TensorRef { name, role, full, take, kernel_steps: Vec::new() }
    }

    fn node(&mut self, node: &Node) -> Result<Value, String> {
        match node.op.as_str() {
            "Conv" => return self.convolution(node),
            "Pad" => return self.pad(node),
            "Sigmoid" | "HardSigmoid" => return self.factor(node),
            "Mul" => return self.product(node),
            "Add" => return self.sum(node),
            "Gemm" | "MatMul" => return self.linear(node),
            "Identity" | "Dropout" => return self.value(node, 0),
            "Constant" => return Err("without a tensor".to_owned()),
            _ => {}
        }
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        let kind = match node.op.as_str() {
            "BatchNormalization" => self.batch_norm(node)?,
            "Relu" => OpKind::Activation { function: Activation::Relu },
            "HardSwish" => OpKind::Activation { function: Activation::HSwish },
            "Swish" if node.float("alpha", 1.0) == 1.0 => OpKind::Activation { function: Activation::Silu },
            "Swish" => return Err("with a factor".to_owned()),
            "Clip" => self.clip(node)?,
            "GlobalAveragePool" => OpKind::GlobalAveragePool,
            "ReduceMean" => {
                let axes = match node.inputs.get(1).and_then(|name| self.graph.constants.get(name)) {
                    Some(Constant::Ints(axes)) => axes.clone(),
                    _ => node.ints("axes").to_vec(),
                };
                let mut axes: Vec<i64> = axes.iter().map(|axis| axis.rem_euclid(4)).collect();
                axes.sort_unstable();
                if axes != [2, 3] {
                    return Err("over other axes than height and width".to_owned());
                }
                OpKind::GlobalAveragePool
            }
            "AveragePool" | "MaxPool" => self.pool(node)?,
            // What follows reads single pixels, or a linear layer that flattens by itself.
            "Flatten" if node.int("axis", 1) == 1 => return Ok(Value::Made(input)),
            "Flatten" => return Err("of another axis than 1".to_owned()),
            "Squeeze" => return Ok(Value::Made(input)),
            "Reshape" => match node.inputs.get(1).and_then(|name| self.graph.constants.get(name)) {
                Some(Constant::Ints(shape)) if shape.len() == 2 => return Ok(Value::Made(input)),
                _ => return Err("to something else than (N, values)".to_owned()),
            },
            _ => return Err("is not read".to_owned()),
        };
        Ok(self.push(vec![input], kind))
    }

    fn convolution(&mut self, node: &Node) -> Result<Value, String> {
        let (input, [top, left, bottom, right]) = match self.value(node, 0)? {
            Value::Made(input) => (input, [0; 4]),
            Value::Padded(input, pads) => (input, pads),
            Value::Factor(..) => return Err("reads what a sigmoid makes".to_owned()),
            Value::Unknown => return Ok(Value::Unknown),
        };
        let weight = self.floats(node, 1)?.ok_or("without weights")?.clone();
        let &[outputs, _, kernel, width] = weight.shape.as_slice() else {
            return Err(format!("with weights of shape {:?}", weight.shape));
        };
        let [stride, other] = pair(node.ints("strides"), 1);
        let dilations = pair(node.ints("dilations"), 1);
        if kernel != width || stride != other || dilations != [1, 1] || kernel == 0 || !STRIDES.contains(&stride) {
            return Err("with a kernel or stride that is not square, or dilation".to_owned());
        }
        let groups = usize::try_from(node.int("group", 1)).ok().filter(|groups| *groups > 0).ok_or("with no groups")?;
        let pads = four(node.ints("pads"));
        let pads = [pads[0] + top, pads[1] + left, pads[2] + bottom, pads[3] + right];
        let automatic = node.text("auto_pad");
        let (padding, extra_padding, padding_rule) = match automatic.as_str() {
            "" | "NOTSET" => {
                let [top, left, bottom, right] = pads;
                if top != left || bottom != right || bottom < top || bottom >= kernel {
                    return Err(format!("with padding {pads:?}"));
                }
                // Checked against the rule once the size of the input is known.
                let rule = if bottom == top { PaddingRule::Symmetric } else { PaddingRule::Same };
                (top, bottom - top, rule)
            }
            "SAME_UPPER" => (0, 0, PaddingRule::Same),
            "VALID" => (0, 0, PaddingRule::Symmetric),
            other => return Err(format!("with padding {other}")),
        };
        let bias = self.floats(node, 2)?.cloned();
        if bias.as_ref().is_some_and(|bias| bias.shape != [outputs]) {
            return Err("with a bias of another size than its outputs".to_owned());
        }
        let bias = bias.map(|bias| self.tensor(node, "bias", TensorRole::ConvBias, bias));
        let weight = self.tensor(node, "weight", TensorRole::ConvWeight, weight);
        let kind = OpKind::Conv { weight, bias, kernel, stride, padding, extra_padding, padding_rule, groups };
        Ok(self.push(vec![input], kind))
    }

    /// Zeros around an image, which the convolution that reads it takes over.
    fn pad(&mut self, node: &Node) -> Result<Value, String> {
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        let mode = node.text("mode");
        let fill = match self.floats(node, 2)? {
            Some(value) => value.data.first().copied().unwrap_or(0.0),
            None => 0.0,
        };
        let pads = match node.inputs.get(1).and_then(|name| self.graph.constants.get(name)) {
            Some(Constant::Ints(pads)) => pads.clone(),
            _ => node.ints("pads").to_vec(),
        };
        let sizes: Vec<usize> = pads.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
        match sizes[..] {
            [0, 0, top, left, 0, 0, bottom, right]
                if (mode.is_empty() || mode == "constant")
                    && fill == 0.0
                    && [top, left, bottom, right].iter().all(|size| *size <= 64) =>
            {
                Ok(Value::Padded(input, [top, left, bottom, right]))
            }
            _ => Err(format!("with sizes {pads:?} or another fill than zero")),
        }
    }

    fn factor(&mut self, node: &Node) -> Result<Value, String> {
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        if node.op == "Sigmoid" {
            return Ok(Value::Factor(input, Gate::Sigmoid));
        }
        let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
        match (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 {
            true => Ok(Value::Factor(input, Gate::HardSigmoid)),
            false => Err(format!("with alpha {alpha} and beta {beta}, expected 1/6 and 0.5")),
        }
    }

    /// A nonlinearity made of a factor, or a squeeze-excite.
    fn product(&mut self, node: &Node) -> Result<Value, String> {
        let (value, of, gate) = match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Made(value), Value::Factor(of, gate)) | (Value::Factor(of, gate), Value::Made(value)) => {
                (value, of, gate)
            }
            (Value::Unknown, _) | (_, Value::Unknown) => return Ok(Value::Unknown),
            _ => return Err("of values that are no gate".to_owned()),
        };
        if value == of {
            let function = match gate {
                Gate::Sigmoid => Activation::Silu,
                Gate::HardSigmoid => Activation::HSwish,
            };
            return Ok(self.push(vec![value], OpKind::Activation { function }));
        }
        let kind = self.squeeze_excite(value, of, gate).ok_or("of a value and a gate that is no squeeze-excite")?;
        Ok(self.push(vec![value], kind))
    }

    /// The squeeze-excite of `value` whose gate is made of the value `of`.
    fn squeeze_excite(&mut self, value: usize, of: usize, gate: Gate) -> Option<OpKind> {
        let made_by = |at: usize| self.ops.get(at.checked_sub(1)?)?.as_ref();
        let pointwise = |at: usize| match made_by(at)? {
            FlatOp { inputs, kind: kind @ OpKind::Conv { weight, bias, .. } } if kind.geometry()?.is_pointwise() => {
                Some((inputs[0], weight.clone(), bias.clone()))
            }
            _ => None,
        };
        let (squeezed, expand_weight, expand_bias) = pointwise(of)?;
        let FlatOp { inputs, kind: OpKind::Activation { function: inner } } = made_by(squeezed)? else { return None };
        let reduced = inputs[0];
        let (pooled, reduce_weight, reduce_bias) = pointwise(reduced)?;
        let FlatOp { inputs, kind: OpKind::GlobalAveragePool } = made_by(pooled)? else { return None };
        if inputs[0] != value {
            return None;
        }
        let inner = *inner;
        let mut bias = |weight: &TensorRef, bias: Option<TensorRef>| match bias {
            Some(bias) => bias,
            None => {
                let name = format!("{}.zero_bias", weight.name);
                let shape = vec![weight.full[0]];
                self.weights.insert(name.clone(), Tensor::full(&shape, 0.0));
                TensorRef {
                    name,
                    role: TensorRole::ConvBias,
                    full: shape.clone(),
                    take: shape,
                    kernel_steps: Vec::new(),
                }
            }
        };
        let (reduce_bias, expand_bias) = (bias(&reduce_weight, reduce_bias), bias(&expand_weight, expand_bias));
        for part in [pooled, reduced, squeezed, of] {
            self.ops[part - 1] = None;
        }
        Some(OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate })
    }

    fn sum(&mut self, node: &Node) -> Result<Value, String> {
        // A bias behind a matrix product.
        for (value, constant) in [(0, 1), (1, 0)] {
            let Some(Constant::Floats(bias)) =
                node.inputs.get(constant).and_then(|name| self.graph.constants.get(name))
            else {
                continue;
            };
            let bias = bias.clone();
            let Some(made) = self.made(node, value)? else { return Ok(Value::Unknown) };
            let reference = TensorRef {
                name: format!("{}.bias", node.name),
                role: TensorRole::LinearBias,
                full: bias.shape.clone(),
                take: bias.shape.clone(),
                kernel_steps: Vec::new(),
            };
            return match made.checked_sub(1).and_then(|at| self.ops[at].as_mut()) {
                Some(FlatOp { kind: OpKind::Linear { weight, bias: none @ None }, .. })
                    if bias.shape == [weight.full[0]] =>
                {
                    self.weights.insert(reference.name.clone(), bias);
                    *none = Some(reference);
                    Ok(Value::Made(made))
                }
                _ => Err("of a constant that is no bias".to_owned()),
            };
        }
        match (self.made(node, 0)?, self.made(node, 1)?) {
            (Some(a), Some(b)) => Ok(self.push(vec![a, b], OpKind::Add)),
            _ => Ok(Value::Unknown),
        }
    }

    fn linear(&mut self, node: &Node) -> Result<Value, String> {
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        if node.float("alpha", 1.0) != 1.0 || node.float("beta", 1.0) != 1.0 || node.int("transA", 0) != 0 {
            return Err("with factors, or its input transposed".to_owned());
        }
        let weight = self.floats(node, 1)?.ok_or("without weights")?.clone();
        let &[rows, columns] = weight.shape.as_slice() else {
            return Err(format!("with weights of shape {:?}", weight.shape));
        };
        let weight = match node.op == "Gemm" && node.int("transB", 0) == 1 {
            true => weight,
            false => {
                let data = (0..rows * columns).map(|at| weight.data[at % rows * columns + at / rows]).collect();
                Tensor { shape: vec![columns, rows], data }
            }
        };
        let outputs = weight.shape[0];
        let bias = if node.op == "Gemm" { self.floats(node, 2)?.cloned() } else { None };
        let bias = match bias {
            Some(bias) if bias.data.len() == outputs => {
                let bias = Tensor { shape: vec![outputs], data: bias.data };
                Some(self.tensor(node, "bias", TensorRole::LinearBias, bias))
            }
            Some(_) => return Err("with a bias of another size than its outputs".to_owned()),
            None => None,
        };
        let weight = self.tensor(node, "weight", TensorRole::LinearWeight, weight);
        Ok(self.push(vec![input], OpKind::Linear { weight, bias }))
    }

    fn batch_norm(&mut self, node: &Node) -> Result<OpKind, String> {
        const PARTS: [(&str, TensorRole); 4] = [
            ("weight", TensorRole::NormWeight),
            ("bias", TensorRole::NormBias),
            ("running_mean", TensorRole::RunningMean),
            ("running_var", TensorRole::RunningVariance),
        ];
        let mut parts = Vec::with_capacity(PARTS.len());
        for (index, (suffix, role)) in PARTS.into_iter().enumerate() {
            let tensor = self.floats(node, index + 1)?.ok_or("without statistics")?.clone();
            parts.push(self.tensor(node, suffix, role, tensor));
        }
        let eps = f64::from(node.float("epsilon", 1e-5));
        match <[TensorRef; 4]>::try_from(parts) {
            Ok([weight, bias, mean, variance]) => {
                Ok(OpKind::BatchNorm(BatchNorm { weight, bias, mean, variance, eps }))
            }
            Err(_) => Err("without statistics".to_owned()),
        }
    }

    fn clip(&mut self, node: &Node) -> Result<OpKind, String> {
        let limit = |index: usize, name: &str, none: f32| match self.floats(node, index)? {
            Some(value) => Ok::<f32, String>(value.data.first().copied().unwrap_or(none)),
            None => Ok(node.float(name, none)),
        };
        let (low, high) = (limit(1, "min", f32::MIN)?, limit(2, "max", f32::MAX)?);
        match (low, high) {
            (0.0, 6.0) => Ok(OpKind::Activation { function: Activation::Relu6 }),
            (0.0, f32::MAX) => Ok(OpKind::Activation { function: Activation::Relu }),
            _ => Err(format!("to {low} to {high}, expected 0 to 6")),
        }
    }

    fn pool(&mut self, node: &Node) -> Result<OpKind, String> {
        let [kernel, other] = pair(node.ints("kernel_shape"), 0);
        let [stride, other_stride] = pair(node.ints("strides"), 1);
        let pads = four(node.ints("pads"));
        let padding = pads[0];
        let is_plain = matches!(node.text("auto_pad").as_str(), "" | "NOTSET");
        let is_square = kernel == other && stride == other_stride && pads == [padding; 4];
        if !is_square || padding >= kernel || !STRIDES.contains(&stride) || !is_plain {
            return Err("with a window, stride or padding that is not square".to_owned());
        }
        let ceil = node.int("ceil_mode", 0) != 0;
        match node.op.as_str() {
            "MaxPool" if ceil => Err("with a size that is rounded up".to_owned()),
            "MaxPool" => Ok(OpKind::MaxPool { kernel, stride, padding }),
            _ if padding > 0 && node.int("count_include_pad", 0) != 0 => Err("that counts padding".to_owned()),
            _ => {
                let rounding = if ceil { PoolRounding::Ceil } else { PoolRounding::Floor };
                Ok(OpKind::AveragePool { kernel, stride, padding, rounding })
            }
        }
    }
}

/// Two numbers, or a default for both; impossible ones become 0.
fn pair(values: &[i64], default: usize) -> [usize; 2] {
    let size = |value: i64| usize::try_from(value).unwrap_or(0);
    match values {
        [a, b] => [size(*a), size(*b)],
        _ => [default; 2],
    }
}

/// Four numbers, or zeros; impossible ones become large.
fn four(values: &[i64]) -> [usize; 4] {
    const LARGE: usize = 1 << 16;
    match values {
        [a, b, c, d] => [a, b, c, d].map(|value| usize::try_from(*value).unwrap_or(LARGE).min(LARGE)),
        _ => [0; 4],
    }
}
