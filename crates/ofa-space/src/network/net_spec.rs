//! The phenotype: a complete static network with every shape known, and where each weight comes from.

use serde::{Deserialize, Serialize};

/// Shape of one image's activation: `[channels, height, width]`.
pub type Shape = [usize; 3];

/// A static network: blocks in order, each a small graph of primitive operations.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NetSpec {
    /// `[channels, height, width]` of the input image.
    pub input: Shape,
    /// Number of logits.
    pub classes: usize,
    /// Blocks in order of execution; the output of one is the input of the next.
    pub blocks: Vec<Block>,
}

/// A block: the grain of lookup tables and of drawings.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Block {
    /// Name in the static network, such as `blocks.3`.
    pub name: String,
    /// What it is, with the attributes that lookup tables key on.
    pub kind: BlockKind,
    /// Input shape.
    pub input: Shape,
    /// Output shape.
    pub output: Shape,
    /// Operations in order of execution. Value 0 is the block's input and operation `i` makes value `i + 1`;
    /// the last value is the block's output.
    pub ops: Vec<Op>,
    /// Channels that may be permuted together without changing the function, for sorting by importance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channel_groups: Vec<ChannelGroup>,
}

/// The kind of a block and its attributes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockKind {
    /// A convolution before the first stage.
    Stem {
        /// Kernel size.
        kernel: usize,
        /// Stride.
        stride: usize,
    },
    /// 1×1 expansion, depthwise convolution, 1×1 projection.
    InvertedResidual {
        /// Depthwise kernel size.
        kernel: usize,
        /// Depthwise stride.
        stride: usize,
        /// Ratio of middle to input channels, before rounding.
        expansion: f64,
        /// Channels of the depthwise convolution.
        middle: usize,
        /// Whether the input is added to the output.
        residual: bool,
        /// Whether there is a squeeze-excite.
        squeeze_excite: bool,
        /// Nonlinearity.
        activation: Activation,
    },
    /// 1×1 reduction, k×k convolution, 1×1 expansion, of ResNet-50.
    Bottleneck {
        /// Kernel size of the middle convolution.
        kernel: usize,
        /// Stride of the middle convolution.
        stride: usize,
        /// Ratio of middle to output channels, before rounding.
        expansion: f64,
        /// Channels of the middle convolution.
        middle: usize,
        /// Whether the shortcut has a convolution of its own.
        downsample: bool,
        /// Nonlinearity.
        activation: Activation,
    },
    /// 1×1 convolution after the last stage, at full spatial size.
    FinalExpand {
        /// Nonlinearity.
        activation: Activation,
    },
    /// Pooling between or after stages; no weights.
    Pool,
    /// The last 1×1 convolution before the classifier.
    FeatureMix {
        /// Nonlinearity.
        activation: Activation,
    },
    /// The linear classifier.
    Classifier,
}

impl BlockKind {
    /// Every short name.
    pub const NAMES: [&'static str; 7] =
        ["stem", "inverted_residual", "bottleneck", "final_expand", "pool", "feature_mix", "classifier"];

    /// A short name for listings, such as `inverted_residual`.
    pub fn name(&self) -> &'static str {
        match self {
            BlockKind::Stem { .. } => "stem",
            BlockKind::InvertedResidual { .. } => "inverted_residual",
            BlockKind::Bottleneck { .. } => "bottleneck",
            BlockKind::FinalExpand { .. } => "final_expand",
            BlockKind::Pool => "pool",
            BlockKind::FeatureMix { .. } => "feature_mix",
            BlockKind::Classifier => "classifier",
        }
    }
}

/// One primitive operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Op {
    /// Name in the static network, such as `blocks.3.conv.point_linear.conv`.
    pub name: String,
    /// Values it reads: one, or two for [`OpKind::Add`].
    pub inputs: Vec<usize>,
    /// Shape of the value it makes.
    pub output: Shape,
    /// What it computes.
    pub kind: OpKind,
}

