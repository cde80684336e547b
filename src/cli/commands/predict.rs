//! `ofa predict`: predicted values of archs.

use crate::cli::args::arch_choice;
use crate::cli::args::space_choice::space;
use crate::cli::{Context, Failure};
use crate::prediction::Shown;
use clap::Args;
use ofa_predictors::{FittedPredictor, Prediction, Target};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa predict`.
#[derive(Args, Debug)]
pub struct PredictArgs {
    /// Predictor of accuracy or latency: a file of `ofa fit`, or an official `.pth`.
    #[arg(long)]
    predictor: PathBuf,
    /// Registered name, TOML file, or model file.
    #[arg(long)]
    space: String,
    /// File of archs, one JSON object per line.
    #[arg(long)]
    archs: Option<PathBuf>,
    /// One arch: max, min, random, JSON, or a file.
    #[arg(long, conflicts_with = "archs")]
    arch: Option<String>,
}

#[derive(Serialize)]
struct PredictionLine {
    arch: ofa_space::ArchJson,
    value: f64,
    /// Standard deviation of what would be measured around the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    deviation: Option<f64>,
    /// Whether an accuracy was predicted outside 0 to 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    extrapolated: bool,
}

pub fn run(args: &PredictArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, None)?;
    let archs =
        arch_choice::one_or_many(args.arch.as_deref(), args.archs.as_deref(), space.as_ref(), context.common.seed)?;
    let predictor = FittedPredictor::load(&args.predictor)?;
    for (arch, prediction) in archs.iter().zip(predictor.predict_with_deviations(space.as_ref(), &archs)?) {
        let Prediction { value, deviation } = prediction;
        let (value, extrapolated) = match predictor.target() {
            Target::Latency => (value, false),
            Target::Accuracy => {
                let shown = Shown::of(value);
                (shown.accuracy, shown.extrapolated)
            }
        };
        let mark = if extrapolated { " (extrapolated)" } else { "" };
        let line = PredictionLine { arch: space.format(arch), value, deviation, extrapolated };
        context.output.result(&line, || match deviation {
            Some(deviation) => format!("{value:.5} ± {deviation:.5}{mark}  {}", line.arch),
            None => format!("{value:.5}{mark}  {}", line.arch),
        })?;
    }
    Ok(())
}
