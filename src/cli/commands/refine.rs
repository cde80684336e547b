//! `ofa refine`: search, measure the front, fit again, and repeat.

use crate::cli::args::calibration;
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::estimator_choice;
use crate::cli::args::model_choice;
use crate::cli::args::model_data::{Reading, load_for};
use crate::cli::args::search_devices::{supported, wanted};
use crate::cli::output::pipeline_display::Display;
use crate::cli::{Context, Failure};
use crate::pipeline::refine::{self, GrowingPairs, OnPair, Refinement, Round, Searched};
use crate::prediction::metric;
use clap::Args;
use ofa_hw::LatencyObjective;
use ofa_predictors::{EstimatorChoice, FittedPredictor};
use ofa_search::strategy;
use ofa_space::{Arch, BlockObjective, cost};
use ofa_train::data::SplitName;
use ofa_train::device;
use ofa_train::evaluation::{EvaluationSettings, Evaluator};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `ofa refine`.
#[derive(Args, Debug)]
pub struct RefineArgs {
    /// Supernet or whole network: a model file, or the name of a pretrained network (mcunet).
    #[arg(long)]
    model: PathBuf,
    /// `bundled` or a folder.
    #[arg(long)]
    data: String,
    /// Pairs to start from (JSON Lines), for example from `ofa collect`. Not changed, unless --out-pairs is the same
    /// file.
    #[arg(long)]
    pairs: PathBuf,
    /// Output pairs file, extended by every measured subnet [default: `pairs-refined.jsonl` next to the output]. If it
    /// exists, it must be the same file as --pairs, to continue it.
    #[arg(long)]
    out_pairs: Option<PathBuf>,
    /// Kind of predictor, as for `ofa fit`: `auto` for the best by cross-validation, a name, or a TOML table with
    /// settings.
    #[arg(long, default_value = "auto", value_parser = estimator_choice::parse)]
    predictor: EstimatorChoice,
    /// Device whose latency is the second objective of the front [default: MACs].
    #[arg(long)]
    device: Option<String>,
    /// Number of rounds of searching and measuring.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Subnets of the front to measure in each round.
    #[arg(long, default_value_t = 10)]
    per_round: usize,
    /// Output predictor file, fitted to all pairs at the end; its folder is created if needed.
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
    /// Search strategy.
    #[arg(long, default_value = "nsga2")]
    strategy: String,
    /// Evaluations of the predictor in each search.
    #[arg(long, default_value_t = 5000)]
    evaluations: usize,
    /// Training images for BN recalibration of each subnet; use the number with which the pairs were collected.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Validation images to score on [default: all]; use the number with which the pairs were collected.
    #[arg(long)]
    validation_images: Option<usize>,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    rounds: Vec<Round>,
    predictor: &'a Path,
    pairs: &'a Path,
}

pub fn run(args: &RefineArgs, context: &Context) -> Result<(), Failure> {
    if args.rounds == 0 || args.per_round == 0 || args.evaluations == 0 {
        return Err(Failure::Input("--rounds, --per-round and --evaluations must be at least 1".into()));
    }
    calibration::at_least_one(args.calibration_images)?;
    // What could only fail after the first measurements is looked at first.
    strategy::named(&args.strategy)?;
    let (model, space) = model_choice::supernet(&args.model)?;
    let device_names: Vec<String> = args.device.iter().cloned().collect();
    let devices = wanted(&device_names, &[], true)?;
    if devices.len() > 1 || devices.iter().any(|device| !device.limits.is_empty()) {
        return Err(Failure::Input("--device takes one device, without limits".into()));
    }
    let out_pairs = args.out_pairs.clone().unwrap_or_else(|| args.output.with_file_name("pairs-refined.jsonl"));
    if out_pairs.exists() && !is_same(&out_pairs, &args.pairs) {
        let path = out_pairs.display();
        return Err(Failure::Input(format!(
            "{path} exists: go on from it with `--pairs {path}`, or choose another --out-pairs"
        )));
    }
    let mut growing = GrowingPairs::open(&args.pairs, &out_pairs, space.as_ref())?;
    for path in [&args.output, &out_pairs] {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Failure::writing(folder, e))?;
        }
    }
    let reading = Reading {
        max_resolution: space.info().resolutions.last().copied().unwrap_or(224),
        on_corrupt: args.corrupt.choice(),
        classes: &args.classes,
    };
    let dataset = load_for(&model, &args.data, &reading, context)?;
    dataset.require(SplitName::Validation)?;
    let backend = device::open(&context.common.backend)?;
    let settings = EvaluationSettings {
        split: SplitName::Validation,
        images: args.validation_images,
        calibration_images: args.calibration_images,
        seed: context.common.seed,
        ..EvaluationSettings::default()
    };
    let mut evaluator = Evaluator::new(&model, &dataset, &backend, &settings)?;
    calibration::warn_of_few(evaluator.calibration_images(), context);
    let searched = |predictor: &FittedPredictor| -> Result<Searched, Failure> {
        let target = devices.first();
        let space = supported(space.clone(), predictor, target)?;
        Ok(match target {
            Some(target) => (space.clone(), Arc::new(LatencyObjective::new(space, target.device.clone()))),
            None => (space.clone(), Arc::new(BlockObjective::cost("macs", space, cost::block_macs))),
        })
    };
    let refinement = Refinement {
        space: space.as_ref(),
        searched: &searched,
        predictor: &args.predictor,
        rounds: args.rounds,
        per_round: args.per_round,
        strategy: &args.strategy,
        evaluations: args.evaluations,
        seed: context.common.seed,
        stop: &context.stop,
    };
    let mut rounds = Vec::new();
    let mut display = Display::new(context.output);
    let measure = |archs: &[Arch], on_pair: OnPair<'_>| evaluator.collect(archs, &context.stop, on_pair);
    let fitted = refine::run(&refinement, measure, &mut growing, &mut display, |round| {
        rounds.push(round.clone());
        context.output.part(&text(round))
    })?;
    fitted.save(&args.output)?;
    let report = Report { rounds, predictor: &args.output, pairs: &out_pairs };
    context.output.result(&report, || {
        let (predictor, pairs, count) = (args.output.display(), out_pairs.display(), growing.pairs().len());
        format!("{predictor}: {} on the {count} pairs of {pairs}", fitted.report.predictor)
    })
}

fn text(round: &Round) -> String {
    let Round { round, pairs, measured, mae, kendall_tau, best } = round;
    format!(
        "round {round}: {pairs} pairs; on the {measured} new ones, before they were fitted: MAE {}, \
         Kendall tau {}; best measured {:.2} %",
        metric(*mae, 5, *measured),
        metric(*kendall_tau, 3, *measured),
        100.0 * best
    )
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
