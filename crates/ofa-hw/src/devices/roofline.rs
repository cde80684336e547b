//! Rooflines: a device as peak arithmetic, memory bandwidth, and a fixed cost per operation.
//!
//! An operation takes the longer of its arithmetic at a share of the peak and its memory traffic at the bandwidth, plus
//! the fixed cost (Williams, Waterman, Patterson 2009). Batch norm and activation are fused into the convolution
//! before them, as inference runtimes do, and cost nothing of their own.

use crate::backend::{Arithmetic, HardwareBackend, LatencySource};
use crate::devices::registry::{DeviceEntry, from_profile};
use crate::error::HwError;
use ofa_space::settings::{self, Checked, InvalidSetting, Settings};
use ofa_space::{Block, BlockKind, Op, OpKind};
use ofa_space::{NetSpec, cost};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A device as peak arithmetic, memory bandwidth, and a fixed cost per operation; made from a [`RooflineProfile`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RooflineProfile", into = "RooflineProfile")]
pub struct Roofline(Checked<RooflineProfile>);

/// A roofline profile.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name`, `about` | | for listings | |
/// | `peak_gmacs` | | 10⁹ multiply-accumulates a second | > 0 |
/// | `bandwidth_gb_s` | | memory bandwidth in 10⁹ bytes a second | > 0 |
/// | `peak_source`, `bandwidth_source` | | where the numbers are published | not empty |
/// | `bytes_per_element` | 4 | of weights and activations | 1–8 |
/// | `arithmetic` | by `bytes_per_element`: 1 is `int8`, 2 is `f16` | type of the numbers that it computes in | `f32`, `f16`, `int8` |
/// | `overhead_us` | 0 | fixed cost of an operation in microseconds | ≥ 0 |
/// | `efficiency` | 1 each | share of the peak that `dense`, `depthwise`, `linear` operations reach | 0–1 |
/// | `block_efficiency` | 1 each | further share of the peak by kind of block, such as `{ stem = 0.5 }` | 0–1 |
/// | `sram_kb`, `flash_kb` | none | memory for activations and weights | > 0 |
/// | `pj_per_mac`, `pj_per_byte` | none | energy of arithmetic and of memory traffic, in picojoules | > 0 |
/// | `energy_source` | | where these numbers are published; needed with them | not empty |
/// | `calibrated_on` | none | measured networks that it was calibrated on; without them its times are estimates | |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RooflineProfile {
    /// Name for listings.
    #[serde(default)]
    pub name: String,
    /// One line for listings.
    #[serde(default)]
    pub about: String,
    /// 10⁹ multiply-accumulates a second.
    pub peak_gmacs: f64,
    /// Where the peak is published.
    pub peak_source: String,
    /// Memory bandwidth in 10⁹ bytes a second.
    pub bandwidth_gb_s: f64,
    /// Where the bandwidth is published.
    pub bandwidth_source: String,
    /// Bytes of a weight or activation.
    #[serde(default = "four")]
    pub bytes_per_element: f64,
    /// Type of the numbers that it computes in; by the bytes of an element if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<Arithmetic>,
    /// Fixed cost of an operation in microseconds.
    #[serde(default)]
    pub overhead_us: f64,
    /// Share of the peak reached, by kind of operation.
    #[serde(default)]
    pub efficiency: Efficiency,
    /// Further share of the peak, by kind of block ([`BlockKind::NAMES`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub block_efficiency: BTreeMap<String, f64>,
    /// Memory for activations, in kB of 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sram_kb: Option<f64>,
    /// Memory for weights, in kB of 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash_kb: Option<f64>,
    /// Energy of a multiply-accumulate, in picojoules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pj_per_mac: Option<f64>,
    /// Energy of a byte moved to or from memory, in picojoules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pj_per_byte: Option<f64>,
    /// Where the energies are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_source: Option<String>,
    /// Measured networks that it was calibrated on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_on: Option<usize>,
}

/// Share of the peak reached, by kind of operation.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Efficiency {
    /// Of convolutions over all channels.
    pub dense: f64,
    /// Of depthwise and grouped convolutions.
    pub depthwise: f64,
    /// Of linear layers and everything else.
    pub linear: f64,
}

impl Default for Efficiency {
    fn default() -> Self {
        Self { dense: 1.0, depthwise: 1.0, linear: 1.0 }
    }
}

fn four() -> f64 {
    4.0
}

impl From<Roofline> for RooflineProfile {
    fn from(roofline: Roofline) -> Self {
        roofline.0.into_inner()
    }
}

impl TryFrom<RooflineProfile> for Roofline {
    type Error = InvalidSetting;

