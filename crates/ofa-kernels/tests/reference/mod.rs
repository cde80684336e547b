//! The operations of a block as plain loops in f64.

use ofa_kernels::block::Slot;
use ofa_space::{Activation, BatchNorm, Gate, OpKind, PoolRounding, Step};

/// A value: `[images, height, width, channels]`.
#[derive(Clone)]
pub struct Value {
    pub data: Vec<f64>,
    pub shape: [usize; 4],
}

impl Value {
    fn from_fn(shape: [usize; 4], mut at: impl FnMut([usize; 4]) -> f64) -> Self {
        let [n, h, w, c] = shape;
        let mut data = Vec::with_capacity(n * h * w * c);
        for i in 0..n {
            for y in 0..h {
                for x in 0..w {
                    data.extend((0..c).map(|channel| at([i, y, x, channel])));
                }
            }
        }
        Self { data, shape }
    }

    fn at(&self, [i, y, x, c]: [usize; 4]) -> f64 {
        let [_, h, w, channels] = self.shape;
        self.data[((i * h + y) * w + x) * channels + c]
    }
}

/// The output of a block.
pub fn run(steps: &[Step<Slot>], input: &Value, params: &[Vec<f64>]) -> Value {
    let mut values = vec![input.clone()];
    for step in steps {
        let x = &values[step.inputs[0]];
        let [n, h, w, c] = x.shape;
        let mut made = match &step.op {
            OpKind::Conv { weight, bias, kernel, stride, padding, extra_padding, groups, .. } => {
                let bias = bias.map(|bias| &params[bias.index][..]);
                let geometry = [*kernel, *stride, *padding, *groups, *extra_padding];
                convolve(x, (&params[weight.index], weight.rows), bias, geometry)
            }
            OpKind::Linear { weight, bias } => {
                let bias = bias.map(|bias| &params[bias.index][..]);
                convolve(x, (&params[weight.index], weight.rows), bias, [1, 1, 0, 1, 0])
            }
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate: function } => {
                let mean = pool(x, [h.max(w), 1, 0], [1, 1], Pool::Mean);
                let of = |slot: &Slot| (&params[slot.index][..], slot.rows);
                let squeezed = convolve(&mean, of(reduce_weight), Some(&params[reduce_bias.index]), [1, 1, 0, 1, 0]);
                let squeezed = Value::from_fn(squeezed.shape, |at| activate(squeezed.at(at), Some(*inner)));
                let gates = convolve(&squeezed, of(expand_weight), Some(&params[expand_bias.index]), [1, 1, 0, 1, 0]);
                Value::from_fn(x.shape, |[i, y, xx, c]| {
                    let before = gates.at([i, 0, 0, c]);
                    let gate = match function {
                        Gate::HardSigmoid => (before + 3.0).clamp(0.0, 6.0) / 6.0,
                        Gate::Sigmoid => 1.0 / (1.0 + (-before).exp()),
                    };
                    x.at([i, y, xx, c]) * gate
                })
            }
            OpKind::Add => {
                let other = &values[step.inputs[1]];
                Value::from_fn(x.shape, |at| x.at(at) + other.at(at))
            }
            OpKind::GlobalAveragePool => pool(x, [h.max(w), 1, 0], [1, 1], Pool::Mean),
            OpKind::AveragePool { kernel, stride, padding, rounding } => {
                let out = [h, w].map(|size| windows(size, [*kernel, *stride, *padding], *rounding));
                pool(x, [*kernel, *stride, *padding], out, Pool::Mean)
            }
            OpKind::MaxPool { kernel, stride, padding } => {
                let out = [h, w].map(|size| windows(size, [*kernel, *stride, *padding], PoolRounding::Floor));
                pool(x, [*kernel, *stride, *padding], out, Pool::Largest)
            }
            other => panic!("{other:?} in {n} images of {c} channels"),
        };
        if let Some(norm) = &step.norm {
            made = normalise(&made, norm, params);
        }
        made.data.iter_mut().for_each(|value| *value = activate(*value, step.activation));
        values.push(made);
    }
    values.pop().unwrap()
}

