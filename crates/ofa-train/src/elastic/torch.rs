//! A block by LibTorch's own operations and gradients: one backward node a block, as for the CPU kernels.
//!
//! Burn composes batch norm and nonlinearities of elementary operations, and its depthwise weight gradient for LibTorch loops over
//! channels. Here the forward pass records LibTorch's own graph, and the backward pass runs it.
//!
//! Activations are NHWC; LibTorch gets them as NCHW in the memory format `channels_last`, without a copy.

#![expect(deprecated, reason = "Burn 0.22 announces the end of its LibTorch backend, and has no other way to LibTorch")]

use super::batch_norm::BatchStatistics;
use super::kernel_switch::enabled;
use super::node_count::by_count;
use super::precision::Precision;
use super::weight::Weight;
use burn::backend::{Autodiff, LibTorch};
use burn::tensor::Tensor;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn_tch::TchTensor;
use ofa_space::{Activation, BatchNorm, Gate, OpKind, PoolRounding, Step};
use std::sync::{Arc, Mutex, PoisonError};

type Differentiable = Autodiff<LibTorch, NoCheckpointing>;

const HEIGHT_WIDTH: [i64; 2] = [2, 3];

/// Runs the steps of a block on `[n, h, w, c]`; `None` where the tensors do not live on LibTorch.
pub fn run_block(
    steps: &[Step<Weight>],
    input: &Tensor<4>,
    precision: Precision,
    statistics: &mut Vec<BatchStatistics>,
) -> Option<Tensor<4>> {
    if !enabled() {
        return None;
    }
    if !input.is_autodiff() {
        let x = input.clone().try_into_primitive::<LibTorch>().ok()?;
        let steps = with_tensors(steps, &mut |weight| weight.plain_torch())?;
        let value = forward(&steps, &x.tensor, precision, statistics);
        return Some(Tensor::from_primitive::<LibTorch>(TchTensor::new(value)));
    }
    let input = input.clone().try_into_primitive::<Differentiable>().ok()?;
    let mut nodes = vec![input.node()];
    let mut leaves = vec![leaf(input.primitive())];
    let own_steps = with_tensors(steps, &mut |weight| {
        let (node, tensor) = weight.differentiable_torch()?;
        let own = leaf(&tensor);
        nodes.push(node);
        leaves.push(own.shallow_clone());
        Some(own)
    })?;
    let output = forward(&own_steps, &leaves[0], precision, statistics);
    let value = TchTensor::new(output.detach());
    let recorded = Recorded { output, leaves, _held: [input.primitive().clone(), value.clone()] };
    let saved = Saved(Arc::new(Mutex::new(Some(recorded))));
    register(nodes, saved, value)
}

impl Weight {
    fn plain_torch(&self) -> Option<tch::Tensor> {
        let tensor = match self {
            Weight::Vector(tensor) => tensor.clone().try_into_primitive::<LibTorch>().ok()?,
            Weight::Matrix(tensor) => tensor.clone().try_into_primitive::<LibTorch>().ok()?,
            Weight::Kernel(tensor) => tensor.clone().try_into_primitive::<LibTorch>().ok()?,
            Weight::Statistic(_) => return None,
        };
        Some(tensor.tensor)
    }

    fn differentiable_torch(&self) -> Option<(NodeGuard, TchTensor)> {
        match self {
            Weight::Vector(tensor) => node_and_tensor(tensor),
            Weight::Matrix(tensor) => node_and_tensor(tensor),
            Weight::Kernel(tensor) => node_and_tensor(tensor),
            Weight::Statistic(_) => None,
        }
    }
}

fn node_and_tensor<const D: usize>(tensor: &Tensor<D>) -> Option<(NodeGuard, TchTensor)> {
    let tensor = tensor.clone().try_into_primitive::<Differentiable>().ok()?;
    Some((tensor.node(), tensor.primitive().clone()))
}

/// The same values as a leaf of a graph of LibTorch's own.
fn leaf(tensor: &TchTensor) -> tch::Tensor {
    tensor.tensor.detach().set_requires_grad(true)
}

/// A weight of a block that LibTorch runs.
enum Own {
    Tensor(tch::Tensor),
    /// Name of a running statistic, where the batch's own are used.
    Statistic(String),
}

impl Own {
    fn tensor(&self) -> &tch::Tensor {
        match self {
            Own::Tensor(tensor) => tensor,
            Own::Statistic(name) => panic!("expected a tensor, found the name of `{name}`"),
        }
    }
}

