//! A network as a tree of PyTorch layers: what is built, and where each tensor lies in it.

use ofa_space::{Activation, BatchNorm, Block, BlockKind, Gate, NetSpec, Op, OpKind, PoolRounding, TensorRef};

/// Layers of PyTorch, or of the classes that a module's file defines.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Layer<'a> {
    /// One call of a constructor.
    Single {
        /// The call.
        call: String,
        /// Its tensors.
        tensors: Vec<Held<'a>>,
    },
    /// One after another.
    Sequence(Vec<Layer<'a>>),
    /// The sum of two branches; without a shortcut, the input is added.
    Residual {
        /// The longer branch.
        body: Box<Layer<'a>>,
        /// The shorter one.
        shortcut: Option<Box<Layer<'a>>>,
    },
    /// Layers that read any earlier values, which are counted as in a block.
    Graph {
        /// One for each operation.
        layers: Vec<Layer<'a>>,
        /// The values that each reads.
        inputs: Vec<Vec<usize>>,
    },
}

/// A tensor that a layer holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Held<'a> {
    /// Its name in the layer's state dictionary.
    pub name: String,
    /// The tensor of the network.
    pub tensor: &'a TensorRef,
    /// The shape that PyTorch's layer has.
    pub shape: Vec<usize>,
}

/// An attribute of the module: some of the network's blocks.
pub(crate) struct Part<'a> {
    /// Name of the attribute.
    pub name: &'static str,
    /// Blocks, with what they are.
    pub blocks: Vec<(&'a Block, Layer<'a>)>,
}

/// Up to the first block with a shortcut or a depthwise convolution, from there to the last one, and the rest; without those
/// that are empty.
pub(crate) fn parts(net: &NetSpec) -> Vec<Part<'_>> {
    let is_body = |block: &Block| {
        use BlockKind::{BasicBlock, Bottleneck, InvertedResidual};
        matches!(block.kind, InvertedResidual { .. } | Bottleneck { .. } | BasicBlock { .. })
    };
    let first = net.blocks.iter().position(is_body).unwrap_or(net.blocks.len());
    let after = net.blocks.iter().rposition(is_body).map_or(net.blocks.len(), |last| last + 1);
    let flat_from = flat_from(net);
    let mut parts: Vec<Part<'_>> =
        ["stem", "blocks", "head"].map(|name| Part { name, blocks: Vec::new() }).into_iter().collect();
    let mut op = 0;
    for (index, block) in net.blocks.iter().enumerate() {
        let part = usize::from(index >= first) + usize::from(index >= after);
        let reader = Reader { block, first_op: op, flat_from };
        parts[part].blocks.push((block, reader.layer()));
        op += block.ops.len();
    }
    if flat_from == op
        && let Some((block, layer)) = parts.iter_mut().rev().find_map(|part| part.blocks.last_mut())
        && block.output[1..] == [1, 1]
    {
        *layer = one(vec![layer.clone(), single("nn.Flatten()")]);
    }
    parts.retain(|part| !part.blocks.is_empty());
    parts
}

/// The first of the linear layers, with nonlinearities, that end the network: from there on, values have no height and width.
/// The number of operations, if it does not end so.
fn flat_from(net: &NetSpec) -> usize {
    let ops: Vec<&Op> = net.ops().collect();
    let is_linear = |op: &&Op| matches!(op.kind, OpKind::Linear { .. });
    let others = ops.iter().rposition(|op| !is_linear(op) && !matches!(op.kind, OpKind::Activation { .. }));
    let tail = others.map_or(0, |last| last + 1);
    ops[tail..].iter().position(is_linear).map_or(ops.len(), |linear| tail + linear)
}

