//! What the search found for every device and combination of limits, as it is written to `search.json`.

use crate::limits::{MemoryPrecision, Unfound};
use crate::report::Front;
use ofa_hw::Arithmetic;
use ofa_space::ArchJson;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that the search found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Cases in order.
    pub cases: Vec<FoundCase>,
    /// Front of every device.
    pub fronts: Vec<Front>,
    /// Distinct archs evaluated.
    pub evaluations: usize,
}

/// One combination of limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "WrittenCase")]
pub struct FoundCase {
    /// The device; `None` where no limit needs one.
    pub device: Option<String>,
    /// The limits by quantity, such as `latency_ms` and `macs`.
    pub constraint: BTreeMap<String, f64>,
    /// Of the limits on memory, where they are not for int8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<MemoryPrecision>,
    /// The best subnet; `None` if none keeps the limits.
    pub arch: Option<ArchJson>,
    /// Predicted accuracy.
    pub predicted_accuracy: f64,
    /// Whether the prediction was outside 0 to 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub extrapolated: bool,
    /// Top-1 on validation images, not fine-tuned, where candidates were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_accuracy: Option<f64>,
    /// Latency of the subnet, where there is a device.
    pub latency_ms: Option<f64>,
    /// Whether that is the estimate of a formula that was never compared with a measurement.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub latency_is_estimate: bool,
    /// The type of numbers that the device computes in.
    #[serde(skip_serializing_if = "Arithmetic::is_f32")]
    pub arithmetic: Arithmetic,
    /// What is limited, of the best, or of the closest found if none keeps the limits.
    pub values: BTreeMap<String, f64>,
    /// Why there is no subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfound: Option<Unfound>,
}

/// A case in `search.json`, where earlier versions wrote one limit of latency.
#[derive(Deserialize)]
struct WrittenCase {
    device: Option<String>,
    #[serde(default)]
    constraint: BTreeMap<String, f64>,
    #[serde(default)]
    precision: Option<MemoryPrecision>,
    max_latency_ms: Option<f64>,
    arch: Option<ArchJson>,
    predicted_accuracy: f64,
    #[serde(default)]
    extrapolated: bool,
    #[serde(default)]
    measured_accuracy: Option<f64>,
    latency_ms: Option<f64>,
    #[serde(default)]
    latency_is_estimate: bool,
    #[serde(default)]
    arithmetic: Arithmetic,
    #[serde(default)]
    values: BTreeMap<String, f64>,
    #[serde(default)]
    unfound: Option<Unfound>,
}

impl From<WrittenCase> for FoundCase {
    fn from(written: WrittenCase) -> Self {
        let WrittenCase { device, mut constraint, precision, max_latency_ms, arch, latency_ms, mut values, .. } =
            written;
        let WrittenCase { predicted_accuracy, extrapolated, measured_accuracy, unfound, .. } = written;
        let WrittenCase { latency_is_estimate, arithmetic, .. } = written;
        constraint.extend(max_latency_ms.map(|limit| (LATENCY.to_owned(), limit)));
        if max_latency_ms.is_some() {
            values.extend(latency_ms.map(|value| (LATENCY.to_owned(), value)));
        }
        Self {
            device,
            constraint,
            precision,
            arch,
            predicted_accuracy,
            extrapolated,
            measured_accuracy,
            latency_ms,
            latency_is_estimate,
            arithmetic,
            values,
            unfound,
        }
    }
}

/// Name of the latency objective.
pub const LATENCY: &str = "latency_ms";
