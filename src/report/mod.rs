//! The report of a run: one self-contained HTML page, its plots as SVG files and a Markdown summary, from the run's
//! result file.

mod bars;
mod check;
mod classes;
mod confusion;
mod cost;
mod drawing;
mod first_section;
mod markdown;
mod marker;
mod networks;
mod next_commands;
mod notes;
mod page;
mod recommendation;
mod report_plots;
mod search_page;
mod svg_plot;
mod timings;

use crate::limits::{MemoryPrecision, Unfound};
use crate::measured_accuracy::{self, Difference, MeasuredAccuracy, RightAnswers};
use ofa_space::ArchJson;
use ofa_train::evaluation::ClassAccuracy;
use ofa_train::shrinking::{PhaseRecord, StepRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use svg_plot::number;

pub use check::plain_values;
pub use classes::or_dash;
pub use markdown::markdown;
pub use networks::in_short;
pub use next_commands::next_commands;
pub use notes::notes;
pub use page::{amounts, limits, render};
pub use report_plots::files as plot_files;
pub(crate) use report_plots::{Predicted, latencies as plot_latencies};
pub use search_page::{ChosenNet, SearchSection, search_page};
pub use timings::{HostTimings, StepSeconds, Timings};

/// Everything that the report shows, but for measured times; the run writes it as `results.json`. The same
/// configuration, data and seed give the same file, byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResults {
    /// Version of this file.
    pub format: u32,
    /// Name of the search space.
    pub space: String,
    /// Number of subnets at one resolution, decimal.
    pub subnets: String,
    /// Elastic resolutions.
    pub resolutions: Vec<u32>,
    /// Blocks of the largest subnet: the places that a subnet's blocks may take.
    pub places: Vec<DrawnBlock>,
    /// The data set and how it was split.
    pub data: String,
    /// Class names, in the order of the logits.
    pub class_names: Vec<String>,
    /// Images to learn from, for validation, and for final figures.
    pub images: [usize; 3],
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
    /// The full network as it taught the subnets; `None` where nothing is fine-tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Case>,
    /// Limits for which no subnet was found.
    pub infeasible: Vec<Infeasible>,
    /// The accuracy on test images of always answering with their largest class; earlier versions left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// What the user was warned of, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl RunResults {
    /// A share of right answers on the test images.
    pub fn on_test_images(&self, share: f64) -> MeasuredAccuracy {
        MeasuredAccuracy::new(share, self.images[2])
    }

    /// A share of right answers on the validation images.
    pub fn on_validation_images(&self, share: f64) -> MeasuredAccuracy {
        MeasuredAccuracy::new(share, self.images[1])
    }

    /// How much worse a network is than the most accurate one of its device, on the same images; `None` for that one, for the full
    /// network, and where the answers are not known.
    pub fn against_best(&self, case: &Case) -> Option<Difference> {
        let here = self.cases.iter().filter(|other| other.device == case.device);
        let best = here.reduce(|best, other| if other.accuracy > best.accuracy { other } else { best })?;
        let is_chosen = self.cases.iter().any(|other| other.onnx == case.onnx);
        // Two limits may have the same network.
        if !is_chosen || best.arch == case.arch {
            return None;
        }
        RightAnswers::difference(case.right.as_ref()?, best.right.as_ref()?)
    }

    /// The accuracy on test images with its interval, and a mark where the difference from the device's best is within the noise.
    pub fn top1(&self, case: &Case) -> String {
        let mark = if self.against_best(case).is_some_and(Difference::is_noise) { " ≈" } else { "" };
        self.on_test_images(case.accuracy).with_interval() + mark
    }

    /// Marks each network with its interval, and of every device the network to ship.
    pub fn judge(&mut self) {
        let images = self.images[2];
        self.baseline =
            self.cases.iter().chain(&self.reference).find_map(|case| measured_accuracy::baseline(&case.per_class));
        for case in self.cases.iter_mut().chain(&mut self.reference) {
            case.interval = Some(MeasuredAccuracy::new(case.accuracy, images).interval());
            case.recommended = false;
        }
        for index in recommendation::recommended(&self.cases) {
            self.cases[index].recommended = true;
        }
    }
}

