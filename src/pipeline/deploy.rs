//! The last step: every chosen net recalibrated, scored on test images, extracted, exported and verified.

use super::config::PipelineConfig;
use super::record::RunFolder;
use super::specialise::Found;
use super::{Progress, Subject};
use crate::failure::Failure;
use crate::report::{Case, DrawnBlock, Extreme, HostTimings};
use ofa_export::{Batch, Exporter};
use ofa_hw::{Host, HostSettings, HwError};
use ofa_space::{Arch, Model, NetSpec, atomic_file, cost};
use ofa_train::data::{SplitName, stratified};
use ofa_train::evaluation::{EvaluationSettings, Evaluator, logits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything deployed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployed {
    /// One per feasible case.
    pub cases: Vec<Case>,
    /// Smallest and largest subnet.
    pub extremes: Vec<Extreme>,
}

/// A net as it leaves the supernet.
#[derive(Clone)]
struct Specialised {
    model: Model,
    net: NetSpec,
    test_top1: f64,
}

struct Deployer<'a> {
    evaluator: Evaluator<'a>,
    known: HashMap<Arch, Specialised>,
}

/// Deploys every feasible case.
pub fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    found: &Found,
    folder: &mut RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Deployed, Failure> {
    let Subject { space, dataset, .. } = subject;
    let nets = folder.path("nets");
    std::fs::create_dir_all(&nets).map_err(|e| Failure::writing(&nets, e))?;
    let settings = EvaluationSettings {
        split: SplitName::Test,
        images: None,
        calibration_images: config.deploy.calibration_images,
        seed: config.train.seed,
    };
    let evaluator = Evaluator::new(subject.model, dataset, subject.device, &settings)?;
    let mut deployer = Deployer { evaluator, known: HashMap::new() };
    let verify_indices = stratified::sample(&dataset.test, config.deploy.verify_images, config.train.seed);
    // These timings stand beside the results and decide nothing: a busy machine must not fail the run.
    let settings = HostSettings { runs: config.deploy.host_runs, max_spread: f64::INFINITY, ..Default::default() };
    let host = match settings.runs {
        0 => None,
        _ => Some(Host::try_from(settings).map_err(HwError::from)?),
    };
    progress.begin("deploy", found.cases.len() + 2);
    let mut extremes = Vec::new();
    for (label, arch) in [("min", space.min_arch()), ("max", space.max_arch())] {
        let specialised = deployer.specialise(&arch)?;
        extremes.push(Extreme {
            label: label.to_owned(),
            test_top1: specialised.test_top1,
            macs: cost::macs(&specialised.net),
            params: cost::params(&specialised.net),
        });
        progress.advance(extremes.len(), &format!("{label} {:.2} %", 100.0 * specialised.test_top1));
    }
    let mut cases = Vec::new();
    let mut host_timings = None;
    for (index, case) in found.cases.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted("interrupted: run the same command with --resume".into()));
        }
        let Some(json) = &case.arch else { continue };
        let arch = space.parse(json)?;
        let Specialised { model, net, test_top1 } = deployer.specialise(&arch)?;
        let name = format!("{}-{}ms", case.device.replace(['/', '\\'], "_"), case.max_latency_ms);
        model.save(&nets.join(format!("{name}.safetensors")))?;
        let (images, _) = dataset.eval_batch(SplitName::Test, &verify_indices, net.input[1] as u32)?;
        let logits = logits(&model, None, &images, subject.device)?;
        let [n, h, w, c] = images.shape;
        let images = Batch::new(images.to_nchw(), [n, c, h, w])?;
        let path = nets.join(format!("{name}.onnx"));
        let failed = |problem: String| Failure::Running(format!("{}: {problem}", path.display()));
        let exporter = Exporter::of(&model)?.verified_against(&images, &logits);
        let exported = exporter.export().map_err(|e| failed(e.to_string()))?;
        atomic_file::write(&path, &exported.onnx).map_err(|e| Failure::writing(&path, e))?;
        let verification = exported.report.verification.ok_or_else(|| failed("was not verified".into()))?;
        let onnx_name = format!("nets/{name}.onnx");
        if let Some(host) = &host {
            let measured = host.measure(&exported.onnx, net.input)?;
            let timings = host_timings.get_or_insert_with(|| HostTimings {
                runtime: measured.runtime.clone(),
                threads: measured.threads,
                runs: measured.runs,
                median_ms: BTreeMap::new(),
            });
            timings.median_ms.insert(onnx_name.clone(), measured.median_ms);
        }
        progress.advance(index + 3, &format!("{name} {:.2} %", 100.0 * test_top1));
        cases.push(Case {
            device: case.device.clone(),
            constraint: serde_json::json!({ "latency_ms": case.max_latency_ms }),
            arch: json.clone(),
            accuracy: test_top1,
            predicted_accuracy: case.predicted_accuracy,
            latency_ms: case.latency_ms,
            macs: cost::macs(&net),
            params: cost::params(&net),
            onnx: onnx_name,
            max_abs_diff: verification.agreement.max_abs_diff,
            max_abs_logit: verification.agreement.max_abs_logit,
            blocks: DrawnBlock::of(&space.resolve(&arch)?),
        });
    }
    progress.end();
    folder.timings.host = host_timings;
    Ok(Deployed { cases, extremes })
}

impl Deployer<'_> {
    /// Recalibrates, scores and extracts a subnet; one that was asked for before is not done again.
    fn specialise(&mut self, arch: &Arch) -> Result<Specialised, Failure> {
        if let Some(known) = self.known.get(arch) {
            return Ok(known.clone());
        }
        let ofa_train::evaluation::Specialised { model, accuracy } = self.evaluator.specialise(arch)?;
        let net = model.net(None)?;
        let specialised = Specialised { model, net, test_top1: accuracy.top1 };
        self.known.insert(arch.clone(), specialised.clone());
        Ok(specialised)
    }
}
