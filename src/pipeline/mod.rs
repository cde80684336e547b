//! The whole job as one resumable pipeline: train → collect → fit → search → deploy → report.
//!
//! Every step writes its output to a file of the run's folder and is keyed by everything it depends on: a finished
//! step is not redone, and a changed configuration redoes exactly what depends on it.

pub mod config;
pub mod estimate;
pub mod finished_run;
mod folder;
pub mod next_device;
pub mod plan;
mod processes;
mod progress;
mod results;
mod steps;
mod time_left;

use crate::failure::Failure;
use crate::measured_accuracy;
use crate::report::{RunResults, Timings};
use config::PipelineConfig;
use folder::keys::Keys;
pub use folder::layout::{Holds, look, work_of};
use folder::{RunFolder, layout};
pub use folder::{copy_work, have_the_same_training, no_run_in};
use ofa_space::settings::Settings;
use ofa_space::{Model, atomic_file};
use ofa_train::communication::Communicator;
use ofa_train::data::{DataError, Dataset, SPLIT_TABLE, SplitName};
use ofa_train::shrinking::Trainer;
pub use processes::ranks;
pub use progress::Progress;
use ranks::Order;
pub use results::report_of;
use results::{StepResults, results_from, write_report};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
pub use steps::deploy::device_file;
use steps::profile::Profiling;
pub use steps::refine::rounds as refine;
use steps::{Step, Subject, collect, deploy, fit, search, steps_of, train};
use time_left::TimeLeft;

/// What a run needs besides its configuration.
pub struct RunOptions<'a> {
    /// The run's folder.
    pub out: &'a Path,
    /// Go on in a folder that holds a run already.
    pub existing: Existing,
    /// Compute backend.
    pub backend: &'a str,
    /// Whether to name every file of the data that is not read.
    pub names_skipped: bool,
    /// The data set of the configuration, if it was read already, as [`plan::for_data`] does.
    pub dataset: Option<Dataset>,
    /// Which files of the data are read.
    pub data: Reading,
    /// What the run is expected to take, if that was estimated.
    pub estimate: Option<estimate::Estimate>,
    /// Time this machine's blocks again, where networks are chosen by them.
    pub reprofile: bool,
    /// Those that work together; this is the first of them.
    pub ranks: &'a dyn Communicator,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// Which files of a data set are read to compare it with the one that a run was made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Those that are not known to the run's folder, or have another size or time of change since; and all that are kept in
    /// memory anyway.
    Changed,
    /// All.
    All,
}

/// What to do with a folder that holds a run already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Go on with it.
    Resume,
    /// Go on with it, but move its training aside and train anew.
    Retrain,
}

/// A finished run.
pub struct Finished {
    /// What the report shows.
    pub results: RunResults,
    /// How long everything took.
    pub timings: Timings,
    /// The report.
    pub report: PathBuf,
    /// The supernet.
    pub model: PathBuf,
}

