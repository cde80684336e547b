//! The adaptive alpha-divergence of AlphaNet (Wang et al., ICML 2021).

use super::{DistillationLoss, LossEntry};
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use ofa_space::{InvalidSetting, Settings, settings};
use serde::{Deserialize, Serialize};

/// For each image, the larger of two alpha-divergences between teacher `p` and student `q`: one order punishes a
/// student that is too sure where the teacher is not (`alpha_min < 0`), the other one that misses what the teacher
/// thinks likely (`alpha_max > 0`).
///
/// `D_α(p‖q) = Σ q ((p/q)^α − 1) / (α(α − 1))`; `α → 1` is `Σ p log(p/q)`, `α → 0` is `Σ q log(q/p)`. Gradients flow
/// through `log q` with the weight `q (p/q)^α / α`, whose ratio is clipped at `clip` against outliers (the authors'
/// `f_divergence` with `iw_clip`).
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `alpha_min` | −1 | the negative order | −10–10 |
/// | `alpha_max` | 1 | the positive order | −10–10, not below `alpha_min` |
/// | `clip` | 5 | largest `(p/q)^α` | above 0 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlphaDivergence {
    /// The negative order.
    pub alpha_min: f64,
    /// The positive order.
    pub alpha_max: f64,
    /// Largest importance ratio.
    pub clip: f64,
}

impl Default for AlphaDivergence {
    fn default() -> Self {
        Self { alpha_min: -1.0, alpha_max: 1.0, clip: 5.0 }
    }
}

/// Orders this near 0 or 1 take the limit there.
const NEAR: f64 = 1e-3;

impl Settings for AlphaDivergence {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("alpha_min", self.alpha_min, -10.0..=10.0)?;
        settings::number("alpha_max", self.alpha_max, -10.0..=10.0)?;
        if self.alpha_max < self.alpha_min {
            let problem = format!("is {}, below alpha_min = {}", self.alpha_max, self.alpha_min);
            return Err(InvalidSetting::new("alpha_max", problem));
        }
        settings::positive("clip", self.clip)
    }
}

#[typetag::serde(name = "alpha_divergence")]
impl DistillationLoss for AlphaDivergence {
    fn loss(&self, student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
        let log_p = log_softmax(teacher, 1).detach();
        let log_q = log_softmax(student, 1);
        let (left, left_gradient) = self.divergence(&log_p, &log_q, self.alpha_min);
        let (right, right_gradient) = self.divergence(&log_p, &log_q, self.alpha_max);
        let takes_left = left.clone().greater(right.clone()).float();
        let takes_right = -takes_left.clone() + 1.0;
        let value = left * takes_left.clone() + right * takes_right.clone();
        let surrogate = left_gradient * takes_left + right_gradient * takes_right;
        // The value of the divergence with the gradient of the surrogate.
        (value + surrogate.clone() - surrogate.detach()).mean()
    }
}

impl AlphaDivergence {
    /// Divergence of each image without gradient, and an expression with its gradient, `[n, 1]` both.
    fn divergence(&self, log_p: &Tensor<2>, log_q: &Tensor<2>, alpha: f64) -> (Tensor<2>, Tensor<2>) {
        let fixed_log_q = log_q.clone().detach();
        let log_ratio = log_p.clone() - fixed_log_q.clone();
        let q = fixed_log_q.exp();
        let (value, weight) = if (alpha - 1.0).abs() < NEAR {
            let p = log_p.clone().exp();
            (p.clone() * log_ratio, p)
        } else if alpha.abs() < NEAR {
            let clipped = log_ratio.clamp_max(self.clip.ln());
            (-(q.clone() * clipped.clone()), q * (clipped - 1.0))
        } else {
            let ratio = (log_ratio * alpha).clamp_max(self.clip.ln()).exp();
            let base = 1.0 / (alpha * (alpha - 1.0));
            (q.clone() * (ratio.clone() * base - base), q * (ratio / alpha + base))
        };
        (value.sum_dim(1), -(weight * log_q.clone()).sum_dim(1))
    }
}

inventory::submit! {
    LossEntry {
        name: "alpha_divergence",
        about: "the larger of two alpha-divergences for each image (AlphaNet)",
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::loss::Kl;
    use crate::loss::tests::{check_gradient, value};

    #[test]
    fn the_gradient_is_that_of_the_value_where_nothing_is_clipped() {
        for alpha in [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0] {
            check_gradient(&AlphaDivergence { alpha_min: alpha, alpha_max: alpha, clip: 1e6 });
        }
        check_gradient(&AlphaDivergence { clip: 1e6, ..AlphaDivergence::default() });
    }

    #[test]
    fn order_one_is_the_kullback_leibler_divergence() {
        let one = AlphaDivergence { alpha_min: 1.0, alpha_max: 1.0, clip: 5.0 };
        let (student, teacher) = ([0.3, -1.2, 0.8, 2.0, 0.1, -0.4], [1.1, -0.3, 0.2, 0.5, 0.9, -1.5]);
        assert!((value(&one, &student, &teacher) - value(&Kl::default(), &student, &teacher)).abs() < 1e-6);
        // The adaptive one takes the larger.
        let adaptive = value(&AlphaDivergence::default(), &student, &teacher);
        assert!(adaptive >= value(&one, &student, &teacher) - 1e-6);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let bad = |loss: AlphaDivergence| loss.check().unwrap_err().field;
        assert_eq!(bad(AlphaDivergence { alpha_min: f64::NAN, ..AlphaDivergence::default() }), "alpha_min");
        assert_eq!(bad(AlphaDivergence { alpha_max: -2.0, ..AlphaDivergence::default() }), "alpha_max");
        assert_eq!(bad(AlphaDivergence { clip: 0.0, ..AlphaDivergence::default() }), "clip");
    }
}
