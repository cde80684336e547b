//! `ofa extract`: a standalone subnet, with BN statistics of its own if calibration data is given.

use crate::cli::args::arch_choice;
use crate::cli::args::calibration::CalibrationImages;
use crate::cli::args::model_choice;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_space::cost;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa extract`.
#[derive(Args, Debug)]
pub struct ExtractArgs {
    /// Supernet or whole network: a model file, or the name of a pretrained network (mcunet).
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
    /// Sizes of the batches that an .npy file is cut into, in order; the last one repeats.
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
    let (mut model, space) = model_choice::supernet(&args.model)?;
    let mut arch = arch_choice::arch(&args.arch, space.as_ref(), context.common.seed)?;
    if args.calibrate_batches.contains(&0) {
        return Err(Failure::Input("--calibrate-batches holds a 0, expected sizes of at least 1".into()));
    }
    let load = |source: &String| CalibrationImages::load(source, &model, Some(&arch));
    let calibration = args.calibrate.as_ref().map(load).transpose()?;
    if let (None, Some(CalibrationImages::Npy(images))) = (arch.resolution(), &calibration) {
        arch = arch.with_resolution(images.shape[1] as u32);
    }
    match &calibration {
        Some(images) => {
            images.recalibrate(&mut model, &arch, args.calibration_images, &args.calibrate_batches, context)?;
        }
        None => context
            .output
            .note("keeping the supernet's shared BN statistics; add --calibrate DATA for the subnet's own"),
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
