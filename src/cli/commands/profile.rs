//! `ofa profile`: every block of a space timed on this machine, as a device for `--device`.

use crate::cli::args::measurable_device::measurable;
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::args::space_choice;
use crate::cli::output::progress::Progress;
use crate::cli::{Context, Failure};
use crate::measured_profile::{self, Agreement};
use crate::prediction::defined;
use crate::report::{Predicted, plot_latencies};
use clap::{Args, ValueEnum};
use ofa_hw::devices::block_table::BlockProfile;
use ofa_hw::devices::lut::official_layout;
use ofa_hw::devices::whole_net::WholeNet;
use ofa_hw::profiling::comparison::{self, ROOFLINE};
use ofa_hw::profiling::unfinished::Unfinished;
use ofa_hw::{Host, HostSettings, HwError, MeasurableDevice, Measured, ProfileOptions, Profiler};
use ofa_space::{SearchSpace, atomic_file, registry, settings};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `ofa profile`.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    /// Device to measure: this machine (`host`), or a profile of kind `host` or `command`.
    #[arg(long, default_value = "host")]
    device: String,
    /// Registered name, TOML file, or model file.
    #[arg(long)]
    space: String,
    /// Number of classes, instead of that of the space.
    #[arg(long)]
    classes: Option<usize>,
    /// Image sizes to measure, instead of all those of the space.
    #[arg(long, value_delimiter = ',')]
    resolutions: Vec<u32>,
    /// Output profile.
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
    /// Format of the output.
    #[arg(long, value_enum, default_value = "toml")]
    format: Format,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Minimum number of timed runs of each block; short blocks get more.
    #[arg(long, default_value_t = ProfileOptions::default().rounds)]
    rounds: usize,
    /// Number of random whole networks to measure, to fit a correction of the sum of block times; 0 = plain sum.
    #[arg(long, default_value_t = ProfileOptions::default().whole_nets)]
    nets: usize,
    /// Number of other random networks for a comparison of predicted and measured latency, timed alternately with those
    /// of --nets.
    #[arg(long, default_value_t = ProfileOptions::default().check_nets)]
    check: usize,
    /// Write these comparisons to a file, one JSON object per line.
    #[arg(long, requires = "check")]
    check_output: Option<PathBuf>,
    /// Draw these comparisons (SVG).
    #[arg(long, requires = "check")]
    check_plot: Option<PathBuf>,
}

/// Layout of a profile.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A device profile.
    Toml,
    /// The format of the authors' Note10 tables.
    Yaml,
}

#[derive(Serialize)]
struct ProfileReport {
    entries: usize,
    output: PathBuf,
    runtime: String,
    threads: usize,
    seconds: f64,
    whole_net: WholeNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Agreement>,
}

/// Undisturbed profiles miss the networks of their own fit by 0.3 to 3 %.
const SUSPICIOUS_ERROR: f64 = 0.05;

/// Networks timed whole, and runs of each: days of measuring.
const MOST_NETS: usize = 100_000;
const MOST_RUNS: usize = 1_000_000;

