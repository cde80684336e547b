//! Seeded k-fold cross-validation, and choosing an estimator by it.

use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, entries};
use crate::evaluation::metrics;
use crate::standardise::Moments;
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

/// What is predicted of every row by models that were fitted without it.
#[derive(Clone, PartialEq, Debug)]
pub struct OutOfFold {
    /// One prediction per row.
    pub predictions: Vec<f64>,
    /// The models' own standard deviations, if they have any.
    pub deviations: Option<Vec<f64>>,
}

/// Predictions for every row by a model that was fitted without its fold.
///
/// # Errors
/// What the estimator reports; [`PredictorError::TooFewPairs`] if there are fewer rows than twice the folds.
pub fn out_of_fold(
    estimator: &dyn Estimator,
    features: &[Vec<f32>],
    targets: &[f64],
    count: usize,
    seed: u64,
) -> Result<OutOfFold, PredictorError> {
    estimator.check_settings()?;
    if features.len() < 2 * count {
        let purpose = format!("{count}-fold cross-validation");
        return Err(PredictorError::TooFewPairs { found: features.len(), needed: 2 * count, purpose });
    }
    let mut predictions = vec![0.0; features.len()];
    let mut deviations = Some(vec![0.0; features.len()]);
    for (train, test) in folds(features.len(), count, seed) {
        let rows = |indices: &[usize]| indices.iter().map(|i| features[*i].clone()).collect::<Vec<_>>();
        let train_targets: Vec<f64> = train.iter().map(|i| targets[*i]).collect();
        let model = estimator.fit(&rows(&train), &train_targets, seed)?;
        let test_rows = rows(&test);
        for (index, value) in test.iter().zip(model.predict(&test_rows)) {
            predictions[*index] = value;
        }
        match (&mut deviations, model.deviations(&test_rows)) {
            (Some(all), Some(own)) => test.iter().zip(own).for_each(|(index, value)| all[*index] = value),
            _ => deviations = None,
        }
    }
    Ok(OutOfFold { predictions, deviations })
}

/// Folds of the cross-validation that chooses.
pub const FOLDS: usize = 5;
/// Fewer pairs than this are divided into folds several times: a single division decides too little.
const FEW: usize = 300;
const REPEATS: u64 = 4;

/// An estimator chosen by cross-validation.
#[derive(Debug)]
pub struct Choice {
    /// The estimator.
    pub entry: &'static EstimatorEntry,
    /// Its predictions for pairs that it was not fitted to, in the first division into folds.
    pub out_of_fold: OutOfFold,
    /// Whether any estimator predicts better than the mean by more than one standard error.
    pub beats_mean: bool,
}

/// An estimator's squared error on every row, averaged over the divisions into folds.
struct Tried {
    entry: &'static EstimatorEntry,
    freedom: u8,
    is_for_few: bool,
    errors: Vec<f64>,
    /// Kendall's tau within each fold, averaged over the divisions.
    taus: Vec<f64>,
    out_of_fold: OutOfFold,
}

impl Tried {
    fn total(&self) -> f64 {
        self.errors.iter().sum()
    }

    fn tau(&self) -> f64 {
        self.taus.iter().sum::<f64>() / self.taus.len() as f64
    }

    /// Whether this ranks as well as `best`, but for one standard error of their difference over the folds.
    fn ranks_as_well_as(&self, best: &[f64]) -> bool {
        within_one_error(best, &self.taus)
    }
}

/// Whether the errors `worse` exceed `better` by no more than one standard error of their mean difference.
fn within_one_error(worse: &[f64], better: &[f64]) -> bool {
    let difference = Moments::of(worse.iter().zip(better).map(|(w, b)| w - b));
    difference.mean <= spread(&difference, worse.len())
}

fn spread(difference: &Moments, count: usize) -> f64 {
    difference.deviation / (count as f64).sqrt()
}

