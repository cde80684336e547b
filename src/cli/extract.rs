//! `ofa extract`: a standalone subnet, with BN statistics of its own if calibration data is given.

use super::evaluate::load_for;
use super::forward::{check_channels, read_npy};
use super::{Context, Failure, arch_choice};
use clap::Args;
use ofa_space::{Arch, Model, cost};
use ofa_train::data::{OnCorrupt, SplitName, stratified};
use ofa_train::device;
use ofa_train::evaluation::{EvaluationSet, recalibrate};
use ofa_train::shrinking::EVALUATION_BATCH;
use ofa_train::supernet::Supernet;
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

pub(super) fn run(args: &ExtractArgs, context: &Context) -> Result<(), Failure> {
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

/// Replaces the running statistics of one subnet's channels in the supernet's weights.
pub fn recalibrate_model(
    model: &mut Model,
    arch: &Arch,
    source: &str,
    images: usize,
    context: &Context,
) -> Result<(), Failure> {
    if source.ends_with(".npy") {
        return recalibrate_on_batch(model, arch, source, &[EVALUATION_BATCH], context);
    }
    let net = model.net(Some(arch))?;
    let device = device::open(&context.common.backend)?;
    let supernet = Supernet::from_model(model, &device)?;
    let running = {
        let seed = context.common.seed;
        let dataset = load_for(model, source, net.input[1] as u32, OnCorrupt::Error)?;
        let indices = stratified::sample(&dataset.train, images, seed);
        let mut calibration = EvaluationSet::new(&dataset, SplitName::Train, indices, EVALUATION_BATCH);
        recalibrate(&supernet, &net, &mut calibration)?
    };
    running.store(&mut model.weights);
    Ok(())
}

/// The same from one (N,C,H,W) array, cut in order into batches of these sizes.
fn recalibrate_on_batch(
    model: &mut Model,
    arch: &Arch,
    path: &str,
    sizes: &[usize],
    context: &Context,
) -> Result<(), Failure> {
    if sizes.contains(&0) {
        return Err(Failure::Input("--calibrate-batches holds a 0, expected sizes of at least 1".into()));
    }
    let net = model.net(Some(arch))?;
    let device = device::open(&context.common.backend)?;
    let supernet = Supernet::from_model(model, &device)?;
    let images = read_npy(Path::new(path))?;
    check_channels(&images, net.input[0], Path::new(path))?;
    let running = supernet.recalibrate(&net, &images.split(sizes))?;
    running.store(&mut model.weights);
    Ok(())
}
