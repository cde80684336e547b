//! Kullback–Leibler divergence with temperature (Hinton et al., 2015).

use super::{DistillationLoss, LossEntry};
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use ofa_space::{InvalidSetting, Settings, settings};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// `T² · mean over images of Σ q (log q − log p)`, with `q = softmax(teacher / T)` and `p = softmax(student / T)`. At
/// `T = 1` its gradient is that of soft cross-entropy; the value is 0 where student and teacher agree.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `temperature` | 1 | higher: the teacher's small probabilities count more | above 0, up to 100 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kl {
    /// Temperature of both softmaxes.
    pub temperature: f64,
}

impl Default for Kl {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl Settings for Kl {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("temperature", self.temperature, (Bound::Excluded(0.0), Bound::Included(100.0)))
    }
}

#[typetag::serde(name = "kl")]
impl DistillationLoss for Kl {
    fn loss(&self, student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
        let log_q = log_softmax(teacher / self.temperature, 1);
        let log_p = log_softmax(student / self.temperature, 1);
        let divergence = (log_q.clone().exp() * (log_q - log_p)).sum_dim(1).mean();
        divergence * (self.temperature * self.temperature)
    }
}

inventory::submit! {
    LossEntry { name: "kl", about: "Kullback-Leibler divergence from the teacher, with a temperature" }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::loss::tests::{check_gradient, value};

    #[test]
    fn the_gradient_is_that_of_the_value() {
        for temperature in [0.5, 1.0, 4.0] {
            check_gradient(&Kl { temperature });
        }
    }

    #[test]
    fn a_value_known_in_closed_form() {
        // q = (3/4, 1/8, 1/8), p uniform: Σ q log q + log 3.
        let q: [f64; 3] = [0.75, 0.125, 0.125];
        let teacher: Vec<f32> = q.iter().chain(&q).map(|v| v.ln() as f32).collect();
        let expected = q.iter().map(|v| v * v.ln()).sum::<f64>() + 3f64.ln();
        assert!((value(&Kl::default(), &[0.0; 6], &teacher) - expected).abs() < 1e-6);
        assert_eq!(Kl { temperature: 0.0 }.check().unwrap_err().field, "temperature");
    }
}
