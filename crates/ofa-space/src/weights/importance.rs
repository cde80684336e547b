//! Sorting elastic channels by importance, so that a narrower subnet keeps the channels that matter most.

use crate::error::WeightsError;
use crate::network::operation::Activation;
use crate::weights::supernet::ElasticChannels;
use crate::weights::tensors::{Tensor, Weights};

/// The order in which one group's channels were put: new channel `i` is old channel `order[i]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permutation {
    /// Name of the group.
    pub group: String,
    /// Old index of every new channel.
    pub order: Vec<usize>,
}

/// Sorts the channels of every group by importance, descending, and permutes every tensor of the group alike. The max
/// subnet computes the same function as before. The importance is the L1 norm of the weights that read a channel, as in the
/// authors' code, times the root mean square of the channel's activations where the group names a batch norm.
///
/// `opened_phase` is the phase of elastic expansion already trained: channels of a width range that is open stay
/// within it, as in the authors' `re_organize_middle_weights`. (There the ranges are kept apart by adding −1e5 per
/// range to f32 importances, which makes ties; a stable sort on the same sums gives the same permutation.)
///
/// # Errors
/// [`WeightsError::Missing`] if a tensor of a group is absent.
pub fn sort_channels(
    weights: &mut Weights,
    channels: &[ElasticChannels],
    opened_phase: usize,
) -> Result<Vec<Permutation>, WeightsError> {
    let mut permutations = Vec::with_capacity(channels.len());
    for elastic in channels {
        let group = &elastic.group;
        let (name, axis) = &group.importance;
        let mut importance = l1_norms(member(weights, name)?, *axis);
        if let Some(scale) = &group.scale {
            let (scales, shifts) = (member(weights, &scale.weight)?, member(weights, &scale.bias)?);
            for ((value, scale_of), shift) in importance.iter_mut().zip(&scales.data).zip(&shifts.data) {
                *value *= root_mean_square(scale.activation, f64::from(*scale_of), f64::from(*shift)) as f32;
            }
        }
        if group.keeps_opened_ranges {
            push_ranges_apart(&mut importance, &elastic.widths, opened_phase);
        }
        let mut order: Vec<usize> = (0..importance.len()).collect();
        order.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]));
        for (name, axis) in &group.members {
            let sorted = select(member(weights, name)?, *axis, &order);
            weights.insert(name.clone(), sorted);
        }
        permutations.push(Permutation { group: group.name.clone(), order });
    }
    Ok(permutations)
}

/// Root mean square of a nonlinearity's output where its input is normal with this standard deviation and mean, as the
/// output of a batch norm is with its scale and shift: the trapezoidal rule over five standard deviations each way.
fn root_mean_square(activation: Option<Activation>, scale: f64, shift: f64) -> f64 {
    const REACH: i32 = 40;
    let (mut sum, mut total) = (0.0, 0.0);
    for step in -REACH..=REACH {
        let z = f64::from(step) * 5.0 / f64::from(REACH);
        let density = (-0.5 * z * z).exp();
        let value = activated(activation, shift + scale * z);
        sum += density * value * value;
        total += density;
    }
    (sum / total).sqrt()
}

fn activated(activation: Option<Activation>, x: f64) -> f64 {
    match activation {
        None => x,
        Some(Activation::Relu) => x.max(0.0),
        Some(Activation::Relu6) => x.clamp(0.0, 6.0),
        Some(Activation::HSwish) => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Some(Activation::Silu) => x / (1.0 + (-x).exp()),
    }
}

fn member<'a>(weights: &'a Weights, name: &str) -> Result<&'a Tensor, WeightsError> {
    weights.get(name).ok_or_else(|| WeightsError::Missing { name: name.to_owned(), shape: Vec::new() })
}

/// Sum of absolute values over every axis but one.
fn l1_norms(tensor: &Tensor, axis: usize) -> Vec<f32> {
    let channels = tensor.shape[axis];
    let inner: usize = tensor.shape[axis + 1..].iter().product();
    let mut sums = vec![0.0f64; channels];
    for (index, row) in tensor.data.chunks_exact(inner).enumerate() {
        sums[index % channels] += row.iter().map(|v| f64::from(v.abs())).sum::<f64>();
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Adds a large negative offset to every range of channels beyond an opened width, the outermost lowest.
fn push_ranges_apart(importance: &mut [f32], widths: &[usize], opened_phase: usize) {
    const OFFSET: f32 = 1e5;
    if opened_phase == 0 {
        return;
    }
    let mut right = importance.len();
    let mut base = -(widths.len() as f32) * OFFSET;
    for left in widths.iter().take(opened_phase + 1) {
        for value in &mut importance[*left..right] {
            *value += base;
        }
        base += OFFSET;
        right = *left;
    }
}

/// The entries `order` along one axis.
fn select(tensor: &Tensor, axis: usize, order: &[usize]) -> Tensor {
    let channels = tensor.shape[axis];
    let inner: usize = tensor.shape[axis + 1..].iter().product();
    let mut data = Vec::with_capacity(tensor.data.len());
    for block in tensor.data.chunks_exact(channels * inner) {
        for channel in order {
            data.extend_from_slice(&block[channel * inner..(channel + 1) * inner]);
        }
    }
    Tensor { shape: tensor.shape.clone(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opened_ranges_stay_apart() {
        let mut importance = vec![1.0, 9.0, 5.0, 7.0];
        push_ranges_apart(&mut importance, &[4, 2], 1);
        let mut order: Vec<usize> = (0..4).collect();
        order.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]));
        assert_eq!(order, [1, 0, 3, 2]);
    }

    #[test]
    fn activations_behind_a_batch_norm_have_the_expected_size() {
        // Half of a standard normal variable is cut off: E[relu(z)²] = 1/2.
        assert!((root_mean_square(Some(Activation::Relu), 1.0, 0.0) - 0.5f64.sqrt()).abs() < 1e-4);
        assert!((root_mean_square(None, 2.0, 3.0) - 13.0f64.sqrt()).abs() < 1e-4);
        assert_eq!(root_mean_square(Some(Activation::Relu6), 0.1, -3.0), 0.0);
    }

    #[test]
    fn selects_along_any_axis() {
        let tensor = Tensor { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(select(&tensor, 1, &[2, 0, 1]).data, [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]);
        assert_eq!(select(&tensor, 0, &[1, 0]).data, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
        assert_eq!(l1_norms(&tensor, 1), [5.0, 7.0, 9.0]);
    }
}
