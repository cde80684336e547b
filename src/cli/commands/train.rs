//! `ofa train`: progressive shrinking from a configuration.

use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_data::announce;
use crate::cli::output::table;
use crate::cli::output::training_display::TrainDisplay;
use crate::cli::ranks::DistributedArgs;
use crate::cli::{Context, Failure};
use crate::folder_lock::FolderLock;
use crate::interruption::Saving;
use clap::Args;
use ofa_space::{Checked, Settings, atomic_file, input_file};
use ofa_train::TrainError;
use ofa_train::checkpoint::Checkpoint;
use ofa_train::data::{Dataset, SPLIT_TABLE};
use ofa_train::device::{self, Device};
use ofa_train::shrinking::rehearsal::{self, Rehearsal};
use ofa_train::shrinking::{PhaseRecord, TrainConfig, Trainer, budget};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Arguments of `ofa train`.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Training configuration (TOML).
    config: PathBuf,
    /// Data set, instead of the one in the configuration: `bundled` or a folder.
    #[arg(long)]
    data: Option<String>,
    /// Folder for the model, metrics and checkpoints.
    #[arg(short, long, alias = "output", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Print the steps, samples, estimated time and memory of the run, without training.
    #[arg(long)]
    dry_run: bool,
    /// Number of training images to assume with --dry-run, instead of loading the data.
    #[arg(long, requires = "dry_run", value_name = "N")]
    images: Option<usize>,
    /// Resume from the checkpoint in the output folder, if there is one.
    #[arg(long)]
    resume: bool,
    /// Fit the training into this time on this machine, such as 30m or 2h. Epochs and subnets per step are chosen once,
    /// after a short measurement, and written to train.toml in the output folder, where --resume reads them.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    budget: Option<Duration>,
    /// Start with a new classifier for other classes, instead of that of the model in [init].
    #[arg(long)]
    new_head: bool,
    /// Exclude images from training that are also validation or test images (identical files).
    #[arg(long)]
    drop_duplicates: bool,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    pub(super) ranks: DistributedArgs,
}

#[derive(Serialize)]
struct TrainReport {
    model: PathBuf,
    phases: Vec<PhaseRecord>,
    seconds: f64,
}

/// The configuration, with what the command line changes of it.
fn configuration(args: &TrainArgs, context: &Context) -> Result<Checked<TrainConfig>, Failure> {
    let mut config = TrainConfig::load(&args.config)?.into_inner();
    if let Some(data) = &args.data {
        config.data.clone_from(data);
    }
    if let Some(seed) = context.explicit_seed {
        config.seed = seed;
    }
    if let Some(on_corrupt) = args.corrupt.given() {
        config.on_corrupt = on_corrupt;
    }
    config.drop_duplicates |= args.drop_duplicates;
    if args.new_head {
        match &mut config.init {
            Some(init) => init.new_head = true,
            None => {
                let problem = "`--new-head` needs a model to start from: add [init] with model = \"…\"";
                return Err(Failure::Input(format!("{}: {problem}", args.config.display())));
            }
        }
    }
    Ok(config.checked().map_err(|invalid| TrainError::in_file(&args.config.display().to_string(), invalid))?)
}

/// Takes the folder for a training that begins, or goes on.
fn folder(args: &TrainArgs, out: &Path) -> Result<FolderLock, Failure> {
    std::fs::create_dir_all(out).map_err(|e| Failure::Input(format!("cannot create {}: {e}", out.display())))?;
    let lock = FolderLock::take(out)?;
    if !args.resume && !Checkpoint::files(out).is_empty() {
        return Err(Failure::Input(format!(
            "{} holds a checkpoint: add --resume to resume from it, or choose another --out",
            out.display()
        )));
    }
    Ok(lock)
}

