//! Builds blocks of a [`NetSpec`](crate::NetSpec) operation by operation, keeping track of shapes.
//!
//! Search spaces describe each layer once here; everything that reads a `NetSpec` then supports it.

use crate::network::channels::squeeze_channels;
use crate::network::net_spec::{Block, BlockKind, ChannelGroup, KernelStep, Op, Shape, TensorRef, TensorRole};
use crate::network::operation::{Activation, BatchNorm, Gate, OpKind, PaddingRule, PoolRounding};

/// An elastic width: how many channels this network uses of how many the supernet holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Width {
    /// Channels used.
    pub take: usize,
    /// Channels held by the supernet.
    pub full: usize,
}

impl Width {
    /// A width that is not elastic.
    pub fn fixed(channels: usize) -> Self {
        Self { take: channels, full: channels }
    }
}

/// An elastic kernel: the size used and all sizes that the supernet derives by transform matrices.
#[derive(Clone, Debug)]
pub struct ElasticKernel {
    /// The size used.
    pub take: usize,
    /// All sizes, descending; the first is the stored one.
    pub sizes: Vec<usize>,
}

/// The inside of a squeeze-excite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Squeeze {
    /// Channels between the two convolutions.
    pub squeezed: Width,
    /// Nonlinearity between them.
    pub inner: Activation,
    /// What makes a factor of the result.
    pub gate: Gate,
}

/// Builds one block.
pub struct BlockBuilder {
    name: String,
    /// Name of the same block in the supernet, where its tensors live.
    supernet_name: String,
    input: Shape,
    /// Shape of the value that the next operation reads.
    value: Shape,
    /// That value, if it is not the latest.
    branch_from: Option<usize>,
    ops: Vec<Op>,
    channel_groups: Vec<ChannelGroup>,
}

impl BlockBuilder {
    /// Starts a block called `name` in the static network and `supernet_name` in the supernet.
    pub fn new(name: impl Into<String>, supernet_name: impl Into<String>, input: Shape) -> Self {
        Self {
            name: name.into(),
            supernet_name: supernet_name.into(),
            input,
            value: input,
            branch_from: None,
            ops: Vec::new(),
            channel_groups: Vec::new(),
        }
    }

    /// Shape of the latest value.
    pub fn shape(&self) -> Shape {
        self.value
    }

    /// Index of the latest value, to be read again by [`add`](Self::add).
    pub fn latest(&self) -> usize {
        self.ops.len()
    }

    /// Starts another branch: the next operation reads this earlier value (0 = the block's input), not the latest.
    pub fn branch(&mut self, earlier: usize) -> &mut Self {
        self.value = if earlier == 0 { self.input } else { self.ops[earlier - 1].output };
        self.branch_from = Some(earlier);
        self
    }

    /// Full name of a tensor of this block in the supernet.
    pub fn tensor_name(&self, path: &str) -> String {
        join(&self.supernet_name, path)
    }

    fn push(&mut self, path: &str, kind: OpKind, output: Shape) {
        let inputs = vec![self.branch_from.take().unwrap_or_else(|| self.latest())];
        self.ops.push(Op { name: join(&self.name, path), inputs, output, kind });
        self.value = output;
    }

    /// A convolution at `layer` whose weight is `tensor` + `.weight` (both relative to the block).
    pub fn conv(&mut self, layer: &str, tensor: &str, conv: ConvShape) -> &mut Self {
        let [_, height, width] = self.value;
        let ConvShape { input, output, kernel, stride, groups, bias } = conv;
        let padding = kernel / 2;
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        let (take_in, full_in) = match groups {
            Groups::Dense => (input.take, input.full),
            Groups::Depthwise => (1, 1),
        };
        let weight = TensorRef {
            name: self.tensor_name(&format!("{tensor}.weight")),
            role: TensorRole::ConvWeight,
            full: vec![output.full, full_in, kernel, kernel],
            take: vec![output.take, take_in, kernel, kernel],
            kernel_steps: Vec::new(),
        };
        let bias = bias.then(|| TensorRef {
            name: self.tensor_name(&format!("{tensor}.bias")),
            role: TensorRole::ConvBias,
            full: vec![output.full],
            take: vec![output.take],
            kernel_steps: Vec::new(),
        });
        let groups = match groups {
            Groups::Dense => 1,
            Groups::Depthwise => input.take,
        };
        let kind = OpKind::Conv {
            weight,
            bias,
            kernel,
            stride,
            padding,
            extra_padding: 0,
            padding_rule: PaddingRule::Symmetric,
            groups,
        };
        self.push(layer, kind, [output.take, out(height), out(width)]);
        self
    }

