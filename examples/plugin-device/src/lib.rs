//! Two example devices: a model of a systolic array, and a board described by a roofline profile only.
#![forbid(unsafe_code)]

use inventory::submit;
use ofa::hw::registry::from_profile;
use ofa::hw::{DeviceEntry, HardwareBackend, HwError, LatencySource};
use ofa::space::{NetSpec, Op, OpKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A square array of multipliers that keeps a tile of weights in place and streams one pixel a cycle through it.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `side` | 16 | rows and columns of the array | 1–1024 |
/// | `clock_mhz` | 400 | pixels streamed a microsecond | > 0 |
/// | `load_us` | 0.5 | time to load a tile of weights | ≥ 0 |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Config", into = "Config")]
pub struct SystolicArray(Config);

/// What stands in a profile, unchecked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    side: usize,
    clock_mhz: f64,
    load_us: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { side: 16, clock_mhz: 400.0, load_us: 0.5 }
    }
}

impl From<SystolicArray> for Config {
    fn from(array: SystolicArray) -> Self {
        array.0
    }
}

// Profiles are checked once, on the way in; an error names the field, and `ofa` adds file and line.
impl TryFrom<Config> for SystolicArray {
    type Error = String;

    fn try_from(config: Config) -> Result<Self, String> {
        if !(1..=1024).contains(&config.side) {
            return Err(format!("`side` is {}, expected 1 to 1024", config.side));
        }
        if !(config.clock_mhz > 0.0 && config.clock_mhz.is_finite()) {
            return Err(format!("`clock_mhz` is {}, expected more than 0", config.clock_mhz));
        }
        if !(config.load_us >= 0.0 && config.load_us.is_finite()) {
            return Err(format!("`load_us` is {}, expected 0 or more", config.load_us));
        }
        Ok(Self(config))
    }
}

impl SystolicArray {
    fn op_us(&self, op: &Op) -> f64 {
        let [out, height, width] = op.output;
        let (rows, groups) = match &op.kind {
            OpKind::Conv { weight, kernel, groups, .. } => (weight.take[1] * kernel * kernel, *groups),
            OpKind::Linear { weight, .. } => (weight.take[1], 1),
            // Everything else is done on the way out of the array.
            _ => return 0.0,
        };
        // A depthwise convolution fills one column of the array at a time: this is where such devices lose.
        let tiles = rows.div_ceil(self.0.side) * (out / groups).div_ceil(self.0.side) * groups;
        tiles as f64 * (self.0.load_us + (height * width) as f64 / self.0.clock_mhz)
    }
}

#[typetag::serde(name = "systolic-array")]
impl HardwareBackend for SystolicArray {
    fn source(&self) -> LatencySource {
        LatencySource::Analytic
    }

    // A sum over blocks: the latency of networks follows, and a search tabulates it.
    fn block_ms(&self, net: &NetSpec, block: usize) -> Result<Option<f64>, HwError> {
        Ok(Some(net.blocks[block].ops.iter().map(|op| self.op_us(op)).sum::<f64>() / 1e3))
    }
}

submit! {
    DeviceEntry {
        name: "systolic-16",
        about: "example plugin: a 16×16 systolic array at 400 MHz",
        source: LatencySource::Analytic,
        build: || Ok(Arc::new(SystolicArray(Config::default()))),
    }
}

// A device that a roofline describes needs a profile and no code.
submit! {
    DeviceEntry {
        name: "raspberry-pi-5",
        about: "example plugin: Raspberry Pi 5, four Cortex-A76 cores, f32 (roofline)",
        source: LatencySource::Analytic,
        build: || from_profile(include_str!("../profiles/raspberry-pi-5.toml"), "profile raspberry-pi-5"),
    }
}
