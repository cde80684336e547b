//! This machine: the exported network timed in a real inference runtime.

use crate::backend::{HardwareBackend, LatencySource};
use crate::devices::registry::DeviceEntry;
use crate::error::HwError;
use crate::profiling::measurement_cache::MeasurementCache;
use crate::profiling::timing::percentiles;
use ofa_export::{Runtime, Session, SessionOptions, Values, export_net};
use ofa_space::settings::{self, Checked, InvalidSetting, Settings};
use ofa_space::{NetSpec, Tensor, Weights};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::profiling::timing::Measurement;

/// This machine, measured as [`HostSettings`] describe.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "HostSettings", into = "HostSettings")]
pub struct Host(Checked<HostSettings>);

/// How to measure.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `runtime` | `rten` | which inference runtime | `rten`, `onnxruntime`, `onnxruntime-cuda`; see features |
/// | `threads` | 1 | of the runtime | ≥ 1 |
/// | `warmup` | 5 | runs before the clock starts, at least; they go on for a tenth of a second | |
/// | `runs` | 30 | timed runs | ≥ 1 |
/// | `max_spread` | 1 | refuse a result of 10 runs or more whose 10th and 90th percentile are further apart than this share of the median | ≥ 0; `inf` = never |
/// | `attempts` | 4 | how often to try until the machine is quiet enough | ≥ 1 |
/// | `cache` | none | folder where results are kept, by the content of the network and everything above | |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostSettings {
    /// Inference runtime.
    pub runtime: Runtime,
    /// Threads of the runtime.
    pub threads: usize,
    /// Runs before the clock starts, at least.
    pub warmup: usize,
    /// Timed runs.
    pub runs: usize,
    /// Largest distance of the 10th to the 90th percentile, as a share of the median.
    pub max_spread: f64,
    /// Tries to find the machine quiet.
    pub attempts: usize,
    /// Folder where results are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

/// A core that was idle takes its time to come to its clock rate; a small network's runs would all fall into it.
const WARM_UP: Duration = Duration::from_millis(100);

/// With fewer runs, the outer percentiles are single runs and no measure of the machine.
const ENOUGH_TO_JUDGE: usize = 10;

impl Default for HostSettings {
    fn default() -> Self {
        Self { runtime: Runtime::default(), threads: 1, warmup: 5, runs: 30, max_spread: 1.0, attempts: 4, cache: None }
    }
}

impl Settings for HostSettings {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("threads", self.threads, 1..=1024)?;
        settings::count("warmup", self.warmup, 0..=1_000_000)?;
        settings::count("runs", self.runs, 1..=1_000_000)?;
        settings::number("max_spread", self.max_spread, 0.0..)?;
        settings::count("attempts", self.attempts, 1..=1_000)
    }
}

impl From<Host> for HostSettings {
    fn from(host: Host) -> Self {
        host.0.into_inner()
    }
}

impl TryFrom<HostSettings> for Host {
    type Error = InvalidSetting;

    fn try_from(settings: HostSettings) -> Result<Self, InvalidSetting> {
        Ok(Self(settings.checked()?))
    }
}

impl Host {
    /// How it measures.
    pub fn settings(&self) -> &HostSettings {
        &self.0
    }

    /// Times an ONNX file on images of `[c, h, w]`, one at a time.
    ///
    /// # Errors
    /// [`HwError::Runtime`] if the runtime cannot load or run the file; [`HwError::Noisy`] if no attempt was quiet.
    pub fn measure(&self, onnx: &[u8], shape: [usize; 3]) -> Result<Measurement, HwError> {
        let mut subject = self.subject(onnx, shape)?;
        let Some(folder) = &self.0.cache else { return self.measure_subject(&mut subject) };
        let runtime = subject.session.runtime_name();
        let HostSettings { threads, warmup, runs, max_spread, .. } = self.settings();
        let how = format!("host {runtime} {threads} {warmup} {WARM_UP:?} {runs} {max_spread} {shape:?}");
        let (cache, key) = (MeasurementCache::new(folder), MeasurementCache::key(onnx, &how));
        if let Some(known) = cache.get(&key) {
            return Ok(known);
        }
        let found = self.measure_subject(&mut subject)?;
        cache.put(&key, &found)?;
        Ok(found)
    }

    fn measure_subject(&self, subject: &mut Subject) -> Result<Measurement, HwError> {
        let started = Instant::now();
        let mut warmed = 0;
        while warmed < self.0.warmup || started.elapsed() < WARM_UP {
            subject.time_ms()?;
            warmed += 1;
        }
        let mut quietest: Option<Measurement> = None;
        for _ in 0..self.0.attempts {
            let mut times = (0..self.0.runs).map(|_| subject.time_ms()).collect::<Result<Vec<_>, _>>()?;
            let [p10_ms, median_ms, p90_ms] = percentiles(&mut times);
            let (runs, runtime) = (times.len(), subject.session.runtime_name().to_owned());
            let found = Measurement { median_ms, p10_ms, p90_ms, runs, runtime, threads: self.0.threads };
            if found.spread() <= self.0.max_spread || runs < ENOUGH_TO_JUDGE {
                return Ok(found);
            }
            if quietest.as_ref().is_none_or(|best| found.spread() < best.spread()) {
                quietest = Some(found);
            }
        }
        let spread = quietest.map_or(f64::INFINITY, |best| best.spread());
        Err(HwError::Noisy { spread, allowed: self.0.max_spread, attempts: self.0.attempts })
    }

    /// An ONNX file loaded in the runtime with an input to run it on.
    pub(crate) fn subject(&self, onnx: &[u8], [c, h, w]: [usize; 3]) -> Result<Subject, HwError> {
        let session = self.0.runtime.load(onnx, &SessionOptions { threads: Some(self.0.threads) })?;
        let input = (0..c * h * w).map(|i| (i as f32 * 0.1).sin()).collect();
        Ok(Subject { session, input, shape: [1, c, h, w] })
    }
}

/// A loaded network and its input.
pub(crate) struct Subject {
    pub(crate) session: Box<dyn Session>,
    input: Vec<f32>,
    shape: [usize; 4],
}

impl Subject {
    /// Milliseconds of one run. The input is read just before, as the block before it would have left it.
    pub(crate) fn time_ms(&mut self) -> Result<f64, HwError> {
        std::hint::black_box(self.input.iter().sum::<f32>());
        Ok(self.session.run_timed(Values::F32(&self.input), self.shape)?.seconds * 1e3)
    }
}

/// A network as ONNX with weights that do not matter: time does not depend on values that are ordinary numbers.
pub(crate) fn any_weights_onnx(net: &NetSpec) -> Result<Vec<u8>, HwError> {
    let standalone = net.standalone();
    let mut weights = Weights::default();
    for tensor in standalone.tensors() {
        weights.insert(tensor.name.clone(), Tensor::full(&tensor.full, 0.01));
    }
    Ok(export_net(&standalone, &weights, &Default::default())?)
}

#[typetag::serde(name = "host")]
impl HardwareBackend for Host {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        Ok(self.measure(&any_weights_onnx(net)?, net.input)?.median_ms)
    }

    fn source(&self) -> LatencySource {
        LatencySource::Measured
    }

    fn open(&mut self, folder: &Path) -> Result<(), HwError> {
        let Some(cache) = MeasurementCache::confined(self.0.cache.as_deref(), folder)? else { return Ok(()) };
        self.0 = self.0.clone().changed(|settings| settings.cache = Some(cache)).map_err(HwError::Setting)?;
        Ok(())
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
