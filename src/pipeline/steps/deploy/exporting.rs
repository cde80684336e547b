//! The files of a chosen network: weights, ONNX in f32, verified in the runtime, and as its device computes.

use crate::failure::Failure;
use crate::limits::MemoryPrecision;
use crate::measured_accuracy::RightAnswers;
use crate::pipeline::folder::kept_networks::{Exported, Kept, ONNX, OnDevice, Record};
use crate::pipeline::folder::layout::NETS;
use crate::pipeline::steps::Subject;
use crate::pipeline::steps::deploy::device_file;
use crate::pipeline::steps::deploy::tuned_networks::Tuned;
use crate::prediction::Expectation;
use crate::report::{Case, DrawnBlock, HostTimings};
use ofa_export::{Batch, Exporter};
use ofa_hw::{Arithmetic, Host};
use ofa_space::memory::{Schedule, peak_activation_bytes};
use ofa_space::{ArchJson, atomic_file, cost, digest};
use ofa_train::data::SplitName;
use ofa_train::evaluation::{Confusion, logits};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of the precisions of files beside the f32 file: those of devices that compute so, and what `ofa export RUN` writes.
pub const DEVICE_PRECISIONS: [&str; 2] = ["int8", "f16"];

/// A network to deliver, and why it was chosen.
pub struct Chosen {
    pub name: String,
    pub device: Option<String>,
    pub constraint: serde_json::Value,
    pub precision: Option<MemoryPrecision>,
    pub values: BTreeMap<String, f64>,
    pub arch: ArchJson,
    pub predicted_accuracy: Option<f64>,
    pub extrapolated: bool,
    /// What the predictor expects; `None` where it was not asked.
    pub expected: Option<Expectation>,
    pub latency_ms: Option<f64>,
    pub latency_is_estimate: bool,
    pub arithmetic: Arithmetic,
    pub blocks: Vec<DrawnBlock>,
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
pub struct Exporting<'a> {
    pub subject: &'a Subject<'a>,
    pub nets: PathBuf,
    /// Test images on which the runtime's logits are compared with ours.
    pub verify: Vec<usize>,
    /// Those images, as their digest.
    pub compared_on: String,
    /// Digest of all test images.
    pub test: String,
    pub seed: u64,
    pub host: Option<Host>,
    pub timings: Option<HostTimings>,
}

impl Exporting<'_> {
    /// Writes a network with its files.
    ///
    /// # Errors
    /// [`Failure`] if a file cannot be written, or the runtime does not agree with the network.
    pub fn export(&mut self, chosen: Chosen, tuned: &Tuned, kept: &Kept) -> Result<Case, Failure> {
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

/// The ONNX file of a network, in the run's folder.
pub fn onnx_of(name: &str) -> String {
    format!("{NETS}/{name}.onnx")
}
