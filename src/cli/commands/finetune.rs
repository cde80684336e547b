//! `ofa finetune`: further training of a standalone network from the weights that it inherited from its supernet.

use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::model_data::{self, Reading, announce};
use crate::cli::args::precision_choice::PrecisionArgs;
use crate::cli::output::progress::Progress;
use crate::cli::{Context, Failure, Output};
use crate::folder_lock::FolderLock;
use crate::interruption::Saving;
use clap::Args;
use ofa_space::{Checked, Settings};
use ofa_train::TrainError;
use ofa_train::checkpoint::Checkpoint;
use ofa_train::data::{SplitName, TrainedOn};
use ofa_train::device;
use ofa_train::fine_tuning::{FineTuned, FineTuner, FineTuning, FineTuningObserver, Preparation};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `ofa finetune`.
#[derive(Args, Debug)]
pub struct FinetuneArgs {
    /// Model file: a standalone network of `ofa extract` or `ofa import net`, or a supernet with --arch.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// `bundled` or a folder.
    #[arg(long)]
    data: String,
    /// Output model file.
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
    /// Start with a new last linear layer, for the classes of the data.
    #[arg(long, conflicts_with_all = ["class_map", "classes_by_position"])]
    new_head: bool,
    /// Image size to train at, instead of the network's own.
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<u32>,
    /// Network whose logits are also learnt: a model file with the same classes and normalisation, of any size.
    #[arg(long, value_name = "MODEL")]
    teacher: Option<PathBuf>,
    /// Weight of the teacher's term.
    #[arg(long, default_value_t = FineTuning::default().distillation, requires = "teacher")]
    distillation: f64,
    /// Passes over the training images; can be a fraction.
    #[arg(long, default_value_t = 5.0)]
    epochs: f64,
    /// Highest learning rate, followed by cosine decay to 0 [default: 0.0075, with --new-head 0.03].
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Passes before the others in which only the last layer is trained [default: 0, with --new-head 1].
    #[arg(long)]
    head_epochs: Option<f64>,
    /// Highest learning rate of those passes.
    #[arg(long, default_value_t = FineTuning::default().head_learning_rate)]
    head_learning_rate: f64,
    /// Learning rate of the last layer in the other passes, as a multiple of --learning-rate [default: 1, with
    /// --new-head 0.1].
    #[arg(long)]
    head_rate: Option<f64>,
    /// Maximum norm of the gradients of a step; larger gradients are scaled down.
    #[arg(long)]
    gradient_clip: Option<f64>,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Share of the steps during which the learning rate rises.
    #[arg(long, default_value_t = 0.05)]
    warmup: f64,
    /// Images per step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Show every class equally often, regardless of its number of images.
    #[arg(long)]
    balanced: bool,
    /// Label smoothing.
    #[arg(long, default_value_t = 0.1)]
    label_smoothing: f64,
    /// Write the weights after training even if they are worse on the validation images than those before it. By
    /// default the better ones are written.
    #[arg(long, conflicts_with = "keep_better")]
    keep_last: bool,
    /// Deliver the better weights by accuracy on validation images, as is usual.
    #[arg(long, hide = true)]
    keep_better: bool,
    /// Resume an interrupted fine-tuning from its checkpoint in the folder OUTPUT.checkpoint.
    #[arg(long)]
    resume: bool,
    /// Exclude images from training that are also validation or test images (identical files).
    #[arg(long)]
    drop_duplicates: bool,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

#[derive(Serialize)]
struct FinetuneReport {
    output: PathBuf,
    steps: usize,
    top1_before: f64,
    top1_after: f64,
    images: usize,
    seconds: f64,
    /// Whether the output holds the weights after training.
    kept: bool,
}

/// What a new last layer needs otherwise than a trained one.
struct Rates {
    learning_rate: f64,
    head_epochs: f64,
    head_rate: f64,
}

/// Features of pretrained networks are large: at the rate of the rest, a new layer on them diverges.
const NEW_HEAD: Rates = Rates { learning_rate: 0.03, head_epochs: 1.0, head_rate: 0.1 };

impl Rates {
    fn of(settings: &FineTuning) -> Self {
        let FineTuning { learning_rate, head_epochs, head_rate, .. } = *settings;
        Self { learning_rate, head_epochs, head_rate }
    }
}

impl FinetuneArgs {
    fn settings(&self, seed: u64) -> Result<Checked<FineTuning>, Failure> {
        let usual = match self.new_head {
            true => NEW_HEAD,
            false => Rates::of(&FineTuning::default()),
        };
        let settings = FineTuning {
            epochs: self.epochs,
            learning_rate: self.learning_rate.unwrap_or(usual.learning_rate),
            head_epochs: self.head_epochs.unwrap_or(usual.head_epochs),
            head_learning_rate: self.head_learning_rate,
            head_rate: self.head_rate.unwrap_or(usual.head_rate),
            distillation: self.distillation,
            gradient_clip: self.gradient_clip,
            precision: self.precision.choice(),
            warmup: self.warmup,
            batch_size: self.batch_size,
            balanced: self.balanced,
            label_smoothing: self.label_smoothing,
            seed,
            ..FineTuning::default()
        };
        // The options are called like the settings.
        settings
            .checked()
            .map_err(|invalid| Failure::Input(format!("--{} {}", invalid.field.replace('_', "-"), invalid.problem)))
    }

