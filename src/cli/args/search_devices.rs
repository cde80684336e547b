//! The devices of `ofa search`, each with its own latency limits and the resolutions that it supports.

use super::Failure;
use crate::cli::output::to_stderr;
use ofa_hw::{HardwareBackend, LatencySource};
use ofa_predictors::FittedPredictor;
use ofa_search::Limit;
use ofa_space::SearchSpace;
use std::path::Path;
use std::sync::Arc;

/// A device to search for.
pub struct Wanted {
    /// As the user named it.
    pub name: String,
    /// The device.
    pub device: Arc<dyn HardwareBackend>,
    /// Latency limits: milliseconds, or shares of the largest subnet.
    pub limits: Vec<Limit>,
}

/// Reads `--device` arguments: `DEVICE`, `DEVICE:15,20` with limits of its own, or `DEVICE,DEVICE`. `limits` go to
/// those without limits of their own; where no limit is needed (`free`), they may have none.
pub fn wanted(arguments: &[String], limits: &[Limit], free: bool) -> Result<Vec<Wanted>, Failure> {
    let named: Vec<(String, Vec<Limit>)> = arguments.iter().flat_map(|argument| parsed(argument)).collect();
    let mut all: Vec<Wanted> = Vec::new();
    for (name, own) in &named {
        if all.iter().any(|known| known.name == *name) {
            return Err(Failure::Input(format!("--device {name} is given twice: list its limits after one colon")));
        }
        let limits = if own.is_empty() { limits } else { own };
        if limits.is_empty() && !free && named.iter().any(|(_, limits)| !limits.is_empty()) {
            return Err(Failure::Input(format!(
                "--device {name} has no latency limit, but others have: give `--device {name}:15,20`, or \
                 --max-latency-ms for all without limits of their own"
            )));
        }
        all.push(Wanted { name: name.clone(), device: ofa_hw::load(name)?, limits: limits.to_vec() });
    }
    Ok(all)
}

/// What one argument names: devices, each with its own limits.
pub fn parsed(argument: &str) -> Vec<(String, Vec<Limit>)> {
    if Path::new(argument).exists() {
        return vec![(argument.to_owned(), Vec::new())];
    }
    if let Some((name, list)) = argument.rsplit_once(':') {
        let limits: Result<Vec<Limit>, _> = list.split(',').map(str::parse).collect();
        if let Ok(limits) = limits {
            return vec![(name.to_owned(), limits)];
        }
    }
    argument.split(',').map(|name| (name.to_owned(), Vec::new())).collect()
}

/// The space, narrowed to the resolutions that the predictor and the device both support.
pub fn supported(
    space: Arc<dyn SearchSpace>,
    predictor: &FittedPredictor,
    device: Option<&Wanted>,
) -> Result<Arc<dyn SearchSpace>, Failure> {
    let mut problem = String::new();
    let mut works = |resolution: u32| {
        let arch = space.min_arch().with_resolution(resolution);
        let predicted = predictor.predict(space.as_ref(), std::slice::from_ref(&arch)).map_err(|e| e.to_string());
        let timed = match device {
            Some(wanted) if wanted.device.source() != LatencySource::Measured => {
                wanted.device.subnet_latency_ms(space.as_ref(), &arch).map_err(|e| e.to_string())
            }
            _ => Ok(0.0),
        };
        match (predicted, timed) {
            (Ok(_), Ok(_)) => true,
            (Err(why), _) | (_, Err(why)) => {
                problem = why;
                false
            }
        }
    };
    let listed = space.info().resolutions.clone();
    let kept: Vec<u32> = listed.iter().copied().filter(|r| works(*r)).collect();
    let with = device.map_or_else(String::new, |wanted| format!(" and `{}`", wanted.name));
    if kept.is_empty() {
        return Err(Failure::Input(format!(
            "no resolution of `{}` is supported by the predictor{with}: {problem}",
            space.name()
        )));
    }
    if kept.len() == listed.len() {
        return Ok(space);
    }
    to_stderr(&format!("searching the resolutions that the space, the predictor{with} all support: {kept:?}"));
    Ok(ofa_space::registry::with_field(space.as_ref(), "resolutions", serde_json::json!(kept))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_bring_their_own_limits_or_take_the_common_ones() {
        let values = |limits: &[f64]| limits.iter().map(|limit| Limit::Value(*limit)).collect::<Vec<_>>();
        let read = |arguments: &[&str], limits: &[f64]| {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            wanted(&arguments, &values(limits), false)
                .map(|all| all.into_iter().map(|one| (one.name, one.limits)).collect::<Vec<_>>())
                .map_err(|failure| failure.to_string())
        };
        let named = |name: &str, limits: &[f64]| (name.to_owned(), values(limits));
        assert_eq!(read(&["v100"], &[1.0]).unwrap(), [named("v100", &[1.0])]);
        assert_eq!(
            read(&["note10:15,20.5", "v100,a100"], &[0.5]).unwrap(),
            [named("note10", &[15.0, 20.5]), named("v100", &[0.5]), named("a100", &[0.5])]
        );
        assert!(read(&["note10:15", "v100"], &[]).unwrap_err().contains("v100 has no latency limit"));
        assert!(read(&["note10:15", "note10:20"], &[]).unwrap_err().contains("given twice"));
        assert_eq!(read(&["v100:60%"], &[]).unwrap(), [("v100".to_owned(), vec![Limit::PerCent(60.0)])]);
        assert!(read(&["note10:soon"], &[]).is_err());
    }
}
