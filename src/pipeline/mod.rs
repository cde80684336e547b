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
mod steps;
mod time_left;

use crate::failure::Failure;
use crate::measured_accuracy;
use crate::report::{self, DrawnBlock, Infeasible, RESULTS_FORMAT, RunResults, Timings, plain_values};
use config::PipelineConfig;
use folder::keys::Keys;
pub use folder::layout::{Holds, look, work_of};
use folder::{RunFolder, layout, timings_in, write_json};
pub use folder::{copy_work, have_the_same_training, no_run_in};
use ofa_space::settings::Settings;
use ofa_space::{atomic_file, input_file, json};
use ofa_train::communication::Communicator;
use ofa_train::data::{self, SPLIT_TABLE, SplitName};
use ofa_train::shrinking::Trainer;
pub use processes::ranks;
pub use progress::Progress;
use ranks::Order;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
pub use steps::deploy::device_file;
pub use steps::refine::rounds as refine;
use steps::{Step, Subject, collect, deploy, fit, profile, search, steps_of, train};
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
    pub dataset: Option<data::Dataset>,
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
    let is_measurable = |dataset: &data::Dataset| {
        [SplitName::Validation, SplitName::Test].into_iter().try_for_each(|split| dataset.require(split))
    };
    options.dataset.iter().try_for_each(is_measurable)?;
    if options.existing != Existing::Refuse && look(options.out) == Holds::Nothing {
        progress.note(&format!("{}: nothing to go on with, so this starts afresh", options.out.display()));
    }
    let mut folder = RunFolder::open(options.out, options.existing)?;
    for note in std::mem::take(&mut folder.notes) {
        progress.note(&note);
    }
    let device = ofa_train::device::open(options.backend)?;
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
    if let Some(table) = dataset.split_table() {
        let path = folder.path(SPLIT_TABLE);
        atomic_file::write(&path, table.as_bytes()).map_err(|e| Failure::writing(&path, e))?;
    }
    folder.keep_known_data(&dataset)?;
    let model_path = folder.path(train::SUPERNET);
    let history = folder.step(Step::Train, &keys.train, progress, train::outputs, |folder, progress| {
        Order::Train.give(options.ranks)?;
        train::run(&trainer, folder, progress, options.stop)
    })?;
    let model = ofa_space::Model::load(&model_path)?;
    ranks::share_supernet(&model_path, options.ranks)?;
    let subject = Subject { space: &space, dataset: &dataset, device: &device, model: &model, ranks: options.ranks };

    folder.step(Step::Collect, &keys.collect, progress, written(collect::PAIRS), |folder, progress| {
        collect::run(&subject, config, &keys.collect, folder, progress, options.stop)
    })?;
    let fit = folder.step(Step::Fit, &keys.fit, progress, written(fit::PREDICTOR), |folder, progress| {
        fit::run(&subject, config, folder, progress)
    })?;
    let profile = |folder: &mut RunFolder, progress: &mut dyn Progress| {
        folder.step(Step::Profile, &keys.profile, progress, written(profile::FILE), |folder, progress| {
            profile::run(&subject, config, folder, progress, options.stop)
        })
    };
    if chooses_for_host {
        match options.reprofile {
            true => {
                folder.forget(Step::Profile)?;
                let profile = folder.path(profile::FILE);
                if profile.exists() {
                    std::fs::remove_file(&profile).map_err(|e| Failure::writing(&profile, e))?;
                }
            }
            false => profile::require(&folder, &keys.profile)?,
        }
        profile(&mut folder, progress)?;
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
        profile(&mut folder, progress)?;
    }

    let infeasible = found.cases.iter().filter(|case| case.arch.is_none()).map(|case| Infeasible {
        device: case.device.clone(),
        constraint: serde_json::json!(case.constraint),
        closest: serde_json::json!(case.values),
        unfound: case.unfound.clone().unwrap_or_default(),
    });
    warnings.append(&mut folder.warnings);
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
        predictor: fit,
        extremes: deployed.extremes,
        infeasible: infeasible.collect(),
        fronts: found.fronts,
        cases: deployed.cases,
        reference: deployed.reference,
        baseline: None,
        warnings,
    };
    results.judge();
    // Runs of earlier versions have everything at the top.
    if folder.has_work_apart() {
        let readme = folder.path(layout::README);
        atomic_file::write(&readme, FOLDER_README.as_bytes()).map_err(|e| Failure::writing(&readme, e))?;
    }
    let report = write_report(options.out, &results, &folder.timings)?;
    Ok(Finished { results, timings: folder.timings, report, model: model_path })
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

/// The configuration that a run was started with, in its folder; it can be edited and run again.
pub const PLAN: &str = "pipeline.toml";

/// What is in a run's folder.
const FOLDER_README: &str = include_str!("folder/readme.txt");

/// A step's only file besides its result.
fn written<T>(file: &'static str) -> impl Fn(&RunFolder, &T) -> Vec<String> {
    move |_, _| vec![file.to_owned()]
}

/// Writes `results.json`, `report.html`, `report.md` and the plots; returns the report's path.
fn write_report(folder: &Path, results: &RunResults, timings: &Timings) -> Result<PathBuf, Failure> {
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
fn results_of(folder: &Path) -> Result<RunResults, Failure> {
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
