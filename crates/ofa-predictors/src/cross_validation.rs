//! Seeded k-fold cross-validation, and choosing an estimator by it.

use crate::error::PredictorError;
use crate::estimator::{Effort, Estimator, EstimatorEntry, entries};
use crate::metrics;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Folds of a seeded shuffle: for each, the indices to fit on and those to test on.
pub fn folds(rows: usize, count: usize, seed: u64) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    (0..count)
        .map(|fold| {
            let (test, train): (Vec<_>, Vec<_>) =
                order.iter().enumerate().partition(|(position, _)| position % count == fold);
            let indices = |part: Vec<(usize, &usize)>| part.into_iter().map(|(_, index)| *index).collect();
            (indices(train), indices(test))
        })
        .collect()
}

/// Predictions for every row by a model that was fitted without its fold.
///
/// # Errors
/// What the estimator reports; [`PredictorError::TooFewPairs`] if there are fewer rows than folds.
pub fn out_of_fold(
    estimator: &dyn Estimator,
    features: &[Vec<f32>],
    targets: &[f64],
    count: usize,
    seed: u64,
) -> Result<Vec<f64>, PredictorError> {
    if features.len() < 2 * count {
        let purpose = format!("{count}-fold cross-validation");
        return Err(PredictorError::TooFewPairs { found: features.len(), needed: 2 * count, purpose });
    }
    let mut predictions = vec![0.0; features.len()];
    for (train, test) in folds(features.len(), count, seed) {
        let rows = |indices: &[usize]| indices.iter().map(|i| features[*i].clone()).collect::<Vec<_>>();
        let train_targets: Vec<f64> = train.iter().map(|i| targets[*i]).collect();
        let model = estimator.fit(&rows(&train), &train_targets, seed)?;
        for (index, value) in test.iter().zip(model.predict(&rows(&test))) {
            predictions[*index] = value;
        }
    }
    Ok(predictions)
}

/// The registered fast estimator with the lowest cross-validated RMSE.
///
/// # Errors
/// What the estimators report, or [`PredictorError::TooFewPairs`].
pub fn choose(features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<&'static EstimatorEntry, PredictorError> {
    const FOLDS: usize = 5;
    let mut best: Option<(&EstimatorEntry, f64)> = None;
    for entry in entries().into_iter().filter(|entry| entry.effort == Effort::Fast) {
        let predictions = out_of_fold((entry.build)().as_ref(), features, targets, FOLDS, seed)?;
        let rmse = metrics::rmse(targets, &predictions);
        if best.is_none_or(|(_, lowest)| rmse < lowest) {
            best = Some((entry, rmse));
        }
    }
    best.map(|(entry, _)| entry).ok_or_else(|| PredictorError::UnknownEstimator {
        name: "auto".into(),
        closest: None,
        known: Vec::new(),
    })
}
