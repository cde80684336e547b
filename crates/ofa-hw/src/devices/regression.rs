//! A device of which only whole-network timings are given: a linear model of what a network is made of.
//!
//! Features are sums over a network's operations: multiply-accumulates and bytes moved of dense, depthwise and linear
//! operations, numbers of operations, and numbers of blocks of each kind. Fitted by elastic net on features divided by
//! the measured latency, so that relative errors count.

use crate::backend::{HardwareBackend, LatencySource};
use crate::error::HwError;
use crate::profiling::calibrate::MeasuredNet;
use ofa_predictors::estimators::elastic_net::{CoordinateDescent, Intercept};
use ofa_space::settings::{self, Checked, InvalidSetting, Settings};
use ofa_space::{Block, BlockKind, Op, OpKind};
use ofa_space::{NetSpec, cost};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A linear model of whole-network timings, fitted by [`Regression::fit`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RegressionProfile", into = "RegressionProfile")]
pub struct Regression(Checked<RegressionProfile>);

/// A fitted model.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name`, `about` | empty | for listings | |
/// | `nets` | | networks it was fitted on | ≥ 1 |
/// | `smallest_ms` | | shortest latency among them; predictions stay above a tenth of it | > 0 |
/// | `coefficients` | | milliseconds per feature | |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegressionProfile {
    /// Name for listings.
    #[serde(default)]
    pub name: String,
    /// One line for listings.
    #[serde(default)]
    pub about: String,
    /// Networks that it was fitted on.
    pub nets: usize,
    /// Shortest latency among them.
    pub smallest_ms: f64,
    /// Milliseconds per feature.
    pub coefficients: BTreeMap<String, f64>,
}

impl From<Regression> for RegressionProfile {
    fn from(regression: Regression) -> Self {
        regression.0.into_inner()
    }
}

impl TryFrom<RegressionProfile> for Regression {
    type Error = InvalidSetting;

    fn try_from(profile: RegressionProfile) -> Result<Self, InvalidSetting> {
        Ok(Self(profile.checked()?))
    }
}

impl Settings for RegressionProfile {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::positive("smallest_ms", self.smallest_ms)?;
        let known = names();
        for (name, value) in &self.coefficients {
            let field = || format!("coefficients.{name}");
            if !known.contains(name) {
                let problem = format!("is not a feature, expected one of {}", known.join(", "));
                return Err(InvalidSetting::new(field(), problem));
            }
            if !value.is_finite() {
                return Err(InvalidSetting::new(field(), format!("is {value}, expected a number")));
            }
        }
        Ok(())
    }
}

const OPERATIONS: [&str; 3] = ["dense", "depthwise", "linear"];

/// Names of the features, in order.
fn names() -> Vec<String> {
    let mut names = vec!["network".to_owned()];
    for kind in OPERATIONS {
        names.extend(["mmacs", "mib", "ops"].map(|what| format!("{kind}_{what}")));
    }
    names.extend(BlockKind::NAMES.map(|kind| format!("blocks_{kind}")));
    names
}

/// Values of the features of the blocks of a network, in the order of [`names`].
fn features(network: &[Block]) -> Vec<f64> {
    let mut sums = [[0.0; 3]; 3];
    let mut blocks = [0.0; BlockKind::NAMES.len()];
    for block in network {
        if let Some(kind) = BlockKind::NAMES.iter().position(|name| *name == block.kind.name()) {
            blocks[kind] += 1.0;
        }
        for op in &block.ops {
            let Some(kind) = operation(op) else { continue };
            sums[kind][0] += (cost::op_macs(op) + cost::squeeze_excite_macs(op)) as f64 * 1e-6;
            sums[kind][1] += mib(block, op);
            sums[kind][2] += 1.0;
        }
    }
    std::iter::once(1.0).chain(sums.into_iter().flatten()).chain(blocks).collect()
}