    fn try_from(profile: RooflineProfile) -> Result<Self, InvalidSetting> {
        Ok(Self(profile.checked()?))
    }
}

/// A share of the peak.
fn share(field: &str, value: f64) -> Result<(), InvalidSetting> {
    settings::number(field, value, (Bound::Excluded(0.0), Bound::Included(1.0)))
}

impl Settings for RooflineProfile {
    fn check(&self) -> Result<(), InvalidSetting> {
        let positive = [
            ("peak_gmacs", Some(self.peak_gmacs)),
            ("bandwidth_gb_s", Some(self.bandwidth_gb_s)),
            ("sram_kb", self.sram_kb),
            ("flash_kb", self.flash_kb),
            ("pj_per_mac", self.pj_per_mac),
            ("pj_per_byte", self.pj_per_byte),
        ];
        for (field, value) in positive {
            value.map_or(Ok(()), |value| settings::positive(field, value))?;
        }
        let mut sources = vec![("peak_source", &self.peak_source), ("bandwidth_source", &self.bandwidth_source)];
        let nothing = String::new();
        if self.pj_per_mac.is_some() || self.pj_per_byte.is_some() {
            sources.push(("energy_source", self.energy_source.as_ref().unwrap_or(&nothing)));
        }
        if let Some((field, _)) = sources.iter().find(|(_, source)| source.trim().is_empty()) {
            return Err(InvalidSetting::new(*field, "is empty, expected where the number is published"));
        }
        settings::number("bytes_per_element", self.bytes_per_element, 1.0..=8.0)?;
        settings::number("overhead_us", self.overhead_us, 0.0..f64::INFINITY)?;
        let Efficiency { dense, depthwise, linear } = self.efficiency;
        for (field, value) in [("dense", dense), ("depthwise", depthwise), ("linear", linear)] {
            share(field, value).map_err(|e| e.within("efficiency"))?;
        }
        for (kind, value) in &self.block_efficiency {
            if !BlockKind::NAMES.contains(&kind.as_str()) {
                let problem = format!("is not a kind of block, expected one of {}", BlockKind::NAMES.join(", "));
                return Err(InvalidSetting::new(format!("block_efficiency.{kind}"), problem));
            }
            share(kind, *value).map_err(|e| e.within("block_efficiency"))?;
        }
        Ok(())
    }
}

impl Roofline {
    /// Memory for activations and for weights, in bytes, where the profile has them.
    pub fn memory_bytes(&self) -> (Option<f64>, Option<f64>) {
        (self.0.sram_kb.map(|kb| kb * 1024.0), self.0.flash_kb.map(|kb| kb * 1024.0))
    }

    /// Bytes that an operation moves to and from memory; none for what is fused into the operation before.
    fn bytes(&self, block: &Block, op: &Op) -> f64 {
        if matches!(op.kind, OpKind::BatchNorm { .. } | OpKind::Activation { .. }) {
            return 0.0;
        }
        let elements = |value: usize| -> f64 {
            let shape = if value == 0 { block.input } else { block.ops[value - 1].output };
            shape.iter().product::<usize>() as f64
        };
        let weights: usize = op.kind.tensors().iter().map(|(_, tensor)| tensor.elements()).sum();
        let moved = op.inputs.iter().map(|input| elements(*input)).sum::<f64>()
            + op.output.iter().product::<usize>() as f64
            + weights as f64;
        moved * self.0.bytes_per_element
    }

    /// Energy of an operation; `None` where the profile has none.
    fn op_picojoules(&self, block: &Block, op: &Op) -> Option<f64> {
        let macs = (cost::op_macs(op) + cost::squeeze_excite_macs(op)) as f64;
        Some(macs * self.0.pj_per_mac? + self.bytes(block, op) * self.0.pj_per_byte?)
    }

    /// Seconds of one operation.
    fn op_seconds(&self, block: &Block, op: &Op) -> f64 {
        let share = match &op.kind {
            OpKind::BatchNorm { .. } | OpKind::Activation { .. } => return 0.0,
            OpKind::Conv { groups, .. } if *groups > 1 => self.0.efficiency.depthwise,
            OpKind::Conv { .. } => self.0.efficiency.dense,
            _ => self.0.efficiency.linear,
        };
        let share = share * self.0.block_efficiency.get(block.kind.name()).copied().unwrap_or(1.0);
        let macs = (cost::op_macs(op) + cost::squeeze_excite_macs(op)) as f64;
        let arithmetic = macs / (self.0.peak_gmacs * 1e9 * share);
        let memory = self.bytes(block, op) / (self.0.bandwidth_gb_s * 1e9);
        arithmetic.max(memory) + self.0.overhead_us * 1e-6
    }

