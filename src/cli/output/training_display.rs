//! Training as one bar per phase.

use super::Output;
use super::progress::Progress;
use ofa_train::shrinking::{Observer, PhasePlan, PhaseRecord, SubnetRecord, ValidationRecord};
use std::time::Instant;

/// Draws training as one bar per phase.
pub struct TrainDisplay {
    output: Output,
    phases: Vec<PhasePlan>,
    current: Option<(usize, Progress)>,
    smoothed_loss: f32,
    /// When the step before ended, and seconds of a step, smoothed.
    pace: Option<(Instant, f64)>,
}

impl TrainDisplay {
    /// A display that has seen nothing yet.
    pub fn new(output: Output) -> Self {
        Self { output, phases: Vec::new(), current: None, smoothed_loss: 0.0, pace: None }
    }
}

impl Observer for TrainDisplay {
    fn on_start(&mut self, phases: &[PhasePlan], (phase, step): (usize, usize)) {
        self.phases = phases.to_vec();
        if (phase, step) != (0, 0) {
            let name = phases.get(phase).map_or("the end", |p| &p.name);
            self.output.note(&format!("resuming from the checkpoint: phase {name}, step {step}"));
        }
    }

    fn on_step(&mut self, phase: usize, step: usize, loss: f32) {
        if self.current.as_ref().is_none_or(|(current, _)| *current != phase) {
            let plan = &self.phases[phase];
            let label = format!("train {}", plan.name);
            self.current = Some((phase, Progress::new(&label, plan.total_steps() as u64, self.output)));
            self.smoothed_loss = loss;
            self.pace = None;
        }
        let now = Instant::now();
        self.pace = Some(match self.pace {
            None => (now, 0.0),
            Some((before, 0.0)) => (now, (now - before).as_secs_f64()),
            Some((before, seconds)) => (now, seconds + 0.1 * ((now - before).as_secs_f64() - seconds)),
        });
        self.smoothed_loss += 0.05 * (loss - self.smoothed_loss);
        if let Some((_, progress)) = &mut self.current {
            let pace = match self.pace {
                Some((_, seconds)) if seconds > 0.0 => {
                    format!(", {:.0} images/s", self.phases[phase].batch_size as f64 / seconds)
                }
                _ => String::new(),
            };
            progress.update(step as u64, &format!("loss {:.3}{pace}", self.smoothed_loss));
        }
    }

    fn on_validation(&mut self, record: &ValidationRecord) {
        let line =
            format!("      {:<12} step {:>5}    validation {}", record.phase, record.step, in_words(&record.subnets));
        match &self.current {
            Some((_, progress)) => progress.line(&line),
            None => self.output.note(&line),
        }
    }

    fn on_phase(&mut self, record: &PhaseRecord) {
        if let Some((_, progress)) = self.current.take() {
            progress.finish();
        }
        self.output.note(&format!(
            "phase {:<12} {:>5} steps   validation {}",
            record.name,
            record.steps,
            in_words(&record.subnets)
        ));
    }

    fn on_message(&mut self, message: &str) {
        self.output.note(message);
    }
}

fn in_words(subnets: &[SubnetRecord]) -> String {
    subnets.iter().map(|s| format!("{} {:.2} %", s.label, 100.0 * s.top1)).collect::<Vec<_>>().join("   ")
}