/// Which of [`OPERATIONS`]; `None` for what runtimes fuse into the operation before it.
fn operation(op: &Op) -> Option<usize> {
    match &op.kind {
        OpKind::BatchNorm { .. } | OpKind::Activation { .. } => None,
        OpKind::Conv { groups, .. } => Some(usize::from(*groups > 1)),
        _ => Some(2),
    }
}

/// MiB in f32 that an operation reads and writes.
fn mib(block: &Block, op: &Op) -> f64 {
    let shape = |value: &usize| if *value == 0 { block.input } else { block.ops[*value - 1].output };
    let inputs: usize = op.inputs.iter().map(|value| shape(value).iter().product::<usize>()).sum();
    let weights: usize = op.kind.tensors().iter().map(|(_, tensor)| tensor.elements()).sum();
    (inputs + op.output.iter().product::<usize>() + weights) as f64 * 4.0 / (1u64 << 20) as f64
}

impl Regression {
    fn sum(&self, features: &[f64]) -> f64 {
        let value = |name: &String| self.0.coefficients.get(name).copied().unwrap_or(0.0);
        names().iter().zip(features).map(|(name, feature)| value(name) * feature).sum()
    }

    /// Fits networks to their latencies in milliseconds.
    ///
    /// # Errors
    /// [`HwError::Fit`] with fewer than 8 networks, or if the solver fails.
    pub fn fit(name: &str, nets: &[MeasuredNet]) -> Result<Self, HwError> {
        const FEWEST: usize = 8;
        let fail = |problem: String| HwError::Fit { what: "a latency regression", problem };
        if nets.len() < FEWEST {
            return Err(fail(format!("{} measured networks, expected at least {FEWEST}", nets.len())));
        }
        let rows: Vec<Vec<f64>> = nets.iter().map(|measured| features(&measured.net.blocks)).collect();
        let names = names();
        let columns = names.len();
        // Columns are brought to a common size, rows divided by the latency: the target is then 1 everywhere.
        let size: Vec<f64> = (0..columns)
            .map(|c| {
                let sum: f64 = rows.iter().zip(nets).map(|(row, net)| (row[c] / net.latency_ms).powi(2)).sum();
                (sum / nets.len() as f64).sqrt()
            })
            .collect();
        let scaled = |row: usize, column: usize| match size[column] > 0.0 {
            true => rows[row][column] / nets[row].latency_ms / size[column],
            false => 0.0,
        };
        let scaled: Vec<Vec<f64>> =
            (0..nets.len()).map(|row| (0..columns).map(|column| scaled(row, column)).collect()).collect();
        let descent = CoordinateDescent {
            penalty: 1e-5,
            l1_ratio: 0.1,
            intercept: Intercept::Zero,
            max_iterations: 20_000,
            tolerance: 1e-7,
        };
        let line = descent.solve(&scaled, &vec![1.0; nets.len()]).map_err(|e| fail(e.to_string()))?;
        let coefficients = names
            .into_iter()
            .zip(line.weights)
            .zip(size)
            .filter(|((_, value), size)| *value != 0.0 && *size > 0.0)
            .map(|((name, value), size)| (name, value / size))
            .collect();
        let smallest_ms = nets.iter().map(|net| net.latency_ms).fold(f64::INFINITY, f64::min);
        let profile = RegressionProfile {
            name: name.to_owned(),
            about: format!("linear model fitted on {} measured networks", nets.len()),
            nets: nets.len(),
            smallest_ms,
            coefficients,
        };
        Ok(Self::try_from(profile)?)
    }
}

#[typetag::serde(name = "regression")]
impl HardwareBackend for Regression {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        Ok(self.sum(&features(&net.blocks)).max(self.least_ms()))
    }

    fn block_ms(&self, net: &NetSpec, block: usize) -> Result<Option<f64>, HwError> {
        Ok(Some(self.sum(&features(&net.blocks[block..=block])) - self.fixed_ms()))
    }

    fn fixed_ms(&self) -> f64 {
        self.sum(&features(&[]))
    }

    fn least_ms(&self) -> f64 {
        0.1 * self.0.smallest_ms
    }

    fn source(&self) -> LatencySource {
        LatencySource::Analytic
    }
}
