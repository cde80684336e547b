//! The report of a run: one self-contained HTML page, from the run's result file.

mod drawing;
mod page;
mod plot;

use ofa_space::ArchJson;
use ofa_train::progressive_shrinking::{PhaseRecord, StepRecord};
use serde::{Deserialize, Serialize};

pub use page::render;

/// Everything that the report shows; the run writes it as `results.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResults {
    /// Version of this file.
    pub format: u32,
    /// Name of the search space.
    pub space: String,
    /// Number of subnets at one resolution, decimal.
    pub subnets: String,
    /// The data set and how it was split.
    pub data: String,
    /// Validation of every phase.
    pub phases: Vec<PhaseRecord>,
    /// Training metrics.
    pub steps: Vec<StepRecord>,
    /// How well the accuracy predictor does on held-out pairs.
    pub predictor: PredictorResults,
    /// Smallest and largest subnet on test images.
    pub extremes: Vec<Extreme>,
    /// Front of every device.
    pub fronts: Vec<Front>,
    /// The chosen nets.
    pub cases: Vec<Case>,
    /// Seconds of every stage, in order; of this run, not reproducible.
    pub seconds: Vec<(String, f64)>,
}

/// Version of `results.json`.
pub const RESULTS_FORMAT: u32 = 1;

/// The accuracy predictor on pairs that it was not fitted on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PredictorResults {
    /// Its kind.
    pub kind: String,
    /// Pairs fitted on.
    pub n_train: usize,
    /// Pairs held out.
    pub n_test: usize,
    /// Root mean squared error, as a fraction of accuracy.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Kendall's tau.
    pub kendall_tau: f64,
    /// Held-out pairs: (measured, predicted).
    pub held_out: Vec<(f64, f64)>,
}

/// The smallest or largest subnet on test images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extreme {
    /// `min` or `max`.
    pub label: String,
    /// Top-1 on test images after BN recalibration.
    pub test_top1: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Parameters.
    pub params: u64,
}

/// Best predicted accuracy against latency on one device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Front {
    /// The device.
    pub device: String,
    /// (latency in ms, predicted accuracy), by rising latency.
    pub points: Vec<(f64, f64)>,
}

/// One chosen net.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// The device.
    pub device: String,
    /// The limits it was found under.
    pub constraint: serde_json::Value,
    /// The subnet.
    pub arch: ArchJson,
    /// Top-1 on test images.
    pub accuracy: f64,
    /// What the predictor promised.
    pub predicted_accuracy: f64,
    /// Latency on the device, by its table or model.
    pub latency_ms: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Parameters.
    pub params: u64,
    /// The ONNX file, relative to the run's folder.
    pub onnx: String,
    /// Largest difference between our logits and the runtime's, on real images.
    pub max_abs_diff: f64,
    /// Largest logit, for comparison.
    pub max_abs_logit: f64,
    /// Median time of one image in the runtime on this machine, in ms; not reproducible.
    pub host_ms: Option<f64>,
    /// Blocks for the drawing.
    pub blocks: Vec<DrawnBlock>,
}

/// A block as the drawing shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrawnBlock {
    /// Name in the network.
    pub name: String,
    /// Depthwise kernel size.
    pub kernel: usize,
    /// Middle channels.
    pub middle: usize,
    /// Expansion ratio.
    pub expansion: f64,
    /// Height and width of its output.
    pub size: usize,
    /// Whether a stage starts here.
    pub downsamples: bool,
}