/// The steps with LibTorch's tensors, in the order of the weights; `None` where one cannot be had.
fn with_tensors(
    steps: &[Step<Weight>],
    tensor: &mut dyn FnMut(&Weight) -> Option<tch::Tensor>,
) -> Option<Vec<Step<Own>>> {
    let mut complete = true;
    let mut own = |_, weight: &Weight| match weight {
        Weight::Statistic(name) => Own::Statistic(name.clone()),
        weight => match tensor(weight) {
            Some(tensor) => Own::Tensor(tensor),
            None => {
                complete = false;
                Own::Statistic(String::new())
            }
        },
    };
    let steps = steps.iter().map(|step| step.map_weights(&mut own)).collect();
    complete.then_some(steps)
}

/// Runs the steps on an NHWC value in f32, as another. Inside of the block, values have the wanted precision: batch norm
/// takes them as they are, with parameters and statistics in f32.
fn forward(
    steps: &[Step<Own>],
    input: &tch::Tensor,
    precision: Precision,
    statistics: &mut Vec<BatchStatistics>,
) -> tch::Tensor {
    let mut values = vec![input.permute([0, 3, 1, 2]).to_kind(kind(precision))];
    for step in steps {
        let value = run_step(step, &values, statistics);
        values.push(value);
    }
    let output = values.pop().unwrap_or_else(|| input.permute([0, 3, 1, 2]));
    // No copies where the output is in f32, and in channels_last already.
    output.to_kind(tch::Kind::Float).permute([0, 2, 3, 1]).contiguous()
}

fn kind(precision: Precision) -> tch::Kind {
    match precision {
        Precision::F32 => tch::Kind::Float,
        Precision::Bf16 => tch::Kind::BFloat16,
    }
}

fn run_step(step: &Step<Own>, values: &[tch::Tensor], statistics: &mut Vec<BatchStatistics>) -> tch::Tensor {
    let x = &values[step.inputs[0]];
    let like_x = |weight: &Own| weight.tensor().to_kind(x.kind());
    let pair = |value: usize| [value as i64; 2];
    let value = match &step.op {
        OpKind::Conv { weight, bias, stride, padding, extra_padding, groups, .. } => {
            let (begin, end) = (*padding as i64, (*padding + *extra_padding) as i64);
            let (padded, padding) = match extra_padding {
                0 => (x.shallow_clone(), [begin; 2]),
                _ => (x.constant_pad_nd([begin, end, begin, end]), [0; 2]),
            };
            let bias = bias.as_ref().map(like_x);
            padded.conv2d(&like_x(weight), bias.as_ref(), pair(*stride), padding, [1; 2], *groups as i64)
        }
        OpKind::BatchNorm(norm) => normalise(x, norm, statistics),
        OpKind::Activation { function } => activate(x, *function),
        OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate } => {
            let pointwise = |x: &tch::Tensor, weight: &Own, bias: &Own| {
                x.conv2d(&like_x(weight), Some(&like_x(bias)), [1; 2], [0; 2], [1; 2], 1)
            };
            let pooled = x.mean_dim(&HEIGHT_WIDTH[..], true, x.kind());
            let reduced = activate(&pointwise(&pooled, reduce_weight, reduce_bias), *inner);
            let expanded = pointwise(&reduced, expand_weight, expand_bias);
            x * match gate {
                Gate::HardSigmoid => expanded.hardsigmoid(),
                Gate::Sigmoid => expanded.sigmoid(),
            }
        }
        OpKind::GlobalAveragePool => x.mean_dim(&HEIGHT_WIDTH[..], true, x.kind()),
        OpKind::AveragePool { kernel, stride, padding, rounding } => {
            let ceil = *rounding == PoolRounding::Ceil;
            x.avg_pool2d(pair(*kernel), pair(*stride), pair(*padding), ceil, false, None)
        }
        OpKind::MaxPool { kernel, stride, padding } => {
            x.max_pool2d(pair(*kernel), pair(*stride), pair(*padding), [1; 2], false)
        }
        OpKind::Add => x + &values[step.inputs[1]],
        OpKind::Linear { weight, bias } => {
            // Rounded factors, and sums as they are: logits of 8 bits would often be equal.
            let [x, weight] = [x.flatten(1, -1), like_x(weight)].map(|factor| factor.to_kind(tch::Kind::Float));
            let product = x.linear(&weight, bias.as_ref().map(Own::tensor));
            product.unsqueeze(-1).unsqueeze(-1)
        }
    };
    let value = match &step.norm {
        Some(norm) => normalise(&value, norm, statistics),
        None => value,
    };
    match step.activation {
        Some(function) => activate(&value, function),
        None => value,
    }
}

