//! The fitting step: the accuracy predictor, fitted on most pairs and scored on the rest.

use crate::failure::Failure;
use crate::pipeline::Progress;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::folder::RunFolder;
use crate::pipeline::steps::Subject;
use crate::pipeline::steps::collect::PAIRS;
use crate::prediction::{Shown, few_pairs};
use crate::report::PredictorResults;
use ofa_predictors::{Fit, Pair, Target, pairs};

/// The accuracy predictor, in a run's folder.
pub const PREDICTOR: &str = "predictor.json";

/// The file that the step writes besides its result.
pub fn outputs(_: &RunFolder, _: &PredictorResults) -> Vec<String> {
    vec![PREDICTOR.to_owned()]
}

/// Fits the predictor on most pairs and scores it on the rest.
pub fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    folder: &RunFolder,
    progress: &mut dyn Progress,
) -> Result<PredictorResults, Failure> {
    let space = subject.space.as_ref();
    let all = pairs::read(folder.path(PAIRS), space, Target::Accuracy)?;
    let seed = config.train.seed;
    let (train, test) = pairs::hold_out(&all, config.fit.holdout, seed);
    let fit = Fit { seed, ..Fit::with(config.fit.predictor.clone()) };
    let fitted = fit.run(space, &train, &test)?;
    fitted.save(&folder.path(PREDICTOR))?;
    let report = &fitted.report;
    for warning in &report.warnings {
        progress.warn(warning);
    }
    if let Some(warning) = few_pairs(report.n_test) {
        progress.warn(&warning);
    }
    // A test pair with choices that no training pair has cannot be predicted, and is not scored.
    let predicted = |pair: &Pair| fitted.predict(space, std::slice::from_ref(&pair.arch)).ok()?.first().copied();
    let predict = |pair: &Pair| Some((pair.value, Shown::of(predicted(pair)?).accuracy));
    Ok(PredictorResults {
        kind: report.predictor.clone(),
        n_train: report.n_train,
        n_test: report.n_test,
        rmse: report.rmse,
        mae: report.mae,
        kendall_tau: report.kendall_tau,
        held_out: test.iter().filter_map(predict).collect(),
    })
}
