//! How a fit went: figures, and what a user should know before relying on it.

use crate::evaluation::metrics;
use crate::standardise::Moments;
use crate::target::Target;
use serde::{Deserialize, Serialize};

/// How a fit went, on pairs that it was not fitted to. Errors are in the unit of the target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FitReport {
    /// Kind of the estimator.
    pub predictor: String,
    /// Pairs fitted on.
    pub n_train: usize,
    /// Pairs tested on; without any, the figures are `null`.
    pub n_test: usize,
    /// Root mean squared error.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub rmse: f64,
    /// Mean absolute error.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub mae: f64,
    /// Coefficient of determination.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub r2: f64,
    /// Kendall's tau-b.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub kendall_tau: f64,
    /// Spearman's rank correlation.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub spearman: f64,
    /// Wall time of the fit; not reproducible, and not kept in the file.
    #[serde(default)]
    pub fit_seconds: f64,
    /// What a user should know before relying on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl FitReport {
    /// The figures of predictions beside what was measured.
    pub(crate) fn of(kind: &str, n_train: usize, truth: &[f64], predicted: &[f64]) -> Self {
        Self {
            predictor: kind.to_owned(),
            n_train,
            n_test: truth.len(),
            rmse: metrics::rmse(truth, predicted),
            mae: metrics::mae(truth, predicted),
            r2: metrics::r2(truth, predicted),
            kendall_tau: metrics::kendall_tau(truth, predicted),
            spearman: metrics::spearman(truth, predicted),
            fit_seconds: 0.0,
            warnings: Vec::new(),
        }
    }

    /// The report of a predictor whose fit is unknown.
    pub(crate) fn unknown(kind: &str) -> Self {
        Self::of(kind, 0, &[], &[])
    }
}

/// A warning of test pairs that have no prediction, if there are any.
pub(super) fn not_scored(count: usize) -> Option<String> {
    (count > 0).then(|| format!("{count} test pairs are not scored: no training pair has their resolution or choices"))
}

/// A warning of choices that no training pair has, if there are any.
pub(super) fn unseen(names: &[String]) -> Option<String> {
    const SHOWN: usize = 8;
    let listed = match names.len() {
        0 => return None,
        n if n > SHOWN => format!("{} and {} choices more", names[..SHOWN].join(", "), n - SHOWN),
        _ => names.join(", "),
    };
    Some(format!(
        "no training pair has {listed}: predictions for them are refused, and searches avoid them; collect more pairs"
    ))
}

/// Why nothing was learnt, and what would help.
pub(super) fn nothing_learnt(chosen: &str, target: Target, targets: &[f64], columns: usize) -> String {
    let moments = Moments::of(targets.iter().copied());
    let varied = targets.iter().any(|value| *value != targets[0]);
    let pairs = (2 * targets.len()).max(columns);
    let better = match target {
        Target::Accuracy => format!("accuracies measured on {}", images(&moments, varied)),
        Target::Latency => "latencies that are medians of more runs".to_owned(),
    };
    format!(
        "in cross-validation on these {} pairs no predictor is surely better than their mean ({:.4}, deviation {:.4}); \
         `{chosen}` was taken, which can rank nets wrongly. What helps: {better}, and {pairs} pairs or more",
        targets.len(),
        moments.mean,
        if varied { moments.deviation } else { 0.0 },
    )
}

/// Images whose sampling noise is half of the accuracies' spread: the accuracy of one net, measured on `n` images, varies
/// by `√(p (1 − p) / n)`.
fn images(moments: &Moments, varied: bool) -> String {
    let chance = moments.mean * (1.0 - moments.mean);
    let spread = moments.deviation;
    match varied && chance > 0.0 {
        true => format!("at least {} validation images", two_digits(4.0 * chance / (spread * spread))),
        false => "more validation images".to_owned(),
    }
}

/// Rounded up to two digits.
fn two_digits(value: f64) -> f64 {
    let unit = 10f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    (value / unit).ceil() * unit
}