pub fn run(args: &TrainArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let ranks = &context.ranks;
    let config = ranks.together(configuration(args, context))?;
    if args.dry_run {
        return if ranks.is_first() { rehearse(args, config, context) } else { Ok(()) };
    }
    let Some(out) = &args.out else {
        return Err(Failure::Input("--out is missing: the folder for model, metrics and checkpoints".into()));
    };
    let dataset = ranks.together(config.load_data().map_err(Failure::from))?;
    announce(&dataset, context);
    let _lock = ranks.together(ranks.is_first().then(|| folder(args, out)).transpose())?;
    let device = ranks.together(device::open(&context.common.backend).map_err(Failure::from))?;
    let config =
        args.as_on_rank_0(config, out, context, |config| args.budgeted(config, out, &dataset, &device, context))?;
    let trainer = Trainer::new(&config, &dataset, &device).and_then(|trainer| trainer.on(ranks.all()));
    let trainer = ranks.together(trainer.map_err(Failure::from))?;
    ranks.noted(trainer.check_ranks())?;
    if let Some(table) = dataset.split_table().filter(|_| ranks.is_first()) {
        let path = out.join(SPLIT_TABLE);
        atomic_file::write(&path, table.as_bytes()).map_err(|e| Failure::writing(&path, e))?;
    }
    let mut display = TrainDisplay::new(context.output);
    let saving = Saving::begin();
    let trained = ranks.noted(trainer.train(Some(out), &mut display, &context.stop)).map_err(|error| match error {
        TrainError::Interrupted => Failure::Interrupted(format!(
            "interrupted; the checkpoint is in {}: run the same command with --resume to continue",
            out.display()
        )),
        TrainError::OtherClassifier { .. } => Failure::Input(format!("{error}, or --new-head")),
        TrainError::OtherTraining { .. } => {
            Failure::Input(format!("{error}; undo the change to go on with it, or choose another --out"))
        }
        other => other.into(),
    })?;
    drop(saving);
    if !ranks.is_first() {
        return Ok(());
    }
    let path = out.join("supernet.safetensors");
    trained.model.save(&path)?;
    let report = TrainReport { model: path, phases: trained.history.phases, seconds: started.elapsed().as_secs_f64() };
    context.output.result(&report, || {
        format!("{} in {:.0} s; next: ofa eval --model {0} --arch max", report.model.display(), report.seconds)
    })
}

/// Epochs and subnets a step that a budget decided, in the output folder.
const BUDGETED: &str = "train.toml";

impl TrainArgs {
    /// The configuration with the epochs that `budgeted` gives rank 0, on every rank.
    fn as_on_rank_0(
        &self,
        config: Checked<TrainConfig>,
        out: &Path,
        context: &Context,
        budgeted: impl FnOnce(Checked<TrainConfig>) -> Result<Checked<TrainConfig>, Failure>,
    ) -> Result<Checked<TrainConfig>, Failure> {
        let ranks = &context.ranks;
        let config = ranks.together(if ranks.is_first() { budgeted(config) } else { Ok(config) })?;
        // A file of an earlier training in the folder counts only where rank 0 reads it too.
        let is_budgeted = ranks.is_first() && (self.budget.is_some() || self.resume);
        let mut begun = match is_budgeted {
            true => input_file::read(&out.join(BUDGETED), input_file::LARGEST_TEXT).unwrap_or_default(),
            false => Vec::new(),
        };
        ranks.all().broadcast(&mut begun).map_err(TrainError::from)?;
        if ranks.is_first() || begun.is_empty() {
            return Ok(config);
        }
        let origin = "the budget of rank 0";
        let begun = TrainConfig::parse(&String::from_utf8_lossy(&begun), origin)?;
        Ok(budget::as_begun(config, &begun, origin)?)
    }

