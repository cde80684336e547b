//! `ofa profile`: every block of a space timed on this machine, as a device for `--device`.

use crate::cli::args::measurable_device::{Measurable, measurable};
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::args::space_choice::space;
use crate::cli::output::progress::Progress;
use crate::cli::{Context, Failure};
use crate::measured_profile::{self, Agreement, ROOFLINE};
use crate::report::{Predicted, plot_latencies};
use clap::{Args, ValueEnum};
use ofa_hw::HwError;
use ofa_hw::devices::block_table::BlockTable;
use ofa_hw::devices::lut::official_layout;
use ofa_hw::devices::whole_net::WholeNet;
use ofa_hw::profiling::profiler::{self, Measured, Partial, ProfileObserver, ProfileOptions};
use ofa_hw::profiling::stopwatch::{HostStopwatch, Stopwatch};
use ofa_space::{Arch, SearchSpace, atomic_file, registry};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `ofa profile`.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    /// Device to measure: this machine (`host`), or a profile of kind `host` or `command`.
    #[arg(long, default_value = "host")]
    device: String,
    /// Registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Number of classes, instead of the space's own.
    #[arg(long)]
    classes: Option<usize>,
    /// Image sizes to measure, instead of all of the space's.
    #[arg(long, value_delimiter = ',')]
    resolutions: Vec<u32>,
    /// Output profile.
    #[arg(short, long)]
    output: PathBuf,
    /// Layout of the output: ours, or the published tables'.
    #[arg(long, value_enum, default_value = "toml")]
    format: Format,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Timed runs of each block, at least; short blocks get more.
    #[arg(long, default_value_t = ProfileOptions::default().rounds)]
    rounds: usize,
    /// Random networks that are measured whole, to fit what turns block times into a network's time; 0 = plain sum.
    #[arg(long, default_value_t = ProfileOptions::default().whole_nets)]
    nets: usize,
    /// Compare predicted and measured latency of this many other random networks, timed in turn with these.
    #[arg(long, default_value_t = ProfileOptions::default().check_nets)]
    check: usize,
    /// Write these comparisons to a file, one JSON a line.
    #[arg(long, requires = "check")]
    check_output: Option<PathBuf>,
    /// Draw these comparisons (SVG).
    #[arg(long, requires = "check")]
    check_plot: Option<PathBuf>,
}

/// Layout of a profile.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A device profile of ours.
    Toml,
    /// The layout of the authors' Note10 tables.
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