/// What an operation computes, and the weights it reads.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OpKind {
    /// 2-D convolution with square kernel, equal strides and symmetric zero padding.
    Conv {
        /// `[out, in / groups, k, k]`.
        weight: TensorRef,
        /// `[out]`, if any.
        bias: Option<TensorRef>,
        /// Kernel size.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Zero padding on every side.
        padding: usize,
        /// Groups; equal to the channels for a depthwise convolution.
        groups: usize,
    },
    /// Batch normalisation over channels; every tensor is `[channels]`.
    BatchNorm {
        /// Scale.
        weight: TensorRef,
        /// Shift.
        bias: TensorRef,
        /// Running mean.
        mean: TensorRef,
        /// Running (unbiased) variance.
        variance: TensorRef,
        /// Added to the variance.
        eps: f64,
    },
    /// A nonlinearity.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// x · h_sigmoid(expand(relu(reduce(mean(x))))), per channel.
    SqueezeExcite {
        /// `[squeeze, channels, 1, 1]`.
        reduce_weight: TensorRef,
        /// `[squeeze]`.
        reduce_bias: TensorRef,
        /// `[channels, squeeze, 1, 1]`.
        expand_weight: TensorRef,
        /// `[channels]`.
        expand_bias: TensorRef,
    },
    /// Mean over height and width, kept as 1×1.
    GlobalAveragePool,
    /// Average pooling; padding does not count.
    AveragePool {
        /// Window size.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding on every side.
        padding: usize,
        /// What becomes of a last window that reaches beyond the edge.
        #[serde(default)]
        rounding: PoolRounding,
    },
    /// Maximum pooling.
    MaxPool {
        /// Window size.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding on every side.
        padding: usize,
    },
    /// Sum of two values of equal shape.
    Add,
    /// Fully connected layer over the flattened value.
    Linear {
        /// `[out, in]`.
        weight: TensorRef,
        /// `[out]`, if any.
        bias: Option<TensorRef>,
    },
}

impl OpKind {
    /// The tensors it reads, with the suffix each has in the static network's state dict.
    pub fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        match self {
            OpKind::Conv { weight, bias, .. } | OpKind::Linear { weight, bias } => {
                let mut all = vec![("weight", weight)];
                all.extend(bias.iter().map(|b| ("bias", b)));
                all
            }
            OpKind::BatchNorm { weight, bias, mean, variance, .. } => {
                vec![("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", variance)]
            }
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias } => vec![
                ("fc.reduce.weight", reduce_weight),
                ("fc.reduce.bias", reduce_bias),
                ("fc.expand.weight", expand_weight),
                ("fc.expand.bias", expand_bias),
            ],
            _ => Vec::new(),
        }
    }

    /// The same, for rewriting them.
    pub fn tensors_mut(&mut self) -> Vec<(&'static str, &mut TensorRef)> {
        match self {
            OpKind::Conv { weight, bias, .. } | OpKind::Linear { weight, bias } => {
                let mut all = vec![("weight", weight)];
                all.extend(bias.iter_mut().map(|b| ("bias", b)));
                all
            }
            OpKind::BatchNorm { weight, bias, mean, variance, .. } => {
                vec![("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", variance)]
            }
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias } => vec![
                ("fc.reduce.weight", reduce_weight),
                ("fc.reduce.bias", reduce_bias),
                ("fc.expand.weight", expand_weight),
                ("fc.expand.bias", expand_bias),
            ],
            _ => Vec::new(),
        }
    }
}

/// The geometry of a square convolution.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvGeometry {
    /// Kernel size.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Zero padding on every side.
    pub padding: usize,
    /// Groups.
    pub groups: usize,
}

impl ConvGeometry {
    /// Whether it is a plain matrix product per pixel.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0 && self.groups == 1
    }

    /// Output size along one axis.
    pub fn output(&self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }
}

