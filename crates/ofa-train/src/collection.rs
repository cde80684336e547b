//! Collecting (arch, accuracy) pairs for predictors.

use crate::error::TrainError;
use crate::evaluation::{EvaluationSet, evaluate, recalibrate};
use crate::supernet::Supernet;
use ofa_space::{Arch, Opened, SearchSpace, sampling};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
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
        let arch = sampling::sample(space, &Opened::EVERYTHING, &mut rng);
        if seen.insert(arch.clone()) {
            archs.push(arch);
            misses = 0;
        } else {
            misses += 1;
        }
    }
    archs
}

/// Recalibrates and scores every arch in order, handing each top-1 accuracy to `on_pair` as it is known; stops early
/// when that says so.
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
    for arch in archs {
        let net = space.resolve(arch)?;
        let running = recalibrate(supernet, &net, calibration)?;
        let accuracy = evaluate(supernet, &net, &running, validation)?;
        if on_pair(arch, accuracy.top1).is_break() {
            break;
        }
    }
    Ok(())
}
