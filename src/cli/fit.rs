//! `ofa fit` and `ofa predict`.

use super::{Context, Failure, arch_choice, info};
use clap::Args;
use ofa_predictors::{FittedPredictor, pairs};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa fit`.
#[derive(Args, Debug)]
pub struct FitArgs {
    /// Pairs file (JSON Lines).
    #[arg(long)]
    pairs: PathBuf,
    /// Registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Kind of predictor, or `auto` for the best by cross-validation.
    #[arg(long, default_value = "auto")]
    predictor: String,
    /// Output predictor file.
    #[arg(short, long)]
    output: PathBuf,
    /// Pairs to score on.
    #[arg(long, conflicts_with = "holdout")]
    test: Option<PathBuf>,
    /// Share of the pairs to hold out and score on.
    #[arg(long, default_value_t = 0.2)]
    holdout: f64,
}

/// Arguments of `ofa predict`.
#[derive(Args, Debug)]
pub struct PredictArgs {
    /// Predictor file of ours, or an official `.pth`.
    #[arg(long)]
    predictor: PathBuf,
    /// Registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Archs, one JSON a line.
    #[arg(long)]
    archs: Option<PathBuf>,
    /// One arch: max, min, random, JSON, or a file.
    #[arg(long, conflicts_with = "archs")]
    arch: Option<String>,
}

pub(super) fn run(args: &FitArgs, context: &Context) -> Result<(), Failure> {
    let space = info::space(&args.space, None)?;
    let all = pairs::read(&args.pairs, space.as_ref())?;
    let seed = context.common.seed;
    let (train, test) = match &args.test {
        Some(path) => (all, pairs::read(path, space.as_ref())?),
        None if (0.0..0.9).contains(&args.holdout) => pairs::hold_out(&all, args.holdout, seed),
        None => return Err(Failure::Input(format!("--holdout is {}, expected 0 to 0.9", args.holdout))),
    };
    let fitted = ofa_predictors::fit(space.as_ref(), &train, &test, &args.predictor, seed)?;
    fitted.save(&args.output)?;
    let report = &fitted.report;
    context.output.result(report, || {
        format!(
            "{}: {} on {} pairs, scored on {}: RMSE {:.5}, MAE {:.5}, R² {:.3}, Kendall tau {:.3}, Spearman {:.3}",
            args.output.display(),
            report.predictor,
            report.n_train,
            report.n_test,
            report.rmse,
            report.mae,
            report.r2,
            report.kendall_tau,
            report.spearman
        )
    })
}

#[derive(Serialize)]
struct Prediction {
    arch: ofa_space::ArchJson,
    value: f64,
}

pub(super) fn predict(args: &PredictArgs, context: &Context) -> Result<(), Failure> {
    let space = info::space(&args.space, None)?;
    let archs =
        arch_choice::one_or_many(args.arch.as_deref(), args.archs.as_deref(), space.as_ref(), context.common.seed)?;
    let predictor = FittedPredictor::load(&args.predictor)?;
    for (arch, value) in archs.iter().zip(predictor.predict(space.as_ref(), &archs)?) {
        let line = Prediction { arch: space.format(arch), value };
        context.output.result(&line, || format!("{value:.5}  {}", line.arch))?;
    }
    Ok(())
}
