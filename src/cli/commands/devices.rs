//! `ofa devices`: what is registered, and devices fitted to networks that were measured on them.

use crate::cli::args::space_choice::space;
use crate::cli::output::table;
use crate::cli::{Context, Failure};
use clap::{Args, Subcommand};
use ofa_hw::devices::block_table::BlockTable;
use ofa_hw::devices::regression::Regression;
use ofa_hw::devices::roofline::Roofline;
use ofa_hw::profiling::calibrate::{self, Improvement, MeasuredNet};
use ofa_hw::{HardwareBackend, registry};
use ofa_space::{ArchJson, SearchSpace, atomic_file};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Arguments of `ofa devices`.
#[derive(Args, Debug)]
pub struct DevicesArgs {
    #[command(subcommand)]
    command: Option<DevicesCommand>,
}

#[derive(Subcommand, Debug)]
enum DevicesCommand {
    /// Fit an analytic device or a block table to a handful of networks measured on the real one.
    Calibrate(CalibrateArgs),
    /// Make a device from whole-network timings alone, by linear regression.
    Fit(FitArgs),
}

/// Arguments of `ofa devices calibrate`.
#[derive(Args, Debug)]
struct CalibrateArgs {
    /// Device to start from: a roofline (registered or a profile), or a profile of `ofa profile`.
    #[arg(long)]
    device: String,
    /// Space of the measured archs: registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Measurements, one JSON a line: {"arch": …, "latency_ms": …}.
    #[arg(long)]
    measured: PathBuf,
    /// Output profile.
    #[arg(short, long)]
    output: PathBuf,
}

/// Arguments of `ofa devices fit`.
#[derive(Args, Debug)]
struct FitArgs {
    /// Space of the measured archs: registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Measurements, one JSON a line: {"arch": …, "latency_ms": …}.
    #[arg(long)]
    measured: PathBuf,
    /// Output profile.
    #[arg(short, long)]
    output: PathBuf,
}

#[derive(Serialize)]
struct Device {
    name: String,
    about: String,
    source: String,
}

#[derive(Serialize)]
struct CalibrateReport {
    output: PathBuf,
    nets: usize,
    #[serde(flatten)]
    improvement: Improvement,
}

#[derive(Serialize)]
struct FitReport {
    output: PathBuf,
    nets: usize,
    mape: f64,
}

pub fn run(args: &DevicesArgs, context: &Context) -> Result<(), Failure> {
    match &args.command {
        None => list(context),
        Some(DevicesCommand::Calibrate(args)) => calibrate(args, context),
        Some(DevicesCommand::Fit(args)) => fit(args, context),
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let mut devices: Vec<Device> = ofa_hw::entries()
        .into_iter()
        .map(|e| Device { name: e.name.to_owned(), about: e.about.to_owned(), source: e.source.to_string() })
        .collect();
    for (name, path) in registry::dropped_in() {
        let source = match ofa_hw::load(&path.display().to_string()) {
            Ok(device) => device.source().to_string(),
            Err(error) => {
                context.output.note(&format!("warning: {error}"));
                continue;
            }
        };
        devices.push(Device { name, about: format!("profile {}", path.display()), source });
    }
    context.output.result(&devices, || {
        let rows: Vec<Vec<String>> =
            devices.iter().map(|d| vec![d.name.clone(), d.source.clone(), d.about.clone()]).collect();
        table(&["name", "source", "about"], &rows)
    })
}

fn calibrate(args: &CalibrateArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, None)?;
    let Measurements { nets, how } = measured(&args.measured, space.as_ref())?;
    let device = ofa_hw::load(&args.device)?;
    // A device is plain serde data; its kind says what can be fitted.
    let config = serde_json::to_value(device.as_ref()).map_err(|e| Failure::Running(e.to_string()))?;
    let kind = config.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let mut config = config;
    if let Some(fields) = config.as_object_mut() {
        fields.remove("kind");
    }
    let unreadable = |e: serde_json::Error| Failure::Running(format!("{}: {e}", args.device));
    let (fitted, improvement): (Box<dyn HardwareBackend>, Improvement) = match kind.as_str() {
        "roofline" => {
            let roofline: Roofline = serde_json::from_value(config).map_err(unreadable)?;
            let (fitted, improvement) = calibrate::roofline(&roofline, &nets)?;
            (Box::new(fitted), improvement)
        }
        "block-table" => {
            let blocks: BlockTable = serde_json::from_value(config).map_err(unreadable)?;
            let profile = blocks.profile();
            let own = How { runtime: Some(profile.runtime.clone()), threads: Some(profile.threads) };
            if own.with(&how).is_none() {
                return Err(Failure::Input(format!(
                    "{} was measured in {how}, --device {} in {own}: results are never mixed",
                    args.measured.display(),
                    args.device
                )));
            }
            let (fitted, improvement) = calibrate::block_table(&blocks, &nets)?;
            (Box::new(fitted), improvement)
        }
        other => {
            return Err(Failure::Input(format!(
                "--device {}: is of kind `{other}`; rooflines and profiles of `ofa profile` can be calibrated",
                args.device
            )));
        }
    };
    write_device(&args.output, fitted.as_ref())?;
    let report = CalibrateReport { output: args.output.clone(), nets: nets.len(), improvement };
    context.output.result(&report, || {
        format!(
            "{}: mean error on {} networks {:.1} % before, {:.1} % after",
            report.output.display(),
            report.nets,
            100.0 * improvement.mape_before,
            100.0 * improvement.mape_after
        )
    })
}