    /// Where checkpoints are kept until the output is written.
    fn checkpoints(&self) -> PathBuf {
        let mut folder = self.output.as_os_str().to_owned();
        folder.push(".checkpoint");
        folder.into()
    }
}

pub fn run(args: &FinetuneArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let seed = context.common.seed;
    let settings = args.settings(seed)?;
    let folder = args.checkpoints();
    if !args.resume && !Checkpoint::files(&folder).is_empty() {
        return Err(Failure::Input(format!(
            "{} holds the checkpoint of an interrupted run: add --resume to finish it, or remove the folder",
            folder.display()
        )));
    }
    let Network { mut model, arch, .. } = model_choice::network(&args.model, args.arch.as_deref(), seed)?;
    if let Some(arch) = arch {
        model = model.extract(&arch)?;
    }
    let teacher = args.teacher.as_deref().map(model_choice::model).transpose()?;
    let size = args.image_size.unwrap_or(model.net(None)?.input[1] as u32);
    let mut trained = TrainedOn::of(&model)?;
    if args.drop_duplicates {
        trained.split.get_or_insert_default().drop_duplicates = true;
    }
    let dataset = match args.new_head {
        true => {
            let dataset = trained.load_of_any_classes(&args.data, size, args.corrupt.choice())?;
            announce(&dataset, context);
            dataset
        }
        false => {
            let reading = Reading { max_resolution: size, on_corrupt: args.corrupt.choice(), classes: &args.classes };
            model_data::load(&trained, &args.data, &reading, context)?
        }
    };
    dataset.require(SplitName::Validation)?;
    let device = device::open(&context.common.backend)?;
    let preparation = Preparation { new_head: args.new_head.then_some(seed), image_size: args.image_size };
    model = preparation.apply(&model, &dataset, &device).map_err(|error| match (error, args.image_size) {
        (TrainError::Setting(invalid), Some(size)) => Failure::Input(format!("--image-size {size}: {invalid}")),
        (other, _) => other.into(),
    })?;
    let mut tuner = FineTuner::new(&settings, &model, &dataset, &device)?;
    if let (Some(path), Some(teacher)) = (&args.teacher, &teacher) {
        let named = |error: TrainError| match Failure::from(error) {
            Failure::Input(message) => Failure::Input(format!("--teacher {}: {message}", path.display())),
            other => other,
        };
        tuner = tuner.with_teacher(teacher).map_err(named)?;
    }
    std::fs::create_dir_all(&folder).map_err(|e| Failure::writing(&folder, e))?;
    let _lock = FolderLock::take(&folder)?;
    let mut display = Display { output: context.output, progress: None };
    let saving = Saving::begin();
    let tuned = tuner.train(Some(&folder), &mut display, &context.stop).map_err(|error| match error {
        TrainError::Interrupted => Failure::Interrupted(format!(
            "interrupted; the checkpoint is in {}: run the same command with --resume to finish",
            folder.display()
        )),
        TrainError::Diverged { .. } | TrainError::Overflown { .. } => {
            // Resuming would lead to the same end.
            remove_checkpoints(&folder);
            Failure::Running(format!("{error}: see --learning-rate"))
        }
        other => other.into(),
    });
    drop(saving);
    if let Some(progress) = display.progress {
        progress.finish();
    }
    let tuned = tuned?;
    let kept = args.keep_last || tuned.is_no_worse();
    let FineTuned { model: after, steps, before: accuracy_before, after: accuracy_after } = tuned;
    if kept {
        model = after;
        model.mark_calibrated();
    }
    model.save(&args.output)?;
    remove_checkpoints(&folder);
    let report = FinetuneReport {
        output: args.output.clone(),
        steps,
        top1_before: accuracy_before.top1,
        top1_after: accuracy_after.top1,
        images: accuracy_after.images,
        seconds: started.elapsed().as_secs_f64(),
        kept,
    };
    context.output.result(&report, || {
        let kept = match (report.kept, report.top1_after < report.top1_before) {
            (true, false) => "",
            (true, true) => "; kept although the weights before were better",
            (false, _) => "; the weights before were better and are kept (--keep-last delivers those after)",
        };
        format!(
            "{}: {} steps, validation top-1 {:.2} % before, {:.2} % after, on {} images, {:.0} s{kept}",
            report.output.display(),
            report.steps,
            100.0 * report.top1_before,
            100.0 * report.top1_after,
            report.images,
            report.seconds
        )
    })
}

/// Removes the checkpoints once the output is written. What cannot be removed costs space only.
fn remove_checkpoints(folder: &Path) {
    for file in Checkpoint::files(folder) {
        let _ = std::fs::remove_file(file);
    }
    FolderLock::remove(folder);
    let _ = std::fs::remove_dir(folder);
}

/// Fine-tuning as a bar.
struct Display {
    output: Output,
    progress: Option<Progress>,
}

impl FineTuningObserver for Display {
    fn on_start(&mut self, steps: usize, done: usize) {
        if done > 0 {
            self.output.note(&format!("resuming from the checkpoint: step {done} of {steps}"));
        }
        self.progress = Some(Progress::new("finetune", steps as u64, self.output));
    }

    fn on_step(&mut self, done: usize, loss: f32) {
        if let Some(progress) = &mut self.progress {
            progress.update(done as u64, &format!("loss {loss:.3}"));
        }
    }

    fn on_message(&mut self, message: &str) {
        self.output.note(message);
    }
}
