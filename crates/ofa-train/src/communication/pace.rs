//! Which rank is steadily slower than the others: they wait for it in every step.

use std::fmt;
use std::time::{Duration, Instant};

/// Steps that are looked at together.
const STEPS: usize = 50;
/// A rank is behind in a step if it works this many times as long as the others do at their median.
const BEHIND: f32 = 1.25;
/// A rank is steadily slower if it is behind in so many of the steps. What a rank does in some steps only, as saving a checkpoint,
/// makes it no slower.
const STEADILY: usize = 40;

/// How long ranks work on their steps: from the end of one sum to the beginning of the next, without what they wait for each other
/// in between.
pub(crate) struct Pace {
    /// When this rank began with the step; `None` before the first.
    begun: Option<Instant>,
    /// How long it has waited for others since then.
    waited: Duration,
    /// Seconds of all ranks in each of the latest steps.
    steps: Vec<Vec<f32>>,
    /// Whether a rank was named before.
    named: Vec<bool>,
}

/// A rank for which the others wait.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SlowRank {
    /// Its number.
    pub rank: usize,
    /// How many times as long as the others it works on a step, at the median.
    pub times: f32,
}

impl fmt::Display for SlowRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, times } = self;
        write!(
            f,
            "warning: rank {rank} is slower than the others, which wait for it: in the last {STEPS} steps it worked {times:.1} \
             times as long on each; see what else its machine does"
        )
    }
}

impl Pace {
    pub fn new(ranks: usize) -> Self {
        Self { begun: None, waited: Duration::ZERO, steps: Vec::new(), named: vec![false; ranks] }
    }

    /// This rank has waited for others.
    pub fn wait(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Seconds that this rank has worked on the step; 0 in the first, which has no beginning.
    pub fn worked(&self) -> f32 {
        self.begun.map_or(0.0, |begun| begun.elapsed().saturating_sub(self.waited).as_secs_f32())
    }

    /// The step is done, on which the ranks worked so many seconds each. Names those that are steadily slower, each once.
    pub fn done(&mut self, worked: Vec<f32>) -> Vec<SlowRank> {
        self.begun = Some(Instant::now());
        self.waited = Duration::ZERO;
        self.steps.push(worked);
        if self.steps.len() < STEPS {
            return Vec::new();
        }
        let steps = std::mem::take(&mut self.steps);
        let slow = (0..self.named.len()).filter(|rank| !self.named[*rank]).filter_map(|rank| slow(&steps, rank));
        let slow: Vec<SlowRank> = slow.collect();
        slow.iter().for_each(|slow| self.named[slow.rank] = true);
        slow
    }
}

fn slow(steps: &[Vec<f32>], rank: usize) -> Option<SlowRank> {
    let times = |worked: &Vec<f32>| {
        let others = worked.iter().enumerate().filter(|(other, _)| *other != rank).map(|(_, seconds)| *seconds);
        let usual = median(others.collect())?;
        (usual > 0.0).then(|| worked[rank] / usual)
    };
    let times: Vec<f32> = steps.iter().filter_map(times).collect();
    let behind = times.iter().filter(|times| **times >= BEHIND).count();
    (behind >= STEADILY).then_some(())?;
    Some(SlowRank { rank, times: median(times)? })
}

/// Of an even number the lower of the two in the middle.
fn median(mut values: Vec<f32>) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The notices of so many steps, each after how many steps it came.
    fn notices(steps: usize, worked: impl Fn(usize) -> Vec<f32>) -> Vec<(usize, SlowRank)> {
        let mut pace = Pace::new(worked(0).len());
        let done = |step| pace.done(worked(step)).into_iter().map(move |slow| (step + 1, slow)).collect::<Vec<_>>();
        (0..steps).flat_map(done).collect()
    }

    #[test]
    fn a_rank_that_is_steadily_slower_is_named_once() {
        assert_eq!(notices(49, |_| vec![0.1, 0.2]), []);
        assert_eq!(notices(200, |_| vec![0.1, 0.2]), [(50, SlowRank { rank: 1, times: 2.0 })]);
        assert_eq!(notices(200, |_| vec![0.4, 0.1, 0.1, 0.1]), [(50, SlowRank { rank: 0, times: 4.0 })]);
        // The first step has no beginning.
        let first = |step: usize| if step == 0 { vec![0.0, 0.0] } else { vec![0.1, 0.3] };
        assert_eq!(notices(50, first).len(), 1);
        // Another that becomes slower later.
        let worked = |step: usize| vec![0.1, 0.1, 0.2, if step < 50 { 0.1 } else { 0.2 }];
        let named: Vec<(usize, usize)> = notices(200, worked).iter().map(|(step, slow)| (*step, slow.rank)).collect();
        assert_eq!(named, [(50, 2), (100, 3)]);
    }

    #[test]
    fn what_a_rank_does_now_and_then_makes_it_no_slower() {
        assert_eq!(notices(400, |_| vec![0.1, 0.12]), []);
        // A checkpoint in every second step.
        assert_eq!(notices(400, |step| vec![0.1 + 0.2 * (step % 2) as f32, 0.1]), []);
        // Now one is slower, now the other.
        assert_eq!(notices(400, |step| if step / 3 % 2 == 0 { vec![0.1, 0.2] } else { vec![0.2, 0.1] }), []);
        assert_eq!(notices(400, |_| vec![0.0, 0.0]), []);
        assert_eq!(notices(400, |_| vec![0.1]), []);
    }

    #[test]
    fn what_a_rank_waits_for_is_no_work() {
        let mut pace = Pace::new(2);
        assert_eq!(pace.worked(), 0.0);
        assert_eq!(pace.done(vec![0.0, 0.0]), []);
        pace.wait(Duration::from_secs(100));
        assert_eq!(pace.worked(), 0.0);
    }
}
