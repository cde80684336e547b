//! Squeeze-excite: the gates of every image, and their backward pass.

use crate::block::Slot;
use crate::gemm::matmul::{Matrix, multiply};
use crate::nonlinearity::{Nonlinearity, sigmoid, with_nonlinearity};
use crate::normalisation::Affine;
use crate::simd::{for_channel_blocks, vectorised};
use ofa_space::{Activation, Gate, OpKind};
use rayon::prelude::*;

/// The weights of a squeeze-excite.
#[derive(Clone, Copy)]
pub struct GateWeights<'a> {
    /// `[squeezed, channels]`.
    pub reduce: &'a [f32],
    /// `[squeezed]`.
    pub reduce_bias: &'a [f32],
    /// `[channels, squeezed]`.
    pub expand: &'a [f32],
    /// `[channels]`.
    pub expand_bias: &'a [f32],
    /// Nonlinearity of the squeezed values.
    pub inner: Activation,
    /// What makes the gates.
    pub gate: Gate,
}

impl<'a> GateWeights<'a> {
    /// Those of an operation, which is a squeeze-excite.
    pub fn of(op: &OpKind<Slot>, params: &[&'a [f32]]) -> Self {
        let OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate } = op else {
            unreachable!("gates belong to a squeeze-excite")
        };
        Self {
            reduce: params[reduce_weight.index],
            reduce_bias: params[reduce_bias.index],
            expand: params[expand_weight.index],
            expand_bias: params[expand_bias.index],
            inner: *inner,
            gate: *gate,
        }
    }
}

/// What the forward pass made, an image a row.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    /// Means, `[images, channels]`.
    pub pooled: Vec<f32>,
    /// `[images, squeezed]`, before the inner nonlinearity; empty for a ReLU, whose slope follows from its value.
    pub reduced: Vec<f32>,
    /// `[images, squeezed]`, after the inner nonlinearity.
    pub squeezed: Vec<f32>,
    /// `[images, channels]`, before the gate function.
    pub before: Vec<f32>,
    /// `[images, channels]`.
    pub gates: Vec<f32>,
}

/// The input of a squeeze-excite: batch norm and nonlinearity of what a convolution wrote.
#[derive(Clone, Copy)]
pub struct Gated<'a> {
    /// What the convolution wrote.
    pub z: &'a [f32],
    /// Batch norm.
    pub affine: &'a Affine,
    /// Nonlinearity.
    pub activation: Option<Activation>,
    /// Pixels of an image.
    pub area: usize,
}

impl Gates {
    /// The gates of a batch whose activations exist only lazily.
    pub fn of_lazy(input: Gated<'_>, weights: GateWeights<'_>) -> Self {
        let channels = input.affine.channels();
        let image = input.area * channels;
        let mut pooled = vec![0.0; input.z.len() / input.area];
        pooled.par_chunks_mut(channels).zip(input.z.par_chunks(image)).for_each(|(mean, z)| {
            with_nonlinearity!(input.activation, Act => mean_activated::<Act>(z, input.affine, mean));
        });
        Self::of_means(pooled, weights)
    }

    /// The gates from the means of every image.
    pub fn of_means(pooled: Vec<f32>, weights: GateWeights<'_>) -> Self {
        let (squeeze, channels) = (weights.reduce_bias.len(), weights.expand_bias.len());
        let images = pooled.len() / channels;
        let mut squeezed = vec![0.0; images * squeeze];
        let reduce = Matrix::new(weights.reduce, squeeze, channels).transposed();
        multiply(Matrix::new(&pooled, images, channels), reduce, &mut squeezed);
        let mut reduced = Vec::new();
        if weights.inner == Activation::Relu {
            for row in squeezed.chunks_exact_mut(squeeze) {
                row.iter_mut().zip(weights.reduce_bias).for_each(|(value, bias)| *value = (*value + bias).max(0.0));
            }
        } else {
            for row in squeezed.chunks_exact_mut(squeeze) {
                row.iter_mut().zip(weights.reduce_bias).for_each(|(value, bias)| *value += bias);
            }
            reduced = squeezed.clone();
            with_nonlinearity!(Some(weights.inner), Act => squeezed.iter_mut().for_each(|value| *value = Act::value(*value)));
        }
        let mut before = vec![0.0; images * channels];
        let expand = Matrix::new(weights.expand, channels, squeeze).transposed();
        multiply(Matrix::new(&squeezed, images, squeeze), expand, &mut before);
        for row in before.chunks_exact_mut(channels) {
            row.iter_mut().zip(weights.expand_bias).for_each(|(value, bias)| *value += bias);
        }
        let gates = match weights.gate {
            Gate::HardSigmoid => before.iter().map(|value| (value + 3.0).clamp(0.0, 6.0) / 6.0).collect(),
            Gate::Sigmoid => before.iter().map(|value| sigmoid(*value)).collect(),
        };
        Self { pooled, reduced, squeezed, before, gates }
    }
}

/// Gradients with respect to what [`Gates`] holds, of the images of a lane in order.
#[derive(Clone, Debug, Default)]
pub struct GateGradients {
    /// Of `before`.
    before: Vec<f32>,
    /// Of `squeezed`, before its nonlinearity.
    squeezed: Vec<f32>,
}

