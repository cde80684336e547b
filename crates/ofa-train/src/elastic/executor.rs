//! The elastic executor: runs any [`Plan`] over the supernet's parameters.
//!
//! A network is first *prepared* (every weight sliced, kernels transformed, batch norm folded where running statistics
//! are used) and can then be run on many batches. There is no other implementation of a layer anywhere.

#[cfg(feature = "flex")]
mod fused;

#[cfg(feature = "flex")]
use self::fused::FusedBlock;
use super::batch_norm::{BatchStatistics, RunningStatistics};
use super::layer_ops;
#[cfg(not(feature = "flex"))]
use super::layer_ops::{conv_activate, conv_normalise_batch};
#[cfg(feature = "flex")]
use super::operation::{conv_activate, conv_normalise_batch};
use super::parameters::{Gradients, Parameters};
use super::plan::{NormRefs, Plan, StepKind};
use burn::tensor::{Tensor, TensorData};
use ofa_space::{Activation, ConvGeometry, PoolRounding, TensorRef};

/// Which statistics batch norm uses.
#[derive(Clone, Copy, Debug)]
pub enum Statistics<'a> {
    /// The batch's own, which are also returned: training and recalibration.
    Batch,
    /// Running statistics, folded into the convolutions: evaluation.
    Running(&'a RunningStatistics),
}

/// Logits of a batch, and the statistics it was normalised with.
pub struct Output {
    /// `[n, classes]`.
    pub logits: Tensor<2>,
    /// One entry per batch norm visited; empty with running statistics.
    pub statistics: Vec<BatchStatistics>,
}

/// A network with its weights sliced and ready to run.
pub struct Prepared {
    blocks: Vec<PreparedBlock>,
}

struct PreparedBlock {
    /// Empty where the kernels have laid out all that they hold.
    steps: Vec<PreparedStep>,
    /// The same steps for the CPU kernels, where they support them.
    #[cfg(feature = "flex")]
    fused: Option<FusedBlock>,
}

impl PreparedBlock {
    fn new(steps: Vec<PreparedStep>) -> Self {
        #[cfg(feature = "flex")]
        {
            let fused = FusedBlock::new(&steps);
            let steps = if fused.as_ref().is_some_and(FusedBlock::stands_alone) { vec![] } else { steps };
            Self { steps, fused }
        }
        #[cfg(not(feature = "flex"))]
        Self { steps }
    }

    fn run(&self, input: Tensor<4>, statistics: &mut Vec<BatchStatistics>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if let Some(fused) = &self.fused {
            if let Some(value) = fused.run(&self.steps, &input, statistics) {
                return value;
            }
            assert!(!fused.stands_alone(), "{:?} does not fit this block, or lives elsewhere", input.dims());
        }
        run_block(&self.steps, input, statistics)
    }
}

struct PreparedStep {
    inputs: Vec<usize>,
    kind: Prepare,
}

/// A batch norm that uses the batch's own statistics.
struct BatchNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    mean_name: String,
    variance_name: String,
    eps: f64,
}

#[expect(clippy::large_enum_variant, reason = "a net has a few dozen; the large variant is the common one")]
enum Prepare {
    Conv { geometry: ConvGeometry, weight: Tensor<4>, bias: Option<Tensor<1>>, activation: Option<Activation> },
    ConvNorm { geometry: ConvGeometry, weight: Tensor<4>, norm: BatchNorm, activation: Option<Activation> },
    Norm(BatchNorm),
    ScaleShift { scale: Tensor<1>, shift: Tensor<1> },
    Activation(Activation),
    SqueezeExcite { weights: Box<(Tensor<4>, Tensor<1>, Tensor<4>, Tensor<1>)> },
    GlobalAveragePool,
    AveragePool { kernel: usize, stride: usize, padding: usize, rounding: PoolRounding },
    MaxPool { kernel: usize, stride: usize, padding: usize },
    Add,
    Linear { weight: Tensor<2>, bias: Option<Tensor<1>> },
}

impl Prepared {
    /// Slices every weight of the plan.
    ///
    /// # Panics
    /// If the plan reads tensors that the supernet does not have (it was made for another space).
    pub fn new(plan: &Plan, parameters: &Parameters, statistics: Statistics<'_>, gradients: Gradients) -> Self {
        let reader = Reader { parameters, gradients };
        let blocks = plan.blocks.iter().map(|steps| {
            let step = |step: &super::plan::Step| PreparedStep {
                inputs: step.inputs.clone(),
                kind: reader.prepare(&step.kind, statistics),
            };
            PreparedBlock::new(steps.iter().map(step).collect())
        });
        Self { blocks: blocks.collect() }
    }

    /// Runs a batch `[n, h, w, c]` (NHWC).
    ///
    /// # Panics
    /// If it is not of the size that the network was made for, or lives on another device.
    pub fn forward(&self, images: Tensor<4>) -> Output {
        let (value, statistics) = self.run(images);
        let [n, h, w, c] = value.dims();
        Output { logits: value.reshape([n, h * w * c]), statistics }
    }

