//! A block of a network as the kernels run it: a few fused steps, of which the convolutions do nearly all the work.

pub mod backward;
pub mod evaluation;
pub mod forward;
pub(crate) mod source;

use crate::conv::convolution::Kind;
use crate::pooling::Window;
use crate::precision::Precision;
use ofa_space::{Activation, BatchNorm, ConvGeometry, OpKind, Step};

/// Height, width and channels of an image's activation.
pub type ImageShape = [usize; 3];

/// A tensor that a block reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its position in the list of the block's parameters. The running mean and variance of a batch norm are not read,
    /// because batch norm uses the statistics of the batch; the caller may use their positions freely.
    pub index: usize,
    /// Length of its first axis: the output channels of a weight, the channels of a vector.
    pub rows: usize,
}

/// Steps that the kernels support, in order. Value 0 is the block's input and step `i` makes value `i + 1`; the last is
/// the block's output.
#[derive(Clone, Debug)]
pub struct Block {
    steps: Vec<Step<Slot>>,
    precision: Precision,
}

/// A convolution and what is added or normalised after it; a linear layer is a pointwise convolution of a single pixel.
#[derive(Clone, Copy)]
pub(crate) struct Conv<'a> {
    /// Value read.
    pub input: usize,
    /// Geometry.
    pub geometry: ConvGeometry,
    /// `[out, in / groups, k, k]`.
    pub weight: Slot,
    /// Batch norm or bias.
    pub after: After<'a>,
}

/// What follows a convolution.
#[derive(Clone, Copy)]
pub(crate) enum After<'a> {
    /// Batch norm with the statistics of the batch.
    Norm(&'a BatchNorm<Slot>),
    /// A bias `[out]`.
    Bias(Slot),
    /// Nothing.
    Nothing,
}

impl<'a> Conv<'a> {
    /// The convolution of a step; `None` if it is another operation.
    pub fn of(step: &'a Step<Slot>) -> Option<Self> {
        let (weight, bias, geometry) = match &step.op {
            OpKind::Linear { weight, bias } => (*weight, bias, ConvGeometry::POINTWISE),
            OpKind::Conv { weight, bias, .. } => (*weight, bias, step.op.geometry()?),
            _ => return None,
        };
        let after = match (&step.norm, bias) {
            (Some(norm), _) => After::Norm(norm),
            (None, Some(bias)) => After::Bias(*bias),
            (None, None) => After::Nothing,
        };
        Some(Self { input: step.inputs[0], geometry, weight, after })
    }
}

impl Block {
    /// The block, if the kernels can run it; it must not be empty.
    ///
    /// A value that only exists on the fly (what a convolution writes before its batch norm and nonlinearity are applied)
    /// can be read once, by a convolution, a squeeze-excite or the sum that ends the block; what a squeeze-excite makes, by
    /// a pointwise convolution.
    pub fn new(steps: Vec<Step<Slot>>) -> Option<Self> {
        if steps.is_empty() {
            return None;
        }
        let block = Self { steps, precision: Precision::F32 };
        (0..block.steps.len()).all(|index| block.is_supported(index)).then_some(block)
    }

    /// The block with another precision of its products; they are in f32 otherwise.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The precision of its products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether it has batch norms, which want the statistics of a batch.
    pub fn wants_statistics(&self) -> bool {
        self.steps.iter().any(|step| step.norm.is_some())
    }

    /// Whether it takes images of any height and width; a linear layer takes single pixels.
    pub fn takes_any_size(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step.op, OpKind::Linear { .. }) && step.inputs == [0])
    }

    /// The steps.
    pub fn steps(&self) -> &[Step<Slot>] {
        &self.steps
    }

    fn is_supported(&self, index: usize) -> bool {
        let step = &self.steps[index];
        let arity = if matches!(step.op, OpKind::Add) { 2 } else { 1 };
        if step.inputs.len() != arity || step.inputs.iter().any(|value| *value > index) {
            return false;
        }
        let is_last = index + 1 == self.steps.len();
        let readers: Vec<&Step<Slot>> = self.steps.iter().filter(|step| step.inputs.contains(&(index + 1))).collect();
        let ends_or_is_read_once = match readers.as_slice() {
            [] => is_last,
            [reader] => matches!(reader.op, OpKind::Conv { .. } | OpKind::SqueezeExcite { .. } | OpKind::Add),
            _ => false,
        };
        let alone = step.norm.is_none() && step.activation.is_none();
        let maker = |value: usize| value.checked_sub(1).map(|step| &self.steps[step].op);
        match &step.op {
            OpKind::Conv { bias, .. } => ends_or_is_read_once && (bias.is_none() || step.norm.is_none()),
            OpKind::Linear { .. } => {
                let reads_a_pixel = matches!(maker(step.inputs[0]), None | Some(OpKind::GlobalAveragePool));
                alone && reads_a_pixel && ends_or_is_read_once
            }
            OpKind::SqueezeExcite { .. } => {
                let read_by_pointwise = match readers.as_slice() {
                    [reader] => reader.op.geometry().is_some_and(|geometry| geometry.is_pointwise()),
                    _ => false,
                };
                alone && read_by_pointwise && matches!(maker(step.inputs[0]), Some(OpKind::Conv { .. }))
            }
            OpKind::Add => {
                is_last
                    && step.inputs[0] != step.inputs[1]
                    && step.norm.is_none()
                    && matches!(step.activation, None | Some(Activation::Relu))
                    && step.inputs.iter().all(|value| {
                        let made_by = maker(*value);
                        matches!(
                            made_by,
                            None | Some(OpKind::Conv { .. } | OpKind::Linear { .. } | OpKind::AveragePool { .. })
                        )
                    })
            }
            OpKind::AveragePool { .. } | OpKind::MaxPool { .. } | OpKind::GlobalAveragePool => {
                alone && step.inputs == [0] && (is_last || !readers.is_empty())
            }
            OpKind::BatchNorm(_) | OpKind::Activation { .. } => false,
        }
    }

    /// Shapes of every value, the input's first; `None` where a convolution has groups and is not depthwise, or a linear
    /// layer would read more than single pixels.
    pub fn shapes(&self, input: ImageShape) -> Option<Vec<ImageShape>> {
        let mut shapes = vec![input];
        for step in &self.steps {
            let [h, w, c] = shapes[step.inputs[0]];
            shapes.push(match (Conv::of(step), Window::of(&step.op)) {
                (Some(_), _) if matches!(step.op, OpKind::Linear { .. }) && h * w != 1 => return None,
                (Some(conv), _) => {
                    Kind::of(&conv.geometry, c, conv.weight.rows)?;
                    [conv.geometry.output(h), conv.geometry.output(w), conv.weight.rows]
                }
                (None, Some(window)) => [window.output(h), window.output(w), c],
                (None, None) if matches!(step.op, OpKind::GlobalAveragePool) => [1, 1, c],
                (None, None) => [h, w, c],
            });
        }
        Some(shapes)
    }
}

/// What an operation of no supported block would do.
pub(crate) fn unsupported(op: &OpKind<Slot>) -> ! {
    unreachable!("`Block::new` refuses {op:?}")
}