    /// The configuration with the epochs that a training in this folder began with, or else with those that fit the budget.
    fn budgeted(
        &self,
        config: Checked<TrainConfig>,
        out: &Path,
        dataset: &Dataset,
        device: &Device,
        context: &Context,
    ) -> Result<Checked<TrainConfig>, Failure> {
        let path = out.join(BUDGETED);
        if self.resume && path.exists() {
            let begun = TrainConfig::load(&path)?;
            return Ok(budget::as_begun(config, &begun, &path.display().to_string())?);
        }
        let Some(time) = self.budget else { return Ok(config) };
        if !Checkpoint::files(out).is_empty() {
            return Err(Failure::Input(format!(
                "{} holds a training that began without --budget: leave it out to go on, or choose another --out",
                out.display()
            )));
        }
        let space = Trainer::new(&config, dataset, device)?.space().clone();
        let plan = rehearsal::rehearse(&config, &space, dataset.train.len(), device)?;
        let config = plan.within(time.as_secs_f64(), config)?;
        let text = toml::to_string(&*config)
            .map_err(|e| Failure::Running(format!("the configuration cannot be written as TOML: {e}")))?;
        atomic_file::write(&path, text.as_bytes()).map_err(|e| Failure::writing(&path, e))?;
        let phases = config.phases.iter().map(|phase| format!("{} {}", phase.name, phase.epochs));
        context.output.note(&format!(
            "{} instead of {}, in epochs: {}; written to {}",
            duration(time.as_secs_f64()),
            duration(plan.seconds / budget::STEPS_SHARE),
            phases.collect::<Vec<_>>().join(", "),
            path.display()
        ));
        Ok(config)
    }
}

/// Prints what a run would do.
fn rehearse(args: &TrainArgs, mut config: Checked<TrainConfig>, context: &Context) -> Result<(), Failure> {
    let device = device::open(&context.common.backend)?;
    let (space, images) = match args.images {
        Some(0) => return Err(Failure::Input("--images is 0, expected at least 1".into())),
        Some(images) => (config.space()?, images),
        None => {
            let dataset = config.load_data().map_err(|error| match Failure::from(error) {
                Failure::Input(problem) => {
                    let hint = "`--images N` assumes N training images instead (ImageNet: 1281167)";
                    Failure::Input(format!("{problem}; {hint}"))
                }
                other => other,
            })?;
            announce(&dataset, context);
            (Trainer::new(&config, &dataset, &device)?.space().clone(), dataset.train.len())
        }
    };
    let mut plan = rehearsal::rehearse(&config, &space, images, &device)?;
    if let Some(time) = args.budget {
        config = plan.within(time.as_secs_f64(), config)?;
        plan = rehearsal::rehearse(&config, &space, images, &device)?;
    }
    context.output.result(&plan, || in_lines(&plan, &config))
}

fn in_lines(plan: &Rehearsal, config: &TrainConfig) -> String {
    let mut rows = Vec::new();
    for phase in &plan.phases {
        rows.push(vec![
            phase.name.clone(),
            format!("{:.1}", phase.epochs),
            phase.steps.to_string(),
            phase.samples.to_string(),
            phase.subnets_per_step.to_string(),
            phase.learning_rate.to_string(),
            if phase.teacher { "yes" } else { "no" }.to_owned(),
            duration(phase.seconds),
        ]);
    }
    let header = ["phase", "epochs", "steps", "samples", "subnets a step", "learning rate", "teacher", "estimate"];
    let Rehearsal { probe, memory, .. } = plan;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{}\n{} optimizer steps on {} images in batches of {}, {} samples, about {} of training (without validation and \
         reading images)\nmeasured with {} images of {} px: {:.2} ms per image for the largest subnet ({:.1} M MACs), \
         {:.2} ms for the smallest ({:.1} M), {:.2} ms for the teacher\nmemory, estimated: {:.0} MiB of weights, \
         gradients, momentum and copies, {:.0} MiB of activations, {:.0} MiB of batches prepared ahead",
        table(&header, &rows),
        plan.steps,
        plan.training_images,
        config.batch_size,
        plan.samples,
        duration(plan.seconds),
        probe.batch,
        probe.resolution,
        probe.largest_ms,
        probe.largest_macs as f64 / 1e6,
        probe.smallest_ms,
        probe.smallest_macs as f64 / 1e6,
        probe.teacher_ms,
        mib(memory.parameters),
        mib(memory.activations),
        mib(memory.prefetched),
    )
}

/// Seconds in the unit that suits.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}