    /// Runs a value through the blocks, NHWC to NHWC: what [`forward`](Self::forward) does, also for a part of a network.
    pub fn run(&self, input: Tensor<4>) -> (Tensor<4>, Vec<BatchStatistics>) {
        let mut statistics = Vec::new();
        let mut value = input;
        for block in &self.blocks {
            value = block.run(value, &mut statistics);
        }
        (value, statistics)
    }
}

/// Runs the steps of one block, dropping every value after its last reader.
fn run_block(steps: &[PreparedStep], input: Tensor<4>, statistics: &mut Vec<BatchStatistics>) -> Tensor<4> {
    let mut values: Vec<Option<Tensor<4>>> = vec![Some(input)];
    for (index, step) in steps.iter().enumerate() {
        let mut take = |value: usize| -> Tensor<4> {
            let read_later = steps[index + 1..].iter().any(|later| later.inputs.contains(&value));
            let slot = if read_later { values[value].clone() } else { values[value].take() };
            slot.unwrap_or_else(|| unreachable!("value {value} was dropped before its last reader"))
        };
        let x = take(step.inputs[0]);
        let output = match &step.kind {
            Prepare::Add => x + take(step.inputs[1]),
            kind => run_step(kind, x, statistics),
        };
        values.push(Some(output));
    }
    match values.pop().flatten() {
        Some(output) => output,
        None => unreachable!("a block without operations still has its input"),
    }
}

fn run_step(kind: &Prepare, x: Tensor<4>, statistics: &mut Vec<BatchStatistics>) -> Tensor<4> {
    match kind {
        Prepare::Conv { geometry, weight, bias, activation } => {
            conv_activate(x, weight.clone(), bias.clone(), *geometry, *activation)
        }
        Prepare::ConvNorm { geometry, weight, norm, activation } => {
            let normalised = conv_normalise_batch(
                x,
                weight.clone(),
                *geometry,
                norm.weight.clone(),
                norm.bias.clone(),
                norm.eps,
                *activation,
            );
            record(normalised, norm, statistics)
        }
        Prepare::Norm(norm) => {
            let normalised = layer_ops::normalise_batch(x, norm.weight.clone(), norm.bias.clone(), norm.eps);
            record(normalised, norm, statistics)
        }
        Prepare::ScaleShift { scale, shift } => {
            let [_, _, _, c] = x.dims();
            x * scale.clone().reshape([1, 1, 1, c]) + shift.clone().reshape([1, 1, 1, c])
        }
        Prepare::Activation(activation) => layer_ops::activate(x, Some(*activation)),
        Prepare::SqueezeExcite { weights } => {
            let (reduce, reduce_bias, expand, expand_bias) = (**weights).clone();
            layer_ops::squeeze_excite(x, reduce, reduce_bias, expand, expand_bias)
        }
        Prepare::GlobalAveragePool => layer_ops::global_average_pool(x),
        Prepare::AveragePool { kernel, stride, padding, rounding } => {
            layer_ops::average_pool(x, *kernel, *stride, *padding, *rounding)
        }
        Prepare::MaxPool { kernel, stride, padding } => layer_ops::max_pool(x, *kernel, *stride, *padding),
        Prepare::Linear { weight, bias } => {
            let [n, h, w, c] = x.dims();
            // The reference flattens channels first.
            let flat = if h * w == 1 { x } else { x.permute([0, 3, 1, 2]) }.reshape([n, h * w * c]);
            let product = flat.matmul(weight.clone().transpose());
            let product = match bias {
                Some(bias) => product + bias.clone().unsqueeze(),
                None => product,
            };
            let [_, out] = product.dims();
            product.reshape([n, 1, 1, out])
        }
        Prepare::Add => unreachable!("sums read two values and are run by the block"),
    }
}

fn record(normalised: layer_ops::Normalised, norm: &BatchNorm, statistics: &mut Vec<BatchStatistics>) -> Tensor<4> {
    let [n, h, w, _] = normalised.value.dims();
    statistics.push(norm.statistics(normalised.mean, normalised.variance, [n, h, w]));
    normalised.value
}

impl BatchNorm {
    /// What a batch of `[images, height, width]` was normalised with.
    fn statistics(&self, mean: Tensor<1>, variance: Tensor<1>, [n, h, w]: [usize; 3]) -> BatchStatistics {
        BatchStatistics {
            mean_name: self.mean_name.clone(),
            variance_name: self.variance_name.clone(),
            mean,
            variance,
            count: n * h * w,
            images: n,
        }
    }
}

/// Reads slices of parameters.
struct Reader<'a> {
    parameters: &'a Parameters,
    gradients: Gradients,
}

