//! A measured block table as a file, and how well it predicts networks that took no part in its making.

use crate::failure::Failure;
use ofa_hw::HardwareBackend;
use ofa_hw::devices::block_table::BlockTable;
use ofa_predictors::metrics;
use ofa_space::{Arch, ArchJson, SearchSpace};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The shipped roofline nearest to a server or desktop core.
pub const ROOFLINE: &str = "xeon-6248-core";

/// A network's latency, predicted and measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The subnet.
    pub arch: ArchJson,
    /// What ran it.
    pub runtime: String,
    /// Threads of the runtime.
    pub threads: usize,
    /// By the table.
    pub predicted_ms: f64,
    /// Median of its runs.
    pub measured_ms: f64,
    /// By the roofline that is not calibrated.
    pub roofline_ms: f64,
}

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

/// Predicts networks that were measured whole.
///
/// # Errors
/// [`Failure`] if the table lacks a block of one.
pub fn compare(
    table: &BlockTable,
    space: &dyn SearchSpace,
    measured: &[(Arch, f64)],
) -> Result<Vec<Compared>, Failure> {
    let roofline = ofa_hw::named(ROOFLINE)?;
    let profile = table.profile();
    let compared = measured.iter().map(|(arch, measured_ms)| {
        let net = space.resolve(arch)?;
        Ok(Compared {
            arch: space.format(arch),
            runtime: profile.runtime.clone(),
            threads: profile.threads,
            predicted_ms: table.latency_ms(&net)?,
            measured_ms: *measured_ms,
            roofline_ms: roofline.latency_ms(&net)?,
        })
    });
    compared.collect()
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

/// The profile's file, with a head that says what it is.
///
/// # Errors
/// [`Failure::Running`] if it cannot be serialised.
pub fn toml_text(table: &BlockTable) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct File<'a> {
        device: &'a dyn HardwareBackend,
    }
    let body = toml::to_string(&File { device: table }).map_err(|e| Failure::Running(e.to_string()))?;
    let whole = table.profile().whole_net;
    let mut text = String::new();
    let _ = writeln!(text, "# Written by `ofa profile`. Milliseconds of every block of the space, each on its own.");
    let _ = match whole.nets {
        0 => writeln!(text, "# A network's latency is the plain sum over its blocks."),
        nets => writeln!(
            text,
            "# A network's latency is fixed_ms + scale x sum + per_block_ms x blocks + per_mib_ms x MiB across block \
             borders;\n# the coefficients were fitted on {nets} random networks measured whole, mean error {:.1} %.",
            100.0 * whole.mape
        ),
    };
    Ok(text + &body)
}
