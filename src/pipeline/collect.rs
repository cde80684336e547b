//! The collecting step: accuracy pairs of random subnets, on validation images.

use super::config::PipelineConfig;
use super::record::RunFolder;
use super::{Progress, Subject};
use crate::failure::Failure;
use ofa_predictors::{PairsFile, Target};
use ofa_space::{Arch, SearchSpace};
use ofa_train::collection::{clustered_archs, collect};
use ofa_train::data::{Dataset, SplitName, stratified};
use ofa_train::evaluation::EvaluationSet;
use ofa_train::shrinking::EVALUATION_BATCH;
use ofa_train::supernet::Supernet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Seeds differ from training's, so that collecting does not repeat the subnets of the first steps.
const SEED_OFFSET: u64 = 1000;

/// Measures the pairs that are still missing; returns how many there are.
pub(super) fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    key: &str,
    folder: &RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<usize, Failure> {
    let Subject { space, dataset, supernet, .. } = subject;
    let seed = config.train.seed.wrapping_add(SEED_OFFSET);
    folder.claim("pairs.key", key, &[folder.path("pairs.jsonl.part")])?;
    let archs = clustered_archs(space.as_ref(), config.collect.count, seed)?;
    let mut file = PairsFile::begin(&folder.path("pairs.jsonl"), space.as_ref(), Target::Accuracy)?;
    let done = file.pairs().len().min(archs.len());
    let mut images = images(dataset, config.collect.calibration_images, None, seed);
    progress.begin("collect", archs.len());
    let mut count = done;
    let measured = measure(supernet, space.as_ref(), &archs[done..], &mut images, stop, |arch, top1| {
        let written = file.push(space.as_ref(), arch, top1);
        count += 1;
        progress.advance(count, &format!("{:.2} %", 100.0 * top1));
        Ok(written?)
    });
    progress.end();
    measured?;
    if count < archs.len() {
        let message = format!("interrupted, {count} pairs are saved: run the same command with --resume");
        return Err(Failure::Interrupted(message));
    }
    file.finish()?;
    Ok(count)
}

/// Measures subnets on [`images`], in order; `on_pair` keeps each accuracy as soon as it is known. Ends early, without an
/// error, when `stop` is set.
///
/// # Errors
/// [`Failure`] of the evaluation, or the first of `on_pair`, after which nothing more is measured.
pub fn measure(
    supernet: &Supernet,
    space: &dyn SearchSpace,
    archs: &[Arch],
    (calibration, validation): &mut (EvaluationSet<'_>, EvaluationSet<'_>),
    stop: &AtomicBool,
    mut on_pair: impl FnMut(&Arch, f64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut kept = Ok(());
    collect(supernet, space, archs, calibration, validation, |arch, top1| {
        kept = on_pair(arch, top1);
        match kept.is_ok() && !stop.load(Ordering::Relaxed) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    kept
}

/// The images that subnets are measured on, wherever pairs are made: a class-balanced sample of training images for BN
/// recalibration, and validation images for the score: all, or a sample of so many.
pub fn images(
    dataset: &Dataset,
    calibration: usize,
    validation: Option<usize>,
    seed: u64,
) -> (EvaluationSet<'_>, EvaluationSet<'_>) {
    let calibration = stratified::sample(&dataset.train, calibration, seed);
    let validation = match validation {
        Some(count) => stratified::sample(&dataset.validation, count, seed),
        None => (0..dataset.validation.len()).collect(),
    };
    (
        EvaluationSet::new(dataset, SplitName::Train, calibration, EVALUATION_BATCH),
        EvaluationSet::new(dataset, SplitName::Validation, validation, EVALUATION_BATCH),
    )
}
