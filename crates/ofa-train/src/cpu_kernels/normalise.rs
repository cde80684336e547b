//! Batch norm with the batch's own statistics: moments, the fused normalise-and-activate pass, and its backward sums.

use super::Nonlinearity;

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

    /// The moments of rows `[n, channels]`, in two passes over a chunk that is still in the cache.
    pub fn of(rows: &[f32], channels: usize) -> Self {
        let count = rows.len() / channels;
        let mut sums = vec![0.0f32; channels];
        let mut squares = vec![0.0f32; channels];
        let mut mean = vec![0.0f32; channels];
        super::vectorised(
            #[inline(always)]
            || {
                for row in rows.chunks_exact(channels) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += value;
                    }
                }
                for (mean, sum) in mean.iter_mut().zip(&sums) {
                    *mean = sum / count as f32;
                }
                for row in rows.chunks_exact(channels) {
                    for ((square, value), mean) in squares.iter_mut().zip(row).zip(&mean) {
                        let deviation = value - mean;
                        *square = deviation.mul_add(deviation, *square);
                    }
                }
            },
        );
        // The rounded mean is a legitimate centre: the rest of the deviation is put back in f64.
        let n = count as f64;
        let exact: Vec<f64> = sums.iter().map(|sum| f64::from(*sum) / n).collect();
        let squares = squares
            .iter()
            .zip(exact.iter().zip(&mean))
            .map(|(square, (exact, mean))| f64::from(*square) - n * (exact - f64::from(*mean)).powi(2))
            .collect();
        Self { count: n, mean: exact, squares }
    }

    /// Adds the rows of `other`.
    pub fn merge(&mut self, other: &Moments) {
        let total = self.count + other.count;
        if total == 0.0 {
            return;
        }
        for channel in 0..self.mean.len() {
            let distance = other.mean[channel] - self.mean[channel];
            self.mean[channel] += distance * other.count / total;
            self.squares[channel] += other.squares[channel] + distance * distance * self.count * other.count / total;
        }
        self.count = total;
    }

    /// Mean and biased variance per channel.
    pub fn finish(&self) -> (Vec<f32>, Vec<f32>) {
        let mean = self.mean.iter().map(|m| *m as f32).collect();
        let variance = self.squares.iter().map(|s| (s / self.count).max(0.0) as f32).collect();
        (mean, variance)
    }
}

/// `u = z · slope + offset` per channel: batch norm as one multiply-add.
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
}

/// `y = act(z · slope + offset)`.
pub fn activate<A: Nonlinearity>(z: &[f32], y: &mut [f32], slope: &[f32], offset: &[f32]) {
    let channels = slope.len();
    super::vectorised(
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

/// `y = act(y + bias)` in place.
pub fn activate_in_place<A: Nonlinearity>(y: &mut [f32], bias: &[f32]) {
    super::vectorised(
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

/// Σ g and Σ g·ẑ per channel, where `g = dy · act'(u)` and `ẑ` is the normalised value.
pub fn backward_sums<A: Nonlinearity>(z: &[f32], dy: &[f32], affine: &Affine) -> (Vec<f64>, Vec<f64>) {
    let channels = affine.slope.len();
    let mut plain = vec![0.0f32; channels];
    let mut weighted = vec![0.0f32; channels];
    super::vectorised(
        #[inline(always)]
        || {
            for (z, dy) in z.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
                for c in 0..channels {
                    let g = dy[c] * A::slope(z[c].mul_add(affine.slope[c], affine.offset[c]));
                    plain[c] += g;
                    weighted[c] = g.mul_add((z[c] - affine.mean[c]) * affine.inverse[c], weighted[c]);
                }
            }
        },
    );
    let wide = |sums: Vec<f32>| sums.into_iter().map(f64::from).collect();
    (wide(plain), wide(weighted))
}

/// `dz = slope · (g − mean(g) − ẑ · mean(g·ẑ))`; the means are over the whole batch.
pub fn backward_values<A: Nonlinearity>(
    z: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    affine: &Affine,
    plain_mean: &[f32],
    weighted_mean: &[f32],
) {
    let channels = affine.slope.len();
    super::vectorised(
        #[inline(always)]
        || {
            let rows = z.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(dz.chunks_exact_mut(channels));
            for ((z, dy), dz) in rows {
                for c in 0..channels {
                    let g = dy[c] * A::slope(z[c].mul_add(affine.slope[c], affine.offset[c]));
                    let normalised = (z[c] - affine.mean[c]) * affine.inverse[c];
                    dz[c] = affine.slope[c] * (g - plain_mean[c] - normalised * weighted_mean[c]);
                }
            }
        },
    );
}
