//! The kernels as Burn operations: forward on plain tensors, and a backward node on autodiff tensors.

use super::convolution::Convolution;
use super::normalise::{Affine, Moments, activate, activate_in_place, backward_sums, backward_values};
use super::{Chunks, Config, with_nonlinearity};
use crate::layer_ops::{self, Normalised};
use crate::plan::ConvGeometry;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::FlexTensor;
use ofa_space::Activation;
use rayon::prelude::*;
use std::sync::OnceLock;

type Differentiable = Autodiff<Flex, NoCheckpointing>;

/// Whether the kernels are wanted: `OFA_KERNELS=off` runs the plain bodies instead.
fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var("OFA_KERNELS").map_or(true, |value| value != "off"))
}

/// A contiguous f32 tensor of the flex backend.
fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// The values of a contiguous tensor.
fn values(tensor: &FlexTensor) -> Option<&[f32]> {
    tensor.as_slice::<f32>()
}

fn flex<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// As [`layer_ops::conv_normalise_batch`], by the CPU kernels where the tensors live on `flex`.
pub fn conv_normalise_batch(
    x: Tensor<4>,
    weight: Tensor<4>,
    geometry: ConvGeometry,
    scale: Tensor<1>,
    shift: Tensor<1>,
    eps: f64,
    activation: Option<Activation>,
) -> Normalised {
    let config = Config { geometry, eps, activation };
    if enabled() {
        let result = if x.is_autodiff() {
            with_gradients(&x, &weight, &scale, &shift, config)
        } else {
            without_gradients(&x, &weight, &scale, &shift, config)
        };
        if let Some(normalised) = result {
            return normalised;
        }
    }
    layer_ops::conv_normalise_batch(x, weight, geometry, scale, shift, eps, activation)
}

/// As [`layer_ops::activate`] of [`layer_ops::conv`], by the CPU kernels where no gradient is recorded on `flex`.
pub fn conv_activate(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: ConvGeometry,
    activation: Option<Activation>,
) -> Tensor<4> {
    if enabled()
        && !x.is_autodiff()
        && let Some(y) = plain_conv(&x, &weight, bias.as_ref(), geometry, activation)
    {
        return y;
    }
    layer_ops::conv_activate(x, weight, bias, geometry, activation)
}

/// What the forward pass makes.
struct Forward {
    y: Vec<f32>,
    z: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    shape: [usize; 4],
}

fn output_shape([n, h, w, _]: [usize; 4], channels: usize, geometry: &ConvGeometry) -> [usize; 4] {
    [n, geometry.output(h), geometry.output(w), channels]
}

fn forward(
    x: &[f32],
    shape: [usize; 4],
    weight: &[f32],
    scale: &[f32],
    shift: &[f32],
    config: &Config,
) -> Option<Forward> {
    let [n, h, w, c] = shape;
    let out = scale.len();
    let conv = Convolution::new(weight, out, [h, w, c], config.geometry)?;
    let chunks = Chunks::new(n, conv.output_values().max(conv.input_values()));
    let mut z = vec![0.0; n * conv.output_values()];
    let piece = chunks.per_chunk * conv.output_values();
    let moments: Vec<Moments> = z
        .par_chunks_mut(piece)
        .enumerate()
        .map(|(chunk, z)| {
            let images = chunks.range(chunk);
            conv.forward(&x[images.start * conv.input_values()..images.end * conv.input_values()], z);
            Moments::of(z, out)
        })
        .collect();
    let mut all = Moments::empty(out);
    for part in &moments {
        all.merge(part);
    }
    let (mean, variance) = all.finish();
    let affine = Affine::new(&mean, &variance, scale, shift, config.eps);
    let mut y = vec![0.0; z.len()];
    with_nonlinearity!(config.activation, Act => {
        y.par_chunks_mut(piece).zip(z.par_chunks(piece)).for_each(|(y, z)| {
            activate::<Act>(z, y, &affine.slope, &affine.offset);
        });
    });
    Some(Forward { y, z, mean, variance, shape: output_shape(shape, out, &config.geometry) })
}

