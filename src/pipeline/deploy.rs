//! The last step: every chosen net recalibrated, fine-tuned where the configuration asks for it, scored on test images,
//! exported and verified.

use super::config::PipelineConfig;
use super::device_file;
use super::kept::{Exported, Kept, ONNX, OnDevice, Record};
use super::keys::Key;
use super::layout::NETS;
use super::record::{RunFolder, Step};
use super::specialise::{self, Found, FoundCase};
use super::tuning::{Tuned, Tuning};
use super::{Progress, Subject};
use crate::failure::Failure;
use crate::file_names::shortened;
use crate::limits::MemoryPrecision;
use crate::measured_accuracy::RightAnswers;
use crate::prediction::Expectation;
use crate::report::{Case, DrawnBlock, Extreme, HostTimings};
use ofa_export::{Batch, Exporter};
use ofa_hw::{Arithmetic, Host, HostSettings, HwError};
use ofa_predictors::{FittedPredictor, Target};
use ofa_space::memory::{Schedule, peak_activation_bytes};
use ofa_space::{ArchJson, atomic_file, cost, digest, input_file};
use ofa_train::data::{SplitName, stratified};
use ofa_train::evaluation::{Confusion, logits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Leaves in the folder of networks those that are delivered, and nothing else: what an earlier deployment wrote is removed,
/// and what is unknown is moved aside. Returns where to, if anything was.
pub(super) fn sweep(folder: &RunFolder, deployed: &Deployed, earlier: &[String]) -> Result<Option<String>, Failure> {
    let wanted = deployed.files();
    let path = folder.path(NETS);
    let entries = std::fs::read_dir(&path).map_err(|e| Failure::Running(format!("{}: {e}", path.display())))?;
    let mut moved = None;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = format!("{NETS}/{name}");
        if wanted.contains(&file) || is_beside_one(&file, &wanted) {
            continue;
        }
        // Temporary files are left where writing was cut off.
        let cut_off = name.starts_with(".tmp") || name.starts_with(".ofa-");
        if (earlier.contains(&file) || cut_off) && entry.path().is_file() {
            std::fs::remove_file(entry.path()).map_err(|e| Failure::writing(&entry.path(), e))?;
            continue;
        }
        let aside = match &moved {
            Some(aside) => aside,
            None => moved.insert(folder.new_aside(NETS)?),
        };
        let to = folder.path(aside).join(&name);
        std::fs::rename(entry.path(), &to).map_err(|e| Failure::writing(&to, e))?;
    }
    Ok(moved)
}

/// Whether a file is a delivered network in another precision.
fn is_beside_one(file: &str, delivered: &[String]) -> bool {
    DEVICE_PRECISIONS.iter().any(|precision| {
        let stem = file.strip_suffix(&format!(".{precision}.onnx"));
        stem.is_some_and(|stem| delivered.contains(&format!("{stem}.onnx")))
    })
}

/// Networks that a deployment delivered, by its result in the folder, whatever version wrote it.
pub(super) fn delivered_before(folder: &RunFolder) -> Vec<String> {
    let text = input_file::read_text(&folder.path("deploy.json"), input_file::LARGEST_RECORDS).unwrap_or_default();
    let by_result = serde_json::from_str::<Deployed>(&text).map(|deployed| deployed.files()).unwrap_or_default();
    folder.written_by(Step::Deploy).into_iter().chain(by_result).collect()
}

/// Deploys every feasible case.
pub(super) fn run(
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
    let predictor = FittedPredictor::load_for(&folder.path(specialise::predictor_of(config)), Target::Accuracy)?;
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

/// Names of the precisions of files beside the f32 file: those of devices that compute so, and what `ofa export RUN` writes.
pub const DEVICE_PRECISIONS: [&str; 2] = ["int8", "f16"];

/// Name of the full network.
const FULL: &str = "full";

fn onnx_of(name: &str) -> String {
    format!("{NETS}/{name}.onnx")
}

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

/// A network to deliver, and why it was chosen.
struct Chosen {
    name: String,
    device: Option<String>,
    constraint: serde_json::Value,
    precision: Option<MemoryPrecision>,
    values: BTreeMap<String, f64>,
    arch: ArchJson,
    predicted_accuracy: Option<f64>,
    extrapolated: bool,
    /// What the predictor expects; `None` where it was not asked.
    expected: Option<Expectation>,
    latency_ms: Option<f64>,
    latency_is_estimate: bool,
    arithmetic: Arithmetic,
    blocks: Vec<DrawnBlock>,
}

/// The file of a network that its device runs, and what it answers on the test images.
struct Delivered {
    onnx: String,
    onnx_bytes: usize,
    accuracy: f64,
    confusion: Confusion,
    right: RightAnswers,
    /// The f32 file and its accuracy, where the device runs another.
    in_f32: Option<(String, f64)>,
    layers_in_f32: Vec<String>,
}

impl Delivered {
    fn f32(tuned: &Tuned, onnx: String, onnx_bytes: usize) -> Self {
        let Tuned { accuracy, confusion, right, .. } = tuned;
        let (accuracy, confusion, right) = (*accuracy, confusion.clone(), right.clone());
        Self { onnx, onnx_bytes, accuracy, confusion, right, in_f32: None, layers_in_f32: Vec::new() }
    }

    fn on_device(file: OnDevice, onnx: String, onnx_bytes: usize, in_f32: (String, f64)) -> Self {
        let OnDevice { top1, confusion, right, layers_in_f32, .. } = file;
        Self { onnx, onnx_bytes, accuracy: top1, confusion, right, in_f32: Some(in_f32), layers_in_f32 }
    }
}

/// Writes networks, and verifies them.
struct Exporting<'a> {
    subject: &'a Subject<'a>,
    nets: PathBuf,
    /// Test images on which the runtime's logits are compared with ours.
    verify: Vec<usize>,
    /// Those images, as their digest.
    compared_on: String,
    /// Digest of all test images.
    test: String,
    seed: u64,
    host: Option<Host>,
    timings: Option<HostTimings>,
}

