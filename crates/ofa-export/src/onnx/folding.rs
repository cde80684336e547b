//! Folding batch norm into the convolution before it.

use ofa_space::{Block, OpKind};
use ofa_space::{Tensor, Weights, WeightsError};

/// For every operation of a block: the index of the batch norm that can be folded into it, if there is one. That is a
/// convolution without bias whose value only the batch norm reads.
pub fn foldable(block: &Block) -> Vec<Option<usize>> {
    block
        .ops
        .iter()
        .enumerate()
        .map(|(index, op)| {
            let OpKind::Conv { bias: None, .. } = op.kind else { return None };
            let value = index + 1;
            let mut readers = block.ops.iter().enumerate().filter(|(_, other)| other.inputs.contains(&value));
            match (readers.next(), readers.next()) {
                (Some((reader, norm)), None) if matches!(norm.kind, OpKind::BatchNorm { .. }) => Some(reader),
                _ => None,
            }
        })
        .collect()
}

/// Weight `[out, in, k, k]` and bias `[out]` of the convolution `conv` with the batch norm `norm` folded in.
///
/// `w' = w · γ / √(σ² + ε)` and `b' = β − μ · γ / √(σ² + ε)`, computed in f64.
///
/// # Errors
/// [`WeightsError`] if a tensor is missing.
///
/// # Panics
/// If the operations are not a convolution and a batch norm.
pub fn fold(conv: &OpKind, norm: &OpKind, weights: &Weights) -> Result<(Tensor, Tensor), WeightsError> {
    let (OpKind::Conv { weight, .. }, OpKind::BatchNorm(norm)) = (conv, norm) else {
        panic!("not a convolution followed by a batch norm");
    };
    let read = |reference| ofa_space::slicing::read(weights, reference);
    let (mut kernel, gamma, beta) = (read(weight)?, read(&norm.weight)?, read(&norm.bias)?);
    let (mean, variance) = (read(&norm.mean)?, read(&norm.variance)?);
    let scale: Vec<f64> = gamma
        .data
        .iter()
        .zip(&variance.data)
        .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + norm.eps).sqrt())
        .collect();
    let per_channel = kernel.data.len() / scale.len().max(1);
    for (channel, scale) in kernel.data.chunks_exact_mut(per_channel.max(1)).zip(&scale) {
        for value in channel {
            *value = (f64::from(*value) * scale) as f32;
        }
    }
    let bias = beta
        .data
        .iter()
        .zip(&mean.data)
        .zip(&scale)
        .map(|((beta, mean), scale)| (f64::from(*beta) - f64::from(*mean) * scale) as f32)
        .collect();
    Ok((kernel, Tensor { shape: vec![scale.len()], data: bias }))
}
