//! Fitting a device to a handful of networks that were measured on it.

use crate::backend::HardwareBackend;
use crate::devices::block_table::BlockTable;
use crate::devices::roofline::Roofline;
use crate::devices::whole_net::{WholeNet, WholeSample};
use crate::error::HwError;
use crate::profiling::measurements::Conditions;
use ofa_space::NetSpec;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A network and its measured latency in milliseconds.
#[derive(Clone, Debug)]
pub struct MeasuredNet {
    /// The network.
    pub net: NetSpec,
    /// Its latency.
    pub latency_ms: f64,
}

/// A device before and after calibration: mean absolute relative error on the measured networks.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Improvement {
    /// Before.
    pub mape_before: f64,
    /// After.
    pub mape_after: f64,
}

/// Mean absolute relative error of a device on measured networks.
///
/// # Errors
/// What the device reports.
pub fn mape(device: &dyn HardwareBackend, nets: &[MeasuredNet]) -> Result<f64, HwError> {
    let mut sum = 0.0;
    for measured in nets {
        sum += (device.latency_ms(&measured.net)? / measured.latency_ms - 1.0).abs();
    }
    Ok(sum / nets.len().max(1) as f64)
}

/// A roofline or block table fitted to networks that were measured under `conditions`.
///
/// # Errors
/// [`HwError::NotCalibratable`] for a device of another kind; [`HwError::OtherConditions`] for a table of another runtime or
/// number of threads; what the device reports.
pub fn calibrate(
    device: &dyn HardwareBackend,
    nets: &[MeasuredNet],
    conditions: &Conditions,
) -> Result<(Arc<dyn HardwareBackend>, Improvement), HwError> {
    // A device is plain serde data, tagged with its kind.
    let unreadable = |e: serde_json::Error| HwError::Fit { what: "the device", problem: e.to_string() };
    let mut fields = serde_json::to_value(device).map_err(unreadable)?;
    let kind = fields.as_object_mut().and_then(|fields| fields.remove("kind")).unwrap_or_default();
    match kind.as_str().unwrap_or_default() {
        "roofline" => {
            let (fitted, improvement) = roofline(&serde_json::from_value(fields).map_err(unreadable)?, nets)?;
            Ok((Arc::new(fitted), improvement))
        }
        "block-table" => {
            let table: BlockTable = serde_json::from_value(fields).map_err(unreadable)?;
            let (runtime, threads) = (table.profile().runtime.clone(), table.profile().threads);
            let own = Conditions { runtime: Some(runtime), threads: Some(threads) };
            if own.with(conditions).is_none() {
                return Err(HwError::OtherConditions { measured: conditions.to_string(), device: own.to_string() });
            }
            let (fitted, improvement) = block_table(&table, nets)?;
            Ok((Arc::new(fitted), improvement))
        }
        other => Err(HwError::NotCalibratable { kind: other.to_owned() }),
    }
}

/// How strongly the published numbers hold the fit, against one measured network.
const PRIOR: f64 = 0.002;
const LARGEST_STEP: f64 = 2.0;
const SMALLEST_STEP: f64 = 1.002;

/// A roofline whose shares of the peak, bandwidth and fixed cost are fitted by descent, coordinate by coordinate, on
/// the squared logarithms of predicted over measured latency. A weak pull keeps what the networks do not determine where
/// it was.
///
/// # Errors
/// What the roofline reports.
pub fn roofline(device: &Roofline, nets: &[MeasuredNet]) -> Result<(Roofline, Improvement), HwError> {
    let start = device.knobs();
    // A fixed cost of nothing could never grow by factors.
    let start_of = |i: usize| if i == 4 { start[i].max(0.01) } else { start[i] };
    let loss = |knobs: &[f64; 5]| -> Result<f64, HwError> {
        let candidate = device.with_knobs(*knobs, None)?;
        let mut total = 0.0;
        for measured in nets {
            total += (candidate.latency_ms(&measured.net)? / measured.latency_ms).ln().powi(2);
        }
        let pull: f64 = (0..5).map(|i| (knobs[i] / start_of(i)).ln().powi(2)).sum();
        Ok(total + PRIOR * pull)
    };
    let mut knobs = std::array::from_fn(start_of);
    let mut best = loss(&knobs)?;
    let mut step = LARGEST_STEP;
    while step > SMALLEST_STEP {
        let mut moved = false;
        for i in 0..knobs.len() {
            for factor in [step, 1.0 / step] {
                let mut other = knobs;
                other[i] *= factor;
                // Shares of a peak are at most 1.
                if i < 3 {
                    other[i] = other[i].min(1.0);
                }
                let found = loss(&other)?;
                if found < best {
                    (best, knobs, moved) = (found, other, true);
                }
            }
        }
        if !moved {
            step = step.sqrt();
        }
    }
    let fitted = device.with_knobs(knobs, Some(nets.len()))?;
    let improvement = Improvement { mape_before: mape(device, nets)?, mape_after: mape(&fitted, nets)? };
    Ok((fitted, improvement))
}

/// A block table whose correction of the whole network is fitted anew.
///
/// # Errors
/// [`HwError`] if the table lacks a block.
pub fn block_table(device: &BlockTable, nets: &[MeasuredNet]) -> Result<(BlockTable, Improvement), HwError> {
    let mut samples = Vec::with_capacity(nets.len());
    for measured in nets {
        let times = measured.net.blocks.iter().map(|b| device.block_alone_ms(b)).collect::<Result<Vec<_>, _>>()?;
        samples.push(WholeSample::new(&measured.net.blocks, &times, measured.latency_ms));
    }
    let fitted = device.with_whole_net(WholeNet::fit(&samples))?;
    let improvement = Improvement { mape_before: mape(device, nets)?, mape_after: mape(&fitted, nets)? };
    Ok((fitted, improvement))
}
