//! The elastic executor: runs any [`Plan`] over the supernet's parameters.
//!
//! A network is first *prepared* (every weight sliced, kernels transformed, batch norm folded where running statistics
//! are used) and can then be run on many batches. There is no other implementation of a layer anywhere.

#[cfg(feature = "flex")]
mod fused;

#[cfg(feature = "flex")]
use self::fused::FusedBlock;
use super::batch_norm::{BatchStatistics, RunningStatistics};
use super::layer_ops::{self, Normalised};
#[cfg(not(feature = "flex"))]
use super::layer_ops::{conv_activate, conv_normalise_batch};
#[cfg(feature = "flex")]
use super::operation::{conv_activate, conv_normalise_batch};
use super::parameters::{Gradients, Parameters};
use super::plan::Plan;
use super::precision::Precision;
use super::weight::Weight;
use burn::tensor::{Tensor, TensorData};
use ofa_space::{BatchNorm, ConvGeometry, OpKind, Step, TensorRef, TensorRole};

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
    precision: Precision,
    /// Empty where the kernels have laid out all that they hold.
    steps: Vec<Step<Weight>>,
    /// The same steps for the CPU kernels, where they support them.
    #[cfg(feature = "flex")]
    fused: Option<FusedBlock>,
}

impl PreparedBlock {
    fn new(steps: Vec<Step<Weight>>, precision: Precision) -> Self {
        #[cfg(feature = "flex")]
        {
            let fused = FusedBlock::new(&steps, precision);
            let steps = if fused.as_ref().is_some_and(FusedBlock::stands_alone) { vec![] } else { steps };
            Self { precision, steps, fused }
        }
        #[cfg(not(feature = "flex"))]
        Self { precision, steps }
    }

    fn run(&self, input: Tensor<4>, statistics: &mut Vec<BatchStatistics>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if let Some(fused) = &self.fused {
            if let Some(value) = fused.run(&input, statistics) {
                return value;
            }
            assert!(
                !fused.stands_alone(),
                "a batch of shape {:?} does not fit this block, or lives on another device",
                input.dims()
            );
        }
        #[cfg(feature = "tch")]
        if let Some(value) = super::torch::run_block(&self.steps, &input, self.precision, statistics) {
            return value;
        }
        run_block(&self.steps, input, self.precision, statistics)
    }
}

