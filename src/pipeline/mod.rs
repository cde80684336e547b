//! The whole job as one resumable pipeline: train → collect → fit → search → deploy → report.
//!
//! Every step writes its output to a file of the run's folder and is keyed by everything it depends on: a finished
//! step is not redone, and a changed configuration redoes exactly what depends on it.

mod collect;
pub mod config;
mod deploy;
pub mod plan;
mod record;
mod specialise;
mod train;

use crate::failure::Failure;
use crate::report::{self, RESULTS_FORMAT, RunResults};
use config::PipelineConfig;
use ofa_space::atomic_file;
use ofa_train::data::{self, LoadOptions, OnCorrupt};
use ofa_train::progressive_shrinking::Trainer;
use record::{RunFolder, Step, key};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Shows a pipeline's progress; the command line draws bars.
pub trait Progress {
    /// A line for the user.
    fn note(&mut self, text: &str);
    /// Work of `total` pieces begins.
    fn begin(&mut self, label: &str, total: usize);
    /// `done` pieces are done.
    fn advance(&mut self, done: usize, message: &str);
    /// The work is done.
    fn end(&mut self);
    /// The observer of a training run.
    fn training(&mut self) -> &mut dyn ofa_train::progressive_shrinking::Observer;
}

/// What a run needs besides its configuration.
pub struct RunOptions<'a> {
    /// The run's folder.
    pub out: &'a Path,
    /// Go on in a folder that holds a run already.
    pub existing: Existing,
    /// Compute backend.
    pub backend: &'a str,
    /// What to do with an image that cannot be decoded.
    pub on_corrupt: OnCorrupt,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// What to do with a folder that holds a run already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Go on with it.
    Resume,
}

/// A finished run.
pub struct Finished {
    /// What the report shows.
    pub results: RunResults,
    /// The report.
    pub report: PathBuf,
    /// The supernet.
    pub model: PathBuf,
}

/// Runs the whole job.
///
/// # Errors
/// [`Failure`]: bad input, a failed step, or an interruption with the work saved.
pub fn run(
    config: &PipelineConfig,
    options: &RunOptions<'_>,
    progress: &mut dyn Progress,
) -> Result<Finished, Failure> {
    let mut folder = RunFolder::open(options.out, options.existing)?;
    let device = ofa_train::device::open(options.backend)?;
    let space = config.train.space()?;
    let load = LoadOptions {
        seed: config.train.seed,
        max_resolution: space.info().resolutions.last().copied().unwrap_or(224),
        validation: config.train.validation_images,
        on_corrupt: options.on_corrupt,
    };
    let dataset = data::load(&config.train.data, &load)?;
    progress.note(&format!("{}: {}", dataset.name, dataset.split_note));
    let trainer = Trainer::new(&config.train, &dataset, &device)?;
    let space = trainer.space().clone();
    progress.note(&format!(
        "{}: {} subnets at each of {:?} px",
        space.name(),
        space.subnets(),
        space.info().resolutions
    ));

    let train_key = trainer.fingerprint();
    let model_path = folder.path("train/supernet.safetensors");
    let history = folder.step(Step::Train, &train_key, progress, |folder, progress| {
        train::run(&trainer, &train_key, folder, progress, options.stop)
    })?;
    let model = ofa_space::Model::load(&model_path)?;
    let supernet = ofa_train::supernet::Supernet::from_model(&model, &device)?;
    let subject = Subject { space: &space, dataset: &dataset, supernet: &supernet, model: &model };

    let collect_key = key(&[&train_key, &config.collect]);
    folder.step(Step::Collect, &collect_key, progress, |folder, progress| {
        collect::run(&subject, config, &collect_key, folder, progress, options.stop)
    })?;
    let fit_key = key(&[&collect_key, &config.fit]);
    let fit = folder.step(Step::Fit, &fit_key, progress, |folder, _| specialise::fit(&subject, config, folder))?;
    let search_key = key(&[&fit_key, &config.search]);
    let found = folder.step(Step::Search, &search_key, progress, |folder, progress| {
        specialise::search(&subject, config, folder, progress, options.stop)
    })?;
    let deploy_key = key(&[&search_key, &config.deploy]);
    let deployed = folder.step(Step::Deploy, &deploy_key, progress, |folder, progress| {
        deploy::run(&subject, config, &found, folder, progress, options.stop)
    })?;

    let results = RunResults {
        format: RESULTS_FORMAT,
        space: space.name().to_owned(),
        subnets: space.subnets().to_string(),
        data: format!("{}: {}", dataset.name, dataset.split_note),
        phases: history.phases,
        steps: history.steps,
        predictor: fit,
        extremes: deployed.extremes,
        fronts: found.fronts,
        cases: deployed.cases,
        seconds: folder.seconds(),
    };
    let report = write_report(options.out, &results)?;
    Ok(Finished { results, report, model: model_path })
}

/// What every step after training works on.
struct Subject<'a> {
    space: &'a std::sync::Arc<dyn ofa_space::SearchSpace>,
    dataset: &'a data::Dataset,
    supernet: &'a ofa_train::supernet::Supernet,
    model: &'a ofa_space::Model,
}

/// Writes `results.json` and `report.html`; returns the report's path.
fn write_report(folder: &Path, results: &RunResults) -> Result<PathBuf, Failure> {
    let json = serde_json::to_vec_pretty(results).map_err(|e| Failure::Running(e.to_string()))?;
    let path = folder.join("results.json");
    atomic_file::write(&path, &json).map_err(|e| Failure::writing(&path, e))?;
    let path = folder.join("report.html");
    atomic_file::write(&path, report::render(results).as_bytes()).map_err(|e| Failure::writing(&path, e))?;
    Ok(path)
}

/// Renders the report of a finished run's folder again.
///
/// # Errors
/// [`Failure::Input`] if the folder holds no `results.json` of this version.
pub fn report_of(folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("results.json");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Failure::Input(format!("cannot read {}: {e}; is this the folder of a finished run?", path.display()))
    })?;
    let results: RunResults = serde_json::from_str(&text)
        .map_err(|e| Failure::Input(format!("{} is not a result file of this version: {e}", path.display())))?;
    write_report(folder, &results)
}
