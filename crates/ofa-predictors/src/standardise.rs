//! Bringing targets and features to zero mean and unit deviation.

use crate::inference::finite;
use ofa_space::settings::{self, InvalidSetting};
use serde::{Deserialize, Serialize};

/// Mean and standard deviation of one quantity.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Standard deviation; 1 for a constant.
    pub deviation: f64,
}

impl Moments {
    /// The moments of some values.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let n = values.clone().count().max(1) as f64;
        let mean = values.clone().sum::<f64>() / n;
        let variance = values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        Self { mean, deviation }
    }

    /// Refuses moments that no values have.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the field.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        finite("mean", [self.mean])?;
        settings::number("deviation", self.deviation, 1e-30..=1e30)
    }

    /// In units of deviations from the mean.
    pub fn standardise(&self, value: f64) -> f64 {
        (value - self.mean) / self.deviation
    }

    /// The reverse.
    pub fn restore(&self, value: f64) -> f64 {
        value * self.deviation + self.mean
    }
}

/// The moments of every column.
pub fn columns(rows: &[Vec<f32>]) -> Vec<Moments> {
    let width = rows.first().map_or(0, Vec::len);
    (0..width).map(|column| Moments::of(rows.iter().map(move |row| f64::from(row[column])))).collect()
}

/// Rows with every column standardised.
pub fn standardised(rows: &[Vec<f32>], moments: &[Moments]) -> Vec<Vec<f64>> {
    let row = |row: &Vec<f32>| row.iter().zip(moments).map(|(v, m)| m.standardise(f64::from(*v))).collect();
    rows.iter().map(row).collect()
}
