//! The pipeline's configuration: one TOML table per step.

use crate::failure::Failure;
use crate::limits::MemoryPrecision;
use ofa_predictors::EstimatorChoice;
use ofa_search::{Limit, Strategy};
use ofa_space::input_file;
use ofa_space::settings::{self, Checked, InvalidSetting, Settings};
use ofa_train::FineTuning;
use ofa_train::shrinking::TrainConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The bundled quickstart.
pub const QUICKSTART: &str = include_str!("quickstart.toml");

/// First line of the configuration in a run's folder.
const BEGINNING: &str = "# What this run does. Edit it and go on with the run to change anything.";
/// Last line of the same.
const END: &str = "# end";

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
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `count` | 150 | subnets measured on validation images | ≥ 1 |
/// | `calibration_images` | 300 | training images for BN recalibration of each | ≥ 1 |
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

/// Subnets that are measured: more than weeks of work, and what memory holds at ease.
pub const MOST_SUBNETS: usize = 1_000_000;

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
/// | `strategy` | memetic | a table with `kind` and its hyper-parameters |
/// | `evaluations` | 10000 | budget per case |
/// | `candidates` | 0 | subnets, predicted alike, that are measured on validation images before those of a device are chosen; its limits share them evenly; fewer than 2 a limit = the best predicted is taken |
/// | `refine` | none | predictor in the loop, see [`RefineConfig`] |
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
    /// Subnets that are measured before those of a device are chosen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub candidates: usize,
    /// Predictor in the loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refine: Option<RefineConfig>,
    /// Devices.
    pub devices: Vec<DeviceConfig>,
}

/// Predictor in the loop: subnets of the front for the first device are measured, and the predictor is fitted again.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `rounds` | 3 | how many times | ≥ 1 |
/// | `per_round` | 10 | subnets that are measured in each | ≥ 1 |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefineConfig {
    /// How many times to search, measure and fit.
    pub rounds: usize,
    /// Subnets measured in each.
    pub per_round: usize,
}

impl Default for RefineConfig {
    fn default() -> Self {
        Self { rounds: 3, per_round: 10 }
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn default_strategy() -> Box<dyn Strategy> {
    Box::new(ofa_search::strategies::memetic::Memetic::default())
}

fn default_evaluations() -> usize {
    10_000
}

/// A device and its limits. Limits on several quantities cross: every combination is a case. Each limit is a number, or a
/// share of what the largest subnet takes, such as `"60%"`.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `device` | none | registered name, profile or table; needed for latency |
/// | `max_latency_ms` | `limits` of them, spread | milliseconds on the device |
/// | `limits` | 3 | how many latency limits to spread between the fastest and the slowest subnet, where no limit is given |
/// | `max_macs` | none | multiply-accumulates |
/// | `max_params` | none | parameters |
/// | `max_sram_kb` | none | kB of 1,024 bytes of activations at `precision`; depthwise convolutions work in place |
/// | `max_flash_kb` | none | kB of 1,024 bytes of weights at `precision` |
/// | `max_energy_mj` | none | millijoules of an image, on a device whose profile gives them |
/// | `precision` | int8 | `int8`, `f16` or `f32`: width of weights and activations for the limits on memory |
///
/// The device `host` is this machine, by the profile in the run's folder, which is measured once, before the first search.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Registered name, profile or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Limits in milliseconds; with no limits at all, `limits` of them are spread between the fastest and the slowest
    /// subnet.
    #[serde(default)]
    pub max_latency_ms: Vec<Limit>,
    /// How many limits to spread.
    #[serde(default = "three")]
    pub limits: usize,
    /// Limits on multiply-accumulates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max_macs: Vec<Limit>,
    /// Limits on parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max_params: Vec<Limit>,
    /// Limits on activation memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max_sram_kb: Vec<Limit>,
    /// Limits on weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max_flash_kb: Vec<Limit>,
    /// Limits on energy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max_energy_mj: Vec<Limit>,
    /// Width of weights and activations for the limits on memory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: MemoryPrecision,
}

fn is_default(precision: &MemoryPrecision) -> bool {
    *precision == MemoryPrecision::default()
}

/// Name of this machine among devices.
pub const HOST: &str = "host";

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            device: None,
            max_latency_ms: Vec::new(),
            limits: three(),
            max_macs: Vec::new(),
            max_params: Vec::new(),
            max_sram_kb: Vec::new(),
            max_flash_kb: Vec::new(),
            max_energy_mj: Vec::new(),
            precision: MemoryPrecision::default(),
        }
    }
}