fn fit(args: &FitArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, None)?;
    let Measurements { nets, .. } = measured(&args.measured, space.as_ref())?;
    let pairs: Vec<_> = nets.iter().map(|measured| (measured.net.clone(), measured.latency_ms)).collect();
    let name = args.output.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let fitted = Regression::fit(&name, &pairs)?;
    write_device(&args.output, &fitted)?;
    let report = FitReport { output: args.output.clone(), nets: nets.len(), mape: calibrate::mape(&fitted, &nets)? };
    context.output.result(&report, || {
        format!("{}: mean error on its {} networks {:.1} %", report.output.display(), report.nets, 100.0 * report.mape)
    })
}

/// Writes a device as a profile.
fn write_device(path: &Path, device: &dyn HardwareBackend) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct File<'a> {
        device: &'a dyn HardwareBackend,
    }
    let text = toml::to_string(&File { device }).map_err(|e| Failure::Running(e.to_string()))?;
    atomic_file::write(path, text.as_bytes()).map_err(|e| Failure::writing(path, e))
}

/// Networks measured in one way.
struct Measurements {
    nets: Vec<MeasuredNet>,
    /// Runtime and threads, where the file says them.
    how: How,
}

/// What ran the networks. Results of different runtimes or thread counts are never mixed.
#[derive(Deserialize, Clone, PartialEq, Debug, Default)]
struct How {
    runtime: Option<String>,
    threads: Option<usize>,
}

impl How {
    /// What two of them know together; none if they contradict each other.
    fn with(&self, other: &How) -> Option<How> {
        let differ = |a: bool, b: bool, same: bool| a && b && !same;
        let runtimes = differ(self.runtime.is_some(), other.runtime.is_some(), self.runtime == other.runtime);
        let threads = differ(self.threads.is_some(), other.threads.is_some(), self.threads == other.threads);
        (!runtimes && !threads).then(|| How {
            runtime: self.runtime.clone().or_else(|| other.runtime.clone()),
            threads: self.threads.or(other.threads),
        })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.runtime.as_deref().unwrap_or("an unnamed runtime"))?;
        match self.threads {
            Some(threads) => write!(f, " with {threads} threads"),
            None => Ok(()),
        }
    }
}

/// Measured networks of a file of lines; `measured_ms` of `ofa profile --check-output` is understood too.
fn measured(path: &Path, space: &dyn SearchSpace) -> Result<Measurements, Failure> {
    #[derive(Deserialize)]
    struct Line {
        arch: ArchJson,
        #[serde(alias = "measured_ms", alias = "median_ms")]
        latency_ms: f64,
        #[serde(flatten)]
        how: How,
    }
    let text =
        std::fs::read_to_string(path).map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
    let (mut nets, mut how) = (Vec::new(), How::default());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |problem: String| Failure::Input(format!("{}:{}: {problem}", path.display(), index + 1));
        let line: Line =
            serde_json::from_str(line).map_err(|e| bad(format!("{e}; expected {{\"arch\": …, \"latency_ms\": …}}")))?;
        if !(line.latency_ms > 0.0 && line.latency_ms.is_finite()) {
            return Err(bad(format!("latency_ms is {}, expected more than 0", line.latency_ms)));
        }
        how = how.with(&line.how).ok_or_else(|| {
            bad(format!("measured in {}, the lines before in {how}: results are never mixed", line.how))
        })?;
        let arch = space.parse(&line.arch).map_err(|e| bad(e.to_string()))?;
        nets.push(MeasuredNet { net: space.resolve(&arch)?, latency_ms: line.latency_ms });
    }
    match nets.is_empty() {
        true => Err(Failure::Input(format!("{}: holds no measurements", path.display()))),
        false => Ok(Measurements { nets, how }),
    }
}
