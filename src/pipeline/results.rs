//! The results of a run and their report, in its folder.

use crate::failure::Failure;
use crate::pipeline::folder::{layout, timings_in, write_json};
use crate::pipeline::steps::Subject;
use crate::pipeline::steps::deploy::Deployed;
use crate::pipeline::steps::search::Found;
use crate::report::{
    self, DrawnBlock, Infeasible, PredictorResults, RESULTS_FORMAT, RunResults, Timings, plain_values,
};
use ofa_space::{atomic_file, input_file, json};
use ofa_train::shrinking::History;
use std::path::{Path, PathBuf};

/// What the steps of a run returned, as far as the results have it.
pub struct StepResults {
    /// Of the training.
    pub history: History,
    /// Of the fit.
    pub predictor: PredictorResults,
    /// Of the search.
    pub found: Found,
    /// Of the deployment.
    pub deployed: Deployed,
}

/// The results of a run, with all its warnings.
///
/// # Errors
/// [`Failure`] if the largest subnet is none of the space's.
pub fn results_from(
    subject: &Subject<'_>,
    of_steps: StepResults,
    warnings: Vec<String>,
) -> Result<RunResults, Failure> {
    let StepResults { history, predictor, found, deployed } = of_steps;
    let Subject { space, dataset, .. } = *subject;
    let infeasible = found.cases.iter().filter(|case| case.arch.is_none()).map(|case| Infeasible {
        device: case.device.clone(),
        constraint: serde_json::json!(case.constraint),
        closest: serde_json::json!(case.values),
        unfound: case.unfound.clone().unwrap_or_default(),
    });
    let mut results = RunResults {
        format: RESULTS_FORMAT,
        space: space.name().to_owned(),
        subnets: space.subnets().to_string(),
        resolutions: space.info().resolutions.clone(),
        places: DrawnBlock::of(&space.resolve(&space.max_arch())?),
        data: format!("{}: {}", dataset.name, dataset.split_note),
        class_names: dataset.class_names.clone(),
        images: [dataset.train.len(), dataset.validation.len(), dataset.test.len()],
        phases: history.phases,
        steps: history.steps,
        predictor,
        extremes: deployed.extremes,
        infeasible: infeasible.collect(),
        fronts: found.fronts,
        cases: deployed.cases,
        reference: deployed.reference,
        baseline: None,
        warnings,
    };
    results.judge();
    Ok(results)
}

/// Writes `results.json`, `report.html`, `report.md` and the plots; returns the report's path.
///
/// # Errors
/// [`Failure::Running`] if a file cannot be written.
pub fn write_report(folder: &Path, results: &RunResults, timings: &Timings) -> Result<PathBuf, Failure> {
    let write = |path: &Path, bytes: &[u8]| atomic_file::write(path, bytes).map_err(|e| Failure::writing(path, e));
    write_json(&folder.join("results.json"), results)?;
    let plots = folder.join("plots");
    std::fs::create_dir_all(&plots).map_err(|e| Failure::writing(&plots, e))?;
    for (name, svg) in report::plot_files(results, timings) {
        write(&plots.join(name), svg.as_bytes())?;
    }
    write(&folder.join("report.md"), report::markdown(results, timings).as_bytes())?;
    let path = folder.join("report.html");
    write(&path, report::render(results, timings).as_bytes())?;
    Ok(path)
}

/// Renders the report of a finished run's folder again.
///
/// # Errors
/// [`Failure::Input`] if the folder holds no `results.json` of this version.
pub fn report_of(folder: &Path) -> Result<PathBuf, Failure> {
    let results = results_of(folder)?;
    write_report(folder, &results, &timings_in(&layout::work_of(folder)))
}

/// The results of a finished run.
///
/// # Errors
/// [`Failure::Input`] if the folder holds no `results.json` of this version.
pub fn results_of(folder: &Path) -> Result<RunResults, Failure> {
    let path = folder.join("results.json");
    let text = input_file::read_text(&path, input_file::LARGEST_RECORDS).map_err(|e| {
        Failure::Input(format!("cannot read {}: {e}; is this the folder of a finished run?", path.display()))
    })?;
    let foreign = |problem: String| {
        Failure::Input(format!(
            "{} is not a result file of this version: {problem}; `ofa run --resume` writes it anew without redoing the steps",
            path.display()
        ))
    };
    let value = json::from_str(&text).map_err(|e| foreign(e.to_string()))?;
    let mut results: RunResults = serde_json::from_value(plain_values(value)).map_err(|e| foreign(e.to_string()))?;
    results.check().map_err(|invalid| foreign(invalid.to_string()))?;
    // Earlier versions neither wrote intervals nor recommended a network.
    results.judge();
    Ok(results)
}
