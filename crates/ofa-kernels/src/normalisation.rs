//! Batch norm with the batch's own statistics: moments, normalise-and-activate, and the passes of its backward.
//!
//! Every pass takes rows `[pixels, channels]` that are still in the cache, and walks down the rows with a block of
//! channels in registers.

use crate::nonlinearity::Nonlinearity;
use crate::simd::{for_channel_blocks, vectorised};

/// Count, mean and sum of squared deviations per channel; combined without loss (Chan et al. 1979).
#[derive(Clone, Debug)]
pub struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// The moments of no rows.
    pub fn empty(channels: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    /// Adds rows `[n, channels]`.
    pub fn add_rows(&mut self, rows: &[f32], channels: usize) {
        if rows.is_empty() {
            return;
        }
        let count = rows.len() / channels;
        // Sums of distances from the first row: of the data's own magnitude, so little is lost to cancellation.
        let pivot = &rows[..channels];
        let mut sums = vec![0.0f32; channels];
        let mut squares = vec![0.0f32; channels];
        vectorised(
            #[inline(always)]
            || {
                for_channel_blocks!(channels, B, at => {
                    let mut pivots = [0.0f32; B];
                    pivots.copy_from_slice(&pivot[at..at + B]);
                    let (mut sum, mut square) = ([0.0f32; B], [0.0f32; B]);
                    for row in rows.chunks_exact(channels) {
                        let row = &row[at..at + B];
                        for i in 0..B {
                            let distance = row[i] - pivots[i];
                            sum[i] += distance;
                            square[i] = distance.mul_add(distance, square[i]);
                        }
                    }
                    sums[at..at + B].copy_from_slice(&sum);
                    squares[at..at + B].copy_from_slice(&square);
                });
            },
        );
        let n = count as f64;
        let total = self.count + n;
        for c in 0..channels {
            let offset = f64::from(sums[c]) / n;
            let (mean, square) = (f64::from(pivot[c]) + offset, f64::from(squares[c]) - n * offset * offset);
            self.combine(c, mean, square, n, total);
        }
        self.count = total;
    }

    /// Adds the rows of `other`.
    pub fn merge(&mut self, other: &Moments) {
        let total = self.count + other.count;
        if other.count == 0.0 {
            return;
        }
        for c in 0..self.mean.len() {
            self.combine(c, other.mean[c], other.squares[c], other.count, total);
        }
        self.count = total;
    }

    fn combine(&mut self, channel: usize, mean: f64, squares: f64, count: f64, total: f64) {
        let distance = mean - self.mean[channel];
        self.mean[channel] += distance * count / total;
        self.squares[channel] += squares + distance * distance * self.count * count / total;
    }

    /// Mean and biased variance per channel.
    pub fn finish(&self) -> (Vec<f32>, Vec<f32>) {
        let mean = self.mean.iter().map(|m| *m as f32).collect();
        let variance = self.squares.iter().map(|s| (s / self.count).max(0.0) as f32).collect();
        (mean, variance)
    }
}

/// `u = z · slope + offset` per channel: batch norm (or a bias) as one multiply-add.
#[derive(Clone, Debug)]
pub struct Affine {
    /// Scale over the deviation.
    pub slope: Vec<f32>,
    /// Shift minus mean times slope.
    pub offset: Vec<f32>,
    /// Mean.
    pub mean: Vec<f32>,
    /// One over the deviation.
    pub inverse: Vec<f32>,
}

impl Affine {
    /// From the statistics and the trained scale and shift.
    pub fn new(mean: &[f32], variance: &[f32], scale: &[f32], shift: &[f32], eps: f64) -> Self {
        let inverse: Vec<f32> = variance.iter().map(|v| (1.0 / (f64::from(*v) + eps).sqrt()) as f32).collect();
        let slope: Vec<f32> = scale.iter().zip(&inverse).map(|(s, i)| s * i).collect();
        let offset = shift.iter().zip(mean).zip(&slope).map(|((b, m), s)| b - m * s).collect();
        Self { slope, offset, mean: mean.to_vec(), inverse }
    }