    /// A depthwise convolution with an elastic kernel; matrices are `{matrices}.{a}to{b}_matrix`.
    pub fn elastic_depthwise(
        &mut self,
        layer: &str,
        tensor: &str,
        matrices: &str,
        width: Width,
        kernel: &ElasticKernel,
        stride: usize,
    ) -> &mut Self {
        self.conv(layer, tensor, ConvShape::depthwise(width, kernel.take, stride));
        let steps = kernel
            .sizes
            .windows(2)
            .take_while(|pair| pair[1] >= kernel.take)
            .map(|pair| KernelStep {
                size: pair[1],
                matrix: self.tensor_name(&format!("{matrices}.{}to{}_matrix", pair[0], pair[1])),
            })
            .collect();
        if let Some(Op { kind: OpKind::Conv { weight, .. }, .. }) = self.ops.last_mut() {
            weight.full[2] = kernel.sizes[0];
            weight.full[3] = kernel.sizes[0];
            weight.kernel_steps = steps;
        }
        self
    }

    /// Batch normalisation at `layer`, tensors under `tensor`.
    pub fn batch_norm(&mut self, layer: &str, tensor: &str, width: Width, eps: f64) -> &mut Self {
        let part = |suffix: &str, role| TensorRef {
            name: join(&self.supernet_name, &format!("{tensor}.{suffix}")),
            role,
            full: vec![width.full],
            take: vec![width.take],
            kernel_steps: Vec::new(),
        };
        let norm = BatchNorm {
            weight: part("weight", TensorRole::NormWeight),
            bias: part("bias", TensorRole::NormBias),
            mean: part("running_mean", TensorRole::RunningMean),
            variance: part("running_var", TensorRole::RunningVariance),
            eps,
        };
        self.push(layer, OpKind::BatchNorm(norm), self.value);
        self
    }

    /// A nonlinearity.
    pub fn activation(&mut self, layer: &str, function: Activation) -> &mut Self {
        self.push(layer, OpKind::Activation { function }, self.value);
        self
    }

    /// A squeeze-excite of the authors' families over an elastic width; tensors under `tensor`.
    pub fn squeeze_excite(&mut self, layer: &str, tensor: &str, width: Width) -> &mut Self {
        let squeezed = Width { take: squeeze_channels(width.take), full: squeeze_channels(width.full) };
        self.gate(layer, tensor, width, Squeeze { squeezed, inner: Activation::Relu, gate: Gate::HardSigmoid })
    }

    /// Any squeeze-excite over an elastic width; tensors under `tensor`.
    pub fn gate(&mut self, layer: &str, tensor: &str, width: Width, squeeze: Squeeze) -> &mut Self {
        let Squeeze { squeezed: Width { take, full }, inner, gate } = squeeze;
        let part = |suffix: &str, role, full: Vec<usize>, take: Vec<usize>| TensorRef {
            name: join(&self.supernet_name, &format!("{tensor}.fc.{suffix}")),
            role,
            full,
            take,
            kernel_steps: Vec::new(),
        };
        let kind = OpKind::SqueezeExcite {
            reduce_weight: part(
                "reduce.weight",
                TensorRole::ConvWeight,
                vec![full, width.full, 1, 1],
                vec![take, width.take, 1, 1],
            ),
            reduce_bias: part("reduce.bias", TensorRole::ConvBias, vec![full], vec![take]),
            expand_weight: part(
                "expand.weight",
                TensorRole::ConvWeight,
                vec![width.full, full, 1, 1],
                vec![width.take, take, 1, 1],
            ),
            expand_bias: part("expand.bias", TensorRole::ConvBias, vec![width.full], vec![width.take]),
            inner,
            gate,
        };
        self.push(layer, kind, self.value);
        self
    }

    /// Mean over height and width.
    pub fn global_average_pool(&mut self, layer: &str) -> &mut Self {
        let [channels, _, _] = self.value;
        self.push(layer, OpKind::GlobalAveragePool, [channels, 1, 1]);
        self
    }

    /// Average pooling without padding; a last window that reaches beyond the edge pools what it holds.
    pub fn average_pool(&mut self, layer: &str, kernel: usize, stride: usize) -> &mut Self {
        let [channels, height, width] = self.value;
        let out = |size: usize| size.saturating_sub(kernel).div_ceil(stride) + 1;
        let kind = OpKind::AveragePool { kernel, stride, padding: 0, rounding: PoolRounding::Ceil };
        self.push(layer, kind, [channels, out(height), out(width)]);
        self
    }

