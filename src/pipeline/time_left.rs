//! How far a run is: which of its steps begins, and about how long the rest will take.

use super::estimate::Estimate;
use super::steps::Step;
use std::collections::BTreeMap;

/// The steps of a run, in order, and what they are expected to take.
#[derive(Clone, Debug, Default)]
pub struct TimeLeft {
    steps: Vec<Step>,
    /// Seconds that are expected, where they are.
    expected: BTreeMap<Step, f64>,
    /// Measured over expected seconds of the steps so far.
    measured: f64,
    predicted: f64,
}

impl TimeLeft {
    /// Of these steps, with an estimate if there is one.
    pub fn of(steps: Vec<Step>, estimate: Option<&Estimate>) -> Self {
        let expected = estimate.map_or_else(BTreeMap::new, |estimate| {
            BTreeMap::from([
                (Step::Train, estimate.training.seconds),
                (Step::Collect, estimate.collect_seconds),
                (Step::Deploy, estimate.finetune_seconds),
            ])
        });
        Self { steps, expected, measured: 0.0, predicted: 0.0 }
    }

    /// A line for the step that begins; `None` if it is not one of the run's.
    pub fn begins(&self, step: Step) -> Option<String> {
        let place = self.steps.iter().position(|known| *known == step)?;
        let left: f64 = self.steps[place..].iter().filter_map(|step| self.expected.get(step)).sum();
        // Once a step was measured, the others are expected to be as much slower or faster.
        let pace = if self.predicted > 0.0 { self.measured / self.predicted } else { 1.0 };
        let rest = match self.expected.is_empty() || left <= 0.0 {
            true => String::new(),
            false => format!("; about {} left in all", in_words(left * pace)),
        };
        Some(format!("step {} of {}: {}{rest}", place + 1, self.steps.len(), step.name()))
    }

    /// Notes what a step took.
    pub fn ended(&mut self, step: Step, seconds: f64) {
        if let Some(expected) = self.expected.get(&step) {
            self.measured += seconds;
            self.predicted += expected;
        }
    }
}

/// Seconds, minutes or hours.
pub fn in_words(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_pace_so_far() {
        let expected = BTreeMap::from([(Step::Train, 100.0), (Step::Collect, 10.0), (Step::Deploy, 40.0)]);
        let steps = vec![Step::Train, Step::Collect, Step::Fit, Step::Search, Step::Deploy];
        let mut time_left = TimeLeft { steps, expected, ..TimeLeft::default() };
        assert_eq!(time_left.begins(Step::Train).as_deref(), Some("step 1 of 5: train; about 2 min left in all"));
        time_left.ended(Step::Train, 50.0);
        assert_eq!(time_left.begins(Step::Collect).as_deref(), Some("step 2 of 5: collect; about 25 s left in all"));
        assert_eq!(time_left.begins(Step::Profile), None);
    }

    #[test]
    fn without_an_estimate_only_the_place_is_known() {
        let time_left = TimeLeft::of(vec![Step::Train, Step::Collect], None);
        assert_eq!(time_left.begins(Step::Collect).as_deref(), Some("step 2 of 2: collect"));
    }
}
