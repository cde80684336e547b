//! From the times of blocks, each measured on its own, to the time of a network.
//!
//! A block on its own pays for the call of the runtime and, in some runtimes, for bringing its input and output into
//! the runtime's own layout, which a network pays once. In a network, on the other hand, a block finds its weights
//! pushed out of the cache. So the sum is corrected by a line with few coefficients:
//!
//! `latency = fixed_ms + scale · Σ block times + per_block_ms · blocks + per_mib_ms · MiB across block borders`
//!
//! fitted by least squares of relative errors on whole networks that were measured in the same session.

use linfa_linalg::qr::LeastSquaresQrInto;
use ndarray::Array2;
use ofa_space::Block;
use ofa_space::settings::{self, InvalidSetting, Settings};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// Coefficients of the line, and what they were fitted on.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `fixed_ms` | 0 | cost of a network |
/// | `scale` | 1 | of the sum of block times |
/// | `per_block_ms` | 0 | correction for every block |
/// | `per_mib_ms` | 0 | correction for every MiB (f32) of blocks' inputs and outputs |
/// | `least_ms` | 0 | floor of a network: a tenth of the smallest that was measured |
/// | `nets` | 0 | whole networks measured for the fit; 0 = the sum alone |
/// | `mape` | 0 | mean absolute relative error on them |
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WholeNet {
    /// Cost of a network.
    pub fixed_ms: f64,
    /// Factor of the sum.
    pub scale: f64,
    /// Correction for every block.
    pub per_block_ms: f64,
    /// Correction for every MiB across borders.
    pub per_mib_ms: f64,
    /// Floor of a network; 0 in profiles that were written before there was one.
    #[serde(skip_serializing_if = "is_zero")]
    pub least_ms: f64,
    /// Networks measured.
    pub nets: usize,
    /// Mean absolute relative error on them.
    pub mape: f64,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for WholeNet {
    fn default() -> Self {
        Self { fixed_ms: 0.0, scale: 1.0, per_block_ms: 0.0, per_mib_ms: 0.0, least_ms: 0.0, nets: 0, mape: 0.0 }
    }
}

/// A network that was measured whole and in parts.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct WholeSample {
    /// Sum of its blocks' times.
    pub sum_ms: f64,
    /// Number of its blocks.
    pub blocks: f64,
    /// MiB across block borders.
    pub mib: f64,
    /// Its own time.
    pub measured_ms: f64,
}

impl WholeSample {
    /// Of blocks with these times; `measured_ms` is the time of the whole.
    pub fn new(blocks: &[Block], times: &[f64], measured_ms: f64) -> Self {
        Self { sum_ms: times.iter().sum(), blocks: blocks.len() as f64, mib: blocks.iter().map(mib).sum(), measured_ms }
    }
}

/// MiB of a block's input and output in f32.
pub(crate) fn mib(block: &Block) -> f64 {
    let elements: usize = [block.input, block.output].iter().map(|shape| shape.iter().product::<usize>()).sum();
    elements as f64 * 4.0 / (1u64 << 20) as f64
}

/// Weight of the pull towards 0, against all networks together.
const RIDGE: f64 = 1e-3;

impl WholeNet {
    /// Milliseconds of the network of these blocks, whose times on their own are given.
    pub fn predict(&self, blocks: &[Block], times: &[f64]) -> f64 {
        self.of(&WholeSample::new(blocks, times, 0.0))
    }

    fn of(&self, net: &WholeSample) -> f64 {
        let value =
            self.fixed_ms + self.scale * net.sum_ms + self.per_block_ms * net.blocks + self.per_mib_ms * net.mib;
        // A correction never makes a network free.
        value.max(self.least_ms)
    }

    /// The share of one block, which takes `ms` on its own, in a network's milliseconds.
    pub fn share(&self, block: &Block, ms: f64) -> f64 {
        self.scale * ms + self.per_block_ms + self.per_mib_ms * mib(block)
    }