    /// Maximum pooling with padding half the kernel.
    pub fn max_pool(&mut self, layer: &str, kernel: usize, stride: usize) -> &mut Self {
        let [channels, height, width] = self.value;
        let padding = kernel / 2;
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        self.push(layer, OpKind::MaxPool { kernel, stride, padding }, [channels, out(height), out(width)]);
        self
    }

    /// A linear layer with bias over the flattened value.
    pub fn linear(&mut self, layer: &str, tensor: &str, input: Width, output: usize) -> &mut Self {
        let part = |suffix: &str, role, full: Vec<usize>, take: Vec<usize>| TensorRef {
            name: join(&self.supernet_name, &format!("{tensor}.{suffix}")),
            role,
            full,
            take,
            kernel_steps: Vec::new(),
        };
        let kind = OpKind::Linear {
            weight: part("weight", TensorRole::LinearWeight, vec![output, input.full], vec![output, input.take]),
            bias: Some(part("bias", TensorRole::LinearBias, vec![output], vec![output])),
        };
        self.push(layer, kind, [output, 1, 1]);
        self
    }

    /// Adds an earlier value (0 = the block's input) to the latest.
    pub fn add(&mut self, layer: &str, earlier: usize) -> &mut Self {
        let inputs = vec![self.latest(), earlier];
        self.ops.push(Op { name: join(&self.name, layer), inputs, output: self.value, kind: OpKind::Add });
        self
    }

    /// Declares channels that may be permuted together; names in `group` are relative to the block.
    pub fn channel_group(&mut self, group: ChannelGroup) -> &mut Self {
        let full = |(tensor, axis): (String, usize)| (self.tensor_name(&tensor), axis);
        let group = ChannelGroup {
            name: self.tensor_name(&group.name),
            importance: full(group.importance),
            members: group.members.into_iter().map(full).collect(),
            ..group
        };
        self.channel_groups.push(group);
        self
    }

    /// The finished block.
    pub fn finish(self, kind: BlockKind) -> Block {
        Block {
            name: self.name,
            kind,
            input: self.input,
            output: self.value,
            ops: self.ops,
            channel_groups: self.channel_groups,
        }
    }
}

/// A block of one convolution, its batch norm if `eps` is given, and its nonlinearity; tensors under `name` in the
/// supernet too.
pub fn conv_block(
    name: &str,
    input: Shape,
    conv: ConvShape,
    eps: Option<f64>,
    activation: Activation,
    kind: BlockKind,
) -> Block {
    let mut block = BlockBuilder::new(name, name, input);
    block.conv("conv", "conv", conv);
    if let Some(eps) = eps {
        block.batch_norm("bn", "bn", conv.output, eps);
    }
    block.activation("act", activation);
    block.finish(kind)
}

/// The block that takes the mean over height and width.
pub fn global_pool_block(input: Shape) -> Block {
    const NAME: &str = "global_avg_pool";
    let mut block = BlockBuilder::new(NAME, NAME, input);
    block.global_average_pool("");
    block.finish(BlockKind::Pool)
}

/// The classifier, whose tensors are under `classifier` and `tensor` in the supernet.
pub fn classifier_block(input: Shape, tensor: &str, features: Width, classes: usize) -> Block {
    const NAME: &str = "classifier";
    let mut block = BlockBuilder::new(NAME, NAME, input);
    block.linear("linear", tensor, features, classes);
    block.finish(BlockKind::Classifier)
}

/// Joins two parts of a dotted name; an empty part leaves the other alone.
fn join(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}.{path}"),
    }
}

/// Grouping of a convolution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Groups {
    /// Every output reads every input.
    Dense,
    /// Every channel on its own.
    Depthwise,
}

/// The shape of a convolution; padding is always half the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvShape {
    /// Input channels.
    pub input: Width,
    /// Output channels.
    pub output: Width,
    /// Kernel size.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Grouping.
    pub groups: Groups,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvShape {
    /// A dense convolution without bias.
    pub fn dense(input: Width, output: Width, kernel: usize, stride: usize) -> Self {
        Self { input, output, kernel, stride, groups: Groups::Dense, bias: false }
    }

    /// A depthwise convolution without bias.
    pub fn depthwise(width: Width, kernel: usize, stride: usize) -> Self {
        Self { input: width, output: width, kernel, stride, groups: Groups::Depthwise, bias: false }
    }
}
