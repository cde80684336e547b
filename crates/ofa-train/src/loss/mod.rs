//! Losses of progressive shrinking: against labels, and against a teacher as plug-ins (`loss = { kind = "…" }`).

mod alpha_divergence;
mod kl;
mod soft_cross_entropy;

pub use alpha_divergence::AlphaDivergence;
pub use kl::Kl;
pub use soft_cross_entropy::SoftCrossEntropy;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use ofa_space::Settings;
use ofa_space::plugin::Entry;
use std::fmt::Debug;

/// How a subnet's logits are compared with its teacher's. Configured by `kind` in TOML; plugins submit a [`LossEntry`].
#[typetag::serde(tag = "kind")]
pub trait DistillationLoss: Settings + Debug + Send + Sync {
    /// Mean over images, `[n, classes]` each → `[1]`. The teacher's logits carry no gradient.
    fn loss(&self, student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1>;
}

/// A registered distillation loss.
pub struct LossEntry {
    /// Value of `kind`.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
}

inventory::collect!(LossEntry);

impl Entry for LossEntry {
    const WHAT: &'static str = "distillation loss";

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// Cross-entropy against smoothed labels: mean over images of `−Σ y log softmax(x)`, `y = onehot·(1 − s) + s/classes`.
///
/// Source: `cross_entropy_with_label_smoothing` of the authors' `pytorch_utils.py`; `s = 0.1` in the paper.
pub fn smoothed_cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let [_, classes] = logits.dims();
    let log_probability = log_softmax(logits, 1);
    let target = labels.one_hot::<2>(classes).float() * (1.0 - smoothing) + smoothing / classes as f64;
    -(target * log_probability).sum_dim(1).mean()
}

#[cfg(all(test, feature = "flex"))]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use burn::tensor::{Device, TensorData};
    use ofa_space::plugin::entries;

    const STUDENT: [f32; 6] = [0.3, -1.2, 0.8, 2.0, 0.1, -0.4];
    const TEACHER: [f32; 6] = [1.1, -0.3, 0.2, 0.5, 0.9, -1.5];

    fn logits(values: &[f32], device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [2, 3]), device)
    }

    pub(crate) fn value(loss: &dyn DistillationLoss, student: &[f32], teacher: &[f32]) -> f64 {
        let device = Device::flex();
        let value = loss.loss(logits(student, &device), logits(teacher, &device)).into_data();
        f64::from(value.try_into_vec::<f32>().unwrap()[0])
    }

    fn gradient(loss: &dyn DistillationLoss, student: &[f32], teacher: &[f32]) -> Vec<f32> {
        let device = Device::flex().autodiff();
        let x = logits(student, &device).require_grad();
        let gradients = loss.loss(x.clone(), logits(teacher, &device)).backward();
        x.grad(&gradients).unwrap().into_data().try_into_vec::<f32>().unwrap()
    }

    /// Compares the gradient with central differences of the value.
    pub(crate) fn check_gradient(loss: &dyn DistillationLoss) {
        const STEP: f32 = 1e-2;
        let analytic = gradient(loss, &STUDENT, &TEACHER);
        for index in 0..STUDENT.len() {
            let shifted = |by: f32| {
                let mut moved = STUDENT;
                moved[index] += by;
                value(loss, &moved, &TEACHER)
            };
            let numeric = (shifted(STEP) - shifted(-STEP)) / f64::from(2.0 * STEP);
            let difference = (f64::from(analytic[index]) - numeric).abs();
            assert!(difference < 2e-3, "{loss:?}, logit {index}: {} against {numeric}", analytic[index]);
        }
    }

    #[test]
    fn every_entry_can_be_configured_and_is_least_where_student_and_teacher_agree() {
        assert!(entries::<LossEntry>().len() >= 3);
        for entry in entries::<LossEntry>() {
            let loss: Box<dyn DistillationLoss> = toml::from_str(&format!("kind = \"{}\"", entry.name)).unwrap();
            loss.check().unwrap();
            let agreed = value(loss.as_ref(), &TEACHER, &TEACHER);
            assert!(value(loss.as_ref(), &STUDENT, &TEACHER) > agreed, "{}", entry.name);
            for part in gradient(loss.as_ref(), &TEACHER, &TEACHER) {
                assert!(part.abs() < 1e-6, "{}: gradient {part} at the teacher itself", entry.name);
            }
        }
    }

    #[test]
    fn far_apart_logits_stay_finite() {
        for entry in entries::<LossEntry>() {
            let loss: Box<dyn DistillationLoss> = toml::from_str(&format!("kind = \"{}\"", entry.name)).unwrap();
            let far = [-200.0, 200.0, 0.0, 90.0, -90.0, 0.0];
            assert!(value(loss.as_ref(), &far, &TEACHER).is_finite(), "{}", entry.name);
            assert!(value(loss.as_ref(), &TEACHER, &far).is_finite(), "{}", entry.name);
            assert!(gradient(loss.as_ref(), &far, &TEACHER).iter().all(|g| g.is_finite()), "{}", entry.name);
            assert!(gradient(loss.as_ref(), &TEACHER, &far).iter().all(|g| g.is_finite()), "{}", entry.name);
        }
    }
}
