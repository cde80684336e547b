//! `ofa train`: progressive shrinking from a configuration.

use super::progress::Progress;
use super::{Context, Failure, Output};
use crate::folder_lock::FolderLock;
use clap::Args;
use ofa_train::config::{PhasePlan, TrainConfig};
use ofa_train::data::{self, LoadOptions, OnCorrupt};
use ofa_train::device;
use ofa_train::progressive_shrinking::{Observer, PhaseRecord, Trainer};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `ofa train`.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Training configuration (TOML).
    config: PathBuf,
    /// Data set, instead of the configuration's: `bundled` or a folder.
    #[arg(long)]
    data: Option<String>,
    /// Folder for the model, metrics and checkpoints.
    #[arg(long)]
    out: PathBuf,
    /// Go on from the checkpoint in the output folder, if there is one.
    #[arg(long)]
    resume: bool,
    /// What to do with an image that cannot be decoded.
    #[arg(long, value_enum, default_value = "error")]
    on_corrupt: CorruptChoice,
}

/// What to do with an image that cannot be decoded.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum CorruptChoice {
    /// Stop and name it.
    Error,
    /// Leave it out and count it.
    Skip,
}

impl From<CorruptChoice> for OnCorrupt {
    fn from(choice: CorruptChoice) -> Self {
        match choice {
            CorruptChoice::Error => OnCorrupt::Error,
            CorruptChoice::Skip => OnCorrupt::Skip,
        }
    }
}

#[derive(Serialize)]
struct TrainReport {
    model: PathBuf,
    phases: Vec<PhaseRecord>,
    seconds: f64,
}

pub(super) fn run(args: &TrainArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let mut config = TrainConfig::load(&args.config)?;
    if let Some(data) = &args.data {
        config.data.clone_from(data);
    }
    if let Some(seed) = context.explicit_seed {
        config.seed = seed;
    }
    let space = config.space()?;
    let options = LoadOptions {
        seed: config.seed,
        max_resolution: space.info().resolutions.last().copied().unwrap_or(224),
        validation: config.validation_images,
        on_corrupt: args.on_corrupt.into(),
    };
    let dataset = data::load(&config.data, &options)?;
    context.output.note(&format!("{}: {}", dataset.name, dataset.split_note));
    std::fs::create_dir_all(&args.out)
        .map_err(|e| Failure::Input(format!("cannot create {}: {e}", args.out.display())))?;
    let _lock = FolderLock::take(&args.out)?;
    if !args.resume && ofa_train::checkpoint::Checkpoint::path(&args.out).exists() {
        return Err(Failure::Input(format!(
            "{} holds a checkpoint: add --resume to go on from it, or choose another --out",
            args.out.display()
        )));
    }
    let device = device::open(&context.common.backend)?;
    let trainer = Trainer::new(&config, &dataset, &device)?;
    let mut display = TrainDisplay::new(context.output);
    let trained = trainer.train(Some(&args.out), &mut display, &context.stop).map_err(|error| match error {
        ofa_train::TrainError::Interrupted => Failure::Interrupted(format!(
            "interrupted; the checkpoint is in {}: run the same command with --resume to go on",
            args.out.display()
        )),
        other => other.into(),
    })?;
    let path = args.out.join("supernet.safetensors");
    trained.model.save(&path)?;
    let report = TrainReport { model: path, phases: trained.history.phases, seconds: started.elapsed().as_secs_f64() };
    context.output.result(&report, || {
        format!("{} in {:.0} s; next: ofa eval --model {0} --arch max", report.model.display(), report.seconds)
    })
}

/// Draws training as one bar per phase.
pub struct TrainDisplay {
    output: Output,
    phases: Vec<PhasePlan>,
    current: Option<(usize, Progress)>,
    smoothed_loss: f32,
}

impl TrainDisplay {
    /// A display that has seen nothing yet.
    pub fn new(output: Output) -> Self {
        Self { output, phases: Vec::new(), current: None, smoothed_loss: 0.0 }
    }
}

impl Observer for TrainDisplay {
    fn on_start(&mut self, phases: &[PhasePlan], (phase, step): (usize, usize)) {
        self.phases = phases.to_vec();
        if (phase, step) != (0, 0) {
            let name = phases.get(phase).map_or("the end", |p| &p.name);
            self.output.note(&format!("going on from the checkpoint: phase {name}, step {step}"));
        }
    }

    fn on_step(&mut self, phase: usize, step: usize, loss: f32) {
        if self.current.as_ref().is_none_or(|(current, _)| *current != phase) {
            let plan = &self.phases[phase];
            let label = format!("train {}", plan.name);
            self.current = Some((phase, Progress::new(&label, plan.total_steps() as u64, self.output)));
            self.smoothed_loss = loss;
        }
        self.smoothed_loss += 0.05 * (loss - self.smoothed_loss);
        if let Some((_, progress)) = &mut self.current {
            progress.update(step as u64, &format!("loss {:.3}", self.smoothed_loss));
        }
    }

    fn on_phase(&mut self, record: &PhaseRecord) {
        if let Some((_, progress)) = self.current.take() {
            progress.finish();
        }
        let subnets: Vec<String> =
            record.subnets.iter().map(|s| format!("{} {:.2} %", s.label, 100.0 * s.top1)).collect();
        self.output.note(&format!(
            "phase {:<12} {:>5} steps   validation {}",
            record.name,
            record.steps,
            subnets.join("   ")
        ));
    }

    fn on_message(&mut self, message: &str) {
        self.output.note(message);
    }
}
