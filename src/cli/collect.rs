//! `ofa collect`: accuracy pairs of random subnets, resumable.

use super::evaluate::{load_for, seed_and_validation};
use super::progress::Progress;
use super::train::CorruptChoice;
use super::{Context, Failure};
use crate::pairs_file::PairsFile;
use clap::Args;
use ofa_predictors::pairs;
use ofa_space::{Model, SearchSpace};
use ofa_train::collection::{collect, distinct_archs};
use ofa_train::data::{LoadOptions, SplitName, stratified};
use ofa_train::device;
use ofa_train::evaluation::EvaluationSet;
use ofa_train::progressive_shrinking::EVALUATION_BATCH;
use ofa_train::supernet::Supernet;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Arguments of `ofa collect`.
#[derive(Args, Debug)]
pub struct CollectArgs {
    /// Supernet model file.
    #[arg(long)]
    model: PathBuf,
    /// `bundled` or a folder.
    #[arg(long)]
    data: String,
    /// How many subnets to measure.
    #[arg(long)]
    count: usize,
    /// Pairs file (JSON Lines).
    #[arg(short, long)]
    output: PathBuf,
    /// Go on with a run that was cut off.
    #[arg(long)]
    resume: bool,
    /// Training images for BN recalibration of each subnet.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Validation images to score on; all, if left out.
    #[arg(long)]
    validation_images: Option<usize>,
    /// What to do with an image that cannot be decoded.
    #[arg(long, value_enum, default_value = "error")]
    on_corrupt: CorruptChoice,
}

pub(super) fn run(args: &CollectArgs, context: &Context) -> Result<(), Failure> {
    let model = Model::load(&args.model)?;
    let space =
        model.space().cloned().ok_or_else(|| Failure::Input(format!("{} is no supernet", args.model.display())))?;
    let seed = context.common.seed;
    let (split_seed, validation) = seed_and_validation(&model);
    let options = LoadOptions {
        seed: split_seed,
        max_resolution: space.info().resolutions.last().copied().unwrap_or(224),
        validation,
        on_corrupt: args.on_corrupt.into(),
    };
    let dataset = load_for(&model, &args.data, &options)?;
    let part = PairsFile::part(&args.output);
    if !args.resume && (part.exists() || args.output.exists()) {
        let existing = if part.exists() { &part } else { &args.output };
        return Err(Failure::Input(format!("{} exists: add --resume, or choose another file", existing.display())));
    }
    if args.resume && args.output.exists() && !part.exists() {
        // A finished file: what is asked for may be in it already, or it grows.
        if pairs::read(&args.output, space.as_ref())?.len() >= args.count {
            context.output.note(&format!("{}: nothing left to do", args.output.display()));
            return print(args, space.as_ref(), context);
        }
        std::fs::copy(&args.output, &part).map_err(|e| Failure::writing(&part, e))?;
    }
    let archs = distinct_archs(space.as_ref(), args.count, seed, &HashSet::new());
    let mut file = PairsFile::open(&args.output, space.as_ref())?;
    let done = file.done().min(archs.len());
    let device = device::open(&context.common.backend)?;
    let supernet = Supernet::from_model(&model, &device)?;
    let calibration = stratified::sample(&dataset.train, args.calibration_images, seed);
    let mut calibration = EvaluationSet::new(&dataset, SplitName::Train, calibration, EVALUATION_BATCH);
    let indices = match args.validation_images {
        Some(count) => stratified::sample(&dataset.validation, count, seed),
        None => (0..dataset.validation.len()).collect(),
    };
    let mut validation = EvaluationSet::new(&dataset, SplitName::Validation, indices, EVALUATION_BATCH);
    let mut progress = Progress::new("collect", archs.len() as u64, context.output);
    let mut written = Ok(());
    let mut count = done;
    collect(&supernet, space.as_ref(), &archs[done..], &mut calibration, &mut validation, |arch, top1| {
        written = file.push(space.as_ref(), arch, top1);
        count += 1;
        progress.update(count as u64, &format!("{:.2} %", 100.0 * top1));
        match written.is_ok() && !context.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    progress.finish();
    written?;
    if count < archs.len() {
        let message = format!("interrupted, {count} pairs are saved: run the same command with --resume");
        return Err(Failure::Interrupted(message));
    }
    file.finish()?;
    print(args, space.as_ref(), context)
}

/// Prints as many pairs of the finished file as were asked for.
fn print(args: &CollectArgs, space: &dyn SearchSpace, context: &Context) -> Result<(), Failure> {
    for pair in pairs::read(&args.output, space)?.iter().take(args.count) {
        let line = serde_json::json!({ "arch": space.format(&pair.arch), "top1": pair.value });
        context.output.result(&line, || format!("{:.4}  {}", pair.value, space.format(&pair.arch)))?;
    }
    Ok(())
}
