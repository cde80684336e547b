//! This machine: the exported network timed in a real inference runtime.

use crate::backend::{HardwareBackend, LatencySource};
use crate::error::HwError;
use crate::registry::DeviceEntry;
use ofa_export::{SessionOptions, export_net, runtime};
use ofa_space::{NetSpec, Tensor, Weights};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// How to measure.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `threads` | 1 | of the runtime | ≥ 1 |
/// | `warmup` | 5 | runs before the clock starts | |
/// | `runs` | 30 | timed runs | ≥ 1 |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Threads of the runtime.
    pub threads: usize,
    /// Runs before the clock starts.
    pub warmup: usize,
    /// Timed runs.
    pub runs: usize,
}

impl Default for Host {
    fn default() -> Self {
        Self { threads: 1, warmup: 5, runs: 30 }
    }
}

/// Run times of one network, batch 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// Median in milliseconds.
    pub median_ms: f64,
    /// Tenth percentile.
    pub p10_ms: f64,
    /// Ninetieth percentile.
    pub p90_ms: f64,
    /// Timed runs.
    pub runs: usize,
    /// Name and version of the runtime.
    pub runtime: String,
    /// Its threads.
    pub threads: usize,
}

impl Host {
    /// Times an ONNX file on images of `[c, h, w]`, one at a time.
    ///
    /// # Errors
    /// [`HwError::Runtime`] if the runtime cannot load or run the file.
    pub fn measure(&self, onnx: &[u8], [c, h, w]: [usize; 3]) -> Result<Measurement, HwError> {
        let mut session = runtime::load(onnx, &SessionOptions { threads: Some(self.threads.max(1)) })?;
        let input: Vec<f32> = (0..c * h * w).map(|i| (i as f32 * 0.1).sin()).collect();
        for _ in 0..self.warmup {
            session.run(&input, [1, c, h, w])?;
        }
        let mut times = Vec::with_capacity(self.runs.max(1));
        for _ in 0..self.runs.max(1) {
            let start = Instant::now();
            session.run(&input, [1, c, h, w])?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        Ok(Measurement {
            median_ms: at(0.5),
            p10_ms: at(0.1),
            p90_ms: at(0.9),
            runs: times.len(),
            runtime: session.runtime_name().to_owned(),
            threads: self.threads.max(1),
        })
    }
}

#[typetag::serde(name = "host")]
impl HardwareBackend for Host {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        // Time does not depend on the values, as long as they are ordinary numbers.
        let standalone = net.standalone();
        let mut weights = Weights::default();
        for tensor in standalone.tensors() {
            weights.insert(tensor.name.clone(), Tensor::full(&tensor.full, 0.01));
        }
        let onnx = export_net(&standalone, &weights, &Default::default())?;
        Ok(self.measure(&onnx, net.input)?.median_ms)
    }

    fn source(&self) -> LatencySource {
        LatencySource::Measured
    }
}

inventory::submit! {
    DeviceEntry {
        name: "host",
        about: "this machine, measured in an inference runtime, one thread",
        source: LatencySource::Measured,
        build: || Ok(Arc::new(Host::default())),
    }
}
