//! `ofa measure`: time a network in a real inference runtime on this machine.

use super::{Context, Failure, arch_choice};
use clap::Args;
use ofa_export::Runtime;
use ofa_hw::devices::command::CommandDevice;
use ofa_hw::devices::host::Host;
use ofa_space::Model;
use serde::Deserialize;
use std::path::PathBuf;

/// Which inference runtime.
#[derive(Args, Debug)]
pub struct RuntimeArgs {
    /// Inference runtime: rten (if left out), onnxruntime, onnxruntime-cuda (the latter two if built in).
    #[arg(long)]
    runtime: Option<String>,
}

impl RuntimeArgs {
    /// The runtime, if it is known and built in.
    pub fn runtime(&self) -> Result<Runtime, Failure> {
        Ok(self.chosen()?.unwrap_or_default())
    }

    /// The runtime that was asked for, if one was.
    pub fn chosen(&self) -> Result<Option<Runtime>, Failure> {
        let Some(name) = &self.runtime else { return Ok(None) };
        let runtime: Runtime = name.parse().map_err(input)?;
        match runtime.is_available() {
            true => Ok(Some(runtime)),
            false => Err(input(ofa_export::RuntimeError::NotCompiledIn { runtime: runtime.name() })),
        }
    }
}

fn input(error: ofa_export::RuntimeError) -> Failure {
    Failure::Input(format!("--runtime: {error}"))
}

/// A device that takes times itself.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Measurable {
    /// This machine.
    Host(Host),
    /// A command of the user's.
    Command(CommandDevice),
}

/// The device of `--device`: `host`, or a profile of kind `host` or `command`.
pub fn measurable(device: &str) -> Result<Measurable, Failure> {
    if device == "host" {
        return Ok(Measurable::Host(Host::default()));
    }
    let unfit = |kind: &str| {
        Failure::Input(format!(
            "--device {device}: {kind}; only `host` and profiles of kind `host` or `command` can be measured, \
             `ofa latency` predicts others"
        ))
    };
    let path = ofa_hw::registry::profile_path(device).ok_or_else(|| unfit("is no profile"))?;
    let text =
        std::fs::read_to_string(&path).map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
    let origin = path.display().to_string();
    // A device of any kind first, whose errors name the field.
    ofa_hw::registry::from_profile(&text, &origin)?;
    ofa_hw::devices::profile_text::read(&text, &origin).map_err(|_| unfit("is of another kind"))
}

/// Arguments of `ofa measure`.
#[derive(Args, Debug)]
pub struct MeasureArgs {
    /// Device to measure on: this machine (`host`), or a profile of kind `host` or `command`.
    #[arg(long, default_value = "host")]
    device: String,
    /// Model file.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Timed runs; 50 if left out.
    #[arg(long)]
    runs: Option<usize>,
    /// Refuse to report if the 10th and 90th percentile are further apart than this share of the median; 1 if left
    /// out.
    #[arg(long)]
    max_spread: Option<f64>,
    /// Folder where results are kept, so that a network is measured once in the same way.
    #[arg(long)]
    cache: Option<PathBuf>,
}

pub(super) fn run(args: &MeasureArgs, context: &Context) -> Result<(), Failure> {
    let model = Model::load(&args.model)?;
    let arch = arch_choice::for_model(&model, args.arch.as_deref(), &args.model, context.common.seed)?;
    let net = model.net(arch.as_ref())?;
    let onnx = ofa_export::export(&model, &net)?;
    let measurement = match measurable(&args.device)? {
        Measurable::Command(device) => device.measure(&onnx, net.input)?,
        Measurable::Host(found) => {
            let default_runs = if args.device == "host" { 50 } else { found.runs };
            let host = Host {
                runtime: args.runtime.chosen()?.unwrap_or(found.runtime),
                threads: context.common.threads.unwrap_or(found.threads),
                runs: args.runs.unwrap_or(default_runs).max(1),
                max_spread: args.max_spread.unwrap_or(found.max_spread),
                cache: args.cache.clone().or(found.cache),
                ..found
            };
            host.measure(&onnx, net.input)?
        }
    };
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