/// What becomes of a last pooling window that reaches beyond the edge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolRounding {
    /// It is dropped: the output size is rounded down.
    #[default]
    Floor,
    /// It is kept and pools what it holds: the output size is rounded up (`ceil_mode` of PyTorch).
    Ceil,
}

/// Nonlinearities of the families.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · relu6(x + 3) / 6.
    HSwish,
}

/// The part a tensor plays: decides its initial value and whether it is trained.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorRole {
    /// Weight of a convolution.
    ConvWeight,
    /// Bias of a convolution.
    ConvBias,
    /// Weight of a linear layer.
    LinearWeight,
    /// Bias of a linear layer.
    LinearBias,
    /// Scale of a batch norm.
    NormWeight,
    /// Shift of a batch norm.
    NormBias,
    /// Running mean of a batch norm: state, not a parameter.
    RunningMean,
    /// Running variance of a batch norm: state, not a parameter.
    RunningVariance,
    /// Kernel transform matrix; lives in the supernet only.
    KernelTransform,
}

impl TensorRole {
    /// Whether an optimizer may change it (and it counts as a parameter).
    pub fn is_parameter(self) -> bool {
        !matches!(self, TensorRole::RunningMean | TensorRole::RunningVariance)
    }
}

/// A slice of a supernet tensor: the first `take[i]` entries of every axis, and for kernels the centre crop
/// followed by the transform matrices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TensorRef {
    /// Name of the tensor in the weights.
    pub name: String,
    /// What it is for.
    pub role: TensorRole,
    /// Its whole shape in the weights.
    pub full: Vec<usize>,
    /// The shape that this network uses.
    pub take: Vec<usize>,
    /// For elastic kernels: the crops and matrices from the full to the taken kernel size, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_steps: Vec<KernelStep>,
}

/// One step of the kernel transform: centre-crop to `size`, flatten, multiply by the matrix.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KernelStep {
    /// Kernel size after this step.
    pub size: usize,
    /// Name of the `[size², size²]` matrix `M`; the flattened crop `x` becomes `x · Mᵀ`.
    pub matrix: String,
}

impl TensorRef {
    /// Number of elements that this network uses.
    pub fn elements(&self) -> usize {
        self.take.iter().product()
    }

    /// Whether the network uses the tensor whole and untransformed.
    pub fn is_whole(&self) -> bool {
        self.take == self.full
    }
}

/// Channels that are elastic together: permuting them in all members alike keeps the function.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChannelGroup {
    /// Name, unique in the supernet, such as `blocks.3.mid`.
    pub name: String,
    /// How many of the channels this network uses.
    pub width: usize,
    /// The tensor and axis whose L1 norm per channel is the importance.
    pub importance: (String, usize),
    /// Whether sorting before a later phase leaves channels within the width ranges already opened (elastic
    /// expansion) or may move them anywhere (the squeeze of a squeeze-excite).
    pub keeps_opened_ranges: bool,
    /// Every tensor and axis to permute.
    pub members: Vec<(String, usize)>,
}

/// Output shape of the latest block, or `input` if there is none.
pub(crate) fn output_of(blocks: &[Block], input: Shape) -> Shape {
    blocks.last().map_or(input, |block| block.output)
}

impl NetSpec {
    /// Every operation in order of execution.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.blocks.iter().flat_map(|block| &block.ops)
    }

    /// Every tensor read, in order of execution.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorRef> {
        self.ops().flat_map(|op| op.kind.tensors().into_iter().map(|(_, tensor)| tensor))
    }

    /// The same network reading tensors of its own, named after its operations, instead of slices of a supernet.
    pub fn standalone(&self) -> NetSpec {
        let mut net = self.clone();
        for block in &mut net.blocks {
            block.channel_groups.clear();
            for op in &mut block.ops {
                for (suffix, tensor) in op.kind.tensors_mut() {
                    tensor.name = format!("{}.{suffix}", op.name);
                    tensor.full.clone_from(&tensor.take);
                    tensor.kernel_steps.clear();
                }
            }
        }
        net
    }
}