    /// `u = z + bias`.
    pub fn bias(bias: &[f32]) -> Self {
        let channels = bias.len();
        Self {
            slope: vec![1.0; channels],
            offset: bias.to_vec(),
            mean: vec![0.0; channels],
            inverse: vec![1.0; channels],
        }
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.slope.len()
    }
}

/// `y = act(z · slope + offset)`.
pub fn activate<A: Nonlinearity>(z: &[f32], y: &mut [f32], affine: &Affine) {
    let channels = affine.channels();
    let (slope, offset) = (&affine.slope[..channels], &affine.offset[..channels]);
    vectorised(
        #[inline(always)]
        || {
            for (row, out) in z.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                for (((value, out), slope), offset) in row.iter().zip(out).zip(slope).zip(offset) {
                    *out = A::value(value.mul_add(*slope, *offset));
                }
            }
        },
    );
}

/// `y = act(z · slope + offset) + other`.
pub fn activate_and_add<A: Nonlinearity>(z: &[f32], other: &[f32], y: &mut [f32], affine: &Affine) {
    let channels = affine.channels();
    let (slope, offset) = (&affine.slope[..channels], &affine.offset[..channels]);
    vectorised(
        #[inline(always)]
        || {
            let rows = z.chunks_exact(channels).zip(other.chunks_exact(channels)).zip(y.chunks_exact_mut(channels));
            for ((row, other), out) in rows {
                for ((((value, other), out), slope), offset) in row.iter().zip(other).zip(out).zip(slope).zip(offset) {
                    *out = A::value(value.mul_add(*slope, *offset)) + other;
                }
            }
        },
    );
}

/// `y = act(y + bias)` in place.
pub fn activate_in_place<A: Nonlinearity>(y: &mut [f32], bias: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for row in y.chunks_exact_mut(bias.len()) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value = A::value(*value + bias);
                }
            }
        },
    );
}

/// Σ g and Σ g·ẑ per channel, in f64.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Σ g.
    pub plain: Vec<f64>,
    /// Σ g·ẑ.
    pub weighted: Vec<f64>,
}

impl Sums {
    /// Of no rows.
    pub fn empty(channels: usize) -> Self {
        Self { plain: vec![0.0; channels], weighted: vec![0.0; channels] }
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: &Sums) {
        self.plain.iter_mut().zip(&other.plain).for_each(|(sum, value)| *sum += value);
        self.weighted.iter_mut().zip(&other.weighted).for_each(|(sum, value)| *sum += value);
    }

    /// Adds rows of `g`, the gradient after the nonlinearity's slope.
    pub fn add_rows(&mut self, z: &[f32], g: &[f32], affine: &Affine) {
        let channels = affine.channels();
        let (mut plain, mut weighted) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        vectorised(
            #[inline(always)]
            || {
                for_channel_blocks!(channels, B, at => {
                    let mut mean = [0.0f32; B];
                    mean.copy_from_slice(&affine.mean[at..at + B]);
                    let (mut p, mut w) = ([0.0f32; B], [0.0f32; B]);
                    for (z, g) in z.chunks_exact(channels).zip(g.chunks_exact(channels)) {
                        let (z, g) = (&z[at..at + B], &g[at..at + B]);
                        for i in 0..B {
                            p[i] += g[i];
                            w[i] = g[i].mul_add(z[i] - mean[i], w[i]);
                        }
                    }
                    plain[at..at + B].copy_from_slice(&p);
                    weighted[at..at + B].copy_from_slice(&w);
                });
            },
        );
        self.absorb(&plain, &weighted, affine);
    }

