//! How good predictions are.

/// Root mean squared error.
///
/// # Panics
/// As every metric here: if the slices differ in length.
pub fn rmse(truth: &[f64], predicted: &[f64]) -> f64 {
    mean_of(truth, predicted, |t, p| (t - p) * (t - p)).sqrt()
}

/// Mean absolute error.
pub fn mae(truth: &[f64], predicted: &[f64]) -> f64 {
    mean_of(truth, predicted, |t, p| (t - p).abs())
}

/// Deviations of a truth that is constant but for rounding, as a share of its largest value.
const ROUNDING: f64 = 1e-12;

/// Coefficient of determination: 1 − (squared error) / (squared error of predicting the mean); NaN for constant truth.
pub fn r2(truth: &[f64], predicted: &[f64]) -> f64 {
    let mean = truth.iter().sum::<f64>() / truth.len() as f64;
    let total: f64 = truth.iter().map(|t| (t - mean) * (t - mean)).sum();
    let largest = truth.iter().fold(0.0f64, |largest, t| largest.max(t.abs()));
    if total <= truth.len() as f64 * (ROUNDING * largest).powi(2) {
        return f64::NAN;
    }
    let residual: f64 = truth.iter().zip(predicted).map(|(t, p)| (t - p) * (t - p)).sum();
    1.0 - residual / total
}

/// Kendall's tau-b, which corrects for ties; NaN if either side is constant.
pub fn kendall_tau(truth: &[f64], predicted: &[f64]) -> f64 {
    assert_eq!(truth.len(), predicted.len(), "metrics over different lengths");
    let (mut concordant, mut truth_pairs, mut predicted_pairs) = (0i64, 0i64, 0i64);
    for i in 0..truth.len() {
        for j in 0..i {
            let a = sign(truth[i] - truth[j]);
            let b = sign(predicted[i] - predicted[j]);
            concordant += a * b;
            truth_pairs += a * a;
            predicted_pairs += b * b;
        }
    }
    concordant as f64 / (truth_pairs as f64 * predicted_pairs as f64).sqrt()
}

/// Spearman's rank correlation; ties share their mean rank. NaN if either side is constant.
pub fn spearman(truth: &[f64], predicted: &[f64]) -> f64 {
    assert_eq!(truth.len(), predicted.len(), "metrics over different lengths");
    let (a, b) = (ranks(truth), ranks(predicted));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let covariance: f64 = a.iter().zip(&b).map(|(x, y)| (x - mean) * (y - mean)).sum();
    let spread = |ranks: &[f64]| ranks.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>();
    covariance / (spread(&a) * spread(&b)).sqrt()
}

/// Reads a metric from JSON, where one that is undefined (NaN: no pairs, or all alike) is `null`.
///
/// For `#[serde(deserialize_with = "…")]`; writing needs nothing, since serde_json writes NaN as `null`.
///
/// # Errors
/// If the value is neither a number nor `null`.
pub fn or_undefined<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    use serde::Deserialize;
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn mean_of(truth: &[f64], predicted: &[f64], error: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!(truth.len(), predicted.len(), "metrics over different lengths");
    truth.iter().zip(predicted).map(|(t, p)| error(*t, *p)).sum::<f64>() / truth.len() as f64
}

fn sign(value: f64) -> i64 {
    i64::from(value > 0.0) - i64::from(value < 0.0)
}

/// Ranks from 0, equal values sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && values[order[end]] == values[order[start]] {
            end += 1;
        }
        let shared = (start + end - 1) as f64 / 2.0;
        for index in &order[start..end] {
            ranks[*index] = shared;
        }
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn values_worked_by_hand() {
        let (t, p) = ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]);
        assert!(close(rmse(&t, &p), 0.5f64.sqrt()));
        assert!(close(mae(&t, &p), 0.5));
        assert!(close(r2(&t, &p), 1.0 - 2.0 / 5.0));
        // Five of six pairs agree.
        assert!(close(kendall_tau(&t, &p), 4.0 / 6.0));
        assert!(close(spearman(&t, &p), 0.8));
    }

    #[test]
    fn ties_are_corrected_for() {
        // Pairs: (1,1) tied in truth; the other two agree. tau-b = 2 / sqrt(2 · 3).
        assert!(close(kendall_tau(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]), 2.0 / 6f64.sqrt()));
        assert_eq!(ranks(&[5.0, 1.0, 5.0]), [1.5, 0.0, 1.5]);
    }

    #[test]
    fn perfect_and_reversed_orders() {
        let t: Vec<f64> = (0..50).map(f64::from).collect();
        let reversed: Vec<f64> = t.iter().map(|v| -v).collect();
        assert!(close(kendall_tau(&t, &t), 1.0) && close(spearman(&t, &t), 1.0) && close(r2(&t, &t), 1.0));
        assert!(close(kendall_tau(&t, &reversed), -1.0) && close(spearman(&t, &reversed), -1.0));
        assert!(kendall_tau(&t, &[1.0; 50]).is_nan());
        // The mean of many equal numbers need not be that number.
        assert!(r2(&[0.1; 7], &[0.2; 7]).is_nan() && r2(&[0.916_666_666_666_666_6; 11], &[0.9; 11]).is_nan());
    }
}