    /// What calibration may change: shares of the peak (dense, depthwise, linear), bandwidth and fixed cost.
    pub(crate) fn knobs(&self) -> [f64; 5] {
        let Efficiency { dense, depthwise, linear } = self.0.efficiency;
        [dense, depthwise, linear, self.0.bandwidth_gb_s, self.0.overhead_us]
    }

    /// The same device with other values there, and if they are calibrated, on how many measured networks.
    ///
    /// # Errors
    /// [`InvalidSetting`] for values that no device has.
    pub(crate) fn with_knobs(
        &self,
        [dense, depthwise, linear, bandwidth, overhead]: [f64; 5],
        calibrated_on: Option<usize>,
    ) -> Result<Self, InvalidSetting> {
        let mut profile = self.0.clone().into_inner();
        profile.efficiency = Efficiency { dense, depthwise, linear };
        profile.bandwidth_gb_s = bandwidth;
        profile.overhead_us = overhead;
        if let Some(networks) = calibrated_on {
            let note = format!("efficiencies, bandwidth and fixed cost calibrated on {networks} measured networks");
            profile.calibrated_on = calibrated_on;
            profile.about = format!("{}; {note}", profile.about);
            profile.bandwidth_source = format!("{}; {note}", profile.bandwidth_source);
        }
        Self::try_from(profile)
    }
}

#[typetag::serde(name = "roofline")]
impl HardwareBackend for Roofline {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        let ops = net.blocks.iter().flat_map(|block| block.ops.iter().map(move |op| (block, op)));
        Ok(ops.map(|(block, op)| self.op_seconds(block, op)).sum::<f64>() * 1e3)
    }

    fn source(&self) -> LatencySource {
        LatencySource::Analytic
    }

    fn is_estimate(&self) -> bool {
        self.0.calibrated_on.is_none()
    }

    fn arithmetic(&self) -> Arithmetic {
        self.0.arithmetic.unwrap_or(match self.0.bytes_per_element {
            1.0 => Arithmetic::Int8,
            2.0 => Arithmetic::F16,
            _ => Arithmetic::F32,
        })
    }

    // Operation by operation, as latencies are added up: sums of sums round differently.
    fn energy_mj(&self, net: &NetSpec) -> Option<f64> {
        let ops = net.blocks.iter().flat_map(|block| block.ops.iter().map(move |op| (block, op)));
        ops.map(|(block, op)| self.op_picojoules(block, op)).sum::<Option<f64>>().map(|picojoules| picojoules * 1e-9)
    }

    fn block_mj(&self, net: &NetSpec, block: usize) -> Option<f64> {
        let block = &net.blocks[block];
        let picojoules: Option<f64> = block.ops.iter().map(|op| self.op_picojoules(block, op)).sum();
        Some(picojoules? * 1e-9)
    }

    fn block_ms(&self, net: &NetSpec, block: usize) -> Result<Option<f64>, HwError> {
        let block = &net.blocks[block];
        Ok(Some(block.ops.iter().map(|op| self.op_seconds(block, op)).sum::<f64>() * 1e3))
    }
}

macro_rules! shipped {
    ($($name:literal: $about:literal),* $(,)?) => {
        $(inventory::submit! {
            DeviceEntry {
                name: $name,
                about: $about,
                source: LatencySource::Analytic,
                build: || from_profile(
                    include_str!(concat!("../../profiles/", $name, ".toml")),
                    concat!("built-in profile ", $name),
                ),
            }
        })*
    };
}

shipped! {
    "pixel4-cpu": "phone CPU: Pixel 4 (Snapdragon 855), one prime core, f32 (roofline)",
    "raspberry-pi-4": "single-board computer: Raspberry Pi 4, four Cortex-A72 cores, f32 (roofline)",
    "apple-a14-ane": "phone NPU: Apple A14 Neural Engine, f16 (roofline)",
    "ryzen-5950x": "desktop CPU: AMD Ryzen 9 5950X, sixteen cores, f32 (roofline)",
    "jetson-nano": "embedded GPU: NVIDIA Jetson Nano, f16 (roofline)",
    "xeon-6248-core": "server CPU: one core of an Intel Xeon Gold 6248, f32 (roofline)",
    "v100": "server GPU: NVIDIA V100 SXM2, f32 (roofline)",
    "a100": "server GPU: NVIDIA A100 40 GB, f32 (roofline)",
    "stm32h743": "microcontroller: STM32H743, Cortex-M7 at 480 MHz, int8 (roofline)",
    "stm32f746": "microcontroller: STM32F746, Cortex-M7 at 216 MHz, int8 (roofline)",
}