pub fn activate(u: f64, activation: Option<Activation>) -> f64 {
    match activation {
        None => u,
        Some(Activation::Relu) => u.max(0.0),
        Some(Activation::Relu6) => u.clamp(0.0, 6.0),
        Some(Activation::HSwish) => u * (u + 3.0).clamp(0.0, 6.0) / 6.0,
        Some(Activation::Silu) => u / (1.0 + (-u).exp()),
    }
}

fn convolve(
    x: &Value,
    (weight, outputs): (&[f64], usize),
    bias: Option<&[f64]>,
    [k, stride, padding, groups, extra]: [usize; 5],
) -> Value {
    let [n, h, w, c] = x.shape;
    let (of_group, out_of_group) = (c / groups, outputs / groups);
    let out = |size: usize| (size + 2 * padding + extra - k) / stride + 1;
    Value::from_fn([n, out(h), out(w), outputs], |[i, y, xx, o]| {
        let mut sum = bias.map_or(0.0, |bias| bias[o]);
        for (ky, kx) in (0..k * k).map(|tap| (tap / k, tap % k)) {
            let (iy, ix) = ((y * stride + ky).wrapping_sub(padding), (xx * stride + kx).wrapping_sub(padding));
            if iy < h && ix < w {
                for inner in 0..of_group {
                    let channel = o / out_of_group * of_group + inner;
                    sum += x.at([i, iy, ix, channel]) * weight[((o * of_group + inner) * k + ky) * k + kx];
                }
            }
        }
        sum
    })
}

fn normalise(x: &Value, norm: &BatchNorm<Slot>, params: &[Vec<f64>]) -> Value {
    let [n, h, w, channels] = x.shape;
    let count = (n * h * w) as f64;
    let of_channel = |c: usize| x.data.iter().skip(c).step_by(channels);
    let mean: Vec<f64> = (0..channels).map(|c| of_channel(c).sum::<f64>() / count).collect();
    let variance = |c: usize| of_channel(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / count;
    let deviation: Vec<f64> = (0..channels).map(|c| (variance(c) + norm.eps).sqrt()).collect();
    let (scale, shift) = (&params[norm.weight.index], &params[norm.bias.index]);
    Value::from_fn(x.shape, |at| {
        let c = at[3];
        (x.at(at) - mean[c]) / deviation[c] * scale[c] + shift[c]
    })
}

/// Windows along an axis, as PyTorch counts them.
fn windows(size: usize, [k, stride, padding]: [usize; 3], rounding: PoolRounding) -> usize {
    let span = size + 2 * padding - k;
    match rounding {
        PoolRounding::Floor => span / stride + 1,
        PoolRounding::Ceil => {
            let count = span.div_ceil(stride) + 1;
            count - usize::from((count - 1) * stride >= size + padding)
        }
    }
}

/// What a pooling takes of a window.
#[derive(Clone, Copy)]
enum Pool {
    Mean,
    Largest,
}

/// Pools every window; padding does not count.
fn pool(x: &Value, [k, stride, padding]: [usize; 3], out: [usize; 2], of: Pool) -> Value {
    let [n, h, w, c] = x.shape;
    Value::from_fn([n, out[0], out[1], c], |[i, y, xx, channel]| {
        let mut inside = Vec::new();
        for (ky, kx) in (0..k * k).map(|tap| (tap / k, tap % k)) {
            let (iy, ix) = ((y * stride + ky).wrapping_sub(padding), (xx * stride + kx).wrapping_sub(padding));
            if iy < h && ix < w {
                inside.push(x.at([i, iy, ix, channel]));
            }
        }
        match of {
            Pool::Largest => inside.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Pool::Mean => inside.iter().sum::<f64>() / inside.len() as f64,
        }
    })
}
