//! The most promising neighbours of one arch: one or two moves away, within the limits.

use crate::strategies::neighbourhood::Moves;

/// A neighbour to try: its predicted gain, and one or two moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proposal {
    gain: f32,
    pub(super) one: usize,
    pub(super) other: Option<usize>,
}

/// The best proposals so far, by falling gain; of equal ones, the first stays.
pub(super) struct Best {
    wanted: usize,
    proposals: Vec<Proposal>,
    /// Gain that a further proposal must exceed.
    least: f32,
}

/// The moves away from one arch, by falling gain, and what they cost.
pub(super) struct Ranking<'a> {
    /// Gain and index of every move.
    gains: Vec<(f32, usize)>,
    moves: &'a Moves,
    prices: &'a [f64],
    limits: &'a [f64],
    /// What every move adds to the prices: `[move][constraint]`.
    differences: &'a [f64],
}

impl Best {
    /// No proposals yet, and at most `wanted` of them.
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, proposals: Vec::with_capacity(wanted + 1), least: f32::NEG_INFINITY }
    }

    pub(super) fn into_proposals(self) -> Vec<Proposal> {
        self.proposals
    }

    fn offer(&mut self, proposal: Proposal) {
        let at = self.proposals.partition_point(|known| known.gain >= proposal.gain);
        if at < self.wanted {
            self.proposals.insert(at, proposal);
            self.proposals.truncate(self.wanted);
        }
        if self.proposals.len() == self.wanted {
            self.least = self.proposals.last().map_or(f32::INFINITY, |last| last.gain);
        }
    }
}

impl<'a> Ranking<'a> {
    /// Ranks the moves by `gain`, which is asked for each in order.
    pub(super) fn new(
        moves: &'a Moves,
        prices: &'a [f64],
        limits: &'a [f64],
        differences: &'a [f64],
        mut gain: impl FnMut(usize) -> f32,
    ) -> Self {
        // Sorted as integers, the greatest gain first, and the order of the moves among equals.
        let mut keys: Vec<u64> = (0..moves.len()).map(|index| sort_key(gain(index), index as u32)).collect();
        keys.sort_unstable();
        let gains = keys.iter().map(|key| from_sort_key(*key)).collect();
        Self { gains, moves, prices, limits, differences }
    }

    /// Offers every single move that keeps the limits.
    pub(super) fn offer_singles(&self, best: &mut Best) {
        for (gain, one) in &self.gains {
            if *gain > best.least && self.fits(*one, None) {
                best.offer(Proposal { gain: *gain, one: *one, other: None });
            }
        }
    }

    /// Offers every two moves that can be made together and keep the limits; their gains add up.
    pub(super) fn offer_pairs(&self, best: &mut Best) {
        let count = self.prices.len();
        // The first constraint rules most pairs out: its costs are in the order of the gains.
        let cost = |one: usize| self.differences.get(one * count).copied().unwrap_or(0.0);
        let costs: Vec<f64> = self.gains.iter().map(|(_, one)| cost(*one)).collect();
        let slack = if count == 0 { f64::INFINITY } else { self.limits[0] - self.prices[0] };
        let lowest = costs.iter().copied().fold(f64::INFINITY, f64::min);
        for (first, (gain, one)) in self.gains.iter().enumerate() {
            if gain + gain <= best.least {
                break;
            }
            // A little more than the slack: `fits` decides.
            let room = slack - costs[first] + 1e-9 * slack.abs();
            if lowest > room {
                continue;
            }
            for ((second, other), cost) in self.gains[first + 1..].iter().zip(&costs[first + 1..]) {
                let gain = gain + second;
                if gain <= best.least {
                    break;
                }
                if *cost <= room && self.moves.combine(*one, *other) && self.fits(*one, Some(*other)) {
                    best.offer(Proposal { gain, one: *one, other: Some(*other) });
                }
            }
        }
    }

    fn fits(&self, one: usize, other: Option<usize>) -> bool {
        let count = self.prices.len();
        (0..count).all(|c| {
            let second = other.map_or(0.0, |other| self.differences[other * count + c]);
            self.prices[c] + self.differences[one * count + c] + second <= self.limits[c]
        })
    }
}

/// A number that sorts by falling gain, then by rising index.
fn sort_key(gain: f32, index: u32) -> u64 {
    let bits = gain.to_bits();
    // The order of floats as that of unsigned integers, reversed.
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(!rising) << 32 | u64::from(index)
}

fn from_sort_key(key: u64) -> (f32, usize) {
    let rising = !((key >> 32) as u32);
    let bits = if rising >> 31 == 1 { rising & !(1 << 31) } else { !rising };
    (f32::from_bits(bits), (key & u64::from(u32::MAX)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_falling_gain_and_give_it_back() {
        let gains = [3.0, -0.5, f32::INFINITY, 0.0, 3.0, -7.25e-3];
        let mut keys: Vec<u64> = gains.iter().enumerate().map(|(i, gain)| sort_key(*gain, i as u32)).collect();
        keys.sort_unstable();
        let order: Vec<usize> = keys.iter().map(|key| from_sort_key(*key).1).collect();
        assert_eq!(order, [2, 0, 4, 3, 5, 1]);
        assert!(keys.iter().all(|key| from_sort_key(*key).0 == gains[from_sort_key(*key).1]));
    }
}