impl DeviceConfig {
    /// Limits besides latency, by field.
    fn others(&self) -> [(&'static str, &[Limit]); 5] {
        [
            ("max_macs", &self.max_macs),
            ("max_params", &self.max_params),
            ("max_sram_kb", &self.max_sram_kb),
            ("max_flash_kb", &self.max_flash_kb),
            ("max_energy_mj", &self.max_energy_mj),
        ]
    }

    /// The precision of its limits on memory, where it has such limits and they are not for int8.
    pub fn memory_precision(&self) -> Option<MemoryPrecision> {
        let limits_memory = !(self.max_sram_kb.is_empty() && self.max_flash_kb.is_empty());
        Some(self.precision).filter(|precision| limits_memory && !is_default(precision))
    }

    /// Whether it is this machine, by the profile in the run's folder.
    pub fn is_host(&self) -> bool {
        self.device.as_deref() == Some(HOST)
    }

    /// Every limit that is given, by field.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &[Limit])> {
        let all = [("max_latency_ms", &self.max_latency_ms[..])].into_iter().chain(self.others());
        all.filter(|(_, limits)| !limits.is_empty())
    }

    /// Whether latency limits are to be spread.
    pub fn spreads_latencies(&self) -> bool {
        self.given().next().is_none()
    }
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
/// | `finetune` | none | fine-tuning of every chosen net; a table of settings, see [`FineTuning`] |
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
    /// Fine-tuning of every chosen net.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finetune: Option<Checked<FineTuning>>,
}

impl Default for DeployConfig {
    fn default() -> Self {
        Self { calibration_images: 1000, verify_images: 64, host_runs: 20, host_nets: 0, finetune: None }
    }
}

impl Settings for PipelineConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.collect.check().map_err(|invalid| invalid.within("collect"))?;
        self.fit.check().map_err(|invalid| invalid.within("fit"))?;
        self.search.check().map_err(|invalid| invalid.within("search"))?;
        self.deploy.check().map_err(|invalid| invalid.within("deploy"))
    }
}

impl Settings for CollectConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("count", self.count, 1..=MOST_SUBNETS)?;
        settings::count("calibration_images", self.calibration_images, 1..=usize::MAX)
    }
}

impl Settings for FitConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.predictor.check().map_err(|invalid| invalid.within("predictor"))?;
        settings::number("holdout", self.holdout, 0.0..0.9)
    }
}

impl Settings for SearchConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.strategy.check().map_err(|invalid| invalid.within("strategy"))?;
        settings::count("evaluations", self.evaluations, 1..=usize::MAX)?;
        if let Some(refine) = &self.refine {
            let within = |invalid: InvalidSetting| invalid.within("refine");
            settings::count("rounds", refine.rounds, 1..=MOST_SUBNETS).map_err(within)?;
            settings::count("per_round", refine.per_round, 1..=MOST_SUBNETS).map_err(within)?;
        }
        if self.devices.is_empty() {
            let problem = "is empty, expected at least one [[search.devices]] table";
            return Err(InvalidSetting::new("devices", problem));
        }
        let mut devices = self.devices.iter().enumerate();
        devices.try_for_each(|(index, device)| {
            device.check().map_err(|invalid| invalid.within(&format!("devices[{index}]")))
        })
    }
}

