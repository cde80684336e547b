//! The pipeline's configuration: one TOML table per step.

use crate::failure::Failure;
use ofa_predictors::EstimatorChoice;
use ofa_search::Strategy;
use ofa_space::Checked;
use ofa_train::shrinking::TrainConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The bundled quickstart.
pub const QUICKSTART: &str = include_str!("quickstart.toml");

/// A whole job.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// How to train, as in a training file.
    pub train: Checked<TrainConfig>,
    /// Measuring accuracy pairs.
    #[serde(default)]
    pub collect: CollectConfig,
    /// The accuracy predictor.
    #[serde(default)]
    pub fit: FitConfig,
    /// Devices and limits.
    pub search: SearchConfig,
    /// Extraction, export and verification.
    #[serde(default)]
    pub deploy: DeployConfig,
}

/// Measuring accuracy pairs.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `count` | 150 | subnets measured on validation images |
/// | `calibration_images` | 300 | training images for BN recalibration of each |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectConfig {
    /// Subnets measured.
    pub count: usize,
    /// Training images for BN recalibration.
    pub calibration_images: usize,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self { count: 150, calibration_images: 300 }
    }
}

/// The accuracy predictor.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `predictor` | `auto` | kind, `auto` for the best by cross-validation, or a table with `kind` and settings |
/// | `holdout` | 0.2 | share of the pairs kept for the report |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitConfig {
    /// What is fitted.
    pub predictor: EstimatorChoice,
    /// Share held out.
    pub holdout: f64,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self { predictor: EstimatorChoice::Auto, holdout: 0.2 }
    }
}

/// Devices and limits.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `strategy` | evolution | a table with `kind` and its hyper-parameters |
/// | `evaluations` | 10000 | budget per case |
/// | `devices` | | see [`DeviceConfig`] |
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// How to search.
    #[serde(default = "default_strategy")]
    pub strategy: Box<dyn Strategy>,
    /// Budget per case.
    #[serde(default = "default_evaluations")]
    pub evaluations: usize,
    /// Devices.
    pub devices: Vec<DeviceConfig>,
}

fn default_strategy() -> Box<dyn Strategy> {
    Box::new(ofa_search::strategies::evolution::Evolution::default())
}

fn default_evaluations() -> usize {
    10_000
}

/// A device and its latency limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Registered name, profile or table.
    pub device: String,
    /// Limits in milliseconds; if empty, `limits` of them are spread between the fastest and the slowest subnet.
    #[serde(default)]
    pub max_latency_ms: Vec<f64>,
    /// How many limits to spread.
    #[serde(default = "three")]
    pub limits: usize,
}

fn three() -> usize {
    3
}

/// Extraction, export and verification.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `calibration_images` | 1000 | training images for BN recalibration of a chosen net |
/// | `verify_images` | 64 | test images on which ONNX and our logits are compared |
/// | `host_runs` | 20 | timed runs on this machine; 0 = none |
/// | `host_nets` | 0 | random networks on which a profile of this machine is checked; 0 = no profile |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployConfig {
    /// Training images for BN recalibration.
    pub calibration_images: usize,
    /// Test images compared.
    pub verify_images: usize,
    /// Timed runs on this machine.
    pub host_runs: usize,
    /// Random networks on which a profile of this machine is checked.
    pub host_nets: usize,
}

impl Default for DeployConfig {
    fn default() -> Self {
        Self { calibration_images: 1000, verify_images: 64, host_runs: 20, host_nets: 0 }
    }
}

impl PipelineConfig {
    /// Reads TOML; `origin` is for messages.
    ///
    /// # Errors
    /// [`Failure::Input`] naming origin and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let bad = |problem: String| Failure::Input(format!("{origin}: {problem}"));
        let config: Self = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        if config.search.devices.is_empty() {
            return Err(bad("`search.devices` is empty, expected at least one [[search.devices]] table".into()));
        }
        for (index, device) in config.search.devices.iter().enumerate() {
            if device.max_latency_ms.iter().any(|ms| !(*ms > 0.0 && ms.is_finite())) {
                let limits = &device.max_latency_ms;
                return Err(bad(format!(
                    "`search.devices[{index}].max_latency_ms` is {limits:?}, expected more than 0"
                )));
            }
            if device.max_latency_ms.is_empty() && !(1..=100).contains(&device.limits) {
                return Err(bad(format!("`search.devices[{index}].limits` is {}, expected 1 to 100", device.limits)));
            }
        }
        if !(0.0..0.9).contains(&config.fit.holdout) {
            return Err(bad(format!("`fit.holdout` is {}, expected 0 to 0.9", config.fit.holdout)));
        }
        for (field, value) in [
            ("collect.count", config.collect.count),
            ("collect.calibration_images", config.collect.calibration_images),
            ("search.evaluations", config.search.evaluations),
            ("deploy.calibration_images", config.deploy.calibration_images),
            ("deploy.verify_images", config.deploy.verify_images),
        ] {
            if value == 0 {
                return Err(bad(format!("`{field}` is 0, expected at least 1")));
            }
        }
        Ok(config)
    }

    /// The configuration as TOML, every default spelt out.
    ///
    /// # Errors
    /// [`Failure::Running`] if a plugin's part cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self).map_err(|e| Failure::Running(format!("the configuration cannot be written as TOML: {e}")))
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Failure::Input`] naming file and field.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
        Self::parse(&text, &path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_quickstart_is_valid() {
        let config = PipelineConfig::parse(QUICKSTART, "quickstart").unwrap();
        assert!(config.search.devices.len() >= 3);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let config = PipelineConfig::parse(QUICKSTART, "quickstart").unwrap();
        let text = config.to_toml().unwrap();
        assert_eq!(PipelineConfig::parse(&text, "written").unwrap().to_toml().unwrap(), text);
    }

    #[test]
    fn mistakes_name_the_field() {
        for (from, to, field) in [
            ("batch_size = ", "batch_sizes = ", "batch_sizes"),
            ("[collect]", "[collect]\ncounts = 3", "counts"),
            ("kind = \"evolution\"", "kind = \"evolve\"", "evolve"),
        ] {
            let text = QUICKSTART.replacen(from, to, 1);
            assert_ne!(text, QUICKSTART, "{from}");
            let error = PipelineConfig::parse(&text, "q.toml").unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("q.toml"), "{error}");
        }
    }
}
