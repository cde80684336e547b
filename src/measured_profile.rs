//! How well a measured profile predicts networks that took no part in its making.

use ofa_hw::profiling::comparison::{Compared, ROOFLINE};
use ofa_predictors::metrics;
use serde::{Deserialize, Serialize};

/// Predicted against measured latency of networks that took no part in the fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Networks compared.
    pub nets: usize,
    /// Rank correlation of predicted and measured.
    pub kendall_tau: f64,
    /// Mean absolute relative error.
    pub mape: f64,
    /// The same for an uncalibrated roofline, which is called so.
    pub roofline: String,
    /// Its rank correlation.
    pub roofline_kendall_tau: f64,
    /// Its error.
    pub roofline_mape: f64,
}

/// The comparison in numbers.
pub fn agreement(nets: &[Compared]) -> Agreement {
    let column = |of: fn(&Compared) -> f64| nets.iter().map(of).collect::<Vec<f64>>();
    let (predicted, measured, roofline) =
        (column(|n| n.predicted_ms), column(|n| n.measured_ms), column(|n| n.roofline_ms));
    let mape = |values: &[f64]| {
        values.iter().zip(&measured).map(|(p, m)| (p / m - 1.0).abs()).sum::<f64>() / nets.len().max(1) as f64
    };
    Agreement {
        nets: nets.len(),
        kendall_tau: metrics::kendall_tau(&predicted, &measured),
        mape: mape(&predicted),
        roofline: ROOFLINE.to_owned(),
        roofline_kendall_tau: metrics::kendall_tau(&roofline, &measured),
        roofline_mape: mape(&roofline),
    }
}
