//! Sums in the order of a binary tree: neighbours first, then neighbouring sums.

use super::{CommunicationError, Communicator};

/// Adds up buffers that come one after another as a binary tree over their numbers does, with at most one buffer for each
/// level of the tree in memory.
#[derive(Default)]
pub struct TreeSum {
    /// Sums of 2ⁿ neighbours each, the largest first, with n.
    parts: Vec<(u32, Vec<f32>)>,
}

impl TreeSum {
    /// Adds the next buffer.
    pub fn add(&mut self, values: Vec<f32>) {
        let (mut level, mut sum) = (0, values);
        while let Some((_, before)) = self.parts.pop_if(|(known, _)| *known == level) {
            sum = added(before, &sum);
            level += 1;
        }
        self.parts.push((level, sum));
    }

    /// The sum; empty if there was nothing to add.
    pub fn finish(self) -> Vec<f32> {
        self.parts.into_iter().map(|(_, part)| part).rev().reduce(|right, left| added(left, &right)).unwrap_or_default()
    }
}

fn added(mut left: Vec<f32>, right: &[f32]) -> Vec<f32> {
    left.iter_mut().zip(right).for_each(|(sum, value)| *sum += value);
    left
}

/// [`Communicator::sum`]. A value is added to that of the nearest rank first, which makes the tree; which of the two sums a
/// half is does not matter, since a + b = b + a.
pub(super) fn sum_of_ranks<C: Communicator + ?Sized>(ranks: &C, values: &mut [f32]) -> Result<(), CommunicationError> {
    let (rank, size) = (ranks.rank(), ranks.size());
    assert!(size.is_power_of_two(), "a sum of {size} ranks");
    let mut own = 0..values.len();
    let mut levels = Vec::new();
    let mut incoming = Vec::new();
    let mut distance = 1;
    while distance < size {
        let partner = rank ^ distance;
        let keeps_lower = rank & distance == 0;
        let middle = own.start + own.len() / 2;
        let (lower, upper) = (own.start..middle, middle..own.end);
        let (kept, given) = if keeps_lower { (lower, upper) } else { (upper, lower) };
        incoming.resize(kept.len(), 0.0);
        ranks.exchange(partner, &values[given], &mut incoming)?;
        values[kept.clone()].iter_mut().zip(&incoming).for_each(|(sum, value)| *sum += value);
        levels.push((partner, keeps_lower, own, middle));
        own = kept;
        distance *= 2;
    }
    for (partner, keeps_lower, whole, middle) in levels.into_iter().rev() {
        let (lower, upper) = values[whole.clone()].split_at_mut(middle - whole.start);
        match keeps_lower {
            true => ranks.exchange(partner, lower, upper)?,
            false => ranks.exchange(partner, upper, lower)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::communication::{Single, Threads};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn shard(number: usize, length: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        (0..length).map(|_| rng.random_range(-1.0f32..1.0) * 10f32.powi(rng.random_range(-6..6))).collect()
    }

    /// The sum of the shards as one of these ranks has it.
    fn sum_on(ranks: &dyn Communicator, shards: usize, length: usize) -> Vec<f32> {
        let share = shards / ranks.size();
        let mut own = TreeSum::default();
        (ranks.rank() * share..(ranks.rank() + 1) * share).for_each(|number| own.add(shard(number, length)));
        let mut sum = own.finish();
        ranks.sum(&mut sum).unwrap();
        sum
    }

    #[test]
    fn the_bits_of_a_sum_do_not_depend_on_the_number_of_ranks() {
        for length in [0, 1, 2, 3, 5, 64, 1001] {
            for shards in [1, 2, 4, 8, 16] {
                let alone = sum_on(&Single, shards, length);
                let mut size = 2;
                while size <= shards {
                    let ranks = Threads::ranks(size);
                    let sums: Vec<Vec<f32>> = std::thread::scope(|scope| {
                        let threads: Vec<_> =
                            ranks.iter().map(|rank| scope.spawn(|| sum_on(rank, shards, length))).collect();
                        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
                    });
                    for sum in sums {
                        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                        assert_eq!(bits(&sum), bits(&alone), "{shards} shards of {length} on {size} ranks");
                    }
                    size *= 2;
                }
            }
        }
    }

    #[test]
    fn neighbours_are_added_first() {
        // In another order, 1 would be lost beside 1e8.
        let mut sum = TreeSum::default();
        [1e8, -1e8, 1.0, 1.0].into_iter().for_each(|value| sum.add(vec![value]));
        assert_eq!(sum.finish(), [2.0]);
        let mut sum = TreeSum::default();
        [1e8, 1.0, -1e8, 1.0].into_iter().for_each(|value| sum.add(vec![value]));
        assert_eq!(sum.finish(), [0.0]);
    }

    #[test]
    fn a_rank_that_is_gone_is_named() {
        let mut ranks = Threads::ranks(2);
        drop(ranks.pop());
        let error = ranks[0].sum(&mut [1.0, 2.0]).unwrap_err();
        assert!(matches!(error, CommunicationError::Gone { rank: 1 }), "{error}");
    }
}
