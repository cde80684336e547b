//! `ofa fit`: a predictor fitted to pairs and scored.

use crate::cli::args::space_choice::space;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_predictors::{CurvePoint, Encoder, FitReport, Target, fit_encoded, learning_curve, pairs};
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
    /// How archs become features: `stages` (one-hot, the logarithms of MACs and parameters, and the MACs of every stage),
    /// `one-hot-cost` (without the stages), `one-hot` (for exact search with a linear predictor), `official-mbv3`,
    /// `official-resnet50`.
    #[arg(long, default_value = "stages", value_parser = encoder)]
    encoder: Encoder,
    /// Also fit on this many pairs each, and show how the error falls with their number.
    #[arg(long, value_delimiter = ',', num_args = 0.., default_missing_value = "100,200,500,1000,2000")]
    curve: Option<Vec<usize>>,
}

fn encoder(name: &str) -> Result<Encoder, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|e| e.to_string())
}

#[derive(Serialize)]
struct Fit<'a> {
    #[serde(flatten)]
    report: &'a FitReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<Vec<CurvePoint>>,
}

pub fn run(args: &FitArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, None)?;
    let all = pairs::read(&args.pairs, space.as_ref(), Target::Accuracy)?;
    let seed = context.common.seed;
    let (train, test) = match &args.test {
        Some(path) => (all, pairs::read(path, space.as_ref(), Target::Accuracy)?),
        None if (0.0..0.9).contains(&args.holdout) => pairs::hold_out(&all, args.holdout, seed),
        None => return Err(Failure::Input(format!("--holdout is {}, expected 0 to 0.9", args.holdout))),
    };
    let fitted = fit_encoded(space.as_ref(), &train, &test, &args.predictor, args.encoder, seed)?;
    fitted.save(&args.output)?;
    let report = &fitted.report;
    for warning in &report.warnings {
        context.output.note(&format!("warning: {warning}"));
    }
    let curve = match &args.curve {
        None => None,
        Some(_) if test.is_empty() => {
            return Err(Failure::Input("--curve needs pairs to score on: give --test, or a --holdout above 0".into()));
        }
        // The kind that was chosen on all pairs; choosing anew for each size would compare kinds, not numbers of pairs.
        Some(sizes) => {
            let kind = report.predictor.as_str();
            Some(learning_curve(space.as_ref(), &train, &test, kind, args.encoder, sizes, seed)?)
        }
    };
    let result = Fit { report, curve };
    context.output.result(&result, || {
        let mut text = format!(
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
        );
        for point in result.curve.iter().flatten() {
            text +=
                &format!("\n{:>6} pairs: RMSE {:.5}, Kendall tau {:.3}", point.pairs, point.rmse, point.kendall_tau);
        }
        text
    })
}
