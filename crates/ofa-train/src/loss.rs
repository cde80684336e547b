//! Losses of progressive shrinking.

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Int, Tensor};

/// Cross-entropy against smoothed labels: mean over images of `−Σ y log softmax(x)`, `y = onehot·(1 − s) + s/classes`.
///
/// Source: `cross_entropy_with_label_smoothing` of the authors' `pytorch_utils.py`; `s = 0.1` in the paper.
pub fn smoothed_cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let [_, classes] = logits.dims();
    let log_probability = log_softmax(logits, 1);
    let target = labels.one_hot::<2>(classes).float() * (1.0 - smoothing) + smoothing / classes as f64;
    -(target * log_probability).sum_dim(1).mean()
}

/// Cross-entropy against a teacher's probabilities (no temperature): mean over images of `−Σ q log softmax(x)`.
///
/// Source: `cross_entropy_loss_with_soft_target` of the authors' code.
pub fn distillation(logits: Tensor<2>, teacher_logits: Tensor<2>) -> Tensor<1> {
    let target = softmax(teacher_logits, 1);
    -(target * log_softmax(logits, 1)).sum_dim(1).mean()
}