/// The registered fast estimator to take. Of many pairs: of those whose cross-validated error is within one standard
/// error of the lowest (compared pair by pair), the one with the least freedom, and of several such the one with the
/// lowest error. Of few, whose errors are mostly noise: the one that ranks unseen pairs best, or one made for few pairs, if
/// it ranks within one standard error of that. Where even the lowest error is no better than that of the mean of the pairs,
/// a shrunk line if it ranks unseen pairs better than chance, or else the least free of all.
///
/// Source of the rule: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning (2009), section 7.10.
///
/// # Errors
/// What the estimators report, or [`PredictorError::TooFewPairs`].
pub fn choose(features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Choice, PredictorError> {
    let are_few = targets.len() < FEW;
    let repeats = if are_few { REPEATS } else { 1 };
    let mut tried: Vec<Tried> = Vec::new();
    let square = |predicted: &OutOfFold| -> Vec<f64> {
        predicted.predictions.iter().zip(targets).map(|(p, t)| (p - t) * (p - t)).collect()
    };
    for entry in entries().into_iter().filter(|entry| entry.effort == Effort::Fast) {
        let estimator = (entry.build)();
        if (estimator.is_for_few() && !are_few) || estimator.check_pairs(targets.len()).is_err() {
            continue;
        }
        let divisions: Result<Vec<OutOfFold>, PredictorError> = (0..repeats)
            .map(|repeat| out_of_fold(estimator.as_ref(), features, targets, FOLDS, seed.wrapping_add(repeat)))
            .collect();
        let divisions = match divisions {
            // A model that cannot be fitted to some fold is not considered.
            Err(PredictorError::Fit { .. }) => continue,
            other => other?,
        };
        let mut errors = vec![0.0; targets.len()];
        let mut taus = vec![0.0; FOLDS];
        for (repeat, made) in (0..).zip(&divisions) {
            errors.iter_mut().zip(square(made)).for_each(|(sum, error)| *sum += error / repeats as f64);
            let made = taus_within_folds(targets, &made.predictions, seed.wrapping_add(repeat));
            taus.iter_mut().zip(made).for_each(|(sum, tau)| *sum += tau / repeats as f64);
        }
        // Nor is one without a prediction for some pair.
        if let Some(first) = divisions.into_iter().next().filter(|_| errors.iter().all(|error| error.is_finite())) {
            let (freedom, is_for_few) = (estimator.freedom(), estimator.is_for_few());
            tried.push(Tried { entry, freedom, is_for_few, errors, taus, out_of_fold: first });
        }
    }
    let none = || PredictorError::Fit { estimator: "auto", problem: "no kind can be fitted to these pairs".into() };
    let best = tried.iter().min_by(|a, b| a.total().total_cmp(&b.total())).ok_or_else(none)?.errors.clone();
    let means = mean_out_of_fold(targets, seed);
    let mean_errors: Vec<f64> = means.iter().zip(targets).map(|(p, t)| (p - t) * (p - t)).collect();
    let beats_mean = !within_one_error(&mean_errors, &best);
    if beats_mean && are_few {
        tried.sort_by(|a, b| b.tau().total_cmp(&a.tau()).then(a.freedom.cmp(&b.freedom)));
        let best = tried.first().ok_or_else(none)?.taus.clone();
        tried.sort_by_key(|one| !(one.is_for_few && one.ranks_as_well_as(&best)));
    } else if beats_mean {
        tried.retain(|one| within_one_error(&one.errors, &best));
        tried.sort_by(|a, b| a.freedom.cmp(&b.freedom).then(a.total().total_cmp(&b.total())));
    } else {
        // Only shrunk lines remain. One that ranks the pairs it has not seen better than chance, and than the
        // others, is worth more than the least free of all.
        tried.retain(|one| one.freedom <= 1);
        let worth =
            |one: &Tried| if one.freedom > 0 && one.tau() < chance_tau(targets.len()) { f64::MIN } else { one.tau() };
        tried.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(a.freedom.cmp(&b.freedom)));
    }
    let chosen = tried.into_iter().next().ok_or_else(none)?;
    Ok(Choice { entry: chosen.entry, out_of_fold: chosen.out_of_fold, beats_mean })
}

/// Kendall's tau within each fold: across folds, even the mean of the other folds correlates with the truth.
fn taus_within_folds(truth: &[f64], predictions: &[f64], seed: u64) -> Vec<f64> {
    let of = |values: &[f64], indices: &[usize]| indices.iter().map(|i| values[*i]).collect::<Vec<_>>();
    let tau = |test: Vec<usize>| {
        let tau = metrics::kendall_tau(&of(truth, &test), &of(predictions, &test));
        if tau.is_finite() { tau } else { 0.0 }
    };
    folds(truth.len(), FOLDS, seed).into_iter().map(|(_, test)| tau(test)).collect()
}

/// One standard error of Kendall's tau between unrelated quantities (Kendall, Rank Correlation Methods, 1948).
fn chance_tau(count: usize) -> f64 {
    let n = count as f64;
    (2.0 * (2.0 * n + 5.0) / (9.0 * n * (n - 1.0))).sqrt()
}

/// The mean of the other folds, for every row.
fn mean_out_of_fold(targets: &[f64], seed: u64) -> Vec<f64> {
    let mut means = vec![0.0; targets.len()];
    for (train, test) in folds(targets.len(), FOLDS, seed) {
        let mean = train.iter().map(|i| targets[*i]).sum::<f64>() / train.len().max(1) as f64;
        test.iter().for_each(|i| means[*i] = mean);
    }
    means
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// One-hot columns of five genes, and a cost.
    fn features(count: usize) -> Vec<Vec<f32>> {
        let row = |i: usize| {
            let mut row = vec![0.0; 16];
            let picks: Vec<usize> = (0..5).map(|gene| (i * (2 * gene + 7919) + i * i * (gene + 3)) % 97 % 3).collect();
            picks.iter().enumerate().for_each(|(gene, pick)| row[3 * gene + pick] = 1.0);
            row[15] = 15.0 + 0.1 * picks.iter().sum::<usize>() as f32;
            row
        };
        (0..count).map(row).collect()
    }

    fn noise(i: usize) -> f64 {
        ((i * i * 31 + i * 7919) % 1009) as f64 / 1009.0 - 0.5
    }

    #[test]
    fn noise_is_not_modelled() {
        for seed in 0..6 {
            let features = features(60);
            let targets: Vec<f64> = (0..60).map(|i| 0.5 + 0.004 * noise(i + 1000 * seed)).collect();
            let choice = choose(&features, &targets, seed as u64).unwrap();
            assert!(!choice.beats_mean, "seed {seed}");
            assert!((choice.entry.build)().freedom() <= 1, "seed {seed}: {}", choice.entry.name);
        }
    }

    #[cfg(feature = "linfa")]
    #[test]
    fn a_line_is_found_to_be_one() {
        let features = features(FEW);
        let value =
            |i: usize| 0.5 + 0.02 * f64::from(features[i][2]) - 0.01 * f64::from(features[i][4]) + 0.004 * noise(i);
        let targets: Vec<f64> = (0..FEW).map(value).collect();
        let choice = choose(&features, &targets, 0).unwrap();
        assert!(choice.beats_mean);
        assert_eq!((choice.entry.build)().freedom(), 1, "{}", choice.entry.name);
    }
}