impl Reader<'_> {
    fn prepare(&self, kind: &StepKind, statistics: Statistics<'_>) -> Prepare {
        match kind {
            StepKind::Conv { geometry, weight, bias, norm, activation } => {
                let weight = self.kernel(weight);
                let bias = bias.as_ref().map(|b| self.vector(b));
                match (norm, statistics) {
                    (None, _) => Prepare::Conv { geometry: *geometry, weight, bias, activation: *activation },
                    (Some(norm), Statistics::Batch) => Prepare::ConvNorm {
                        geometry: *geometry,
                        weight,
                        norm: self.batch_norm(norm),
                        activation: *activation,
                    },
                    (Some(norm), Statistics::Running(running)) => {
                        let (scale, shift) = self.scale_shift(norm, running);
                        let [out, ..] = weight.dims();
                        Prepare::Conv {
                            geometry: *geometry,
                            weight: weight * scale.reshape([out, 1, 1, 1]),
                            bias: Some(shift),
                            activation: *activation,
                        }
                    }
                }
            }
            StepKind::Norm(norm) => match statistics {
                Statistics::Batch => Prepare::Norm(self.batch_norm(norm)),
                Statistics::Running(running) => {
                    let (scale, shift) = self.scale_shift(norm, running);
                    Prepare::ScaleShift { scale, shift }
                }
            },
            StepKind::Activation(activation) => Prepare::Activation(*activation),
            StepKind::SqueezeExcite(tensors) => {
                let [reduce, reduce_bias, expand, expand_bias] = tensors.as_ref();
                let weights =
                    (self.kernel(reduce), self.vector(reduce_bias), self.kernel(expand), self.vector(expand_bias));
                Prepare::SqueezeExcite { weights: Box::new(weights) }
            }
            StepKind::GlobalAveragePool => Prepare::GlobalAveragePool,
            StepKind::AveragePool { kernel, stride, padding, rounding } => {
                Prepare::AveragePool { kernel: *kernel, stride: *stride, padding: *padding, rounding: *rounding }
            }
            StepKind::MaxPool { kernel, stride, padding } => {
                Prepare::MaxPool { kernel: *kernel, stride: *stride, padding: *padding }
            }
            StepKind::Add => Prepare::Add,
            StepKind::Linear { weight, bias } => {
                Prepare::Linear { weight: self.matrix(weight), bias: bias.as_ref().map(|b| self.vector(b)) }
            }
        }
    }

    fn batch_norm(&self, norm: &NormRefs) -> BatchNorm {
        BatchNorm {
            weight: self.vector(&norm.weight),
            bias: self.vector(&norm.bias),
            mean_name: norm.mean.name.clone(),
            variance_name: norm.variance.name.clone(),
            eps: norm.eps,
        }
    }

    /// Batch norm with running statistics as `x · scale + shift`.
    fn scale_shift(&self, norm: &NormRefs, running: &RunningStatistics) -> (Tensor<1>, Tensor<1>) {
        let weight = self.vector(&norm.weight);
        let bias = self.vector(&norm.bias);
        let device = weight.device();
        let host = |reference: &TensorRef| {
            let values = running.slice(reference).to_vec();
            let shape = [values.len()];
            Tensor::<1>::from_data(TensorData::new(values, shape), &device)
        };
        let scale = weight / (host(&norm.variance) + norm.eps).sqrt();
        let shift = bias - host(&norm.mean) * scale.clone();
        (scale, shift)
    }

    fn vector(&self, reference: &TensorRef) -> Tensor<1> {
        let tensor = self.parameters.vector(&reference.name, self.gradients);
        if reference.is_whole() { tensor } else { tensor.narrow(0, 0, reference.take[0]) }
    }

    fn matrix(&self, reference: &TensorRef) -> Tensor<2> {
        let tensor = self.parameters.matrix(&reference.name, self.gradients);
        if reference.is_whole() { tensor } else { tensor.slice([0..reference.take[0], 0..reference.take[1]]) }
    }

    /// The first channels, and for elastic kernels the centre crops times the transform matrices, largest first.
    fn kernel(&self, reference: &TensorRef) -> Tensor<4> {
        let mut tensor = self.parameters.kernel(&reference.name, self.gradients);
        let [out, inner] = [reference.take[0], reference.take[1]];
        if out != reference.full[0] || inner != reference.full[1] {
            let k = reference.full[2];
            tensor = tensor.slice([0..out, 0..inner, 0..k, 0..k]);
        }
        for step in &reference.kernel_steps {
            let [_, _, k, _] = tensor.dims();
            let start = (k - step.size) / 2;
            let centre = start..start + step.size;
            let area = step.size * step.size;
            let matrix = self.parameters.matrix(&step.matrix, self.gradients);
            tensor = tensor
                .slice([0..out, 0..inner, centre.clone(), centre])
                .reshape([out * inner, area])
                .matmul(matrix.transpose())
                .reshape([out, inner, step.size, step.size]);
        }
        tensor
    }
}
