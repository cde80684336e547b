//! The training step of the pipeline.

use super::Progress;
use super::record::RunFolder;
use crate::failure::Failure;
use crate::report::StepSeconds;
use ofa_train::TrainError;
use ofa_train::checkpoint::Checkpoint;
use ofa_train::shrinking::{History, Observer, PhasePlan, PhaseRecord, Trainer, ValidationRecord};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The supernet as it was when its largest subnet became the frozen teacher, in a run's folder.
pub const TEACHER: &str = "train/teacher.safetensors";

/// Trains, or goes on from a checkpoint of the same configuration, and writes the supernet and its metrics.
pub fn run(
    trainer: &Trainer<'_>,
    key: &str,
    folder: &mut RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<History, Failure> {
    let path = folder.path("train");
    std::fs::create_dir_all(&path).map_err(|e| Failure::writing(&path, e))?;
    folder.claim("train/key", key, &Checkpoint::files(&path))?;
    let mut timed = TimedPhases { inner: progress.training(), started: Instant::now(), phases: Some(Vec::new()) };
    let trained = trainer.train(Some(&path), &mut timed, stop);
    folder.timings.phases = timed.phases.unwrap_or_default();
    let trained = trained.map_err(|error| match error {
        TrainError::Interrupted => {
            Failure::Interrupted("interrupted, the checkpoint is saved: run the same command with --resume".into())
        }
        other => other.into(),
    })?;
    if let Some(teacher) = &trained.teacher {
        teacher.save(&folder.path(TEACHER))?;
    }
    trained.model.save(&path.join("supernet.safetensors"))?;
    Ok(trained.history)
}

/// Passes everything on, and times the phases of a training that is done in one go.
struct TimedPhases<'a> {
    inner: &'a mut dyn Observer,
    started: Instant,
    /// `None` if training went on from a checkpoint.
    phases: Option<Vec<StepSeconds>>,
}

impl Observer for TimedPhases<'_> {
    fn on_start(&mut self, phases: &[PhasePlan], from: (usize, usize)) {
        if from != (0, 0) {
            self.phases = None;
        }
        self.started = Instant::now();
        self.inner.on_start(phases, from);
    }

    fn on_step(&mut self, phase: usize, step: usize, loss: f32) {
        self.inner.on_step(phase, step, loss);
    }

    fn on_validation(&mut self, record: &ValidationRecord) {
        self.inner.on_validation(record);
    }

    fn on_phase(&mut self, record: &PhaseRecord) {
        if let Some(phases) = &mut self.phases {
            phases.push(StepSeconds { name: record.name.clone(), seconds: self.started.elapsed().as_secs_f64() });
        }
        self.started = Instant::now();
        self.inner.on_phase(record);
    }

    fn on_message(&mut self, message: &str) {
        self.inner.on_message(message);
    }
}
