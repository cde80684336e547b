//! A device known by the whole-network timings of some networks only: a linear model of what a network is made of.
//!
//! Features are sums over a network's operations: multiply-accumulates and bytes moved of dense, depthwise and linear
//! operations, numbers of operations, and numbers of blocks of each kind. Fitted by elastic net on features divided by
//! the measured latency, so that relative errors count.

use crate::backend::{HardwareBackend, LatencySource};
use crate::error::HwError;
use linfa::prelude::*;
use linfa_elasticnet::ElasticNet;
use ndarray::{Array1, Array2};
use ofa_space::{Block, BlockKind, Op, OpKind};
use ofa_space::{NetSpec, cost};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fitted model.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name`, `about` | empty | for listings | |
/// | `nets` | | networks it was fitted on | ≥ 1 |
/// | `smallest_ms` | | shortest latency among them; predictions stay above a tenth of it | > 0 |
/// | `coefficients` | | milliseconds per feature | |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RegressionProfile", into = "RegressionProfile")]
pub struct Regression(RegressionProfile);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegressionProfile {
    #[serde(default)]
    name: String,
    #[serde(default)]
    about: String,
    nets: usize,
    smallest_ms: f64,
    coefficients: BTreeMap<String, f64>,
}

impl From<Regression> for RegressionProfile {
    fn from(regression: Regression) -> Self {
        regression.0
    }
}

impl TryFrom<RegressionProfile> for Regression {
    type Error = String;

    fn try_from(profile: RegressionProfile) -> Result<Self, String> {
        if !(profile.smallest_ms > 0.0 && profile.smallest_ms.is_finite()) {
            return Err(format!("`smallest_ms` is {}, expected more than 0", profile.smallest_ms));
        }
        let known = names();
        for (name, value) in &profile.coefficients {
            if !known.contains(name) {
                return Err(format!("`coefficients.{name}`: expected one of {}", known.join(", ")));
            }
            if !value.is_finite() {
                return Err(format!("`coefficients.{name}` is {value}, expected a number"));
            }
        }
        Ok(Self(profile))
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

/// Values of the features of a network, in the order of [`names`].
fn features(net: &NetSpec) -> Vec<f64> {
    let mut sums = [[0.0; 3]; 3];
    let mut blocks = [0.0; BlockKind::NAMES.len()];
    for block in &net.blocks {
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

/// Which of [`OPERATIONS`]; none for what runtimes fuse into the operation before.
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
    /// Fits networks to their latencies in milliseconds.
    ///
    /// # Errors
    /// [`HwError::Fit`] with fewer than 8 networks, or if the solver fails.
    pub fn fit(name: &str, nets: &[(NetSpec, f64)]) -> Result<Self, HwError> {
        const FEWEST: usize = 8;
        let fail = |problem: String| HwError::Fit { what: "a latency regression", problem };
        if nets.len() < FEWEST {
            return Err(fail(format!("{} measured networks, expected at least {FEWEST}", nets.len())));
        }
        let rows: Vec<Vec<f64>> = nets.iter().map(|(net, _)| features(net)).collect();
        let names = names();
        let columns = names.len();
        // Columns are brought to a common size, rows divided by the latency: the target is then 1 everywhere.
        let size: Vec<f64> = (0..columns)
            .map(|c| {
                let sum: f64 = rows.iter().zip(nets).map(|(row, (_, ms))| (row[c] / ms).powi(2)).sum();
                (sum / nets.len() as f64).sqrt()
            })
            .collect();
        let scaled = |row: usize, column: usize| match size[column] > 0.0 {
            true => rows[row][column] / nets[row].1 / size[column],
            false => 0.0,
        };
        let x = Array2::from_shape_fn((nets.len(), columns), |(row, column)| scaled(row, column));
        let model = ElasticNet::params()
            .penalty(1e-5)
            .l1_ratio(0.1)
            .with_intercept(false)
            .max_iterations(20_000)
            .tolerance(1e-7)
            .fit(&Dataset::new(x, Array1::from_elem(nets.len(), 1.0)))
            .map_err(|e| fail(e.to_string()))?;
        let coefficients = names
            .into_iter()
            .zip(model.hyperplane())
            .zip(size)
            .filter(|((_, value), size)| **value != 0.0 && *size > 0.0)
            .map(|((name, value), size)| (name, value / size))
            .collect();
        let smallest_ms = nets.iter().map(|(_, ms)| *ms).fold(f64::INFINITY, f64::min);
        Ok(Self(RegressionProfile {
            name: name.to_owned(),
            about: format!("linear model fitted on {} measured networks", nets.len()),
            nets: nets.len(),
            smallest_ms,
            coefficients,
        }))
    }
}

#[typetag::serde(name = "regression")]
impl HardwareBackend for Regression {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        let value = |name: &String| self.0.coefficients.get(name).copied().unwrap_or(0.0);
        let sum: f64 = names().iter().zip(features(net)).map(|(name, feature)| value(name) * feature).sum();
        Ok(sum.max(0.1 * self.0.smallest_ms))
    }

    fn source(&self) -> LatencySource {
        LatencySource::Analytic
    }
}