impl Prepared {
    /// Slices every weight of the plan.
    ///
    /// # Panics
    /// If the plan reads tensors that the supernet does not have (it was made for another space).
    pub fn new(plan: &Plan, parameters: &Parameters, statistics: Statistics<'_>, gradients: Gradients) -> Self {
        let reader = Reader { parameters, gradients, statistics };
        let prepare = |steps: &Vec<Step>| {
            let steps = steps.iter().map(|step| reader.prepare(step)).collect();
            PreparedBlock::new(steps, parameters.precision)
        };
        Self { blocks: plan.blocks.iter().map(prepare).collect() }
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
fn run_block(
    steps: &[Step<Weight>],
    input: Tensor<4>,
    precision: Precision,
    statistics: &mut Vec<BatchStatistics>,
) -> Tensor<4> {
    let mut values: Vec<Option<Tensor<4>>> = vec![Some(input)];
    for (index, step) in steps.iter().enumerate() {
        let reads = step.inputs.iter().enumerate().map(|(position, value)| {
            let read_again = step.inputs[position + 1..].contains(value)
                || steps[index + 1..].iter().any(|later| later.inputs.contains(value));
            let slot = if read_again { values[*value].clone() } else { values[*value].take() };
            slot.unwrap_or_else(|| unreachable!("value {value} was dropped before its last reader"))
        });
        let inputs = reads.collect();
        values.push(Some(run_step(step, inputs, precision, statistics)));
    }
    match values.pop().flatten() {
        Some(output) => output,
        None => unreachable!("a block without operations still has its input"),
    }
}

/// Runs one step on the values that it reads, which are as many as its operation takes.
fn run_step(
    step: &Step<Weight>,
    inputs: Vec<Tensor<4>>,
    precision: Precision,
    statistics: &mut Vec<BatchStatistics>,
) -> Tensor<4> {
    let mut inputs = inputs.into_iter();
    let mut input = || inputs.next().unwrap_or_else(|| unreachable!("an operation has its inputs"));
    let x = input();
    let value = match &step.op {
        OpKind::Conv { weight, bias, kernel, stride, padding, extra_padding, groups, .. } => {
            let (kernel, stride, groups) = (*kernel, *stride, *groups);
            let geometry = ConvGeometry { kernel, stride, padding: *padding, extra: *extra_padding, groups };
            let weight = weight.kernel();
            if precision != Precision::F32 {
                let bias = bias.as_ref().map(Weight::vector);
                let value = layer_ops::conv_in(precision, x, weight, bias, geometry);
                let value = match &step.norm {
                    None => value,
                    Some(norm) => {
                        let (scale, shift) = (norm.weight.vector(), norm.bias.vector());
                        record(layer_ops::normalise_batch(value, scale, shift, norm.eps), norm, statistics)
                    }
                };
                return layer_ops::activate(value, step.activation);
            }
            return match &step.norm {
                None => conv_activate(x, weight, bias.as_ref().map(Weight::vector), geometry, step.activation),
                Some(norm) => {
                    let (scale, shift) = (norm.weight.vector(), norm.bias.vector());
                    let made = conv_normalise_batch(x, weight, geometry, scale, shift, norm.eps, step.activation);
                    record(made, norm, statistics)
                }
            };
        }
        OpKind::BatchNorm(norm) if matches!(norm.mean, Weight::Statistic(_)) => {
            let made = layer_ops::normalise_batch(x, norm.weight.vector(), norm.bias.vector(), norm.eps);
            record(made, norm, statistics)
        }
        OpKind::BatchNorm(norm) => {
            let [_, _, _, c] = x.dims();
            let (scale, shift) = scale_shift(norm);
            x * scale.reshape([1, 1, 1, c]) + shift.reshape([1, 1, 1, c])
        }
        OpKind::Activation { function } => layer_ops::activate(x, Some(*function)),
        OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate } => {
            let weights = (reduce_weight.kernel(), reduce_bias.vector(), expand_weight.kernel(), expand_bias.vector());
            layer_ops::squeeze_excite(x, weights, *inner, *gate)
        }
        OpKind::GlobalAveragePool => layer_ops::global_average_pool(x),
        OpKind::AveragePool { kernel, stride, padding, rounding } => {
            layer_ops::average_pool(x, *kernel, *stride, *padding, *rounding)
        }
        OpKind::MaxPool { kernel, stride, padding } => layer_ops::max_pool(x, *kernel, *stride, *padding),
        OpKind::Add => x + input(),
        OpKind::Linear { weight, bias } => {
            layer_ops::linear(precision, x, weight.matrix(), bias.as_ref().map(Weight::vector))
        }
    };
    layer_ops::activate(value, step.activation)
}

/// Notes what a batch was normalised with.
fn record(made: Normalised, norm: &BatchNorm<Weight>, statistics: &mut Vec<BatchStatistics>) -> Tensor<4> {
    let name = |weight: &Weight| match weight {
        Weight::Statistic(name) => name.clone(),
        _ => unreachable!("with running statistics nothing is recorded"),
    };
    let [n, h, w, _] = made.value.dims();
    statistics.push(BatchStatistics {
        mean_name: name(&norm.mean),
        variance_name: name(&norm.variance),
        mean: made.mean,
        variance: made.variance,
        count: n * h * w,
        images: n,
    });
    made.value
}

/// Batch norm with running statistics as `x · scale + shift`.
fn scale_shift(norm: &BatchNorm<Weight>) -> (Tensor<1>, Tensor<1>) {
    let scale = norm.weight.vector() / (norm.variance.vector() + norm.eps).sqrt();
    let shift = norm.bias.vector() - norm.mean.vector() * scale.clone();
    (scale, shift)
}

/// Reads slices of parameters.
struct Reader<'a> {
    parameters: &'a Parameters,
    gradients: Gradients,
    statistics: Statistics<'a>,
}

impl Reader<'_> {
    /// The step with its weights sliced; with running statistics, batch norm is folded into the convolution.
    fn prepare(&self, step: &Step) -> Step<Weight> {
        let mut prepared = step.map_weights(|_, reference| self.weight(reference));
        if let (OpKind::Conv { weight, bias, .. }, Statistics::Running(_)) = (&mut prepared.op, self.statistics)
            && let Some(norm) = prepared.norm.take()
        {
            let (scale, shift) = scale_shift(&norm);
            let kernel = weight.kernel();
            let [out, ..] = kernel.dims();
            *weight = Weight::Kernel(kernel * scale.reshape([out, 1, 1, 1]));
            *bias = Some(Weight::Vector(shift));
        }
        prepared
    }

    fn weight(&self, reference: &TensorRef) -> Weight {
        match reference.role {
            TensorRole::ConvWeight => Weight::Kernel(self.kernel(reference)),
            TensorRole::LinearWeight | TensorRole::KernelTransform => Weight::Matrix(self.matrix(reference)),
            TensorRole::ConvBias | TensorRole::LinearBias | TensorRole::NormWeight | TensorRole::NormBias => {
                Weight::Vector(self.vector(reference))
            }
            TensorRole::RunningMean | TensorRole::RunningVariance => match self.statistics {
                Statistics::Batch => Weight::Statistic(reference.name.clone()),
                Statistics::Running(running) => {
                    let values = running.slice(reference).to_vec();
                    let shape = [values.len()];
                    let device = self.parameters.device(self.gradients);
                    Weight::Vector(Tensor::from_data(TensorData::new(values, shape), &device))
                }
            },
        }
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