impl<'a> Layer<'a> {
    /// Calls `each` with every tensor and its name under `path`.
    pub(crate) fn tensors(&self, path: &str, each: &mut impl FnMut(String, &Held<'a>)) {
        match self {
            Layer::Single { tensors, .. } => {
                tensors.iter().for_each(|held| each(format!("{path}.{}", held.name), held));
            }
            Layer::Sequence(layers) => {
                layers.iter().enumerate().for_each(|(i, layer)| layer.tensors(&format!("{path}.{i}"), each));
            }
            Layer::Residual { body, shortcut } => {
                body.tensors(&format!("{path}.body"), each);
                shortcut.iter().for_each(|shortcut| shortcut.tensors(&format!("{path}.shortcut"), each));
            }
            Layer::Graph { layers, .. } => {
                layers.iter().enumerate().for_each(|(i, layer)| layer.tensors(&format!("{path}.layers.{i}"), each));
            }
        }
    }
}

/// A block, read as layers.
struct Reader<'a> {
    block: &'a Block,
    /// The number of its first operation in the network.
    first_op: usize,
    flat_from: usize,
}

/// What a block does next.
enum Step {
    /// An operation.
    Op(usize),
    /// The sum of two branches of operations, the longer one first.
    Sum([Vec<usize>; 2]),
}