pub fn run(args: &ProfileArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let mut space = space(&args.space, args.classes)?;
    if !args.resolutions.is_empty() {
        space = registry::with_field(space.as_ref(), "resolutions", serde_json::json!(args.resolutions))?;
    }
    let mut stopwatch = stopwatch(args, space.as_ref(), context)?;
    let options = ProfileOptions {
        rounds: args.rounds.max(1),
        whole_nets: args.nets,
        check_nets: args.check,
        seed: context.common.seed,
    };
    let unfinished = beside(&args.output);
    let partial = read_partial(&unfinished)?;
    if !partial.groups.is_empty() {
        context.output.note(&format!("going on from {}", unfinished.display()));
    }
    let mut observer = Bar { context, progress: None, unfinished: &unfinished };
    let Measured { mut profile, checks } =
        profiler::profile(space.as_ref(), &mut *stopwatch, &options, partial, &mut observer, &context.stop).map_err(
            |error| match error {
                HwError::Interrupted => Failure::Interrupted(format!(
                    "interrupted; what is measured is in {}: run the same command again to go on",
                    unfinished.display()
                )),
                HwError::OtherProfile => Failure::Input(format!("{}: {error}", unfinished.display())),
                other => other.into(),
            },
        )?;
    observer.finish();
    profile.name = args.output.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let entries = profile.blocks.len();
    let (runtime, threads, whole_net) = (profile.runtime.clone(), profile.threads, profile.whole_net);
    if whole_net.mape > SUSPICIOUS_ERROR {
        context.output.note(&format!(
            "warning: the profile misses the networks that it was fitted on by {:.0} % on average: the machine was \
             disturbed while they were timed. Stop other programs and repeat it",
            100.0 * whole_net.mape
        ));
    }
    let bad = |problem: String| Failure::Running(format!("the profile is not usable: {problem}"));
    let table = BlockTable::try_from(profile).map_err(bad)?;
    let text = match args.format {
        Format::Toml => measured_profile::toml_text(&table)?,
        Format::Yaml => official_layout::yaml(&table, space.as_ref())?,
    };
    atomic_file::write(&args.output, text.as_bytes()).map_err(|e| Failure::writing(&args.output, e))?;
    let check = match checks.is_empty() {
        true => None,
        false => Some(check(&table, space.as_ref(), &checks, args)?),
    };
    if unfinished.exists() {
        std::fs::remove_file(&unfinished).map_err(|e| Failure::writing(&unfinished, e))?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let report = ProfileReport { entries, output: args.output.clone(), runtime, threads, seconds, whole_net, check };
    context.output.result(&report, || {
        let checked = report.check.as_ref().map_or_else(String::new, |c| {
            format!(
                "\n{} other networks: predicted against measured Kendall tau {:.3}, mean error {:.1} %; \
                 {ROOFLINE} (not calibrated) {:.3}, {:.1} %",
                c.nets,
                c.kendall_tau,
                100.0 * c.mape,
                c.roofline_kendall_tau,
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

/// What takes the times.
fn stopwatch(args: &ProfileArgs, space: &dyn SearchSpace, context: &Context) -> Result<Box<dyn Stopwatch>, Failure> {
    let mut host = match measurable(&args.device)? {
        Measurable::Command(device) => return Ok(Box::new(device)),
        Measurable::Host(host) => host,
    };
    if let Some(runtime) = args.runtime.chosen()? {
        host.runtime = runtime;
    }
    host.threads = context.common.threads.unwrap_or(host.threads);
    let pacer = space.resolve(&space.min_arch())?;
    Ok(Box::new(HostStopwatch::new(host, &pacer)?))
}

/// Predicts the networks of the check and writes what was asked for.
fn check(
    table: &BlockTable,
    space: &dyn SearchSpace,
    checks: &[(Arch, f64)],
    args: &ProfileArgs,
) -> Result<Agreement, Failure> {
    let compared = measured_profile::compare(table, space, checks)?;
    if let Some(path) = &args.check_output {
        let mut text = String::new();
        for line in &compared {
            text += &serde_json::to_string(line).map_err(|e| Failure::Running(e.to_string()))?;
            text.push('\n');
        }
        atomic_file::write(path, text.as_bytes()).map_err(|e| Failure::writing(path, e))?;
    }
    if let Some(path) = &args.check_plot {
        let svg = plot_latencies(&compared, Predicted::ByBlocks).and_then(|plot| plot.svg_file()).unwrap_or_default();
        atomic_file::write(path, svg.as_bytes()).map_err(|e| Failure::writing(path, e))?;
    }
    Ok(measured_profile::agreement(&compared))
}

/// Where an unfinished profile waits.
fn beside(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    output.with_file_name(name)
}

fn read_partial(path: &Path) -> Result<Partial, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
            Failure::Input(format!("{}: is no unfinished profile ({e}); remove it to start afresh", path.display()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Partial::default()),
        Err(error) => Err(Failure::Input(format!("cannot read {}: {error}", path.display()))),
    }
}

struct Bar<'a> {
    context: &'a Context,
    progress: Option<Progress>,
    unfinished: &'a Path,
}

impl Bar<'_> {
    fn finish(self) {
        if let Some(progress) = self.progress {
            progress.finish();
        }
    }
}

impl ProfileObserver for Bar<'_> {
    fn on_progress(&mut self, done: usize, total: usize) {
        let output = self.context.output;
        self.progress.get_or_insert_with(|| Progress::new("profile", total as u64, output)).update(done as u64, "");
    }

    fn on_group(&mut self, partial: &Partial) -> Result<(), HwError> {
        let bytes = serde_json::to_vec(partial).unwrap_or_default();
        atomic_file::write(self.unfinished, &bytes)
            .map_err(|source| HwError::Io { path: self.unfinished.to_owned(), source })
    }
}
