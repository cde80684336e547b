//! A prepared block as one operation of the CPU kernels.

use super::{BatchNorm, Prepare, PreparedStep};
use crate::elastic::batch_norm::BatchStatistics;
use crate::elastic::operation::{self, FrozenBlock, Parameter};
use burn::tensor::Tensor;
use ofa_kernels::block::{After, Block, BlockStep, Window};
use ofa_space::{ConvGeometry, PoolRounding};
use std::sync::Arc;

const POINTWISE: ConvGeometry = ConvGeometry { kernel: 1, stride: 1, padding: 0, groups: 1 };

/// A block, its parameters, and the batch norms that its statistics belong to.
pub(super) struct FusedBlock {
    block: Arc<Block>,
    params: Vec<Parameter>,
    /// Where nothing of it changes any more; `params` are empty then.
    frozen: Option<FrozenBlock>,
    /// Step of the prepared block, and value of the fused one, of every batch norm in order.
    norms: Vec<(usize, usize)>,
    pixels: Pixels,
}

/// What the block asks of its input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pixels {
    Any,
    /// A linear layer reads it, which is a pointwise convolution of a single pixel only.
    One,
}

/// A block while it is put together.
struct Builder {
    steps: Vec<BlockStep>,
    params: Vec<Parameter>,
    norms: Vec<(usize, usize)>,
    pixels: Pixels,
}

impl FusedBlock {
    /// `None` where the kernels do not support the block.
    pub(super) fn new(prepared: &[PreparedStep]) -> Option<Self> {
        let mut builder = Builder { steps: vec![], params: vec![], norms: vec![], pixels: Pixels::Any };
        // Fused value that holds each value of the prepared block.
        let mut value_of = vec![0];
        for (index, step) in prepared.iter().enumerate() {
            builder.add(index, step, &value_of)?;
            value_of.push(builder.steps.len());
        }
        let Builder { steps, params, norms, pixels } = builder;
        let block = Arc::new(Block::new(steps)?);
        let frozen = FrozenBlock::new(block.clone(), &params);
        let params = if frozen.is_some() { vec![] } else { params };
        Some(Self { block, params, frozen, norms, pixels })
    }

    /// Whether it runs every input that the prepared steps run, so that nobody needs them.
    pub(super) fn stands_alone(&self) -> bool {
        self.frozen.is_some() && self.pixels == Pixels::Any
    }

    /// Runs it; `None` where the tensors are not the kernels' business.
    pub(super) fn run(
        &self,
        prepared: &[PreparedStep],
        input: &Tensor<4>,
        statistics: &mut Vec<BatchStatistics>,
    ) -> Option<Tensor<4>> {
        let [n, h, w, c] = input.dims();
        if self.pixels == Pixels::One && h * w != 1 {
            return None;
        }
        if let Some(frozen) = &self.frozen {
            return frozen.run(input);
        }
        let made = operation::run_block(&self.block, input, &self.params)?;
        let shapes = self.block.shapes([h, w, c])?;
        for ((step, value), (mean, variance)) in self.norms.iter().zip(made.statistics) {
            let Prepare::ConvNorm { norm, .. } = &prepared[*step].kind else {
                unreachable!("batch norms come from convolutions");
            };
            let [h, w, _] = shapes[*value];
            statistics.push(norm.statistics(mean, variance, [n, h, w]));
        }
        Some(made.value)
    }
}

impl Builder {
    fn param(&mut self, parameter: Parameter) -> usize {
        self.params.push(parameter);
        self.params.len() - 1
    }

    fn add(&mut self, index: usize, step: &PreparedStep, value_of: &[usize]) -> Option<()> {
        let input = value_of[step.inputs[0]];
        let made = match &step.kind {
            Prepare::Conv { geometry, weight, bias, activation } => {
                let [outputs, ..] = weight.dims();
                let weight = self.param(Parameter::Kernel(weight.clone()));
                let after = match bias {
                    Some(bias) => After::Bias(self.param(Parameter::Vector(bias.clone()))),
                    None => After::Nothing,
                };
                BlockStep::Conv { input, geometry: *geometry, weight, outputs, after, activation: *activation }
            }
            Prepare::ConvNorm { geometry, weight, norm, activation } => {
                let [outputs, ..] = weight.dims();
                let weight = self.param(Parameter::Kernel(weight.clone()));
                let BatchNorm { weight: scale, bias: shift, eps, .. } = norm;
                let scale = self.param(Parameter::Vector(scale.clone()));
                let shift = self.param(Parameter::Vector(shift.clone()));
                self.norms.push((index, self.steps.len() + 1));
                let after = After::Norm { scale, shift, eps: *eps };
                BlockStep::Conv { input, geometry: *geometry, weight, outputs, after, activation: *activation }
            }
            Prepare::SqueezeExcite { weights } => {
                let (reduce, reduce_bias, expand, expand_bias) = (**weights).clone();
                let [squeezed, ..] = reduce.dims();
                let weights = [
                    Parameter::Kernel(reduce),
                    Parameter::Vector(reduce_bias),
                    Parameter::Kernel(expand),
                    Parameter::Vector(expand_bias),
                ];
                BlockStep::Gate { input, weights: weights.map(|weight| self.param(weight)), squeezed }
            }
            Prepare::Add => BlockStep::Add { inputs: [input, value_of[step.inputs[1]]], activation: None },
            Prepare::Activation(function) => {
                // Only as the end of a sum.
                let last = self.steps.len();
                return match self.steps.last_mut() {
                    Some(BlockStep::Add { activation: activation @ None, .. }) if input == last => {
                        *activation = Some(*function);
                        Some(())
                    }
                    _ => None,
                };
            }
            Prepare::GlobalAveragePool => BlockStep::GlobalPool { input },
            Prepare::AveragePool { kernel, stride, padding, rounding } => {
                let window = Window { kernel: *kernel, stride: *stride, padding: *padding, rounding: *rounding };
                BlockStep::AveragePool { input, window }
            }
            Prepare::Linear { weight, bias } => {
                match input.checked_sub(1).map(|made| &self.steps[made]) {
                    None => self.pixels = Pixels::One,
                    Some(BlockStep::GlobalPool { .. }) => {}
                    Some(_) => return None,
                }
                let [outputs, _] = weight.dims();
                let weight = self.param(Parameter::Matrix(weight.clone()));
                let after = match bias {
                    Some(bias) => After::Bias(self.param(Parameter::Vector(bias.clone()))),
                    None => After::Nothing,
                };
                BlockStep::Conv { input, geometry: POINTWISE, weight, outputs, after, activation: None }
            }
            Prepare::MaxPool { kernel, stride, padding } => {
                let rounding = PoolRounding::Floor;
                let window = Window { kernel: *kernel, stride: *stride, padding: *padding, rounding };
                BlockStep::MaxPool { input, window }
            }
            Prepare::Norm(_) | Prepare::ScaleShift { .. } => return None,
        };
        self.steps.push(made);
        Some(())
    }
}