impl Exporting<'_> {
    fn export(&mut self, chosen: Chosen, tuned: &Tuned, kept: &Kept) -> Result<Case, Failure> {
        let Tuned { model, net, supernet_accuracy, .. } = tuned;
        let Chosen { name, device, constraint, arch, predicted_accuracy, extrapolated, expected, .. } = chosen;
        let Chosen { precision, values, latency_ms, latency_is_estimate, arithmetic, blocks, .. } = chosen;
        let dataset = self.subject.dataset;
        let weights = self.nets.join(format!("{name}.safetensors"));
        // An int8 or f16 file beside it was made from the weights that were there.
        if !digest::sha256_of_file(&weights).is_ok_and(|before| before == tuned.weights) {
            for precision in DEVICE_PRECISIONS {
                let _ = std::fs::remove_file(self.nets.join(format!("{name}.{precision}.onnx")));
            }
        }
        model.save(&weights)?;
        let path = self.nets.join(format!("{name}.onnx"));
        let (bytes, exported) = self.onnx(tuned, kept, &path)?;
        atomic_file::write(&path, &bytes).map_err(|e| Failure::writing(&path, e))?;
        let onnx = onnx_of(&name);
        if let Some(host) = &self.host {
            let measured = host.measure(&bytes, net.input)?;
            let timings = self.timings.get_or_insert_with(|| HostTimings {
                runtime: measured.runtime.clone(),
                threads: measured.threads,
                runs: measured.runs,
                median_ms: BTreeMap::new(),
            });
            timings.median_ms.insert(onnx.clone(), measured.median_ms);
        }
        let Delivered { onnx, onnx_bytes, accuracy, confusion, right, in_f32, layers_in_f32 } =
            match device_file::precision_of(arithmetic) {
                None => Delivered::f32(tuned, onnx, bytes.len()),
                Some(precision) => {
                    let extension = device_file::extension_of(precision);
                    let path = self.nets.join(format!("{name}.{extension}"));
                    let how = (precision, self.seed);
                    let (bytes, file) = device_file::of(self.subject, (tuned, kept), how, &self.test, &path)?;
                    atomic_file::write(&path, &bytes).map_err(|e| Failure::writing(&path, e))?;
                    Delivered::on_device(
                        file,
                        format!("{NETS}/{name}.{extension}"),
                        bytes.len(),
                        (onnx, tuned.accuracy),
                    )
                }
            };
        let (onnx_f32, accuracy_f32) = in_f32.unzip();
        Ok(Case {
            device,
            constraint,
            precision,
            values,
            arch,
            accuracy,
            accuracy_f32,
            interval: None,
            recommended: false,
            balanced_accuracy: confusion.balanced_accuracy(),
            per_class: confusion.per_class(&dataset.class_names),
            confusion: confusion.counts().to_vec(),
            right: Some(right),
            supernet_accuracy: Some(*supernet_accuracy),
            predicted_accuracy,
            predicted_deviation: expected.map(|one| one.deviation).filter(|deviation| deviation.is_finite()),
            extrapolated,
            prediction_missed: expected
                .is_some_and(|expected| expected.is_missed_by(*supernet_accuracy, dataset.test.len())),
            latency_ms,
            latency_is_estimate,
            macs: cost::macs(net),
            params: cost::params(net),
            onnx,
            onnx_f32,
            layers_in_f32,
            onnx_bytes: onnx_bytes as u64,
            peak_activation_bytes: peak_activation_bytes(net, Schedule::F32),
            max_abs_diff: exported.max_abs_diff,
            max_abs_logit: exported.max_abs_logit,
            blocks,
        })
    }

    /// The ONNX file of a network, as it is kept, or exported and verified.
    fn onnx(&self, tuned: &Tuned, kept: &Kept, path: &Path) -> Result<(Vec<u8>, Exported), Failure> {
        let Self { subject: Subject { dataset, device, .. }, .. } = self;
        let of = format!("{} {}, {}", env!("CARGO_PKG_VERSION"), tuned.weights, self.compared_on);
        let record = kept.record(&tuned.name);
        let known = record.exported.as_ref().filter(|exported| exported.of == of);
        if let Some((onnx, exported)) =
            known.and_then(|known| Some((kept.file(&tuned.name, ONNX, &known.onnx)?, known)))
        {
            return Ok((onnx, exported.clone()));
        }
        let (images, _) = dataset.eval_batch(SplitName::Test, &self.verify, tuned.net.input[1] as u32)?;
        let logits = logits(&tuned.model, None, &images, device)?;
        let [n, h, w, c] = images.shape;
        let images = Batch::new(images.to_nchw(), [n, c, h, w])?;
        let failed = |problem: String| Failure::Running(format!("{}: {problem}", path.display()));
        let exporter = Exporter::of(&tuned.model)?.verified_against(&images, &logits);
        let made = exporter.export().map_err(|e| failed(e.to_string()))?;
        let agreement = made.report.verification.ok_or_else(|| failed("was not verified".into()))?.agreement;
        let exported = Exported {
            of,
            onnx: digest::sha256(&made.onnx),
            max_abs_diff: agreement.max_abs_diff,
            max_abs_logit: agreement.max_abs_logit,
        };
        kept.keep_file(&tuned.name, ONNX, &made.onnx)?;
        kept.write(&tuned.name, &Record { exported: Some(exported.clone()), ..record })?;
        Ok((made.onnx, exported))
    }
}
