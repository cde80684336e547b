//! `ofa finetune`: a standalone network trains on from the weights that it inherited, as the paper's nets after search.

use crate::cli::args::arch_choice;
use crate::cli::args::corrupt_choice::CorruptChoice;
use crate::cli::args::model_data::load_for;
use crate::cli::output::progress::Progress;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_space::{Model, NetSpec};
use ofa_train::data::{Augmentation, Dataset, SplitName, batches};
use ofa_train::device;
use ofa_train::evaluation::{EvaluationSet, evaluate};
use ofa_train::loss::SoftCrossEntropy;
use ofa_train::shrinking::EVALUATION_BATCH;
use ofa_train::supernet::Supernet;
use ofa_train::training::learning_rate::CosineSchedule;
use ofa_train::training::optimizer::Optimizer;
use ofa_train::training::step::{StepInput, Teacher, step};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Arguments of `ofa finetune`.
#[derive(Args, Debug)]
pub struct FinetuneArgs {
    /// Model file: a standalone net of `ofa extract` or `ofa import net`, or a supernet with --arch.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// `bundled` or a folder.
    #[arg(long)]
    data: String,
    /// Output model file.
    #[arg(short, long)]
    output: PathBuf,
    /// Passes over the training images; may be a fraction.
    #[arg(long, default_value_t = 5.0)]
    epochs: f64,
    /// Highest learning rate; it falls to 0 along a cosine.
    #[arg(long, default_value_t = 0.0075)]
    learning_rate: f64,
    /// Share of the steps in which the learning rate rises.
    #[arg(long, default_value_t = 0.05)]
    warmup: f64,
    /// Images a step.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Label smoothing.
    #[arg(long, default_value_t = 0.1)]
    label_smoothing: f64,
    /// Keep the better of before and after, by accuracy on validation images.
    #[arg(long)]
    keep_better: bool,
    /// What to do with an image that cannot be decoded.
    #[arg(long, value_enum, default_value = "error")]
    on_corrupt: CorruptChoice,
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

/// Of the official fine-tuning runs (`weight_decay`, `momentum`, `bn_momentum` of the authors' run configuration).
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 3e-5;
const BN_MOMENTUM: f32 = 0.1;

impl FinetuneArgs {
    fn check(&self) -> Result<(), Failure> {
        let bad = |option: &str, value: f64, expected: &str| {
            Err(Failure::Input(format!("--{option} is {value}, expected {expected}")))
        };
        if !(self.epochs > 0.0 && self.epochs <= 1e4) {
            return bad("epochs", self.epochs, "more than 0, up to 10000");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 10.0) {
            return bad("learning-rate", self.learning_rate, "more than 0, up to 10");
        }
        if !(0.0..1.0).contains(&self.warmup) {
            return bad("warmup", self.warmup, "0 to below 1");
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return bad("label-smoothing", self.label_smoothing, "0 to below 1");
        }
        if self.batch_size == 0 {
            return bad("batch-size", 0.0, "at least 1");
        }
        Ok(())
    }

    fn schedule(&self, images: usize) -> CosineSchedule {
        let batches = (images / self.batch_size.min(images.max(1))).max(1);
        let total = ((self.epochs * batches as f64).round() as usize).max(1);
        let warmup_steps = ((total as f64 * self.warmup).round() as usize).min(total - 1);
        CosineSchedule { initial: self.learning_rate, warmup_start: 0.0, warmup_steps, steps: total - warmup_steps }
    }
}

pub fn run(args: &FinetuneArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    args.check()?;
    let seed = context.common.seed;
    let mut model = Model::load(&args.model)?;
    if let Some(arch) = arch_choice::for_model(&model, args.arch.as_deref(), &args.model, seed)? {
        model = model.extract(&arch)?;
    }
    let net = model.net(None)?;
    let dataset = load_for(&model, &args.data, net.input[1] as u32, args.on_corrupt.into())?;
    context.output.note(&format!("{}: {}", dataset.name, dataset.split_note));
    let device = device::open(&context.common.backend)?;
    let mut supernet = Supernet::from_model(&model, &device.clone().autodiff())?;
    let indices = (0..dataset.validation.len()).collect();
    let mut validation = EvaluationSet::new(&dataset, SplitName::Validation, indices, EVALUATION_BATCH);
    let score = |supernet: &Supernet, validation: &mut EvaluationSet<'_>| {
        evaluate(supernet, &net, &supernet.running, validation).map(|accuracy| accuracy.top1)
    };
    let top1_before = score(&supernet, &mut validation)?;
    let schedule = args.schedule(dataset.train.len());
    train(args, &net, &dataset, &schedule, &mut supernet, context)?;
    let top1_after = score(&supernet, &mut validation)?;
    let kept = !args.keep_better || top1_after >= top1_before;
    if kept {
        model.weights = supernet.weights()?;
        let steps = schedule.total_steps();
        let how = format!(
            "{steps} steps of {} images of {}, learning rate {}, seed {seed}",
            args.batch_size, dataset.name, args.learning_rate
        );
        model.provenance.insert("fine_tuning".to_owned(), how);
    }
    model.save(&args.output)?;
    let report = FinetuneReport {
        output: args.output.clone(),
        steps: schedule.total_steps(),
        top1_before,
        top1_after,
        images: dataset.validation.len(),
        seconds: started.elapsed().as_secs_f64(),
        kept,
    };
    context.output.result(&report, || {
        let kept = if report.kept { "" } else { "; the weights before were better and are kept" };
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

fn train(
    args: &FinetuneArgs,
    net: &NetSpec,
    dataset: &Dataset,
    schedule: &CosineSchedule,
    supernet: &mut Supernet,
    context: &Context,
) -> Result<(), Failure> {
    let (seed, images) = (context.common.seed, dataset.train.len());
    let batch_size = args.batch_size.min(images.max(1));
    let batches = (images / batch_size).max(1);
    let augmentation = Augmentation::default();
    let mut optimizer = Optimizer::new(MOMENTUM, WEIGHT_DECAY);
    let mut progress = Progress::new("finetune", schedule.total_steps() as u64, context.output);
    let mut order = Vec::new();
    for done in 0..schedule.total_steps() {
        if context.stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted("interrupted; nothing was written".into()));
        }
        let epoch = (done / batches) as u64;
        let start = done % batches * batch_size;
        if start == 0 {
            order = batches::epoch_order(images, seed, epoch);
        }
        let indices = &order[start..start + batch_size];
        let resolution = net.input[1] as u32;
        let (images, labels) = dataset.train_batch(indices, resolution, &augmentation, seed, epoch)?;
        let input = StepInput {
            images: &images,
            labels: &labels,
            subnets: std::slice::from_ref(net),
            teacher: Teacher::None,
            loss: &SoftCrossEntropy {},
            distillation: 0.0,
            label_smoothing: args.label_smoothing,
            bn_momentum: BN_MOMENTUM,
        };
        let report = step(supernet, &mut optimizer, schedule.rate(done), &input)?;
        let loss = report.losses.first().copied().unwrap_or(f32::NAN);
        if !loss.is_finite() {
            return Err(Failure::Running(format!(
                "the loss became {loss} in step {done}: lower --learning-rate (it was {})",
                args.learning_rate
            )));
        }
        progress.update(done as u64 + 1, &format!("loss {loss:.3}"));
    }
    progress.finish();
    Ok(())
}
