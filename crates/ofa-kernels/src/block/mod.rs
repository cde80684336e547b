//! A block of a network as the kernels see it: a few steps, of which the convolutions carry all the work.

pub mod backward;
pub mod evaluation;
pub mod forward;
pub(crate) mod source;

pub use crate::pooling::Window;

use crate::conv::convolution::Kind;
use ofa_space::{Activation, ConvGeometry};

/// Height, width and channels of an image's activation.
pub type ImageShape = [usize; 3];

/// Steps in order. Value 0 is the block's input and step `i` makes value `i + 1`; the last is the block's output.
#[derive(Clone, Debug)]
pub struct Block {
    steps: Vec<BlockStep>,
}

/// One step. Numbers named after tensors are positions in the list of the block's parameters.
#[derive(Clone, Debug)]
pub enum BlockStep {
    /// Convolution, what is added or normalised after it, nonlinearity.
    Conv {
        /// Value read.
        input: usize,
        /// Geometry.
        geometry: ConvGeometry,
        /// `[out, in / groups, k, k]`.
        weight: usize,
        /// Output channels.
        outputs: usize,
        /// Batch norm or bias.
        after: After,
        /// Nonlinearity.
        activation: Option<Activation>,
    },
    /// Squeeze-excite: `x · h_sigmoid(expand(relu(reduce(mean(x)))))`.
    Gate {
        /// Value read.
        input: usize,
        /// Reduce weight and bias, expand weight and bias.
        weights: [usize; 4],
        /// Channels in between.
        squeezed: usize,
    },
    /// Sum of two values, then a nonlinearity.
    Add {
        /// Values read.
        inputs: [usize; 2],
        /// Nonlinearity.
        activation: Option<Activation>,
    },
    /// Average pooling; padding, and what lies beyond the edge, do not count.
    AveragePool {
        /// Value read.
        input: usize,
        /// The windows.
        window: Window,
    },
    /// Maximum pooling; padding does not count.
    MaxPool {
        /// Value read.
        input: usize,
        /// The windows.
        window: Window,
    },
    /// Mean over height and width.
    GlobalPool {
        /// Value read.
        input: usize,
    },
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug)]
pub enum After {
    /// Batch norm with the batch's own statistics.
    Norm {
        /// `[out]`.
        scale: usize,
        /// `[out]`.
        shift: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// A bias `[out]`.
    Bias(usize),
    /// Nothing.
    Nothing,
}

impl BlockStep {
    /// The values that it reads.
    pub fn inputs(&self) -> &[usize] {
        match self {
            BlockStep::Add { inputs, .. } => inputs,
            BlockStep::Conv { input, .. }
            | BlockStep::Gate { input, .. }
            | BlockStep::AveragePool { input, .. }
            | BlockStep::MaxPool { input, .. }
            | BlockStep::GlobalPool { input } => std::slice::from_ref(input),
        }
    }
}

impl Block {
    /// The block, if the kernels can run it; it must not be empty.
    ///
    /// What only exists on the fly (see `source.rs`) can be read once, by a convolution or by the sum that ends
    /// the block, and a gated value by a pointwise convolution.
    pub fn new(steps: Vec<BlockStep>) -> Option<Self> {
        if steps.is_empty() {
            return None;
        }
        let block = Self { steps };
        (0..block.steps.len()).all(|index| block.is_supported(index)).then_some(block)
    }

    /// Whether a batch norm in it wants the batch's statistics.
    pub fn wants_statistics(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, BlockStep::Conv { after: After::Norm { .. }, .. }))
    }

    /// The steps.
    pub fn steps(&self) -> &[BlockStep] {
        &self.steps
    }

    fn is_supported(&self, index: usize) -> bool {
        let is_last = index + 1 == self.steps.len();
        let readers: Vec<&BlockStep> = self.steps.iter().filter(|step| step.inputs().contains(&(index + 1))).collect();
        let read_by_conv = |pointwise: bool| match readers.as_slice() {
            [BlockStep::Conv { geometry, .. }] => !pointwise || geometry.is_pointwise(),
            _ => false,
        };
        let maker = |value: usize| value.checked_sub(1).map(|step| &self.steps[step]);
        match &self.steps[index] {
            BlockStep::Conv { .. } => match readers.as_slice() {
                [] => is_last,
                [BlockStep::Conv { .. } | BlockStep::Gate { .. } | BlockStep::Add { .. }] => true,
                _ => false,
            },
            BlockStep::Gate { input, .. } => {
                read_by_conv(true) && matches!(maker(*input), Some(BlockStep::Conv { .. }))
            }
            BlockStep::Add { inputs, activation } => {
                is_last
                    && inputs[0] != inputs[1]
                    && matches!(activation, None | Some(Activation::Relu))
                    && inputs.iter().all(|value| {
                        matches!(maker(*value), None | Some(BlockStep::Conv { .. } | BlockStep::AveragePool { .. }))
                    })
            }
            BlockStep::AveragePool { input, .. }
            | BlockStep::MaxPool { input, .. }
            | BlockStep::GlobalPool { input } => *input == 0 && (is_last || !readers.is_empty()),
        }
    }

    /// Shapes of every value, the input's first; `None` where a convolution's kind is not supported.
    pub fn shapes(&self, input: ImageShape) -> Option<Vec<ImageShape>> {
        let mut shapes = vec![input];
        for step in &self.steps {
            let [h, w, c] = shapes[step.inputs()[0]];
            shapes.push(match step {
                BlockStep::Conv { geometry, outputs, .. } => {
                    Kind::of(geometry, c, *outputs)?;
                    [geometry.output(h), geometry.output(w), *outputs]
                }
                BlockStep::Gate { .. } | BlockStep::Add { .. } => [h, w, c],
                BlockStep::AveragePool { window, .. } | BlockStep::MaxPool { window, .. } => {
                    [window.output(h), window.output(w), c]
                }
                BlockStep::GlobalPool { .. } => [1, 1, c],
            });
        }
        Some(shapes)
    }
}