impl GateGradients {
    /// Turns the gradient of some whole images' gated values into that of the values themselves, in place.
    pub fn add_images(
        &mut self,
        images: std::ops::Range<usize>,
        dy: &mut [f32],
        input: Gated<'_>,
        gates: &Gates,
        weights: GateWeights<'_>,
    ) {
        let (squeeze, channels) = (weights.reduce_bias.len(), weights.expand_bias.len());
        let count = images.len();
        let image = input.area * channels;
        let z = &input.z[images.start * image..images.end * image];
        let mut before = vec![0.0; count * channels];
        for ((z, dy), row) in z.chunks_exact(image).zip(dy.chunks_exact(image)).zip(before.chunks_exact_mut(channels)) {
            with_nonlinearity!(input.activation, Act => sum_products::<Act>(z, dy, input.affine, row));
        }
        let of_before = &gates.before[images.start * channels..images.end * channels];
        let of_gates = &gates.gates[images.start * channels..images.end * channels];
        match weights.gate {
            Gate::HardSigmoid => {
                for (gradient, value) in before.iter_mut().zip(of_before) {
                    *gradient = if value.abs() < 3.0 { *gradient / 6.0 } else { 0.0 };
                }
            }
            Gate::Sigmoid => {
                for (gradient, gate) in before.iter_mut().zip(of_gates) {
                    *gradient *= gate * (1.0 - gate);
                }
            }
        }
        let mut squeezed = vec![0.0; count * squeeze];
        let expand = Matrix::new(weights.expand, channels, squeeze);
        multiply(Matrix::new(&before, count, channels), expand, &mut squeezed);
        let these = images.start * squeeze..images.end * squeeze;
        if weights.inner == Activation::Relu {
            for (gradient, value) in squeezed.iter_mut().zip(&gates.squeezed[these]) {
                if *value <= 0.0 {
                    *gradient = 0.0;
                }
            }
        } else {
            let values = squeezed.iter_mut().zip(&gates.reduced[these]);
            with_nonlinearity!(Some(weights.inner), Act => values.for_each(|(gradient, value)| *gradient *= Act::slope(*value)));
        }
        let mut pooled = vec![0.0; count * channels];
        let reduce = Matrix::new(weights.reduce, squeeze, channels);
        multiply(Matrix::new(&squeezed, count, squeeze), reduce, &mut pooled);
        pooled.iter_mut().for_each(|value| *value /= input.area as f32);
        vectorised(
            #[inline(always)]
            || {
                let rows = of_gates.chunks_exact(channels).zip(pooled.chunks_exact(channels));
                for (dy, (gate, pooled)) in dy.chunks_exact_mut(image).zip(rows) {
                    for row in dy.chunks_exact_mut(channels) {
                        for ((value, gate), pooled) in row.iter_mut().zip(gate).zip(pooled) {
                            *value = value.mul_add(*gate, *pooled);
                        }
                    }
                }
            },
        );
        self.before.extend(before);
        self.squeezed.extend(squeezed);
    }

    /// Appends those of the next lane.
    pub fn append(&mut self, next: GateGradients) {
        self.before.extend(next.before);
        self.squeezed.extend(next.squeezed);
    }

    /// Gradients of reduce weight and bias, expand weight and bias, once every image is in.
    pub fn of_weights(&self, gates: &Gates, weights: GateWeights<'_>) -> [Vec<f32>; 4] {
        let (squeeze, channels) = (weights.reduce_bias.len(), weights.expand_bias.len());
        let images = gates.gates.len() / channels;
        let mut reduce = vec![0.0; squeeze * channels];
        let left = Matrix::new(&self.squeezed, images, squeeze).transposed();
        multiply(left, Matrix::new(&gates.pooled, images, channels), &mut reduce);
        let mut expand = vec![0.0; squeeze * channels];
        let left = Matrix::new(&self.before, images, channels).transposed();
        multiply(left, Matrix::new(&gates.squeezed, images, squeeze), &mut expand);
        [reduce, column_sums(&self.squeezed, squeeze), expand, column_sums(&self.before, channels)]
    }
}

fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// Mean over an image's pixels of `act(z · slope + offset)`.
fn mean_activated<A: Nonlinearity>(z: &[f32], affine: &Affine, mean: &mut [f32]) {
    let channels = affine.channels();
    let share = channels as f32 / z.len() as f32;
    vectorised(
        #[inline(always)]
        || {
            for_channel_blocks!(channels, B, at => {
                let (mut slope, mut offset, mut sum) = ([0.0f32; B], [0.0f32; B], [0.0f32; B]);
                slope.copy_from_slice(&affine.slope[at..at + B]);
                offset.copy_from_slice(&affine.offset[at..at + B]);
                for row in z.chunks_exact(channels) {
                    let row = &row[at..at + B];
                    for i in 0..B {
                        sum[i] += A::value(row[i].mul_add(slope[i], offset[i]));
                    }
                }
                for i in 0..B {
                    mean[at + i] = sum[i] * share;
                }
            });
        },
    );
}

/// Sum over an image's pixels of `dy · act(z · slope + offset)`.
fn sum_products<A: Nonlinearity>(z: &[f32], dy: &[f32], affine: &Affine, sums: &mut [f32]) {
    let channels = affine.channels();
    vectorised(
        #[inline(always)]
        || {
            for_channel_blocks!(channels, B, at => {
                let (mut slope, mut offset, mut sum) = ([0.0f32; B], [0.0f32; B], [0.0f32; B]);
                slope.copy_from_slice(&affine.slope[at..at + B]);
                offset.copy_from_slice(&affine.offset[at..at + B]);
                for (z, dy) in z.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
                    let (z, dy) = (&z[at..at + B], &dy[at..at + B]);
                    for i in 0..B {
                        sum[i] = dy[i].mul_add(A::value(z[i].mul_add(slope[i], offset[i])), sum[i]);
                    }
                }
                sums[at..at + B].copy_from_slice(&sum);
            });
        },
    );
}
