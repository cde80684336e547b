//! `ofa search RUN`: the next device of a finished run, from search to tested files.

use super::SearchArgs;
use crate::cli::args::search_devices::parsed;
use crate::cli::output::pipeline_display::Display;
use crate::cli::output::run_report;
use crate::cli::{Context, Failure};
use crate::pipeline::config::{DeviceConfig, PipelineConfig};
use crate::pipeline::{
    self, Existing, Finished, Holds, PLAN, Reading, RunOptions, finished_run::FinishedRun, next_device,
};
use crate::report::{self, RunResults};
use clap::Args;
use ofa_search::Limit;
use ofa_space::atomic_file;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What only the search on a run takes.
#[derive(Args, Debug)]
pub struct NextDeviceArgs {
    /// Output folder for the results and their report; must be new. The run is not changed.
    #[arg(short, long = "out", alias = "output", value_name = "DIR", requires = "run")]
    output: Option<PathBuf>,
    /// New location of the run's data, if they were moved.
    #[arg(long, requires = "run")]
    data: Option<String>,
    /// Epochs of fine-tuning for each network in the new folder, instead of those of the run; 0 = none.
    #[arg(long, requires = "output")]
    finetune_epochs: Option<f64>,
}

impl NextDeviceArgs {
    /// Refuses these options where there is no run.
    pub fn refuse(&self) -> Result<(), Failure> {
        match (&self.output, &self.data) {
            (None, None) => Ok(()),
            (Some(_), _) => Err(Failure::Input("--out: expected the folder of a run to search in".into())),
            (None, Some(_)) => Err(Failure::Input("--data: expected the folder of a run to search in".into())),
        }
    }
}

pub(super) fn run(args: &SearchArgs, folder: &Path, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let run = FinishedRun::open(folder)?;
    if let Some(seed) = context.explicit_seed.filter(|seed| *seed != run.config.train.seed) {
        let own = run.config.train.seed;
        return Err(Failure::Input(format!(
            "--seed {seed}: {} has seed {own}, which its search takes",
            folder.display()
        )));
    }
    let wanted = devices(args)?;
    let (out, known, mut config) = match &args.next.output {
        None => (folder, all_limits(&run.results), run.config),
        Some(out) => {
            let there = FinishedRun::open(out).map_or_else(|_| Vec::new(), |run| all_limits(&run.results));
            (out.as_path(), there, in_a_folder_of_its_own(run, out, args)?)
        }
    };
    if let Some(data) = &args.next.data {
        config.train = config.train.changed(|train| train.data.clone_from(data))?;
    }
    let before = config.to_file()?;
    next_device::add(&mut config, &wanted);
    pipeline::check(&config)?;
    if pipeline::look(out) != Holds::Run {
        pipeline::copy_work(folder, out)?;
        // An interrupted or failed search goes on with the same command.
        let plan = out.join(PLAN);
        atomic_file::write(&plan, config.to_file()?.as_bytes()).map_err(|e| Failure::writing(&plan, e))?;
    }
    let finished = go_on(&config, out, context)?;
    if config.to_file()? != before {
        context.output.note(&format!("{}: the plan has these devices and limits now", out.join(PLAN).display()));
    }
    run_report::show(&finished, out, started, context)?;
    let (found, unfound) = limits_of(&finished.results);
    let is_new = |limit: &Limits| !known.contains(limit);
    match (found.iter().any(is_new), unfound.iter().any(is_new)) {
        (false, true) => Err(Failure::Running(format!(
            "no network keeps the new limits, which are in {} now: give others, or take them out there",
            out.join(PLAN).display()
        ))),
        _ => Ok(()),
    }
}

/// The plan for a new folder, or that of a folder that was begun from the same run.
fn in_a_folder_of_its_own(run: FinishedRun, out: &Path, args: &SearchArgs) -> Result<PipelineConfig, Failure> {
    if is_inside(out, run.folder()) {
        return Err(Failure::Input(format!("--out {}: is inside the run, expected a folder beside it", out.display())));
    }
    if pipeline::look(out) == Holds::Run {
        return match pipeline::have_the_same_training(run.folder(), out) {
            true => PipelineConfig::load(&out.join(PLAN)),
            false => Err(Failure::Input(format!("--out {}: holds another run, expected a new folder", out.display()))),
        };
    }
    let mut config = run.config;
    config.search.devices.clear();
    // A profile that nothing is chosen by was the run's to check.
    config.deploy.host_nets = 0;
    if let Some(epochs) = args.next.finetune_epochs {
        config.set_finetune_epochs(epochs)?;
    }
    Ok(config)
}

/// Whether a path, which need not be there yet, is below a folder or the folder itself.
fn is_inside(path: &Path, folder: &Path) -> bool {
    let there = path.ancestors().find(|ancestor| ancestor.exists());
    let there = there.filter(|ancestor| !ancestor.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (there.canonicalize(), folder.canonicalize()) {
        (Ok(there), Ok(folder)) => there.starts_with(folder),
        _ => false,
    }
}

/// A device and its limits.
type Limits = (Option<String>, String);

/// Limits with and without a network.
fn limits_of(results: &RunResults) -> (Vec<Limits>, Vec<Limits>) {
    let found = results.cases.iter().map(|case| (case.device.clone(), case.limits()));
    let unfound = results.infeasible.iter().map(|case| (case.device.clone(), report::limits(&case.constraint)));
    (found.collect(), unfound.collect())
}

/// Every limit that a run has a result for.
fn all_limits(results: &RunResults) -> Vec<Limits> {
    let (found, unfound) = limits_of(results);
    found.into_iter().chain(unfound).collect()
}

/// What `ofa run --resume` would do with this plan.
fn go_on(config: &PipelineConfig, out: &Path, context: &Context) -> Result<Finished, Failure> {
    let options = RunOptions {
        out,
        existing: Existing::Resume,
        backend: &context.common.backend,
        names_skipped: context.common.verbose > 0,
        dataset: None,
        estimate: None,
        reprofile: false,
        data: Reading::Changed,
        ranks: context.ranks.all(),
        stop: &context.stop,
    };
    let mut display = Display::new(context.output);
    pipeline::run(config, &options, &mut display)
}

/// The devices and limits of the command line, as entries of a plan.
fn devices(args: &SearchArgs) -> Result<Vec<DeviceConfig>, Failure> {
    let named: Vec<(String, Vec<Limit>)> = args.device.iter().flat_map(|argument| parsed(argument)).collect();
    let entry = |device: Option<String>, latencies: &[Limit]| {
        args.memory.within(DeviceConfig {
            device,
            max_latency_ms: latencies.to_vec(),
            max_macs: args.max_macs.clone(),
            max_params: args.max_params.clone(),
            ..DeviceConfig::default()
        })
    };
    let without = entry(None, &[]);
    if named.is_empty() {
        return match without.spreads_latencies() {
            true => Err(Failure::Input(
                "nothing to search for: give --device, with --max-latency-ms or without, or another limit such as --max-macs"
                    .into(),
            )),
            false => Ok(vec![without]),
        };
    }
    let own = |(name, own): &(String, Vec<Limit>)| {
        entry(Some(name.clone()), if own.is_empty() { &args.max_latency_ms } else { own })
    };
    Ok(named.iter().map(own).collect())
}
