//! Limits of a device as the search takes them, and the check, before anything is trained, that they can be kept.

use crate::failure::Failure;
use crate::limits::{Bounds, MemoryAndEnergy, rounded_up};
use crate::pipeline::config::{DeviceConfig, PipelineConfig};
use ofa_hw::{HardwareBackend, LatencyObjective, LatencySource};
use ofa_search::{Limit, LimitList};
use ofa_space::{BlockObjective, Objective, Opened, SearchSpace, cost};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Refuses, before anything is trained, devices, tables and limits that could only fail afterwards; returns warnings.
pub fn check(space: &Arc<dyn SearchSpace>, config: &PipelineConfig) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    let mut hopeless = Vec::new();
    for (index, wanted) in config.search.devices.iter().enumerate() {
        // The profile of this machine may not be measured yet.
        if wanted.is_host() {
            continue;
        }
        let backend = wanted.device.as_deref().map(ofa_hw::load).transpose().map_err(|error| {
            Failure::Input(format!(
                "search.devices[{index}]: {error}; the path of a device's file is seen from the current folder: put the file \
                 there, or take the entry out of the plan"
            ))
        })?;
        let shown = wanted.device.as_deref().map_or_else(String::new, |name| format!("{name}: "));
        match &backend {
            Some(device) if device.source() == LatencySource::Measured => {
                warnings.push(format!("{shown}measured latencies do not repeat exactly, so neither will the search"));
                continue;
            }
            // A table may lack resolutions or blocks.
            Some(device) => drop(device.subnet_latency_ms(space.as_ref(), &space.max_arch())?),
            None => {}
        }
        let lists = of_device(wanted, space, backend.as_ref(), config.train.seed)?;
        let mut is_hopeless = false;
        for (bound, list) in Bounds::of(&lists, space.as_ref())?.iter().zip(&lists) {
            let Some(minimum) = bound.minimum else { continue };
            let too_low: Vec<String> =
                list.limits.iter().filter(|limit| **limit < minimum).map(ToString::to_string).collect();
            if !too_low.is_empty() {
                let smallest = rounded_up(minimum);
                let low = too_low.join(", ");
                warnings
                    .push(format!("{shown}max_{} {low} asked for, but no subnet has less than {smallest}", bound.name));
                is_hopeless |= too_low.len() == list.limits.len();
            }
        }
        if is_hopeless {
            hopeless.extend(warnings.last().cloned());
        }
    }
    if hopeless.len() == config.search.devices.len() {
        return Err(Failure::Input(format!(
            "no limit can be kept ({}); raise the limits in `search.devices`",
            hopeless.join("; ")
        )));
    }
    Ok(warnings)
}

/// Every quantity that is limited, with its limits; the device's latency comes first.
pub fn of_device(
    wanted: &DeviceConfig,
    space: &Arc<dyn SearchSpace>,
    device: Option<&Arc<dyn HardwareBackend>>,
    seed: u64,
) -> Result<Vec<LimitList>, Failure> {
    let mut lists = Vec::new();
    let mut add = |objective: Arc<dyn Objective>, limits: &[Limit]| -> Result<(), Failure> {
        let mut values = Vec::with_capacity(limits.len());
        for limit in limits {
            let value = limit.value(objective.as_ref(), space.as_ref())?;
            // A share of the largest subnet is a number for tables and file names too.
            values.push(if matches!(limit, Limit::PerCent(_)) { in_four_digits(value) } else { value });
        }
        lists.push(LimitList { objective, limits: values });
        Ok(())
    };
    if let Some(device) = device {
        let latency = Arc::new(LatencyObjective::new(space.clone(), device.clone()));
        if wanted.spreads_latencies() {
            let spread = spread(wanted.limits, space.as_ref(), device.as_ref(), seed)?;
            add(latency, &spread.into_iter().map(Limit::Value).collect::<Vec<_>>())?;
        } else if !wanted.max_latency_ms.is_empty() {
            add(latency, &wanted.max_latency_ms)?;
        }
    }
    if !wanted.max_macs.is_empty() {
        add(Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs)), &wanted.max_macs)?;
    }
    if !wanted.max_params.is_empty() {
        add(Arc::new(BlockObjective::cost("params", space.clone(), cost::block_params)), &wanted.max_params)?;
    }
    let others = MemoryAndEnergy {
        max_sram_kb: &wanted.max_sram_kb,
        max_flash_kb: &wanted.max_flash_kb,
        max_energy_mj: &wanted.max_energy_mj,
        precision: wanted.precision,
    };
    for (objective, limits) in others.objectives(space, device)? {
        add(objective, limits)?;
    }
    Ok(lists)
}

/// A positive number in four decimal digits, not below it, so that 1.4549414999999999 becomes 1.455, 3784657.92 becomes
/// 3785000, and the largest subnet keeps a limit of 100 %.
fn in_four_digits(value: f64) -> f64 {
    let nearest: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if nearest >= value || !value.is_finite() || value <= 0.0 {
        return nearest;
    }
    let unit = 10_f64.powf(value.log10().floor() - 3.0);
    format!("{:.3e}", nearest + unit).parse().unwrap_or(value)
}

/// Quantiles of the latency of random subnets, rounded to three digits.
fn spread(n: usize, space: &dyn SearchSpace, device: &dyn HardwareBackend, seed: u64) -> Result<Vec<f64>, Failure> {
    const SAMPLES: usize = 300;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut latencies = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        latencies.push(device.subnet_latency_ms(space, &arch)?);
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let value = latencies[((SAMPLES - 1) as f64 * share).round() as usize];
        // Through decimal digits, so that 0.236 is 0.236 in file names and tables too.
        let digits = (2.0 - value.log10().floor()).max(0.0) as usize;
        format!("{value:.digits$}").parse().unwrap_or(value)
    };
    // From nearly the fastest to about the middle: beyond it, accuracy hardly grows.
    Ok((0..n).map(|i| quantile(0.05 + 0.55 * i as f64 / (n.max(2) - 1) as f64)).collect())
}