pub fn run(args: &ProfileArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    settings::count("--rounds", args.rounds, 1..=MOST_RUNS)?;
    settings::count("--nets", args.nets, 0..=MOST_NETS)?;
    settings::count("--check", args.check, 0..=MOST_NETS)?;
    let mut space = space_choice::space(&args.space, args.classes)?;
    if !args.resolutions.is_empty() {
        space = registry::with_field(space.as_ref(), "resolutions", serde_json::json!(args.resolutions))?;
    }
    let device = device(args, context)?;
    let unfinished = Unfinished::beside(&args.output);
    let measured = measure(args, device, space.as_ref(), &unfinished, context)?;
    let BlockProfile { runtime, threads, whole_net, blocks, .. } = measured.table.profile();
    if whole_net.mape > SUSPICIOUS_ERROR {
        context.output.note(&format!(
            "warning: the profile misses the networks that it was fitted on by {:.0} % on average: the machine was \
             disturbed while they were timed. Stop other programs and repeat it",
            100.0 * whole_net.mape
        ));
    }
    let profile = match args.format {
        Format::Toml => measured.table.to_toml()?,
        Format::Yaml => official_layout::yaml(&measured.table, space.as_ref())?,
    };
    let mut files = vec![(args.output.as_path(), profile)];
    let check = match measured.checks.is_empty() {
        true => None,
        false => Some(check(&measured, space.as_ref(), args, &mut files)?),
    };
    let files: Vec<(&Path, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    atomic_file::write_together(&files).map_err(|(path, error)| Failure::writing(path, error))?;
    if unfinished.exists() {
        std::fs::remove_file(&unfinished).map_err(|e| Failure::writing(&unfinished, e))?;
    }
    let report = ProfileReport {
        entries: blocks.len(),
        output: args.output.clone(),
        runtime: runtime.clone(),
        threads: *threads,
        seconds: started.elapsed().as_secs_f64(),
        whole_net: *whole_net,
        check,
    };
    context.output.result(&report, || {
        let checked = report.check.as_ref().map_or_else(String::new, |c| {
            format!(
                "\n{} other networks: predicted against measured Kendall tau {}, mean error {:.1} %; \
                 {ROOFLINE} (not calibrated) {}, {:.1} %",
                c.nets,
                defined(c.kendall_tau, 3),
                100.0 * c.mape,
                defined(c.roofline_kendall_tau, 3),
                100.0 * c.roofline_mape
            )
        });
        format!(
            "{}: {} blocks in {}, {} threads, {:.0} s; mean error on the {} networks of the fit {:.1} %{checked}",
            report.output.display(),
            report.entries,
            report.runtime,
            report.threads,
            report.seconds,
            report.whole_net.nets,
            100.0 * report.whole_net.mape
        )
    })
}

/// The device to measure, with the options' runtime and threads.
fn device(args: &ProfileArgs, context: &Context) -> Result<MeasurableDevice, Failure> {
    let host = match measurable(&args.device)? {
        MeasurableDevice::Host(host) => host,
        command => return Ok(command),
    };
    let found = host.settings().clone();
    let settings = HostSettings {
        runtime: args.runtime.chosen()?.unwrap_or(found.runtime),
        threads: context.common.threads.unwrap_or(found.threads),
        ..found
    };
    Ok(Host::try_from(settings).map_err(HwError::from)?.into())
}

/// Times the space, showing progress; what is measured is kept in the file `unfinished`.
fn measure(
    args: &ProfileArgs,
    device: MeasurableDevice,
    space: &dyn SearchSpace,
    unfinished: &Path,
    context: &Context,
) -> Result<Measured, Failure> {
    let options = ProfileOptions {
        rounds: args.rounds.max(1),
        whole_nets: args.nets,
        check_nets: args.check,
        seed: context.common.seed,
    };
    let mut progress: Option<Progress> = None;
    let show = |done: usize, total: usize| {
        let bar = progress.get_or_insert_with(|| {
            if done > 0 {
                context.output.note(&format!("going on from {}", unfinished.display()));
            }
            Progress::new("profile", total as u64, context.output)
        });
        bar.update(done as u64, "");
    };
    let measured = Profiler::new(space)
        .named(args.output.file_stem().unwrap_or_default().to_string_lossy())
        .options(options)
        .resumable(unfinished)
        .on_progress(show)
        .stop_at(&context.stop)
        .run(device)
        .map_err(|error| match error {
            HwError::Interrupted => Failure::Interrupted(match unfinished.exists() {
                true => format!(
                    "interrupted; what is measured is in {}: run the same command again to go on",
                    unfinished.display()
                ),
                false => "interrupted before anything was measured; nothing is left of it".to_owned(),
            }),
            HwError::OtherProfile => Failure::Input(format!("{}: {error}", unfinished.display())),
            other => other.into(),
        })?;
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(measured)
}

/// Predicts the networks of the check, and adds the files that were asked for.
fn check<'a>(
    measured: &Measured,
    space: &dyn SearchSpace,
    args: &'a ProfileArgs,
    files: &mut Vec<(&'a Path, String)>,
) -> Result<Agreement, Failure> {
    let compared = measured.compare(space)?;
    if let Some(path) = &args.check_output {
        files.push((path, comparison::lines(&compared).map_err(|e| Failure::Running(e.to_string()))?));
    }
    if let Some(path) = &args.check_plot {
        let svg = plot_latencies(&compared, Predicted::ByBlocks).and_then(|plot| plot.svg_file()).unwrap_or_default();
        files.push((path, svg));
    }
    Ok(measured_profile::agreement(&compared))
}
