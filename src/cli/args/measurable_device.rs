//! `--device` where networks are measured, not predicted.

use super::Failure;
use ofa_hw::{HwError, MeasurableDevice};

/// The device of `--device`: `host`, or a profile of kind `host` or `command`.
pub fn measurable(device: &str) -> Result<MeasurableDevice, Failure> {
    MeasurableDevice::load(device).map_err(|error| match error {
        HwError::NotMeasurable { .. } => {
            Failure::Input(format!("--device {error}; `ofa latency` predicts the latency of others"))
        }
        other => other.into(),
    })
}