impl<'a> Reader<'a> {
    fn layer(&self) -> Layer<'a> {
        self.steps().map_or_else(|| self.graph(), |steps| one(self.layers(&steps)))
    }

    /// Indices of the operations that read a value.
    fn readers(&self, value: usize) -> Vec<usize> {
        let ops = self.block.ops.iter().enumerate();
        ops.filter(|(_, op)| op.inputs.contains(&value)).map(|(index, _)| index).collect()
    }

    fn is_sum(&self, op: usize) -> bool {
        matches!(self.block.ops[op].kind, OpKind::Add)
    }

    /// The block as a chain of operations and sums of two chains, if it is one.
    fn steps(&self) -> Option<Vec<Step>> {
        let (mut value, mut steps) = (0, Vec::new());
        while value != self.block.ops.len() {
            value = match self.readers(value).as_slice() {
                [op] if !self.is_sum(*op) => {
                    steps.push(Step::Op(*op));
                    op + 1
                }
                // Both terms are the same value.
                [sum] if self.block.ops[*sum].inputs == [value; 2] => {
                    steps.push(Step::Sum([Vec::new(), Vec::new()]));
                    sum + 1
                }
                [one, other] => {
                    let (one, sum) = self.branch(*one)?;
                    let (other, same) = self.branch(*other)?;
                    if sum != same {
                        return None;
                    }
                    steps.push(Step::Sum(if one.len() < other.len() { [other, one] } else { [one, other] }));
                    sum + 1
                }
                _ => return None,
            };
        }
        Some(steps)
    }

    /// The operations from `first` to a sum, each of them the only reader of the one before, and the sum.
    fn branch(&self, first: usize) -> Option<(Vec<usize>, usize)> {
        let (mut op, mut branch) = (first, Vec::new());
        while !self.is_sum(op) {
            branch.push(op);
            let [next] = self.readers(op + 1)[..] else { return None };
            op = next;
        }
        Some((branch, op))
    }

    fn layers(&self, steps: &[Step]) -> Vec<Layer<'a>> {
        let mut layers = Vec::new();
        let mut chain = Vec::new();
        for step in steps {
            match step {
                Step::Op(op) => chain.push(*op),
                Step::Sum([body, shortcut]) => {
                    layers.extend(self.chain(&std::mem::take(&mut chain)));
                    let shortcut = Some(self.chain(shortcut)).filter(|layers| !layers.is_empty());
                    let (body, shortcut) = (one(self.chain(body)), shortcut.map(one).map(Box::new));
                    layers.push(Layer::Residual { body: Box::new(body), shortcut });
                }
            }
        }
        layers.extend(self.chain(&chain));
        layers
    }

    /// Layers of operations that follow one another: a convolution, its batch norm and its nonlinearity are one.
    fn chain(&self, ops: &[usize]) -> Vec<Layer<'a>> {
        let mut layers = Vec::new();
        let mut rest = ops;
        while let [first, after @ ..] = rest {
            let kind = |position: usize| after.get(position).map(|op| &self.block.ops[*op].kind);
            let op = &self.block.ops[*first];
            rest = match (&op.kind, kind(0), kind(1)) {
                (
                    OpKind::Conv { bias: None, .. },
                    Some(OpKind::BatchNorm(norm)),
                    Some(OpKind::Activation { function }),
                ) => {
                    layers.extend(normalised_conv(op, norm, Some(*function)));
                    &after[2..]
                }
                (OpKind::Conv { bias: None, .. }, Some(OpKind::BatchNorm(norm)), _) => {
                    layers.extend(normalised_conv(op, norm, None));
                    &after[1..]
                }
                _ => {
                    layers.extend(self.plain(*first));
                    after
                }
            };
        }
        layers
    }

    /// The block operation by operation.
    fn graph(&self) -> Layer<'a> {
        let layers = (0..self.block.ops.len()).map(|op| one(self.plain(op))).collect();
        Layer::Graph { layers, inputs: self.block.ops.iter().map(|op| op.inputs.clone()).collect() }
    }

    /// Layers of one operation.
    fn plain(&self, index: usize) -> Vec<Layer<'a>> {
        let op = &self.block.ops[index];
        let channels = op.output[0];
        match &op.kind {
            OpKind::Conv { weight, bias, .. } => {
                let mut layers = margin(op);
                let without = if bias.is_none() { ", bias=False" } else { "" };
                let call = format!("nn.Conv2d({}{without})", conv_arguments(op, weight));
                layers.push(Layer::Single { call, tensors: held(&op.kind, "") });
                layers
            }
            OpKind::BatchNorm(norm) => {
                let eps = eps(norm).map(|eps| format!(", {eps}")).unwrap_or_default();
                let call = format!("nn.BatchNorm2d({channels}{eps})");
                vec![Layer::Single { call, tensors: held(&op.kind, "") }]
            }
            OpKind::Activation { function } => vec![single(activation(*function))],
            OpKind::SqueezeExcite { reduce_weight, inner, gate, .. } => {
                let squeezed = reduce_weight.take[0];
                let gate = match gate {
                    Gate::HardSigmoid => "nn.Hardsigmoid()",
                    Gate::Sigmoid => "nn.Sigmoid()",
                };
                let call = format!("SqueezeExcite({channels}, {squeezed}, {}, {gate})", activation(*inner));
                vec![Layer::Single { call, tensors: held(&op.kind, "") }]
            }
            OpKind::GlobalAveragePool => vec![single("nn.AdaptiveAvgPool2d(1)")],
            OpKind::AveragePool { kernel, stride, padding, rounding } => {
                let mut call = format!("nn.AvgPool2d({kernel}, {stride}");
                if *padding > 0 {
                    call += &format!(", padding={padding}");
                }
                if *rounding == PoolRounding::Ceil {
                    call += ", ceil_mode=True";
                }
                vec![single(call + ", count_include_pad=False)")]
            }
            OpKind::MaxPool { kernel, stride, padding } => {
                let padding = if *padding > 0 { format!(", padding={padding}") } else { String::new() };
                vec![single(format!("nn.MaxPool2d({kernel}, {stride}{padding})"))]
            }
            OpKind::Add => vec![single("Sum()")],
            OpKind::Linear { weight, bias } => {
                let without = if bias.is_none() { ", bias=False" } else { "" };
                let call = format!("nn.Linear({}, {}{without})", inputs_of(weight), weight.take[0]);
                let mut layers = vec![single("nn.Flatten()"), Layer::Single { call, tensors: held(&op.kind, "") }];
                if self.first_op + index < self.flat_from {
                    layers.push(single(format!("nn.Unflatten(1, ({channels}, 1, 1))")));
                }
                layers
            }
        }
    }
}

/// Values that each row of a linear layer's weight is for.
fn inputs_of(weight: &TensorRef) -> usize {
    weight.take[1..].iter().product()
}

