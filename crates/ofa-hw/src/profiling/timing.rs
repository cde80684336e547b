//! Stopwatch readings and what may be concluded from them.

use serde::{Deserialize, Serialize};

/// Run times of one network, batch 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// Median in milliseconds.
    pub median_ms: f64,
    /// Tenth percentile.
    pub p10_ms: f64,
    /// Ninetieth percentile.
    pub p90_ms: f64,
    /// Timed runs.
    pub runs: usize,
    /// Name and version of the runtime.
    pub runtime: String,
    /// Its threads.
    pub threads: usize,
}

impl Measurement {
    /// Distance between the ninetieth and the tenth percentile, as a share of the median.
    pub fn spread(&self) -> f64 {
        match self.median_ms > 0.0 {
            true => (self.p90_ms - self.p10_ms) / self.median_ms,
            false => f64::INFINITY,
        }
    }
}

/// The value below which a share of the readings lies; of the two nearest, the nearer. `sorted` must not be empty.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Sorts readings in milliseconds; returns tenth percentile, median and ninetieth percentile.
pub(crate) fn percentiles(readings: &mut [f64]) -> [f64; 3] {
    readings.sort_by(f64::total_cmp);
    [0.1, 0.5, 0.9].map(|share| quantile(readings, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_outliers_move_neither_median_nor_percentiles() {
        let mut readings: Vec<f64> = (0..100).map(|i| 10.0 + 0.001 * f64::from(i)).collect();
        let clean = percentiles(&mut readings.clone());
        for outlier in readings.iter_mut().take(5) {
            *outlier = 1e3;
        }
        let dirty = percentiles(&mut readings);
        for (a, b) in clean.iter().zip(dirty) {
            assert!((a - b).abs() < 0.01, "{a} {b}");
        }
    }
}