/// Gradients of input, weight, scale and shift.
struct Backwards {
    x: Option<Vec<f32>>,
    weight: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

fn backward(saved: &Saved, dy: &[f32], wants_input: Wanted) -> Option<Backwards> {
    let (x, weight) = (values(&saved.x)?, values(&saved.weight)?);
    let (z, config) = (values(&saved.z)?, &saved.config);
    let [n, h, w, c] = saved.input_shape;
    let out = saved.scale.len();
    let conv = Convolution::new(weight, out, [h, w, c], config.geometry)?;
    let affine = Affine::new(&saved.mean, &saved.variance, &saved.scale, &saved.shift, config.eps);
    let chunks = Chunks::new(n, conv.output_values().max(conv.input_values()));
    let piece = chunks.per_chunk * conv.output_values();
    let sums: Vec<(Vec<f64>, Vec<f64>)> = with_nonlinearity!(config.activation, Act => {
        z.par_chunks(piece).zip(dy.par_chunks(piece)).map(|(z, dy)| backward_sums::<Act>(z, dy, &affine)).collect()
    });
    let mut plain = vec![0.0f64; out];
    let mut weighted = vec![0.0f64; out];
    for (p, q) in &sums {
        plain.iter_mut().zip(p).for_each(|(sum, value)| *sum += value);
        weighted.iter_mut().zip(q).for_each(|(sum, value)| *sum += value);
    }
    let count = (n * conv.output_pixels()) as f64;
    let mean_of = |sums: &[f64]| sums.iter().map(|s| (s / count) as f32).collect::<Vec<f32>>();
    let (plain_mean, weighted_mean) = (mean_of(&plain), mean_of(&weighted));

    let chunk_backward = |chunk: usize, dx: Option<&mut [f32]>| -> Vec<f32> {
        let images = chunks.range(chunk);
        let outputs = images.start * conv.output_values()..images.end * conv.output_values();
        let inputs = images.start * conv.input_values()..images.end * conv.input_values();
        let mut dz = vec![0.0; outputs.len()];
        let (z, dy) = (&z[outputs.clone()], &dy[outputs]);
        with_nonlinearity!(config.activation, Act => {
            backward_values::<Act>(z, dy, &mut dz, &affine, &plain_mean, &weighted_mean);
        });
        if let Some(dx) = dx {
            conv.backward_input(&dz, dx);
        }
        conv.backward_weight(&dz, &x[inputs])
    };
    let (dx, parts): (Option<Vec<f32>>, Vec<Vec<f32>>) = match wants_input {
        Wanted::Yes => {
            let mut dx = vec![0.0; x.len()];
            let parts = dx
                .par_chunks_mut(chunks.per_chunk * conv.input_values())
                .enumerate()
                .map(|(chunk, dx)| chunk_backward(chunk, Some(dx)))
                .collect();
            (Some(dx), parts)
        }
        Wanted::No => (None, (0..chunks.count()).into_par_iter().map(|chunk| chunk_backward(chunk, None)).collect()),
    };
    // In the order of the chunks, whoever computed them.
    let mut total = vec![0.0f32; weight.len()];
    for part in &parts {
        total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    let narrow = |sums: Vec<f64>| sums.into_iter().map(|s| s as f32).collect();
    Some(Backwards { x: dx, weight: conv.restore(total), scale: narrow(weighted), shift: narrow(plain) })
}

/// Whether the gradient of the input is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    x: FlexTensor,
    weight: FlexTensor,
    z: FlexTensor,
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    input_shape: [usize; 4],
    weight_shape: [usize; 4],
    config: Config,
}

/// The backward node: inputs are x, weight, scale, shift.
#[derive(Debug)]
struct ConvNormAct;

impl Backward<Flex, 4> for ConvNormAct {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x, weight, scale, shift] = ops.parents;
        let dy = contiguous(&grads.consume::<Flex>(&ops.node));
        let saved = ops.state;
        let wanted = if x.is_some() { Wanted::Yes } else { Wanted::No };
        let Some(result) = values(&dy).and_then(|dy| backward(&saved, dy, wanted)) else {
            unreachable!("the forward pass accepted these tensors");
        };
        if let (Some(node), Some(dx)) = (x, result.x) {
            grads.register::<Flex>(node.id, flex(dx, saved.input_shape));
        }
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, flex(result.weight, saved.weight_shape));
        }
        let channels = [saved.scale.len()];
        if let Some(node) = scale {
            grads.register::<Flex>(node.id, flex(result.scale, channels));
        }
        if let Some(node) = shift {
            grads.register::<Flex>(node.id, flex(result.shift, channels));
        }
    }
}

