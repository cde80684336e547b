//! `ofa measure`: time a network in a real inference runtime on this machine.

use super::{Context, Failure, arch_choice};
use clap::Args;
use ofa_hw::host::Host;
use ofa_space::Model;
use std::path::PathBuf;

/// Arguments of `ofa measure`.
#[derive(Args, Debug)]
pub struct MeasureArgs {
    /// Device to measure on; only this machine, so far.
    #[arg(long, default_value = "host")]
    device: String,
    /// Model file.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// Timed runs.
    #[arg(long, default_value_t = 50)]
    runs: usize,
}

pub(super) fn run(args: &MeasureArgs, context: &Context) -> Result<(), Failure> {
    if args.device != "host" {
        return Err(Failure::Input(format!(
            "--device {}: only `host` can be measured; `ofa latency` predicts other devices",
            args.device
        )));
    }
    let model = Model::load(&args.model)?;
    let arch = arch_choice::for_model(&model, args.arch.as_deref(), &args.model, context.common.seed)?;
    let net = model.net(arch.as_ref())?;
    let onnx = ofa_export::export(&model, &net)?;
    let host = Host { threads: context.common.threads.unwrap_or(1), runs: args.runs.max(1), ..Host::default() };
    let measurement = host.measure(&onnx, net.input)?;
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