/// Version of `results.json`.
pub const RESULTS_FORMAT: u32 = 2;

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
    #[serde(deserialize_with = "ofa_predictors::metrics::or_undefined")]
    pub rmse: f64,
    /// Mean absolute error.
    #[serde(deserialize_with = "ofa_predictors::metrics::or_undefined")]
    pub mae: f64,
    /// Kendall's tau.
    #[serde(deserialize_with = "ofa_predictors::metrics::or_undefined")]
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

/// Best predicted accuracy against what is limited: latency on a device, or another quantity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Front {
    /// The device, if there is one.
    pub device: Option<String>,
    /// Where its latencies come from: `table`, `analytic` or `measured`.
    pub source: Option<String>,
    /// What is limited: `latency_ms`, `macs`, …
    #[serde(default = "latency", skip_serializing_if = "is_latency")]
    pub quantity: String,
    /// (value of the quantity, predicted accuracy), by rising value.
    pub points: Vec<(f64, f64)>,
}

fn latency() -> String {
    "latency_ms".to_owned()
}

fn is_latency(quantity: &String) -> bool {
    *quantity == latency()
}

/// One chosen net.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// The device; `None` where no limit needs one.
    pub device: Option<String>,
    /// The limits it was found under.
    pub constraint: serde_json::Value,
    /// Of the limits on memory, where they are not for int8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<MemoryPrecision>,
    /// What the subnet takes of the limited quantities; earlier versions left it out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
    /// The subnet.
    pub arch: ArchJson,
    /// Top-1 of the delivered network on test images.
    pub accuracy: f64,
    /// Top-1 of its f32 file, where the device computes in another precision and `accuracy` is that of the device's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_f32: Option<f64>,
    /// Its 95 % interval; earlier versions left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Whether it is the network of its device to ship.
    #[serde(default)]
    pub recommended: bool,
    /// Mean recall over the classes, of the delivered network on test images. Earlier versions did not count by class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balanced_accuracy: Option<f64>,
    /// Its recall and precision for every class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<ClassAccuracy>,
    /// What test images of each class were taken for: `[class of the image][class of the answer]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<usize>>,
    /// Which test images it answered rightly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<RightAnswers>,
    /// Top-1 on test images of the same subnet, recalibrated but not fine-tuned. Earlier versions never fine-tuned, and
    /// left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supernet_accuracy: Option<f64>,
    /// Accuracy of the subnet that the predictor promised; `None` for the full network, which was not searched for.
    pub predicted_accuracy: Option<f64>,
    /// Standard deviation of the prediction: the predictor's own, or its error on pairs that were held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_deviation: Option<f64>,
    /// Whether the prediction was outside 0 to 1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extrapolated: bool,
    /// Whether the measured accuracy is further from the prediction than the predictor's error and the number of test
    /// images explain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prediction_missed: bool,
    /// Latency on the device, by its table or model.
    pub latency_ms: Option<f64>,
    /// Whether that is the estimate of a formula that was never compared with a measurement.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latency_is_estimate: bool,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Parameters.
    pub params: u64,
    /// The ONNX file, relative to the run's folder.
    pub onnx: String,
    /// The f32 file, where the device computes in another precision and `onnx` is the device's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnx_f32: Option<String>,
    /// Layers of the device's file that stay in f32, the most sensitive first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers_in_f32: Vec<String>,
    /// Its bytes; earlier versions left them out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub onnx_bytes: u64,
    /// Peak of the activations in f32, bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_activation_bytes: u64,
    /// Largest difference between our logits and the runtime's, on real images.
    pub max_abs_diff: f64,
    /// Largest logit, for comparison.
    pub max_abs_logit: f64,
    /// Blocks for the drawing.
    pub blocks: Vec<DrawnBlock>,
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn in_two_digits(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Case {
    /// Accuracy of the subnet as it left the supernet, which is what the predictor predicts.
    pub fn as_cut(&self) -> f64 {
        self.supernet_accuracy.unwrap_or(self.accuracy)
    }

    /// The device, for listings.
    pub fn device(&self) -> &str {
        self.device.as_deref().unwrap_or(ANY_DEVICE)
    }

    /// Its limits, as [`limits`], with the precision of those on memory where it is not int8.
    pub fn limits(&self) -> String {
        let precision = self.precision.map_or_else(String::new, |precision| format!(" in {}", precision.name()));
        limits(&self.constraint) + &precision
    }

    /// Its latency, an estimate in two digits and called so; a dash where there is no device.
    pub fn latency(&self) -> String {
        match (self.latency_ms, self.latency_is_estimate) {
            (None, _) => "–".to_owned(),
            (Some(ms), false) => format!("{} ms", number(ms)),
            (Some(ms), true) => format!("{} ms (estimate)", number(in_two_digits(ms))),
        }
    }

    /// Its name: that of its files.
    pub fn name(&self) -> &str {
        let file = file_name(self.f32_file());
        file.strip_suffix(".onnx").unwrap_or(file)
    }

    /// Its f32 file, relative to the run's folder.
    pub fn f32_file(&self) -> &str {
        self.onnx_f32.as_ref().unwrap_or(&self.onnx)
    }

    /// The name of the file that its device runs.
    pub fn file(&self) -> &str {
        file_name(&self.onnx)
    }

    /// The precision of that file.
    pub fn file_precision(&self) -> &str {
        let other = self.onnx_f32.as_ref().and_then(|_| self.onnx.strip_suffix(".onnx")?.rsplit('.').next());
        other.unwrap_or("f32")
    }

    /// The predicted accuracy with its standard deviation and marks, in as many digits as the accuracy measured on so many
    /// test images; a dash where there is none.
    pub fn predicted(&self, images: usize) -> String {
        let Some(accuracy) = self.predicted_accuracy else { return "–".to_owned() };
        let measured = MeasuredAccuracy::new(self.accuracy, images);
        let deviation = self.predicted_deviation.map(|one| format!(" ± {}", measured.written_like_it(one)));
        let extrapolated = if self.extrapolated { " (extrapolated)" } else { "" };
        let missed = if self.prediction_missed { " (!)" } else { "" };
        format!("{}{} %{extrapolated}{missed}", measured.written_like_it(accuracy), deviation.unwrap_or_default())
    }
}

impl Infeasible {
    /// The device, for listings.
    pub fn device(&self) -> &str {
        self.device.as_deref().unwrap_or(ANY_DEVICE)
    }

    /// Whether there can be a subnet, and the closest that was found.
    pub fn verdict(&self) -> String {
        let limits = self.constraint.as_object().into_iter().flatten();
        let limits = limits.filter_map(|(name, limit)| Some((name.clone(), limit.as_f64()?))).collect();
        format!("{}; closest: {}", self.unfound.in_words(&limits), amounts(&self.closest))
    }
}

/// Stands for the device where no limit needs one.
pub const ANY_DEVICE: &str = "any device";

/// A limit for which no subnet was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Infeasible {
    /// The device; `None` where no limit needs one.
    pub device: Option<String>,
    /// The limit.
    pub constraint: serde_json::Value,
    /// The nearest that the search found.
    pub closest: serde_json::Value,
    /// Whether a subnet within the limit can exist. Earlier versions did not look.
    #[serde(flatten)]
    pub unfound: Unfound,
}

/// A block as the drawing shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnBlock {
    /// Where its weights live in the supernet; the same place in every subnet.
    pub place: String,
    /// Kernel size of its spatial convolution.
    pub kernel: usize,
    /// Middle channels.
    pub middle: usize,
    /// Expansion ratio.
    pub expansion: f64,
    /// Output channels.
    pub channels: usize,
    /// Height and width of its output.
    pub size: usize,
}