fn activate(x: &tch::Tensor, function: Activation) -> tch::Tensor {
    match function {
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HSwish => x.hardswish(),
        Activation::Silu => x.silu(),
    }
}

/// Batch norm with the batch's statistics, which are noted, or with running ones.
fn normalise(x: &tch::Tensor, norm: &BatchNorm<Own>, statistics: &mut Vec<BatchStatistics>) -> tch::Tensor {
    let (weight, bias) = (Some(norm.weight.tensor()), Some(norm.bias.tensor()));
    let (mean_name, variance_name) = match (&norm.mean, &norm.variance) {
        (Own::Statistic(mean), Own::Statistic(variance)) => (mean.clone(), variance.clone()),
        (mean, variance) => {
            let running = (Some(mean.tensor()), Some(variance.tensor()));
            return x.batch_norm(weight, bias, running.0, running.1, false, 0.0, norm.eps, true);
        }
    };
    let none: Option<&tch::Tensor> = None;
    let (value, mean, inverse) = x.native_batch_norm(weight, bias, none, none, true, 0.0, norm.eps);
    let own = |tensor: tch::Tensor| Tensor::<1>::from_primitive::<LibTorch>(TchTensor::new(tensor.detach()));
    // LibTorch keeps 1/√(variance + ε).
    let variance = inverse.detach().square().reciprocal() - norm.eps;
    let size = x.size();
    statistics.push(BatchStatistics {
        mean_name,
        variance_name,
        mean: own(mean),
        variance: own(variance),
        count: (size[0] * size[2] * size[3]) as usize,
        images: size[0] as usize,
    });
    value
}

/// LibTorch's graph of a block.
#[derive(Debug)]
struct Recorded {
    output: tch::Tensor,
    /// The input and the parameters in order.
    leaves: Vec<tch::Tensor>,
    /// Burn changes tensors in place that have one owner; the graph needs these as they are.
    _held: [TchTensor; 2],
}

/// Taken by the backward pass.
#[derive(Clone, Debug)]
struct Saved(Arc<Mutex<Option<Recorded>>>);

impl Saved {
    /// Gradients of the leaves at these positions.
    fn backward(&self, gradient: &tch::Tensor, wanted: &[usize]) -> Option<Vec<tch::Tensor>> {
        let recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // LibTorch's engine starts from a number.
        let product = (&recorded.output * gradient).sum(tch::Kind::Float);
        let leaves: Vec<&tch::Tensor> = wanted.iter().map(|index| &recorded.leaves[*index]).collect();
        Some(tch::Tensor::run_backward(&[product], &leaves, false, false))
    }
}

/// The backward node of a block: its inputs are x and the parameters in order.
#[derive(Debug)]
struct BlockNode;

impl<const N: usize> Backward<LibTorch, N> for BlockNode {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<LibTorch>(&ops.node);
        let parents = ops.parents.iter().enumerate().filter_map(|(index, parent)| Some((index, parent.as_ref()?)));
        let (wanted, nodes): (Vec<usize>, Vec<_>) = parents.unzip();
        let Some(made) = ops.state.backward(&dy.tensor, &wanted) else {
            unreachable!("backward runs once");
        };
        for (node, gradient) in nodes.into_iter().zip(made) {
            grads.register::<LibTorch>(node.id, TchTensor::new(gradient));
        }
    }
}

/// Registers the node; the number of its inputs is a type in Burn.
fn register(nodes: Vec<NodeGuard>, saved: Saved, value: TchTensor) -> Option<Tensor<4>> {
    fn sized<const N: usize>(nodes: Vec<NodeGuard>, saved: Saved, value: TchTensor) -> Option<Tensor<4>> {
        let nodes: [NodeGuard; N] = nodes.try_into().ok()?;
        let value = match BlockNode.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(saved, value),
            OpsKind::UnTracked(prepared) => prepared.finish(value),
        };
        Some(Tensor::from_primitive::<Differentiable>(value))
    }
    by_count!(nodes.len(), sized(nodes, saved, value))
}