    /// Fits the line. With fewer than 8 networks only the scale is fitted; with none, nothing.
    pub fn fit(samples: &[WholeSample]) -> Self {
        let usable: Vec<&WholeSample> = samples.iter().filter(|s| s.measured_ms > 0.0 && s.sum_ms > 0.0).collect();
        if usable.is_empty() {
            return Self::default();
        }
        let columns: usize = if usable.len() < 8 { 1 } else { 4 };
        let features = |s: &WholeSample| [s.sum_ms, s.mib, s.blocks, 1.0];
        // Rows are divided by the measured time, so that relative errors count. The ridge (as rows that pull each
        // coefficient to 0) is far below what the columns carry; it settles columns that do not vary, such as the
        // number of blocks of a space without depth.
        let mut matrix = Array2::zeros((usable.len() + columns, columns));
        let mut target = Array2::zeros((usable.len() + columns, 1));
        for (row, sample) in usable.iter().enumerate() {
            target[[row, 0]] = 1.0;
            for (column, value) in features(sample).into_iter().take(columns).enumerate() {
                matrix[[row, column]] = value / sample.measured_ms;
            }
        }
        for column in 0..columns {
            let length = matrix.column(column).iter().map(|v: &f64| v * v).sum::<f64>().sqrt();
            matrix[[usable.len() + column, column]] = RIDGE * length;
        }
        let solution: Vec<f64> = matrix.least_squares_into(target).map(|x| x.into_iter().collect()).unwrap_or_default();
        let at = |i: usize| solution.get(i).copied().unwrap_or(0.0);
        let mut fitted = Self {
            fixed_ms: at(3),
            scale: at(0),
            per_block_ms: at(2),
            per_mib_ms: at(1),
            least_ms: 0.1 * usable.iter().map(|s| s.measured_ms).fold(f64::INFINITY, f64::min),
            nets: usable.len(),
            mape: 0.0,
        };
        if fitted.scale.is_nan() || fitted.scale <= 0.1 {
            // Nonsense data; the plain sum is the better guess.
            fitted = Self { nets: usable.len(), ..Self::default() };
        }
        let errors = usable.iter().map(|s| (fitted.of(s) / s.measured_ms - 1.0).abs());
        fitted.mape = errors.sum::<f64>() / usable.len() as f64;
        fitted
    }
}

impl Settings for WholeNet {
    fn check(&self) -> Result<(), InvalidSetting> {
        let numbers =
            [("fixed_ms", self.fixed_ms), ("per_block_ms", self.per_block_ms), ("per_mib_ms", self.per_mib_ms)];
        for (field, value) in numbers {
            settings::number(field, value, (Bound::Excluded(f64::NEG_INFINITY), Bound::Excluded(f64::INFINITY)))?;
        }
        settings::number("least_ms", self.least_ms, 0.0..f64::INFINITY)?;
        settings::positive("scale", self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let truth =
            WholeNet { fixed_ms: 0.3, scale: 1.1, per_block_ms: -0.02, per_mib_ms: 0.05, ..WholeNet::default() };
        let samples: Vec<WholeSample> = (0..20)
            .map(|i| {
                let i = f64::from(i);
                let mut net =
                    WholeSample { sum_ms: 5.0 + i, blocks: 10.0 + i % 4.0, mib: 3.0 + i % 7.0, measured_ms: 0.0 };
                net.measured_ms = truth.of(&net);
                net
            })
            .collect();
        let fitted = WholeNet::fit(&samples);
        assert!(fitted.mape < 1e-4, "{fitted:?}");
        assert!((fitted.scale - 1.1).abs() < 1e-3 && (fitted.per_block_ms + 0.02).abs() < 1e-3, "{fitted:?}");
        // Too few networks for a line: the scale alone, and none: the sum.
        assert_eq!(WholeNet::fit(&samples[..3]).fixed_ms, 0.0);
        assert_eq!(WholeNet::fit(&[]), WholeNet::default());
    }
}
