//! The training step: another training in the folder is never replaced, and an interrupted one goes on from its checkpoint.

use crate::failure::Failure;
use crate::interruption::Saving;
use crate::pipeline::folder::keys::Key;
use crate::pipeline::folder::layout::TRAIN;
use crate::pipeline::folder::{Known, RunFolder};
use crate::pipeline::steps::Step;
use crate::pipeline::{Existing, Progress};
use crate::report::StepSeconds;
use ofa_space::dependencies::{self, Difference};
use ofa_train::TrainError;
use ofa_train::shrinking::{
    Found, History, Observer, PhasePlan, PhaseRecord, Trainer, ValidationRecord, appends_phases,
};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The supernet as it was when its largest subnet became the frozen teacher, in a run's folder.
pub const TEACHER: &str = "train/teacher.safetensors";
/// The supernet.
pub const SUPERNET: &str = "train/supernet.safetensors";

/// Files of a finished training that later steps read.
pub fn outputs(folder: &RunFolder, _: &History) -> Vec<String> {
    let teacher = folder.path(TEACHER).is_file().then_some(TEACHER);
    [SUPERNET].into_iter().chain(teacher).map(str::to_owned).collect()
}

/// Makes sure that training in the folder neither replaces nor repeats another one: what is there is done already, or can be
/// gone on from. Asked to train anew, moves it aside.
///
/// # Errors
/// [`Failure::Input`] with what differs and what to do.
pub fn settle(
    trainer: &Trainer<'_>,
    key: &Key,
    folder: &mut RunFolder,
    existing: Existing,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let path = folder.path(TRAIN);
    if existing == Existing::Retrain {
        if path.exists() {
            let aside = folder.set_aside(TRAIN)?;
            progress.note(&format!("the training that was there is in {}", folder.path(&aside).display()));
        }
        return folder.forget(Step::Train);
    }
    let run = folder.root().display().to_string();
    let refused = |problem: String| {
        let remedy =
            format!("`ofa run {run} --retrain` moves what is there aside and trains anew; or choose another --out");
        Err(Failure::Input(format!("{problem}. {remedy}")))
    };
    let shown = path.display();
    let another = |differences: &[Difference]| {
        let differing = dependencies::in_words(differences);
        refused(format!("{shown} holds another training: {differing}. Undo the change to go on with it"))
    };
    let has_a_supernet = folder.path(SUPERNET).exists();
    let found = trainer.look(&path);
    match (folder.known(Step::Train, key, &outputs), found) {
        (Known::Done(_), _) => Ok(()),
        (Known::Changed(differences), Ok(Found::This)) if !appends_phases(&differences) => another(&differences),
        // What is damaged is made again from the checkpoint, and phases after the last are added to it.
        (_, Ok(Found::This)) => Ok(()),
        (Known::Changed(differences), Ok(Found::Nothing)) if has_a_supernet => match differences.as_slice() {
            [] => refused(format!("{shown} holds a training by an earlier version with other settings or data")),
            known => refused(format!(
                "{shown} holds another training, without a checkpoint to go on from: {}",
                dependencies::in_words(known)
            )),
        },
        (Known::Changed(differences), Ok(Found::Other(_))) if !differences.is_empty() => another(&differences),
        (_, Ok(Found::Other(error))) => refused(format!("{error}. Undo the change to go on with it")),
        (Known::Damaged(file), Ok(Found::Nothing)) => refused(format!(
            "{} is gone or not as it was written, and no checkpoint is left to make it from: put it back",
            folder.path(&file).display()
        )),
        (Known::Nothing, Ok(Found::Nothing)) if has_a_supernet => refused(format!(
            "{shown} holds a supernet, but neither the record of its training nor a checkpoint: put them back"
        )),
        (Known::Nothing | Known::Changed(_), Ok(Found::Nothing)) => Ok(()),
        (_, Err(error)) => refused(error.to_string()),
    }
}

/// Trains, or goes on from a checkpoint of the same configuration, and writes the supernet and its metrics.
pub fn run(
    trainer: &Trainer<'_>,
    folder: &mut RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<History, Failure> {
    let path = folder.path(TRAIN);
    std::fs::create_dir_all(&path).map_err(|e| Failure::writing(&path, e))?;
    let mut timed = TimedPhases { inner: progress.training(), started: Instant::now(), phases: Some(Vec::new()) };
    let saving = Saving::begin();
    let trained = trainer.train(Some(&path), &mut timed, stop);
    drop(saving);
    folder.timings.phases = timed.phases.unwrap_or_default();
    let trained = trained.map_err(|error| match error {
        TrainError::Interrupted => folder.interrupted(", the checkpoint is saved"),
        other => other.into(),
    })?;
    if let Some(teacher) = &trained.teacher {
        teacher.save(&folder.path(TEACHER))?;
    }
    trained.model.save(&folder.path(SUPERNET))?;
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
