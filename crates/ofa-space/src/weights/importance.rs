//! Sorting elastic channels by importance, so that a narrower subnet keeps the channels that matter most.

use crate::error::WeightsError;
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

/// Sorts the channels of every group by L1 importance, descending, and permutes every tensor of the group alike. The
/// max subnet computes the same function as before.
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
    fn selects_along_any_axis() {
        let tensor = Tensor { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(select(&tensor, 1, &[2, 0, 1]).data, [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]);
        assert_eq!(select(&tensor, 0, &[1, 0]).data, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
        assert_eq!(l1_norms(&tensor, 1), [5.0, 7.0, 9.0]);
    }
}
