//! The last step: every chosen net recalibrated, fine-tuned where the configuration asks for it, scored on test images,
//! exported and verified.

pub mod device_file;
mod exporting;
pub mod leftovers;
pub mod maker;
pub mod tuned_networks;

use crate::failure::Failure;
use crate::file_names::shortened;
use crate::pipeline::Progress;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::folder::RunFolder;
use crate::pipeline::folder::keys::Key;
use crate::pipeline::folder::layout::NETS;
use crate::pipeline::steps::Subject;
use crate::pipeline::steps::search::{self, Found, FoundCase};
use crate::prediction::Expectation;
use crate::report::{Case, DrawnBlock, Extreme};
use exporting::{Chosen, Exporting, onnx_of};
use ofa_hw::{Arithmetic, Host, HostSettings, HwError};
use ofa_predictors::{FittedPredictor, Target};
use ofa_space::cost;
use ofa_train::data::stratified;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use tuned_networks::Tuning;

/// Everything deployed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployed {
    /// One per feasible case.
    pub cases: Vec<Case>,
    /// Smallest and largest subnet.
    pub extremes: Vec<Extreme>,
    /// The full network, as the teacher of the others; `None` where nothing is fine-tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Case>,
}

impl Deployed {
    /// The delivered files, in the run's folder: weights and ONNX of every network, in f32 and as its device computes.
    pub fn files(&self) -> Vec<String> {
        let nets = self.cases.iter().chain(&self.reference);
        let files = nets.flat_map(|case| {
            let f32_file = case.f32_file();
            [case.onnx.clone(), f32_file.to_owned(), f32_file.replace(".onnx", ".safetensors")]
        });
        files.collect::<BTreeSet<String>>().into_iter().collect()
    }
}

/// Deploys every feasible case.
pub fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    found: &Found,
    key: &Key,
    folder: &mut RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Deployed, Failure> {
    let Subject { space, dataset, .. } = subject;
    let nets = folder.path(NETS);
    std::fs::create_dir_all(&nets).map_err(|e| Failure::writing(&nets, e))?;
    let mut tuning = Tuning::new(subject, config, key, folder, stop)?;
    let archs = found.cases.iter().filter_map(|case| case.arch.as_ref()).map(|arch| space.parse(arch));
    tuning.make_on_ranks(&archs.collect::<Result<Vec<_>, _>>()?, folder, progress)?;
    let mut exporting = Exporting {
        subject,
        nets,
        verify: stratified::sample(&dataset.test, config.deploy.verify_images, config.train.seed),
        compared_on: format!("{} of {}", config.deploy.verify_images, tuning.test_images()),
        test: tuning.test_images().to_owned(),
        seed: config.train.seed,
        host: host(config)?,
        timings: None,
    };
    let mut seconds = BTreeMap::new();
    progress.begin("deploy", found.cases.len() + 3);
    let mut done = 0;
    let mut advance = |progress: &mut dyn Progress, name: &str, accuracy: f64| {
        done += 1;
        progress.advance(done, &format!("{name} {:.2} %", 100.0 * accuracy));
    };
    let mut extremes = Vec::new();
    for (label, arch) in [("min", space.min_arch()), ("max", space.max_arch())] {
        let net = space.resolve(&arch)?;
        let test_top1 = tuning.score(&arch)?;
        let (macs, params) = (cost::macs(&net), cost::params(&net));
        extremes.push(Extreme { label: label.to_owned(), test_top1, macs, params });
        advance(progress, label, test_top1);
    }
    let reference = match tuning.reference(folder)? {
        None => None,
        Some(tuned) => {
            let chosen = Chosen {
                name: FULL.to_owned(),
                device: None,
                constraint: serde_json::json!({}),
                precision: None,
                values: BTreeMap::new(),
                arch: space.format(&space.max_arch()),
                predicted_accuracy: None,
                extrapolated: false,
                expected: None,
                latency_ms: None,
                latency_is_estimate: false,
                arithmetic: Arithmetic::F32,
                blocks: DrawnBlock::of(&space.resolve(&space.max_arch())?),
            };
            advance(progress, FULL, tuned.accuracy);
            Some(exporting.export(chosen, &tuned, &tuning.kept)?)
        }
    };
    let names = names_of(&found.cases);
    let predictor = FittedPredictor::load_for(&folder.path(search::predictor_of(config)), Target::Accuracy)?;
    let mut cases = Vec::new();
    for (case, name) in found.cases.iter().zip(names) {
        if stop.load(Ordering::Relaxed) {
            return Err(folder.interrupted(""));
        }
        let Some(json) = &case.arch else { continue };
        let arch = space.parse(json)?;
        let tuned = tuning.network(&arch, folder, progress)?;
        let chosen = Chosen {
            name,
            device: case.device.clone(),
            constraint: serde_json::json!(case.constraint),
            precision: case.precision,
            values: case.values.clone(),
            arch: json.clone(),
            predicted_accuracy: Some(case.predicted_accuracy),
            extrapolated: case.extrapolated,
            expected: Expectation::of(&predictor, space.as_ref(), &arch),
            latency_ms: case.latency_ms,
            latency_is_estimate: case.latency_is_estimate,
            arithmetic: case.arithmetic,
            blocks: DrawnBlock::of(&space.resolve(&arch)?),
        };
        advance(progress, &chosen.name, tuned.accuracy);
        seconds.insert(onnx_of(&chosen.name), tuned.seconds);
        cases.push(exporting.export(chosen, &tuned, &tuning.kept)?);
    }
    progress.end();
    folder.timings.host = exporting.timings;
    if config.deploy.finetune.is_some() {
        folder.timings.fine_tuned(seconds);
    }
    Ok(Deployed { cases, extremes, reference })
}

/// Name of the full network.
const FULL: &str = "full";

/// File names for cases, each its own: devices may differ in what no file name has.
fn names_of(cases: &[FoundCase]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(cases.len());
    for case in cases {
        let name = name_of(case);
        let free = (1..).map(|number| if number == 1 { name.clone() } else { format!("{name}-{number}") });
        names.extend(free.into_iter().find(|name| name != FULL && !names.contains(name)));
    }
    names
}

/// A file name for a case: `pixel4-cpu-3.2ms`, `macs-4020000`, `sram-128kb`.
fn name_of(case: &FoundCase) -> String {
    let limit = |(quantity, limit): (&String, &f64)| match quantity.rsplit_once('_') {
        Some((_, "ms")) => format!("{limit}ms"),
        Some((name, unit)) => format!("{name}-{limit}{unit}"),
        None => format!("{quantity}-{limit}"),
    };
    let device = case.device.as_ref().map(|device| device.replace(['/', '\\'], "_"));
    let precision = case.precision.map(|precision| precision.name().to_owned());
    let parts: Vec<String> = device.into_iter().chain(case.constraint.iter().map(limit)).chain(precision).collect();
    shortened(parts.join("-"))
}

/// Times the networks beside the results; it decides nothing: a busy machine must not fail the run.
fn host(config: &PipelineConfig) -> Result<Option<Host>, Failure> {
    let settings = HostSettings { runs: config.deploy.host_runs, max_spread: f64::INFINITY, ..Default::default() };
    match settings.runs {
        0 => Ok(None),
        _ => Ok(Some(Host::try_from(settings).map_err(HwError::from)?)),
    }
}
