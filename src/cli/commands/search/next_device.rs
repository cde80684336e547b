//! `ofa search RUN`: the next device of a finished run, from search to tested files.

use super::SearchArgs;
use crate::cli::args::search_devices::parsed;
use crate::cli::output::pipeline_display::Display;
use crate::cli::output::run_report;
use crate::cli::{Context, Failure};
use crate::pipeline::config::{DeviceConfig, PipelineConfig};
use crate::pipeline::plan::{Start, Wishes};
use crate::pipeline::{self, Existing, PLAN, Reading, RunOptions, finished_run::FinishedRun, next_device};
use clap::Args;
use ofa_search::Limit;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What only the search on a run takes.
#[derive(Args, Debug)]
pub struct NextDeviceArgs {
    /// A new folder for the results, with a report of its own; the run stays as it is.
    #[arg(short, long = "out", alias = "output", value_name = "DIR", requires = "run")]
    output: Option<PathBuf>,
    /// Where the run's data are now, if they were moved.
    #[arg(long, requires = "run")]
    data: Option<String>,
    /// Epochs of fine-tuning each network in the new folder, instead of the run's; 0 = none.
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
    let FinishedRun { mut config, .. } = FinishedRun::open(folder)?;
    let wanted = devices(args)?;
    if let Some(data) = &args.next.data {
        config.train = config.train.changed(|train| train.data.clone_from(data))?;
    }
    let out = match &args.next.output {
        None => {
            next_device::add(&mut config, &wanted);
            folder
        }
        Some(out) => {
            config.search.devices = wanted;
            let nothing_else = Wishes {
                start: Start::Automatic,
                seed: config.train.seed,
                devices: Vec::new(),
                finetune_epochs: args.next.finetune_epochs,
                on_corrupt: None,
                drop_duplicates: false,
            };
            config = nothing_else.apply(config)?;
            pipeline::copy_work(folder, out)?;
            out
        }
    };
    go_on(&config, out, started, context)
}

/// What `ofa run --resume` would do with this plan.
fn go_on(config: &PipelineConfig, out: &Path, started: Instant, context: &Context) -> Result<(), Failure> {
    let options = RunOptions {
        out,
        existing: Existing::Resume,
        backend: &context.common.backend,
        names_skipped: context.common.verbose > 0,
        dataset: None,
        estimate: None,
        reprofile: false,
        data: Reading::Changed,
        stop: &context.stop,
    };
    let mut display = Display::new(context.output);
    let finished = pipeline::run(config, &options, &mut display)?;
    context.output.note(&format!("{}: the plan has these devices and limits now", out.join(PLAN).display()));
    run_report::show(&finished, out, started, context)
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
