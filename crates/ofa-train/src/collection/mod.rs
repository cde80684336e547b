//! Collecting (arch, accuracy) pairs for predictors.

mod clusters;
mod information;
mod shared_prefix;

pub use clusters::{CLUSTER, clustered_archs};

use crate::elastic::Supernet;
use crate::error::TrainError;
use crate::evaluation::{Accuracy, EvaluationSet, evaluate, recalibrate};
use ofa_space::{Arch, Opened, SearchSpace, cost};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shared_prefix::Tree;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// `count` distinct archs, drawn uniformly over genes; fewer if the space has fewer.
pub fn distinct_archs(space: &dyn SearchSpace, count: usize, seed: u64, exclude: &HashSet<Arch>) -> Vec<Arch> {
    const MISSES_IN_A_ROW: usize = 10_000;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = exclude.clone();
    let mut archs = Vec::with_capacity(count);
    let mut misses = 0;
    while archs.len() < count && misses < MISSES_IN_A_ROW {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        if seen.insert(arch.clone()) {
            archs.push(arch);
            misses = 0;
        } else {
            misses += 1;
        }
    }
    archs
}

/// Archs scored together at most.
const TOGETHER: usize = 2 * CLUSTER;

/// Recalibrates and scores every arch, handing each top-1 accuracy to `on_pair` in order; stops early when that says so.
/// Neighbours of the same resolution are scored together, and blocks that they share from the input on are computed
/// once; the accuracies are those of scoring one by one.
///
/// # Errors
/// [`TrainError`] if an arch, an image or the backend fails.
pub fn collect(
    supernet: &Supernet,
    space: &dyn SearchSpace,
    archs: &[Arch],
    calibration: &mut EvaluationSet<'_>,
    validation: &mut EvaluationSet<'_>,
    mut on_pair: impl FnMut(&Arch, f64) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    for alike in archs.chunk_by(|a, b| a.resolution() == b.resolution()) {
        for group in alike.chunks(TOGETHER) {
            for (arch, accuracy) in group.iter().zip(score_together(supernet, space, group, calibration, validation)?) {
                if on_pair(arch, accuracy.top1).is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Accuracy of archs of one resolution after BN recalibration.
///
/// # Errors
/// [`TrainError`] if an arch, an image or the backend fails.
pub fn score_together(
    supernet: &Supernet,
    space: &dyn SearchSpace,
    archs: &[Arch],
    calibration: &mut EvaluationSet<'_>,
    validation: &mut EvaluationSet<'_>,
) -> Result<Vec<Accuracy>, TrainError> {
    let nets = archs.iter().map(|arch| Ok(space.resolve(arch)?)).collect::<Result<Vec<_>, TrainError>>()?;
    let Some(first) = nets.first() else { return Ok(Vec::new()) };
    let resolution = first.input[1] as u32;
    Tree::new(&nets).score(supernet, nets.len(), resolution, calibration, validation)
}

/// Accuracy of one arch after BN recalibration, by itself.
///
/// # Errors
/// [`TrainError`] if the arch, an image or the backend fails.
pub fn score_alone(
    supernet: &Supernet,
    space: &dyn SearchSpace,
    arch: &Arch,
    calibration: &mut EvaluationSet<'_>,
    validation: &mut EvaluationSet<'_>,
) -> Result<Accuracy, TrainError> {
    let net = space.resolve(arch)?;
    let running = recalibrate(supernet, &net, calibration)?;
    evaluate(supernet, &net, &running, validation)
}

/// How many multiply-accumulates scoring one by one takes for each that scoring with [`collect`] takes.
///
/// # Errors
/// What [`SearchSpace::resolve`] reports.
pub fn saving(space: &dyn SearchSpace, archs: &[Arch]) -> Result<f64, TrainError> {
    let (mut alone, mut together) = (0, 0);
    for alike in archs.chunk_by(|a, b| a.resolution() == b.resolution()) {
        for group in alike.chunks(TOGETHER) {
            let nets = group.iter().map(|arch| Ok(space.resolve(arch)?)).collect::<Result<Vec<_>, TrainError>>()?;
            alone += nets.iter().map(cost::macs).sum::<u64>();
            together += Tree::new(&nets).macs();
        }
    }
    Ok(alone as f64 / together.max(1) as f64)
}
