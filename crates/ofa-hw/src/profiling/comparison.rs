//! Predicted against measured latency of networks that took no part in a profile's fit.

use super::measurements::in_lines;
use super::profiler::Measured;
use crate::backend::HardwareBackend;
use crate::error::HwError;
use ofa_space::{ArchJson, SearchSpace};
use serde::{Deserialize, Serialize};

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
    /// By [`ROOFLINE`], which is not calibrated.
    pub roofline_ms: f64,
}

impl Measured {
    /// Predicts the networks that were measured to check the profile.
    ///
    /// # Errors
    /// [`HwError`] if the table lacks a block of one.
    pub fn compare(&self, space: &dyn SearchSpace) -> Result<Vec<Compared>, HwError> {
        let roofline = crate::named(ROOFLINE)?;
        let profile = self.table.profile();
        let compared = self.checks.iter().map(|(arch, measured_ms)| {
            let net = space.resolve(arch)?;
            Ok(Compared {
                arch: space.format(arch),
                runtime: profile.runtime.clone(),
                threads: profile.threads,
                predicted_ms: self.table.latency_ms(&net)?,
                measured_ms: *measured_ms,
                roofline_ms: roofline.latency_ms(&net)?,
            })
        });
        compared.collect()
    }
}

/// One JSON a line. As a file, it serves as [`Measurements`](super::measurements::Measurements) too.
///
/// # Errors
/// What JSON does not have, such as a NaN.
pub fn lines(compared: &[Compared]) -> Result<String, serde_json::Error> {
    in_lines(compared.iter())
}
