//! `ofa latency`: predicted (or measured) latency of archs on a device.

use crate::cli::args::arch_choice;
use crate::cli::args::space_choice::space;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_hw::LatencySource;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa latency`.
#[derive(Args, Debug)]
pub struct LatencyArgs {
    /// Registered name, profile (.toml), table (.yaml), or folder of tables.
    #[arg(long)]
    device: String,
    /// Registered name, TOML file, or model file.
    #[arg(long)]
    space: String,
    /// Number of classes, instead of that of the space.
    #[arg(long)]
    classes: Option<usize>,
    /// One arch: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// File of archs, one JSON object per line.
    #[arg(long, conflicts_with = "arch")]
    archs: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line {
    arch: ofa_space::ArchJson,
    latency_ms: f64,
    source: LatencySource,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_mj: Option<f64>,
}

pub fn run(args: &LatencyArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, args.classes)?;
    let archs =
        arch_choice::one_or_many(args.arch.as_deref(), args.archs.as_deref(), space.as_ref(), context.common.seed)?;
    let device = ofa_hw::load(&args.device)?;
    for arch in &archs {
        let latency_ms = device.subnet_latency_ms(space.as_ref(), arch)?;
        let energy_mj = device.energy_mj(&space.resolve(arch)?);
        let line = Line { arch: space.format(arch), latency_ms, source: device.source(), energy_mj };
        context.output.result(&line, || {
            let energy = energy_mj.map_or_else(String::new, |mj| format!(", {mj:.4} mJ"));
            format!("{latency_ms:.4} ms ({}){energy}  {}", line.source, line.arch)
        })?;
    }
    Ok(())
}
