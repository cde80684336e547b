//! The collecting step: accuracy pairs of random subnets, on validation images.

use crate::failure::Failure;
use crate::pipeline::Progress;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::folder::RunFolder;
use crate::pipeline::folder::keys::Key;
use crate::pipeline::processes::ranks;
use crate::pipeline::steps::Subject;
use ofa_predictors::{PairsFile, Target};
use ofa_train::collection::clustered_archs;
use ofa_train::data::SplitName;
use ofa_train::evaluation::{EvaluationSettings, Evaluator, few_calibration_images};
use std::sync::atomic::AtomicBool;

/// Seeds differ from training's, so that collecting does not repeat the subnets of the first steps.
const SEED_OFFSET: u64 = 1000;
/// The pairs, in a run's folder.
pub(crate) const PAIRS: &str = "pairs.jsonl";

/// Names what they depend on.
pub(crate) const PAIRS_KEY: &str = "pairs.key";

/// The file that the step writes besides its result, the number of pairs.
pub fn outputs(_: &RunFolder, _: &usize) -> Vec<String> {
    vec![PAIRS.to_owned()]
}

/// How subnets are measured.
pub(crate) fn evaluation(config: &PipelineConfig) -> EvaluationSettings {
    EvaluationSettings {
        split: SplitName::Validation,
        images: None,
        calibration_images: config.collect.calibration_images,
        seed: config.train.seed.wrapping_add(SEED_OFFSET),
        ..EvaluationSettings::default()
    }
}

/// Measures the pairs that are still missing; returns how many there are.
pub(crate) fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    key: &Key,
    folder: &RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<usize, Failure> {
    let Subject { space, dataset, device, model, .. } = subject;
    let seed = evaluation(config).seed;
    let pairs = folder.path(PAIRS);
    folder.claim(PAIRS_KEY, key, &[PairsFile::part(&pairs)])?;
    let archs = clustered_archs(space.as_ref(), config.collect.count, seed)?;
    let mut file = PairsFile::begin(&pairs, space.as_ref(), Target::Accuracy)?;
    let done = file.pairs().len().min(archs.len());
    let mut evaluator = Evaluator::new(model, dataset, device, &evaluation(config))?;
    if let Some(warning) = few_calibration_images(evaluator.calibration_images()) {
        progress.warn(&warning);
    }
    progress.begin("collect", archs.len());
    let mut count = done;
    let measured = ranks::measure(subject, &mut evaluator, &archs[done..], stop, |arch, top1| {
        let written = file.push(space.as_ref(), arch, top1);
        count += 1;
        progress.advance(count, &format!("{:.2} %", 100.0 * top1));
        Ok(written?)
    });
    progress.end();
    measured?;
    if count < archs.len() {
        return Err(folder.interrupted(&format!(", {count} pairs are saved")));
    }
    file.finish()?;
    Ok(count)
}
