//! What to execute: a [`NetSpec`] as steps, with each convolution, its batch norm and its nonlinearity in one step.
//!
//! The plan holds no tensors; it says which slices of which supernet tensors every step reads.

use ofa_space::{Activation, Block, ConvGeometry, NetSpec, OpKind, PoolRounding, Shape, TensorRef};

/// A network ready for execution.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `[channels, height, width]` of the input image.
    pub input: Shape,
    /// Steps of every block in order.
    pub blocks: Vec<Vec<Step>>,
}

/// One step: reads earlier values of its block (0 = the block's input, `i + 1` = step `i`'s output).
#[derive(Clone, Debug)]
pub struct Step {
    /// Values read.
    pub inputs: Vec<usize>,
    /// What to compute.
    pub kind: StepKind,
}

/// The slices that a batch norm reads.
#[derive(Clone, Debug)]
pub struct NormRefs {
    /// Scale.
    pub weight: TensorRef,
    /// Shift.
    pub bias: TensorRef,
    /// Running mean.
    pub mean: TensorRef,
    /// Running variance.
    pub variance: TensorRef,
    /// Added to the variance.
    pub eps: f64,
}

/// What a step computes.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a net has a few dozen; the large variant is the common one")]
pub enum StepKind {
    /// Convolution, batch norm and nonlinearity, each of the last two optional.
    Conv {
        /// Geometry.
        geometry: ConvGeometry,
        /// Weight.
        weight: TensorRef,
        /// Bias.
        bias: Option<TensorRef>,
        /// Batch norm after it.
        norm: Option<NormRefs>,
        /// Nonlinearity after that.
        activation: Option<Activation>,
    },
    /// Batch norm on its own.
    Norm(NormRefs),
    /// Nonlinearity on its own.
    Activation(Activation),
    /// Squeeze-excite: reduce weight and bias, expand weight and bias.
    SqueezeExcite(Box<[TensorRef; 4]>),
    /// Mean over height and width.
    GlobalAveragePool,
    /// Average pooling, padding not counted.
    AveragePool {
        /// Window.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding.
        padding: usize,
        /// What becomes of a last window that reaches beyond the edge.
        rounding: PoolRounding,
    },
    /// Maximum pooling.
    MaxPool {
        /// Window.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding.
        padding: usize,
    },
    /// Sum of two values.
    Add,
    /// Fully connected.
    Linear {
        /// Weight.
        weight: TensorRef,
        /// Bias.
        bias: Option<TensorRef>,
    },
}

impl Plan {
    /// The plan of a network.
    pub fn new(net: &NetSpec) -> Self {
        Self { input: net.input, blocks: net.blocks.iter().map(steps).collect() }
    }
}

/// Fuses an operation into the step before it where that step's value is read by nothing else.
fn steps(block: &Block) -> Vec<Step> {
    let readers = |value: usize| block.ops.iter().flat_map(|op| &op.inputs).filter(|i| **i == value).count();
    let mut steps: Vec<Step> = Vec::with_capacity(block.ops.len());
    // Step value that holds each operation value.
    let mut value_of = vec![0];
    for op in &block.ops {
        let follows = op.inputs.len() == 1
            && value_of[op.inputs[0]] == steps.len()
            && op.inputs[0] > 0
            && readers(op.inputs[0]) == 1;
        let fused = follows && steps.last_mut().is_some_and(|step| fuse(&mut step.kind, &op.kind));
        if !fused {
            let inputs = op.inputs.iter().map(|i| value_of[*i]).collect();
            steps.push(Step { inputs, kind: step_kind(&op.kind) });
        }
        value_of.push(steps.len());
    }
    steps
}

/// Whether `next` could be absorbed by `step`, and does it.
fn fuse(step: &mut StepKind, next: &OpKind) -> bool {
    let StepKind::Conv { bias, norm, activation, .. } = step else { return false };
    match next {
        OpKind::BatchNorm { weight, bias: shift, mean, variance, eps }
            if bias.is_none() && norm.is_none() && activation.is_none() =>
        {
            *norm = Some(norm_refs(weight, shift, mean, variance, *eps));
            true
        }
        OpKind::Activation { function } if activation.is_none() => {
            *activation = Some(*function);
            true
        }
        _ => false,
    }
}

fn norm_refs(weight: &TensorRef, bias: &TensorRef, mean: &TensorRef, variance: &TensorRef, eps: f64) -> NormRefs {
    NormRefs { weight: weight.clone(), bias: bias.clone(), mean: mean.clone(), variance: variance.clone(), eps }
}

fn step_kind(op: &OpKind) -> StepKind {
    match op {
        OpKind::Conv { weight, bias, kernel, stride, padding, groups } => StepKind::Conv {
            geometry: ConvGeometry { kernel: *kernel, stride: *stride, padding: *padding, groups: *groups },
            weight: weight.clone(),
            bias: bias.clone(),
            norm: None,
            activation: None,
        },
        OpKind::BatchNorm { weight, bias, mean, variance, eps } => {
            StepKind::Norm(norm_refs(weight, bias, mean, variance, *eps))
        }
        OpKind::Activation { function } => StepKind::Activation(*function),
        OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias } => {
            StepKind::SqueezeExcite(Box::new([
                reduce_weight.clone(),
                reduce_bias.clone(),
                expand_weight.clone(),
                expand_bias.clone(),
            ]))
        }
        OpKind::GlobalAveragePool => StepKind::GlobalAveragePool,
        OpKind::AveragePool { kernel, stride, padding, rounding } => {
            StepKind::AveragePool { kernel: *kernel, stride: *stride, padding: *padding, rounding: *rounding }
        }
        OpKind::MaxPool { kernel, stride, padding } => {
            StepKind::MaxPool { kernel: *kernel, stride: *stride, padding: *padding }
        }
        OpKind::Add => StepKind::Add,
        OpKind::Linear { weight, bias } => StepKind::Linear { weight: weight.clone(), bias: bias.clone() },
    }
}
