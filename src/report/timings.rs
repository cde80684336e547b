//! Measured times of a run, kept apart from its results because they never repeat.

use ofa_hw::profiling::comparison::Compared;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Measured times of a run; `timings.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Seconds of every step, in order; parts of a step that was cut off and resumed are added up.
    pub steps: Vec<StepSeconds>,
    /// Seconds of every training phase, its validation included; empty if training was cut off and resumed.
    pub phases: Vec<StepSeconds>,
    /// The chosen nets on this machine.
    pub host: Option<HostTimings>,
    /// Seconds of fine-tuning each network, by ONNX file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fine_tuning: BTreeMap<String, f64>,
    /// Random networks on this machine: predicted from its measured blocks, and measured whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency_check: Vec<Compared>,
}

/// Seconds of a step or phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSeconds {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
}

/// Run times of the chosen nets in an inference runtime on this machine, one image at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostTimings {
    /// Name and version of the runtime.
    pub runtime: String,
    /// Its threads.
    pub threads: usize,
    /// Timed runs of each net.
    pub runs: usize,
    /// Median milliseconds by ONNX file.
    pub median_ms: BTreeMap<String, f64>,
}

impl Timings {
    /// Seconds of the step called `name`; 0 if it did not run.
    pub fn step(&self, name: &str) -> f64 {
        self.steps.iter().filter(|step| step.name == name).map(|step| step.seconds).sum()
    }

    /// Seconds of all steps.
    pub fn total(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }

    /// Adds seconds to a step.
    pub fn add(&mut self, name: &str, seconds: f64) {
        match self.steps.iter_mut().find(|step| step.name == name) {
            Some(step) => step.seconds += seconds,
            None => self.steps.push(StepSeconds { name: name.to_owned(), seconds }),
        }
    }

    /// Forgets a step that will be done anew.
    pub fn forget(&mut self, name: &str) {
        self.steps.retain(|step| step.name != name);
    }

    /// Seconds of fine-tuning an ONNX file's network; `None` if it was not fine-tuned.
    pub fn fine_tuning_s(&self, onnx: &str) -> Option<f64> {
        self.fine_tuning.get(onnx).copied().filter(|seconds| *seconds > 0.0)
    }

    /// Notes the seconds of fine-tuning; those of a network that was done before an interruption stay.
    pub fn fine_tuned(&mut self, seconds: BTreeMap<String, f64>) {
        let earlier = std::mem::take(&mut self.fine_tuning);
        let known = |onnx: &String| earlier.get(onnx).copied().unwrap_or(0.0);
        self.fine_tuning = seconds.into_iter().map(|(onnx, now)| (onnx.clone(), now.max(known(&onnx)))).collect();
    }

    /// Median milliseconds of an ONNX file on this machine.
    pub fn host_ms(&self, onnx: &str) -> Option<f64> {
        self.host.as_ref()?.median_ms.get(onnx).copied()
    }
}
