//! `ofa collect`: accuracy pairs of random subnets, resumable.

mod origin;
mod parts;

use crate::cli::args::calibration;
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice;
use crate::cli::args::model_data::{Reading, load_for};
use crate::cli::output::progress::Progress;
use crate::cli::ranks::DistributedArgs;
use crate::cli::{Context, Failure};
use crate::pipeline::config::MOST_SUBNETS;
use clap::Args;
use ofa_predictors::{PairsFile, Target, pairs};
use ofa_space::{Arch, Model, SearchSpace, settings};
use ofa_train::TrainError;
use ofa_train::collection::{clustered_archs, distinct_archs, saving};
use ofa_train::data::SplitName;
use ofa_train::device;
use ofa_train::evaluation::{EvaluationSettings, Evaluator};
use origin::{Origin, same_archs};
use parts::PartChoice;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `ofa collect`.
#[derive(Args, Debug)]
pub struct CollectArgs {
    /// Supernet or whole network: a model file, or the name of a pretrained network (mcunet).
    #[arg(long, required_unless_present = "merge")]
    model: Option<PathBuf>,
    /// `bundled` or a folder.
    #[arg(long, required_unless_present = "merge")]
    data: Option<String>,
    /// Number of subnets to measure.
    #[arg(long, required_unless_present = "merge")]
    count: Option<usize>,
    /// Output pairs file (JSON Lines).
    #[arg(short, long = "out", alias = "output", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Resume an interrupted collection.
    #[arg(long)]
    resume: bool,
    /// Training images for BN recalibration of each subnet.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Validation images to score on [default: all].
    #[arg(long)]
    validation_images: Option<usize>,
    /// Draw every subnet independently, instead of in clusters of four that share the beginning of the network, which
    /// is then computed only once.
    #[arg(long)]
    independent: bool,
    /// Measure only part K of N, on any machine. Use the same command for every K, then --merge.
    #[arg(long, value_name = "K/N", conflicts_with = "distributed")]
    part: Option<PartChoice>,
    /// Combine the files of all parts into the file that one process would have written.
    #[arg(long, value_name = "PART", num_args = 1.., conflicts_with_all = ["model", "data", "count", "part", "resume", "dry_run"])]
    merge: Vec<PathBuf>,
    /// Print the subnets that would be measured, without measuring them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    pub(super) ranks: DistributedArgs,
}

/// What is measured, on what.
struct Plan {
    model: Model,
    space: Arc<dyn SearchSpace>,
    archs: Vec<Arch>,
    /// Pairs that a finished file has at least.
    wanted: usize,
}

impl Plan {
    fn of(args: &CollectArgs, model: &Path, count: usize, seed: u64) -> Result<Self, Failure> {
        calibration::at_least_one(args.calibration_images)?;
        settings::count("--count", count, 1..=MOST_SUBNETS)?;
        let (model, space) = model_choice::supernet(model)?;
        let all = match args.independent {
            true => distinct_archs(space.as_ref(), count, seed, &HashSet::new()),
            false => clustered_archs(space.as_ref(), count, seed)?,
        };
        let archs = args.part.map_or(Ok(all.clone()), |part| part.archs(&all))?;
        let wanted = if args.part.is_some() { archs.len() } else { count };
        Ok(Self { model, space, archs, wanted })
    }
}

