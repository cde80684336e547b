//! `ofa extract`: a standalone subnet, with BN statistics of its own if calibration data is given.

use crate::cli::args::arch_choice;
use crate::cli::args::calibration::{CalibrationImages, warn_of_shared};
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_space::{ModelBody, cost};
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
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
    /// Data set whose training images are used to recalibrate BN, or an .npy batch.
    #[arg(long)]
    calibrate: Option<String>,
    /// Keep the batch-norm statistics shared by all subnets, without a warning.
    #[arg(long, conflicts_with = "calibrate")]
    no_calibrate: bool,
    /// Training images for BN recalibration.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Sizes of the batches into which an .npy file is divided, in order; the last one repeats.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    calibrate_batches: Vec<usize>,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

#[derive(Serialize)]
struct ExtractReport {
    params: u64,
    output: PathBuf,
    calibrated: bool,
}

pub fn run(args: &ExtractArgs, context: &Context) -> Result<(), Failure> {
    let whole = model_choice::model(&args.model)?;
    let is_whole = matches!(whole.body, ModelBody::Net { .. });
    let (mut model, space) = model_choice::supernet_of(whole, &args.model)?;
    let mut arch = arch_choice::arch(&args.arch, space.as_ref(), context.common.seed)?;
    if args.calibrate_batches.contains(&0) {
        return Err(Failure::Input("--calibrate-batches holds a 0, expected sizes of at least 1".into()));
    }
    let on_corrupt = args.corrupt.choice();
    let load =
        |source: &String| CalibrationImages::load(source, &model, Some(&arch), &args.classes, on_corrupt, context);
    let calibration = args.calibrate.as_ref().map(load).transpose()?;
    if let (None, Some(CalibrationImages::Npy(images))) = (arch.resolution(), &calibration) {
        arch = arch.with_resolution(images.shape[1] as u32);
    }
    let images = match &calibration {
        Some(images) => {
            images.recalibrate(&mut model, &arch, args.calibration_images, &args.calibrate_batches, context)?
        }
        None => 0,
    };
    let mut subnet = model.extract(&arch)?;
    // The largest subnet of a whole network is that network, with statistics of its own.
    let calibrated = images > 0 || (is_whole && arch == space.max_arch());
    if !calibrated {
        warn_of_shared(args.no_calibrate, context);
        subnet.mark_uncalibrated();
    }
    subnet.save(&args.output)?;
    let report = ExtractReport { params: cost::params(&subnet.net(None)?), output: args.output.clone(), calibrated };
    context.output.result(&report, || format!("{}: {} parameters", report.output.display(), report.params))
}
