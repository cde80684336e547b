//! `ofa collect`: accuracy pairs of random subnets, resumable.

mod origin;

use crate::cli::args::calibration;
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice;
use crate::cli::args::model_data::{Reading, load_for};
use crate::cli::output::progress::Progress;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_predictors::{PairsFile, Target, pairs};
use ofa_space::SearchSpace;
use ofa_train::collection::{clustered_archs, distinct_archs, saving};
use ofa_train::data::SplitName;
use ofa_train::device;
use ofa_train::evaluation::{EvaluationSettings, Evaluator};
use origin::{Origin, same_archs};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Arguments of `ofa collect`.
#[derive(Args, Debug)]
pub struct CollectArgs {
    /// Supernet or whole network: a model file, or the name of a pretrained network (mcunet).
    #[arg(long)]
    model: PathBuf,
    /// `bundled` or a folder.
    #[arg(long)]
    data: String,
    /// How many subnets to measure.
    #[arg(long)]
    count: usize,
    /// Pairs file (JSON Lines).
    #[arg(short, long = "out", alias = "output", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Resume an interrupted run.
    #[arg(long)]
    resume: bool,
    /// Training images for BN recalibration of each subnet.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Validation images to score on [default: all].
    #[arg(long)]
    validation_images: Option<usize>,
    /// Draw every subnet independently, instead of in clusters of four that share the beginning of the network (which
    /// is then computed once for all of them).
    #[arg(long)]
    independent: bool,
    /// Print the subnets that would be measured, without measuring them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

pub fn run(args: &CollectArgs, context: &Context) -> Result<(), Failure> {
    calibration::at_least_one(args.calibration_images)?;
    let (model, space) = model_choice::supernet(&args.model)?;
    let seed = context.common.seed;
    let archs = match args.independent {
        true => distinct_archs(space.as_ref(), args.count, seed, &HashSet::new()),
        false => clustered_archs(space.as_ref(), args.count, seed)?,
    };
    context.output.note(&format!(
        "{} subnets, with {:.2} times less work than one by one",
        archs.len(),
        saving(space.as_ref(), &archs)?
    ));
    if args.dry_run {
        for arch in &archs {
            let line = serde_json::json!({ "arch": space.format(arch) });
            context.output.result(&line, || space.format(arch).to_string())?;
        }
        return Ok(());
    }
    let Some(output) = &args.output else {
        return Err(Failure::Input("--output is missing: the pairs file".into()));
    };
    let reading = Reading {
        max_resolution: space.info().resolutions.last().copied().unwrap_or(224),
        on_corrupt: args.corrupt.choice(),
        classes: &args.classes,
    };
    let dataset = load_for(&model, &args.data, &reading, context)?;
    dataset.require(SplitName::Validation)?;
    let part = PairsFile::part(output);
    // What failed before its first pair leaves an empty file, which does not count.
    let begun = std::fs::metadata(&part).is_ok_and(|part| part.len() > 0);
    if !args.resume && (begun || output.exists()) {
        let existing = if begun { &part } else { output };
        return Err(Failure::Input(format!("{} exists: add --resume, or choose another file", existing.display())));
    }
    if args.resume && output.exists() && !begun {
        // A finished file: what is asked for may be in it already, or it grows.
        let finished = pairs::read(output, space.as_ref(), Target::Accuracy)?;
        if !same_archs(&finished, &archs) {
            return Err(Failure::Input(format!(
                "{} holds other subnets than are asked for: those of another seed or way of drawing; choose another file",
                output.display()
            )));
        }
        if finished.len() >= args.count {
            context.output.note(&format!("{}: nothing left to do", output.display()));
            return print(output, args.count, space.as_ref(), context);
        }
        std::fs::copy(output, &part).map_err(|e| Failure::writing(&part, e))?;
    }
    let mut file = PairsFile::begin(output, space.as_ref(), Target::Accuracy)?;
    let done = file.pairs().len().min(archs.len());
    let device = device::open(&context.common.backend)?;
    let settings = EvaluationSettings {
        split: SplitName::Validation,
        images: args.validation_images,
        calibration_images: args.calibration_images,
        seed,
    };
    let mut evaluator = Evaluator::new(&model, &dataset, &device, &settings)?;
    calibration::warn_of_few(evaluator.calibration_images(), context);
    let origin = Origin::of(args, seed, &model, &dataset, &part)?;
    if !file.pairs().is_empty() {
        origin.check(file.pairs(), &part, &archs, &mut evaluator)?;
    }
    origin.keep()?;
    let mut progress = Progress::new("collect", archs.len() as u64, context.output);
    let mut count = done;
    let measured = evaluator.collect(&archs[done..], &context.stop, |arch, top1| -> Result<(), Failure> {
        let written = file.push(space.as_ref(), arch, top1);
        count += 1;
        progress.update(count as u64, &format!("{:.2} %", 100.0 * top1));
        Ok(written?)
    });
    progress.finish();
    measured?;
    if count < archs.len() {
        let message = format!("interrupted, {count} pairs are saved: run the same command with --resume");
        return Err(Failure::Interrupted(message));
    }
    file.finish()?;
    origin.remove();
    print(output, args.count, space.as_ref(), context)
}

/// Prints the first `count` pairs of the finished file.
fn print(output: &Path, count: usize, space: &dyn SearchSpace, context: &Context) -> Result<(), Failure> {
    for pair in pairs::read(output, space, Target::Accuracy)?.iter().take(count) {
        let line = serde_json::json!({ "arch": space.format(&pair.arch), "top1": pair.value });
        context.output.result(&line, || format!("{:.4}  {}", pair.value, space.format(&pair.arch)))?;
    }
    Ok(())
}