    /// `g ← g · act'(u)` in place, and adds the rows.
    pub fn add_sloped_rows<A: Nonlinearity>(&mut self, z: &[f32], g: &mut [f32], affine: &Affine) {
        let channels = affine.channels();
        let (mut plain, mut weighted) = (vec![0.0f32; channels], vec![0.0f32; channels]);
        vectorised(
            #[inline(always)]
            || {
                for_channel_blocks!(channels, B, at => {
                    let (mut mean, mut slope, mut offset) = ([0.0f32; B], [0.0f32; B], [0.0f32; B]);
                    mean.copy_from_slice(&affine.mean[at..at + B]);
                    slope.copy_from_slice(&affine.slope[at..at + B]);
                    offset.copy_from_slice(&affine.offset[at..at + B]);
                    let (mut p, mut w) = ([0.0f32; B], [0.0f32; B]);
                    for (z, g) in z.chunks_exact(channels).zip(g.chunks_exact_mut(channels)) {
                        let (z, g) = (&z[at..at + B], &mut g[at..at + B]);
                        for i in 0..B {
                            let value = g[i] * A::slope(z[i].mul_add(slope[i], offset[i]));
                            g[i] = value;
                            p[i] += value;
                            w[i] = value.mul_add(z[i] - mean[i], w[i]);
                        }
                    }
                    plain[at..at + B].copy_from_slice(&p);
                    weighted[at..at + B].copy_from_slice(&w);
                });
            },
        );
        self.absorb(&plain, &weighted, affine);
    }

    fn absorb(&mut self, plain: &[f32], weighted: &[f32], affine: &Affine) {
        for c in 0..plain.len() {
            self.plain[c] += f64::from(plain[c]);
            self.weighted[c] += f64::from(weighted[c]) * f64::from(affine.inverse[c]);
        }
    }
}

/// `dz = g · of_gradient + z · of_value + constant` per channel: the backward of batch norm, once its sums are known.
pub struct Pullback {
    of_gradient: Vec<f32>,
    of_value: Vec<f32>,
    constant: Vec<f32>,
}

impl Pullback {
    /// `dz = slope · (g − mean(g) − ẑ · mean(g·ẑ))`, the means over all `count` rows of the batch.
    pub fn new(affine: &Affine, sums: &Sums, count: usize) -> Self {
        let channels = affine.channels();
        let mut made = Self::identity(channels);
        for c in 0..channels {
            let slope = f64::from(affine.slope[c]);
            let pull = slope * f64::from(affine.inverse[c]) * sums.weighted[c] / count as f64;
            made.of_gradient[c] = affine.slope[c];
            made.of_value[c] = -pull as f32;
            made.constant[c] = (pull * f64::from(affine.mean[c]) - slope * sums.plain[c] / count as f64) as f32;
        }
        made
    }

    /// `dz = g`, where there is no batch norm.
    pub fn identity(channels: usize) -> Self {
        Self { of_gradient: vec![1.0; channels], of_value: vec![0.0; channels], constant: vec![0.0; channels] }
    }

    /// Applies it to rows.
    pub fn apply(&self, z: &[f32], g: &[f32], dz: &mut [f32]) {
        let channels = self.of_gradient.len();
        let coefficients = (&self.of_gradient[..channels], &self.of_value[..channels], &self.constant[..channels]);
        vectorised(
            #[inline(always)]
            || {
                let rows = z.chunks_exact(channels).zip(g.chunks_exact(channels)).zip(dz.chunks_exact_mut(channels));
                for ((z, g), dz) in rows {
                    let (of_gradient, of_value, constant) = coefficients;
                    for c in 0..channels {
                        dz[c] = g[c].mul_add(of_gradient[c], z[c].mul_add(of_value[c], constant[c]));
                    }
                }
            },
        );
    }
}

/// `y = act(y)` in place.
pub fn activate_values<A: Nonlinearity>(y: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || y.iter_mut().for_each(|value| *value = A::value(*value)),
    );
}