pub fn run(args: &CollectArgs, context: &Context) -> Result<(), Failure> {
    let (Some(model), Some(data), Some(count)) = (&args.model, &args.data, args.count) else {
        let Some(output) = &args.output else {
            return Err(Failure::Input("--output is missing: the pairs file".into()));
        };
        return parts::merge(&args.merge, output, context);
    };
    let seed = context.common.seed;
    let ranks = &context.ranks;
    let Plan { model, space, archs, wanted } = ranks.together(Plan::of(args, model, count, seed))?;
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
    let dataset = ranks.together(load_for(&model, data, &reading, context).and_then(|dataset| {
        dataset.require(SplitName::Validation)?;
        Ok(dataset)
    }))?;
    let settings = EvaluationSettings {
        split: SplitName::Validation,
        images: args.validation_images,
        calibration_images: args.calibration_images,
        seed,
        ..EvaluationSettings::default()
    };
    let begun = ranks.together(args.is_begun(output, ranks.is_first()))?;
    let evaluator = device::open(&context.common.backend)
        .map_err(TrainError::from)
        .and_then(|device| Evaluator::new(&model, &dataset, &device, &settings));
    let mut evaluator = ranks.together(evaluator.map_err(Failure::from))?;
    let origin = ranks.together(Origin::of(args, seed, &model, &dataset, &PairsFile::part(output)))?;
    ranks.noted(origin.check_ranks(ranks.all()))?;
    if !ranks.is_first() {
        // What is missing is known to rank 0, which writes the file.
        let mut done = Vec::new();
        ranks.all().broadcast(&mut done).map_err(TrainError::from)?;
        let done = done.first_chunk().map_or(archs.len(), |done| u64::from_le_bytes(*done) as usize);
        evaluator
            .collect_on(ranks.all(), &archs[done.min(archs.len())..], &context.stop, |_, _| Ok::<(), Failure>(()))?;
        return Ok(());
    }
    let part = PairsFile::part(output);
    if args.resume && output.exists() && !begun {
        // A finished file: what is asked for may be in it already, or it grows.
        let finished = pairs::read(output, space.as_ref(), Target::Accuracy)?;
        if !same_archs(&finished, &archs) {
            return Err(Failure::Input(format!(
                "{} holds other subnets than are asked for: those of another seed or way of drawing; choose another file",
                output.display()
            )));
        }
        if finished.len() >= wanted {
            ranks.all().broadcast(&mut Vec::new()).map_err(TrainError::from)?;
            evaluator.collect_on(ranks.all(), &[], &context.stop, |_, _| Ok::<(), Failure>(()))?;
            context.output.note(&format!("{}: nothing left to do", output.display()));
            return args.finish(output, &origin, wanted, space.as_ref(), context);
        }
        std::fs::copy(output, &part).map_err(|e| Failure::writing(&part, e))?;
    }
    let mut file = PairsFile::begin(output, space.as_ref(), Target::Accuracy)?;
    let done = file.pairs().len().min(archs.len());
    calibration::warn_of_few(evaluator.calibration_images(), context);
    if !file.pairs().is_empty() {
        origin.check(file.pairs(), &part, &archs, &mut evaluator)?;
    }
    origin.keep()?;
    let mut progress = Progress::new("collect", archs.len() as u64, context.output);
    let mut count = done;
    ranks.all().broadcast(&mut (done as u64).to_le_bytes().to_vec()).map_err(TrainError::from)?;
    let measured =
        evaluator.collect_on(ranks.all(), &archs[done..], &context.stop, |arch, top1| -> Result<(), Failure> {
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
    args.finish(output, &origin, wanted, space.as_ref(), context)
}

impl CollectArgs {
    /// Whether an unfinished file is there, which must be wanted.
    fn is_begun(&self, output: &Path, writes: bool) -> Result<bool, Failure> {
        let part = PairsFile::part(output);
        // What failed before its first pair leaves an empty file, which does not count.
        let begun = std::fs::metadata(&part).is_ok_and(|part| part.len() > 0);
        if writes && !self.resume && (begun || output.exists()) {
            let existing = if begun { &part } else { output };
            return Err(Failure::Input(format!("{} exists: add --resume, or choose another file", existing.display())));
        }
        Ok(begun)
    }

    /// Marks a finished file, if it is a part, and prints it.
    fn finish(
        &self,
        output: &Path,
        origin: &Origin,
        wanted: usize,
        space: &dyn SearchSpace,
        context: &Context,
    ) -> Result<(), Failure> {
        if let Some(part) = self.part {
            parts::mark(output, part, origin.of_all_parts())?;
        }
        print(output, wanted, space, context)
    }
}

/// Prints the first `count` pairs of the finished file.
fn print(output: &Path, count: usize, space: &dyn SearchSpace, context: &Context) -> Result<(), Failure> {
    for pair in pairs::read(output, space, Target::Accuracy)?.iter().take(count) {
        let line = serde_json::json!({ "arch": space.format(&pair.arch), "top1": pair.value });
        context.output.result(&line, || format!("{:.4}  {}", pair.value, space.format(&pair.arch)))?;
    }
    Ok(())
}