/// Refuses what a run of this configuration would refuse before it begins; returns warnings.
///
/// # Errors
/// [`Failure::Input`] if a setting, a device or all limits are impossible.
pub fn check(config: &PipelineConfig) -> Result<Vec<String>, Failure> {
    config.check()?;
    search::limits::check(&config.train.space()?, config)
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
    // Mistakes that can be found now are reported before the folder is touched.
    let mut warnings = check(config)?;
    warnings.iter().for_each(|warning| progress.warn(warning));
    options.dataset.iter().try_for_each(is_measurable)?;
    if options.existing != Existing::Refuse && look(options.out) == Holds::Nothing {
        progress.note(&format!("{}: nothing to go on with, so this starts afresh", options.out.display()));
    }
    let mut folder = RunFolder::open(options.out, options.existing)?;
    for note in std::mem::take(&mut folder.notes) {
        progress.note(&note);
    }
    let device = ofa_train::device::open(options.backend)?;
    let dataset = dataset_of(config, options, &folder, &mut warnings, progress)?;
    let trainer = Trainer::new(&config.train, &dataset, &device)?.on(options.ranks)?;
    ranks::check(&trainer, &dataset, options.ranks)?;
    let space = trainer.space().clone();
    progress.note(&format!(
        "{}: {} subnets at each of {:?} px",
        space.name(),
        space.subnets(),
        space.info().resolutions
    ));

    let chooses_for_host = config.chooses_for_host();
    folder.time_left = TimeLeft::of(steps_of(config), options.estimate.as_ref());
    let keys = Keys::of(config, &trainer);
    train::settle(&trainer, &keys.train, &mut folder, options.existing, progress)?;
    // The plan and the parts of the data are those of the work in the folder, so what was refused is not written.
    keep_plan(config, &folder.path(PLAN))?;
    keep_data(&dataset, &folder)?;
    let model_path = folder.path(train::SUPERNET);
    let history = folder.step(Step::Train, &keys.train, progress, train::outputs, |folder, progress| {
        Order::Train.give(options.ranks)?;
        train::run(&trainer, folder, progress, options.stop)
    })?;
    let model = Model::load(&model_path)?;
    ranks::share_supernet(&model_path, options.ranks)?;
    let subject = Subject { space: &space, dataset: &dataset, device: &device, model: &model, ranks: options.ranks };

    folder.step(Step::Collect, &keys.collect, progress, collect::outputs, |folder, progress| {
        collect::run(&subject, config, &keys.collect, folder, progress, options.stop)
    })?;
    let predictor = folder.step(Step::Fit, &keys.fit, progress, fit::outputs, |folder, progress| {
        fit::run(&subject, config, folder, progress)
    })?;
    let profiling = Profiling { subject: &subject, config, key: &keys.profile, stop: options.stop };
    if chooses_for_host {
        profiling.before_the_search(options.reprofile, &mut folder, progress)?;
    }
    let choices = keys.choices(config, &dataset, &folder)?;
    if let Some(settings) = &config.search.refine {
        let outputs = |_: &RunFolder, _: &Vec<refine::Round>| {
            [steps::refine::PREDICTOR, steps::refine::REFINED_PAIRS].map(str::to_owned).to_vec()
        };
        folder.step(Step::Refine, &choices.refine, progress, outputs, |folder, progress| {
            steps::refine::run(&subject, config, settings, folder, progress, options.stop)
        })?;
    }
    let found = folder.step(
        Step::Search,
        &choices.search,
        progress,
        |_, _| Vec::new(),
        |folder, progress| search::run(&subject, config, folder, progress, options.stop),
    )?;
    let earlier_nets = deploy::leftovers::delivered_before(&folder);
    let outputs = |_: &RunFolder, deployed: &deploy::Deployed| deployed.files();
    let deployed = folder.step(Step::Deploy, &choices.deploy, progress, outputs, |folder, progress| {
        deploy::run(&subject, config, &found, &keys.tuned, folder, progress, options.stop)
    })?;
    Order::End.give(options.ranks)?;
    if let Some(aside) = deploy::leftovers::sweep(&folder, &deployed, &earlier_nets)? {
        progress.note(&format!("files among the networks that are none of this run's are now in {aside}"));
    }
    if config.deploy.host_nets > 0 && !chooses_for_host {
        profiling.step(&mut folder, progress)?;
    }

    warnings.append(&mut folder.warnings);
    let results = results_from(&subject, StepResults { history, predictor, found, deployed }, warnings)?;
    // Runs of earlier versions have everything at the top.
    if folder.has_work_apart() {
        let readme = folder.path(layout::README);
        atomic_file::write(&readme, FOLDER_README.as_bytes()).map_err(|e| Failure::writing(&readme, e))?;
    }
    let report = write_report(options.out, &results, &folder.timings)?;
    Ok(Finished { results, timings: folder.timings, report, model: model_path })
}

/// Refuses data on which networks cannot be chosen, or not measured.
fn is_measurable(dataset: &Dataset) -> Result<(), DataError> {
    [SplitName::Validation, SplitName::Test].into_iter().try_for_each(|split| dataset.require(split))
}

/// The data of a run, and the notes and warnings about them.
fn dataset_of(
    config: &PipelineConfig,
    options: &RunOptions<'_>,
    folder: &RunFolder,
    warnings: &mut Vec<String>,
    progress: &mut dyn Progress,
) -> Result<Dataset, Failure> {
    let dataset = match &options.dataset {
        Some(dataset) => dataset.clone(),
        None => config.train.load_known_data(&folder.known_data(options.data))?,
    };
    dataset.remarks(options.names_skipped).iter().for_each(|line| progress.note(line));
    warnings.extend_from_slice(&dataset.warnings);
    if let Some(few) = measured_accuracy::few_test_images(dataset.test.len()) {
        progress.warn(&few);
        warnings.push(few);
    }
    is_measurable(&dataset)?;
    Ok(dataset)
}

/// Writes the plan, unless the one that is there means the same: the user's comments and order then stay.
fn keep_plan(config: &PipelineConfig, plan: &Path) -> Result<(), Failure> {
    let text = config.to_file()?;
    let is_there = PipelineConfig::load(plan).and_then(|there| there.to_file()).is_ok_and(|there| there == text);
    match is_there {
        true => Ok(()),
        false => atomic_file::write(plan, text.as_bytes()).map_err(|e| Failure::writing(plan, e)),
    }
}

/// Writes which image is in which part of the data, and what the files of the data hold.
fn keep_data(dataset: &Dataset, folder: &RunFolder) -> Result<(), Failure> {
    if let Some(table) = dataset.split_table() {
        let path = folder.path(SPLIT_TABLE);
        atomic_file::write(&path, table.as_bytes()).map_err(|e| Failure::writing(&path, e))?;
    }
    folder.keep_known_data(dataset)
}

/// The configuration that a run was started with, in its folder; it can be edited and run again.
pub const PLAN: &str = "pipeline.toml";

/// What is in a run's folder.
const FOLDER_README: &str = include_str!("folder/readme.txt");
