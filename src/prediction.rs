//! Predictions as they are reported: accuracies within 0 to 1, metrics that are defined, and what to doubt.

use ofa_predictors::FittedPredictor;
use ofa_space::{Arch, SearchSpace};

/// A predicted accuracy for people and files. Searches and rankings use the prediction as it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Shown {
    /// The accuracy, in 0 to 1.
    pub accuracy: f64,
    /// Whether the prediction was outside, as a regression beyond its pairs may be.
    pub extrapolated: bool,
}

impl Shown {
    /// A prediction as it is reported.
    pub fn of(predicted: f64) -> Self {
        let accuracy = predicted.clamp(0.0, 1.0);
        Self { accuracy, extrapolated: accuracy != predicted }
    }

    /// In per cent, with a mark if it is extrapolated.
    pub fn percent(self, digits: usize) -> String {
        let mark = if self.extrapolated { " (extrapolated)" } else { "" };
        format!("{:.digits$} %{mark}", 100.0 * self.accuracy)
    }
}

/// Hold-out pairs below which a metric says little.
const FEW_PAIRS: usize = 20;

/// A metric over so many hold-out pairs: a dash where it is undefined, and a warning beside it where they are few.
pub fn metric(value: f64, digits: usize, pairs: usize) -> String {
    let shown = defined(value, digits);
    match pairs < FEW_PAIRS {
        true => format!("{shown} (warning: {pairs} pairs)"),
        false => shown,
    }
}

/// A number with so many digits after the point; a dash where it is undefined.
pub fn defined(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

/// The warning of too few hold-out pairs.
pub fn few_pairs(pairs: usize) -> Option<String> {
    (pairs < FEW_PAIRS).then(|| {
        format!("scored on {pairs} hold-out pairs, fewer than {FEW_PAIRS}: every metric of the predictor is uncertain")
    })
}

/// The prediction for a subnet, and how far it is usually off.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Expectation {
    /// Predicted accuracy, as it is.
    pub predicted: f64,
    /// Standard deviation: the predictor's own, or else its error on hold-out pairs; NaN where neither is known.
    pub deviation: f64,
}

impl Expectation {
    /// What `predictor` expects of a subnet; `None` if it cannot predict it.
    pub fn of(predictor: &FittedPredictor, space: &dyn SearchSpace, arch: &Arch) -> Option<Self> {
        let predictions = predictor.predict_with_deviations(space, std::slice::from_ref(arch)).ok()?;
        let first = predictions.first()?;
        Some(Self { predicted: first.value, deviation: first.deviation.unwrap_or(predictor.report.rmse) })
    }

    /// Whether the accuracy measured on so many images is further away than chance and the predictor's error explain:
    /// 3·√(deviation² + p(1−p)/n), three standard deviations of the difference, where the images make a binomial count.
    pub fn is_missed_by(&self, measured: f64, images: usize) -> bool {
        let sampling = measured * (1.0 - measured) / images.max(1) as f64;
        let deviation = (self.deviation * self.deviation + sampling).sqrt();
        (self.predicted - measured).abs() > 3.0 * deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_accuracies_are_clamped_and_marked() {
        assert_eq!(Shown::of(1.0231), Shown { accuracy: 1.0, extrapolated: true });
        assert_eq!(Shown::of(-0.2), Shown { accuracy: 0.0, extrapolated: true });
        assert_eq!(Shown::of(0.5), Shown { accuracy: 0.5, extrapolated: false });
        assert_eq!(Shown::of(1.07).percent(1), "100.0 % (extrapolated)");
    }

    #[test]
    fn metrics_are_dashes_where_undefined_and_doubted_where_pairs_are_few() {
        assert_eq!(metric(f64::NAN, 3, 50), "–");
        assert_eq!(metric(0.66666, 3, 50), "0.667");
        assert_eq!(metric(0.66666, 3, 8), "0.667 (warning: 8 pairs)");
        assert!(few_pairs(19).is_some() && few_pairs(20).is_none());
    }

    #[test]
    fn a_prediction_is_doubted_beyond_three_deviations_of_both_errors() {
        let expectation = |deviation| Expectation { predicted: 0.9, deviation };
        // On 100 images a measured 0.8 has a deviation of 0.04; with 0.03 of the predictor 0.05 together.
        assert!(!expectation(0.03).is_missed_by(0.8, 100));
        assert!(!Expectation { predicted: 0.949, deviation: 0.03 }.is_missed_by(0.8, 100));
        assert!(Expectation { predicted: 0.951, deviation: 0.03 }.is_missed_by(0.8, 100));
        assert!(expectation(0.0).is_missed_by(0.8, 10_000));
        // Without a known error nothing is flagged.
        assert!(!expectation(f64::NAN).is_missed_by(0.1, 10_000));
    }
}
