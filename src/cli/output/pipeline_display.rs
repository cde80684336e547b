//! The pipeline as one bar per step.

use super::Output;
use super::progress::Progress as Bar;
use super::training_display::TrainDisplay;
use crate::pipeline::Progress;

/// Draws the pipeline as one bar per step.
pub struct Display {
    output: Output,
    bar: Option<Bar>,
    training: TrainDisplay,
}

impl Display {
    pub fn new(output: Output) -> Self {
        Self { output, bar: None, training: TrainDisplay::new(output) }
    }
}

impl Progress for Display {
    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.line(text),
            None => self.output.note(text),
        }
    }

    fn begin(&mut self, label: &str, total: usize) {
        self.bar = Some(Bar::new(label, total as u64, self.output));
    }

    fn advance(&mut self, done: usize, message: &str) {
        if let Some(bar) = &mut self.bar {
            bar.update(done as u64, message);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }

    fn training(&mut self) -> &mut dyn ofa_train::shrinking::Observer {
        &mut self.training
    }
}