impl Settings for DeviceConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        for (field, limits) in self.others().into_iter().chain([("max_latency_ms", &self.max_latency_ms[..])]) {
            limits.iter().try_for_each(|limit| match limit {
                Limit::Value(value) => settings::positive(field, *value),
                // Shares are in range once they are read.
                Limit::PerCent(_) => Ok(()),
            })?;
        }
        if self.device.is_none() && self.spreads_latencies() {
            let problem = "is missing, expected a device, or limits that need none (max_macs, max_params, \
                           max_sram_kb, max_flash_kb)";
            return Err(InvalidSetting::new("device", problem));
        }
        for (field, limits) in [("max_latency_ms", &self.max_latency_ms), ("max_energy_mj", &self.max_energy_mj)] {
            if self.device.is_none() && !limits.is_empty() {
                return Err(InvalidSetting::new(field, "is given without a device"));
            }
        }
        match self.spreads_latencies() {
            true => settings::count("limits", self.limits, 1..=100),
            false => Ok(()),
        }
    }
}

impl Settings for DeployConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("calibration_images", self.calibration_images, 1..=usize::MAX)?;
        settings::count("verify_images", self.verify_images, 1..=usize::MAX)
    }
}

impl PipelineConfig {
    /// Sets how long every chosen net is fine-tuned; 0 = not at all.
    ///
    /// # Errors
    /// [`Failure::Input`] for an impossible number.
    pub fn set_finetune_epochs(&mut self, epochs: f64) -> Result<(), Failure> {
        let current = self.deploy.finetune.take().map_or_else(FineTuning::default, |known| (*known).clone());
        self.deploy.finetune = match epochs {
            0.0 => None,
            _ => {
                let changed = FineTuning { epochs, ..current }.checked();
                Some(changed.map_err(|e| Failure::Input(e.within("deploy.finetune").to_string()))?)
            }
        };
        Ok(())
    }

    /// Whether networks are chosen by this machine's profile.
    pub fn chooses_for_host(&self) -> bool {
        self.search.devices.iter().any(DeviceConfig::is_host)
    }

    /// Reads TOML; `origin` is for messages.
    ///
    /// # Errors
    /// [`Failure::Input`] naming origin and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let bad = |problem: String| Failure::Input(format!("{origin}: {problem}"));
        if text.starts_with(BEGINNING) && text.lines().last() != Some(END) {
            return Err(bad(format!("is cut off, or goes on behind its last line, which must be `{END}`")));
        }
        let config: Self = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        config.check().map_err(|invalid| bad(invalid.to_string()))?;
        Ok(config)
    }

    /// The configuration as TOML, every default spelt out.
    ///
    /// # Errors
    /// [`Failure::Running`] if a plugin's part cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self).map_err(|e| Failure::Running(format!("the configuration cannot be written as TOML: {e}")))
    }

    /// [`to_toml`](Self::to_toml) as the file of a run, which shows if its end is missing.
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub fn to_file(&self) -> Result<String, Failure> {
        Ok(format!("{BEGINNING}\n{}{END}\n", self.to_toml()?))
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Failure::Input`] naming file and field.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = input_file::read_text(path, input_file::LARGEST_TEXT)
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
            ("kind = \"memetic\"", "kind = \"memetics\"", "memetics"),
            ("kind = \"memetic\"", "kind = \"memetic\", population = 1", "`search.strategy.population` is 1"),
            ("count = 120", "count = 0", "`collect.count` is 0, expected 1 to 1000000"),
            ("holdout = 0.2", "holdout = 0.9", "`fit.holdout` is 0.9"),
            ("limits = 3", "limits = 0", "`search.devices[0].limits` is 0, expected 1 to 100"),
            ("limits = 3", "max_latency_ms = [1, 0]", "`search.devices[0].max_latency_ms` is 0, expected more than 0"),
        ] {
            let text = QUICKSTART.replacen(from, to, 1);
            assert_ne!(text, QUICKSTART, "{from}");
            let error = PipelineConfig::parse(&text, "q.toml").unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("q.toml"), "{error}");
        }
    }
}