fn single<'a>(call: impl Into<String>) -> Layer<'a> {
    Layer::Single { call: call.into(), tensors: Vec::new() }
}

/// Several layers as one.
fn one(mut layers: Vec<Layer<'_>>) -> Layer<'_> {
    match layers.len() {
        0 => single("nn.Identity()"),
        1 => layers.remove(0),
        _ => Layer::Sequence(layers),
    }
}

fn activation(function: Activation) -> &'static str {
    match function {
        Activation::Relu => "nn.ReLU()",
        Activation::Relu6 => "nn.ReLU6()",
        Activation::HSwish => "nn.Hardswish()",
        Activation::Silu => "nn.SiLU()",
    }
}

/// The tensors of an operation under the names of PyTorch's layer, with `prefix` before them.
fn held<'a>(kind: &'a OpKind, prefix: &str) -> Vec<Held<'a>> {
    let shape = |suffix: &str, tensor: &TensorRef| match (kind, suffix) {
        (OpKind::Linear { .. }, "weight") => vec![tensor.take[0], inputs_of(tensor)],
        (OpKind::SqueezeExcite { .. }, suffix) if suffix.ends_with("weight") => {
            vec![tensor.take[0], inputs_of(tensor), 1, 1]
        }
        _ => tensor.take.clone(),
    };
    let name = |suffix: &str| format!("{prefix}{}", suffix.strip_prefix("fc.").unwrap_or(suffix));
    let tensors = kind.tensors().into_iter();
    tensors.map(|(suffix, tensor)| Held { name: name(suffix), tensor, shape: shape(suffix, tensor) }).collect()
}

/// The zeros that are put around the input of a convolution, where they are not the same on every side.
fn margin<'a>(conv: &Op) -> Vec<Layer<'a>> {
    match conv.kind.geometry().map(|geometry| (geometry.extra, geometry.margins())) {
        None | Some((0, _)) => Vec::new(),
        Some((_, [before, after])) => {
            vec![single(format!("nn.ZeroPad2d(({before}, {after}, {before}, {after}))"))]
        }
    }
}

/// Arguments that `nn.Conv2d` and `ConvNorm` share.
fn conv_arguments(conv: &Op, weight: &TensorRef) -> String {
    let Some(geometry) = conv.kind.geometry() else { return String::new() };
    let (inputs, outputs) = (weight.take[1] * geometry.groups, weight.take[0]);
    let padding = if geometry.extra == 0 { geometry.padding } else { 0 };
    let named = [("stride", geometry.stride, 1), ("padding", padding, 0), ("groups", geometry.groups, 1)];
    let named = named.iter().filter(|(_, value, default)| value != default);
    let named: String = named.map(|(name, value, _)| format!(", {name}={value}")).collect();
    format!("{inputs}, {outputs}, {}{named}", geometry.kernel)
}

/// `eps` of a batch norm where it is not PyTorch's default.
fn eps(norm: &BatchNorm) -> Option<String> {
    const DEFAULT: f64 = 1e-5;
    (norm.eps != DEFAULT).then(|| format!("eps={:?}", norm.eps))
}

/// A convolution without bias, its batch norm, and its nonlinearity if it has one.
fn normalised_conv<'a>(conv: &'a Op, norm: &'a BatchNorm, function: Option<Activation>) -> Vec<Layer<'a>> {
    let OpKind::Conv { weight, .. } = &conv.kind else { return Vec::new() };
    let mut call = format!("ConvNorm({}", conv_arguments(conv, weight));
    call += &function.map(|function| format!(", activation={}", activation(function))).unwrap_or_default();
    call += &eps(norm).map(|eps| format!(", {eps}")).unwrap_or_default();
    let mut tensors = held(&conv.kind, "0.");
    let _: BatchNorm<()> = norm.map_weights(|suffix, tensor| {
        tensors.push(Held { name: format!("1.{suffix}"), tensor, shape: tensor.take.clone() });
    });
    let mut layers = margin(conv);
    layers.push(Layer::Single { call: call + ")", tensors });
    layers
}
