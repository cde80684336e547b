//! `ofa fit`: a predictor fitted to pairs and scored.

use crate::cli::args::estimator_choice;
use crate::cli::args::space_choice::space;
use crate::cli::output::progress::Progress;
use crate::cli::{Context, Failure};
use crate::prediction::{few_pairs, metric};
use clap::Args;
use ofa_predictors::{CurvePoint, Encoder, EstimatorChoice, Fit, FitReport, PredictorError, Target, pairs};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa fit`.
#[derive(Args, Debug)]
pub struct FitArgs {
    /// Pairs file (JSON Lines): `{"arch":{…},"top1":…}`, or `{"arch":{…},"latency_ms":…}` with `--target latency`.
    #[arg(long)]
    pairs: PathBuf,
    /// Registered name, TOML file, or model file.
    #[arg(long)]
    space: String,
    /// Kind of predictor: `auto` for the best by cross-validation, a name, or a name with settings, which is a TOML
    /// table such as `{ kind = "ridge", penalty = 1.0 }` or a file that contains one.
    #[arg(long, default_value = "auto", value_parser = estimator_choice::parse)]
    predictor: EstimatorChoice,
    /// Quantity in the pairs, to be predicted: `accuracy` (top-1, a fraction) or `latency` (milliseconds).
    #[arg(long, default_value = "accuracy")]
    target: Target,
    /// Output predictor file.
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
    /// Fit to a random subset of this many pairs, for kinds whose memory grows with the square of the number of pairs.
    #[arg(long, value_name = "PAIRS")]
    subset: Option<usize>,
    /// Pairs file to score on.
    #[arg(long, conflicts_with = "holdout")]
    test: Option<PathBuf>,
    /// Share of the pairs to hold out and score on.
    #[arg(long, default_value_t = 0.2)]
    holdout: f64,
    /// Encoding of archs as features: `stages` (one-hot, logarithms of MACs and parameters, and MACs of every stage),
    /// `one-hot-cost` (without the stages), `one-hot` (for exact search with a linear predictor), `official-mbv3`,
    /// `official-resnet50`.
    #[arg(long, default_value = "stages", value_parser = encoder)]
    encoder: Encoder,
    /// Also fit to each of these numbers of pairs, and show how the error depends on the number.
    #[arg(long, value_delimiter = ',', num_args = 0.., default_missing_value = "100,200,500,1000,2000")]
    curve: Option<Vec<usize>>,
}

fn encoder(name: &str) -> Result<Encoder, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|e| e.to_string())
}

#[derive(Serialize)]
struct Fitted<'a> {
    #[serde(flatten)]
    report: &'a FitReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<Vec<CurvePoint>>,
}

pub fn run(args: &FitArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, None)?;
    let seed = context.common.seed;
    let all = pairs::read(&args.pairs, space.as_ref(), args.target)?;
    let all = match args.subset {
        Some(most) => pairs::subset(all, most, seed),
        None => all,
    };
    let (train, test) = match &args.test {
        Some(path) => (all, pairs::read(path, space.as_ref(), args.target)?),
        None if (0.0..0.9).contains(&args.holdout) => pairs::hold_out(&all, args.holdout, seed),
        None => return Err(Failure::Input(format!("--holdout is {}, expected 0 to 0.9", args.holdout))),
    };
    let fit = Fit { estimator: args.predictor.clone(), encoder: args.encoder, target: args.target, seed };
    let fitted = fit.run(space.as_ref(), &train, &test)?;
    let mut report = fitted.report.clone();
    report.warnings.extend(few_pairs(report.n_test));
    let report = &report;
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
            let estimator = match fit.estimator {
                EstimatorChoice::Auto => EstimatorChoice::named(&report.predictor).map_err(PredictorError::from)?,
                given => given,
            };
            let chosen = Fit { estimator, ..fit };
            let mut bar = Progress::new("curve", sizes.len() as u64, context.output);
            let mut points = Vec::with_capacity(sizes.len());
            for (done, size) in sizes.iter().enumerate() {
                points.extend(chosen.learning_curve(space.as_ref(), &train, &test, &[*size])?);
                bar.update(done as u64 + 1, &format!("{size} pairs"));
            }
            bar.finish();
            Some(points)
        }
    };
    fitted.save(&args.output)?;
    let result = Fitted { report, curve };
    context.output.result(&result, || {
        let of = |value: f64, digits: usize| metric(value, digits, report.n_test);
        let mut text = format!(
            "{}: {} on {} pairs, scored on {}: RMSE {}, MAE {}, R² {}, Kendall tau {}, Spearman {}",
            args.output.display(),
            report.predictor,
            report.n_train,
            report.n_test,
            of(report.rmse, 5),
            of(report.mae, 5),
            of(report.r2, 3),
            of(report.kendall_tau, 3),
            of(report.spearman, 3)
        );
        for point in result.curve.iter().flatten() {
            let (rmse, tau) = (of(point.rmse, 5), of(point.kendall_tau, 3));
            text += &format!("\n{:>6} pairs: RMSE {rmse}, Kendall tau {tau}", point.pairs);
        }
        text
    })
}
