//! Soft cross-entropy: the paper.

use super::{DistillationLoss, LossEntry};
use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};
use ofa_space::{InvalidSetting, Settings};
use serde::{Deserialize, Serialize};

/// Cross-entropy against a teacher's probabilities `q` (no temperature): mean over images of `−Σ q log softmax(x)`.
///
/// Source: `cross_entropy_loss_with_soft_target` of the authors' code.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftCrossEntropy {}

impl Settings for SoftCrossEntropy {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

#[typetag::serde(name = "soft_cross_entropy")]
impl DistillationLoss for SoftCrossEntropy {
    fn loss(&self, student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
        let target = softmax(teacher, 1);
        -(target * log_softmax(student, 1)).sum_dim(1).mean()
    }
}

inventory::submit! {
    LossEntry { name: "soft_cross_entropy", about: "cross-entropy against the teacher's probabilities (the paper)" }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_value() {
        crate::loss::tests::check_gradient(&SoftCrossEntropy {});
    }
}
