//! `ofa extract`: a standalone subnet, with BN statistics of its own if calibration data is given.

use crate::cli::args::arch_choice;
use crate::cli::args::calibration::{recalibrate_model, recalibrate_on_batch};
use crate::cli::args::npy_batch::read_npy;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_space::{Model, cost};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `ofa extract`.
#[derive(Args, Debug)]
pub struct ExtractArgs {
    /// Supernet model file.
    #[arg(long)]
    model: PathBuf,
    /// max, min, random, JSON, or a file.
    #[arg(long)]
    arch: String,
    /// Output model file.
    #[arg(short, long)]
    output: PathBuf,
    /// Recalibrate BN on this data set's training images, or on an .npy batch.
    #[arg(long)]
    calibrate: Option<String>,
    /// Training images for BN recalibration.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Sizes of the batches that an .npy is cut into, in order; the last repeats.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    calibrate_batches: Vec<usize>,
}

#[derive(Serialize)]
struct ExtractReport {
    params: u64,
    output: PathBuf,
    calibrated: bool,
}

pub fn run(args: &ExtractArgs, context: &Context) -> Result<(), Failure> {
    let mut model = Model::load(&args.model)?;
    let space =
        model.space().cloned().ok_or_else(|| Failure::Input(format!("{} is no supernet", args.model.display())))?;
    let mut arch = arch_choice::arch(&args.arch, space.as_ref(), context.common.seed)?;
    let batch = args.calibrate.as_deref().filter(|source| source.ends_with(".npy"));
    if let (None, Some(path)) = (arch.resolution(), batch) {
        arch = arch.with_resolution(read_npy(Path::new(path))?.shape[1] as u32);
    }
    if let Some(path) = batch {
        recalibrate_on_batch(&mut model, &arch, path, &args.calibrate_batches, context)?;
    } else if let Some(source) = &args.calibrate {
        recalibrate_model(&mut model, &arch, source, args.calibration_images, context)?;
    } else {
        context.output.note("keeping the supernet's shared BN statistics; add --calibrate DATA for the subnet's own");
    }
    let subnet = model.extract(&arch)?;
    subnet.save(&args.output)?;
    let report = ExtractReport {
        params: cost::params(&subnet.net(None)?),
        output: args.output.clone(),
        calibrated: args.calibrate.is_some(),
    };
    context.output.result(&report, || format!("{}: {} parameters", report.output.display(), report.params))
}