fn with_gradients(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    scale: &Tensor<1>,
    shift: &Tensor<1>,
    config: Config,
) -> Option<Normalised> {
    let (input_shape, weight_shape) = (x.dims(), weight.dims());
    let x = x.clone().try_into_primitive::<Differentiable>().ok()?;
    let weight = weight.clone().try_into_primitive::<Differentiable>().ok()?;
    let scale = scale.clone().try_into_primitive::<Differentiable>().ok()?;
    let shift = shift.clone().try_into_primitive::<Differentiable>().ok()?;
    let (x_values, weight_values) = (contiguous(x.primitive()), contiguous(weight.primitive()));
    let (scale_values, shift_values) = (contiguous(scale.primitive()), contiguous(shift.primitive()));
    let (scale_values, shift_values) = (values(&scale_values)?.to_vec(), values(&shift_values)?.to_vec());
    let made =
        forward(values(&x_values)?, input_shape, values(&weight_values)?, &scale_values, &shift_values, &config)?;
    let statistics = [made.mean.len()];
    let mean = Tensor::from_primitive::<Flex>(flex(made.mean.clone(), statistics));
    let variance = Tensor::from_primitive::<Flex>(flex(made.variance.clone(), statistics));
    let y = flex(made.y, made.shape);
    let nodes = [x.node(), weight.node(), scale.node(), shift.node()];
    let value = match ConvNormAct.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let saved = Saved {
                x: x_values,
                weight: weight_values,
                z: flex(made.z, made.shape),
                scale: scale_values,
                shift: shift_values,
                mean: made.mean,
                variance: made.variance,
                input_shape,
                weight_shape,
                config,
            };
            prepared.finish(saved, y)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(y),
    };
    Some(Normalised { value: Tensor::from_primitive::<Differentiable>(value), mean, variance })
}

fn without_gradients(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    scale: &Tensor<1>,
    shift: &Tensor<1>,
    config: Config,
) -> Option<Normalised> {
    let shape = x.dims();
    let read = |tensor: FlexTensor| contiguous(&tensor);
    let x = read(x.clone().try_into_primitive::<Flex>().ok()?);
    let weight = read(weight.clone().try_into_primitive::<Flex>().ok()?);
    let scale = read(scale.clone().try_into_primitive::<Flex>().ok()?);
    let shift = read(shift.clone().try_into_primitive::<Flex>().ok()?);
    let made = forward(values(&x)?, shape, values(&weight)?, values(&scale)?, values(&shift)?, &config)?;
    let statistics = [made.mean.len()];
    Some(Normalised {
        value: Tensor::from_primitive::<Flex>(flex(made.y, made.shape)),
        mean: Tensor::from_primitive::<Flex>(flex(made.mean, statistics)),
        variance: Tensor::from_primitive::<Flex>(flex(made.variance, statistics)),
    })
}

fn plain_conv(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    geometry: ConvGeometry,
    activation: Option<Activation>,
) -> Option<Tensor<4>> {
    let (shape, [out, ..]) = (x.dims(), weight.dims());
    let [n, h, w, c] = shape;
    let x = contiguous(&x.clone().try_into_primitive::<Flex>().ok()?);
    let weight = contiguous(&weight.clone().try_into_primitive::<Flex>().ok()?);
    let bias = match bias {
        Some(bias) => values(&contiguous(&bias.clone().try_into_primitive::<Flex>().ok()?))?.to_vec(),
        None => vec![0.0; out],
    };
    let conv = Convolution::new(values(&weight)?, out, [h, w, c], geometry)?;
    let input = values(&x)?;
    let chunks = Chunks::new(n, conv.output_values().max(conv.input_values()));
    let mut y = vec![0.0; n * conv.output_values()];
    with_nonlinearity!(activation, Act => {
        y.par_chunks_mut(chunks.per_chunk * conv.output_values()).enumerate().for_each(|(chunk, y)| {
            let images = chunks.range(chunk);
            conv.forward(&input[images.start * conv.input_values()..images.end * conv.input_values()], y);
            activate_in_place::<Act>(y, &bias);
        });
    });
    Some(Tensor::from_primitive::<Flex>(flex(y, output_shape(shape, out, &geometry))))
}
