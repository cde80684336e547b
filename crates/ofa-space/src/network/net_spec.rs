//! The phenotype: a complete static network with every shape known, and where each weight comes from.

use super::operation::{Activation, OpKind};
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

/// A block: the unit of lookup tables and of drawings.
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
    /// Two k×k convolutions, of ResNet-18 and ResNet-34.
    BasicBlock {
        /// Kernel size of both.
        kernel: usize,
        /// Stride of the first.
        stride: usize,
        /// Channels between the two.
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
    pub const NAMES: [&'static str; 8] =
        ["stem", "inverted_residual", "bottleneck", "final_expand", "pool", "feature_mix", "classifier", "basic_block"];

    /// A short name for listings, such as `inverted_residual`.
    pub fn name(&self) -> &'static str {
        match self {
            BlockKind::Stem { .. } => "stem",
            BlockKind::InvertedResidual { .. } => "inverted_residual",
            BlockKind::Bottleneck { .. } => "bottleneck",
            BlockKind::BasicBlock { .. } => "basic_block",
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
    /// What the importance is multiplied by, if by anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ChannelScale>,
    /// Whether sorting before a later phase leaves channels within the width ranges already opened (elastic
    /// expansion) or may move them anywhere (the squeeze of a squeeze-excite).
    pub keeps_opened_ranges: bool,
    /// Every tensor and axis to permute.
    pub members: Vec<(String, usize)>,
}

/// The batch norm and the nonlinearity behind a group of channels: the size of their activations follows from it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChannelScale {
    /// Scale of the batch norm.
    pub weight: String,
    /// Shift of the batch norm.
    pub bias: String,
    /// Nonlinearity after it, if any.
    pub activation: Option<Activation>,
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
                op.kind = op.kind.map_weights(|suffix, tensor| TensorRef {
                    name: format!("{}.{suffix}", op.name),
                    role: tensor.role,
                    full: tensor.take.clone(),
                    take: tensor.take.clone(),
                    kernel_steps: Vec::new(),
                });
            }
        }
        net
    }
}
