//! `ofa devices`: what is registered, devices fitted to networks that were measured on them, and compute backends.

use crate::cli::args::space_choice::space;
use crate::cli::output::table;
use crate::cli::{Context, Failure};
use clap::{Args, Subcommand};
use ofa_hw::devices::regression::Regression;
use ofa_hw::profiling::calibrate::{self, Improvement};
use ofa_hw::{DeviceProfile, HwError, Measurements, registry};
use ofa_train::device::{self, Backend};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `ofa devices`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevicesArgs {
    /// List compute backends for `--backend` instead: which ones this binary has, and what they can use on this machine.
    #[arg(long)]
    backends: bool,
    #[command(subcommand)]
    command: Option<DevicesCommand>,
}

#[derive(Subcommand, Debug)]
enum DevicesCommand {
    /// Fit an analytic device or a block table to a few networks measured on the real device.
    Calibrate(CalibrateArgs),
    /// Make a device from timings of whole networks by linear regression.
    Fit(MeasuredFiles),
}

/// Arguments of `ofa devices calibrate`.
#[derive(Args, Debug)]
struct CalibrateArgs {
    /// Device to start from: a roofline (registered or a profile), or a profile of `ofa profile`.
    #[arg(long)]
    device: String,
    #[command(flatten)]
    files: MeasuredFiles,
}

/// What is measured, and the profile made from it. The arguments of `ofa devices fit`.
#[derive(Args, Debug)]
struct MeasuredFiles {
    /// Space of the measured archs: registered name, TOML file or model file.
    #[arg(long)]
    space: String,
    /// File of measurements, one JSON object per line: {"arch": …, "latency_ms": …}.
    #[arg(long)]
    measured: PathBuf,
    /// Output profile.
    #[arg(short, long = "out", alias = "output")]
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
        None if args.backends => list_backends(context),
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

fn list_backends(context: &Context) -> Result<(), Failure> {
    let backends = device::backends();
    context.output.result(&backends, || {
        let state = |backend: &Backend| match &backend.problem {
            _ if !backend.built => format!("not in this binary: build with `--features {}`", backend.name),
            Some(problem) => format!("not usable: {problem}"),
            None => backend.devices.join(", "),
        };
        let row = |backend: &Backend| vec![backend.name.to_owned(), backend.about.to_owned(), state(backend)];
        table(&["backend", "about", "--backend"], &backends.iter().map(row).collect::<Vec<_>>())
    })
}

fn calibrate(args: &CalibrateArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.files.space, None)?;
    let measurements = Measurements::load(&args.files.measured, space.as_ref())?;
    let nets = measurements.nets(space.as_ref())?;
    let device = ofa_hw::load(&args.device)?;
    let (fitted, improvement) =
        calibrate::calibrate(device.as_ref(), &nets, &measurements.conditions).map_err(|error| match error {
            HwError::NotCalibratable { .. } => Failure::Input(format!("--device {}: {error}", args.device)),
            HwError::OtherConditions { .. } => Failure::Input(format!(
                "--measured {}, --device {}: {error}",
                args.files.measured.display(),
                args.device
            )),
            other => other.into(),
        })?;
    DeviceProfile::new(fitted).save(&args.files.output)?;
    let report = CalibrateReport { output: args.files.output.clone(), nets: nets.len(), improvement };
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

fn fit(args: &MeasuredFiles, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, None)?;
    let nets = Measurements::load(&args.measured, space.as_ref())?.nets(space.as_ref())?;
    let name = args.output.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let fitted = Arc::new(Regression::fit(&name, &nets)?);
    let mape = calibrate::mape(fitted.as_ref(), &nets)?;
    DeviceProfile::new(fitted).save(&args.output)?;
    let report = FitReport { output: args.output.clone(), nets: nets.len(), mape };
    context.output.result(&report, || {
        format!("{}: mean error on its {} networks {:.1} %", report.output.display(), report.nets, 100.0 * report.mape)
    })
}
