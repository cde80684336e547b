//! `ofa measure`: time a network in a real inference runtime on this machine.

use crate::cli::args::measurable_device::measurable;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_hw::{Host, HostSettings, HwError, MeasurableDevice};
use ofa_space::settings;
use std::path::PathBuf;

/// Arguments of `ofa measure`.
#[derive(Args, Debug)]
pub struct MeasureArgs {
    /// Device to measure on: this machine (`host`), or a profile of kind `host` or `command`.
    #[arg(long, default_value = "host")]
    device: String,
    /// Model file, or the name of a pretrained network: mcunet.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Number of timed runs [default: 50].
    #[arg(long)]
    runs: Option<usize>,
    /// Largest difference between the 10th and 90th percentile, as a share of the median; more is an error [default:
    /// 1].
    #[arg(long)]
    max_spread: Option<f64>,
    /// Folder where results are stored, so that a network is measured only once.
    #[arg(long)]
    cache: Option<PathBuf>,
}

pub fn run(args: &MeasureArgs, context: &Context) -> Result<(), Failure> {
    settings::count("--runs", args.runs.unwrap_or(1), 1..=1_000_000)?;
    let Network { model, arch, .. } = model_choice::network(&args.model, args.arch.as_deref(), context.common.seed)?;
    let net = model.net(arch.as_ref())?;
    let onnx = ofa_export::export(&model, &net)?;
    let device = match measurable(&args.device)? {
        MeasurableDevice::Host(host) => MeasurableDevice::Host(adjusted(host, args, context)?),
        command => command,
    };
    let measurement = device.measure(&onnx, net.input).map_err(|error| match error {
        HwError::Noisy { .. } => Failure::Running(format!("{error} with --max-spread")),
        other => other.into(),
    })?;
    context.output.result(&measurement, || {
        format!(
            "{:.3} ms median ({:.3} to {:.3}) over {} runs, {}, {} threads",
            measurement.median_ms,
            measurement.p10_ms,
            measurement.p90_ms,
            measurement.runs,
            measurement.runtime,
            measurement.threads
        )
    })
}

/// This machine, measured as the options ask.
fn adjusted(host: Host, args: &MeasureArgs, context: &Context) -> Result<Host, Failure> {
    let found = host.settings().clone();
    let default_runs = if args.device == "host" { 50 } else { found.runs };
    let settings = HostSettings {
        runtime: args.runtime.chosen()?.unwrap_or(found.runtime),
        threads: context.common.threads.unwrap_or(found.threads),
        runs: args.runs.unwrap_or(default_runs).max(1),
        max_spread: args.max_spread.unwrap_or(found.max_spread),
        cache: args.cache.clone().or(found.cache),
        ..found
    };
    Ok(Host::try_from(settings).map_err(HwError::from)?)
}
