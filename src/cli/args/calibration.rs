//! `--calibrate`: BN statistics of a supernet's subnet, from a data set or an .npy batch.

use super::model_data::load_for;
use super::npy_batch::{check_channels, read_npy};
use super::{Context, Failure};
use ofa_space::{Arch, Model};
use ofa_train::data::{OnCorrupt, SplitName, stratified};
use ofa_train::device;
use ofa_train::evaluation::{EvaluationSet, recalibrate};
use ofa_train::shrinking::EVALUATION_BATCH;
use ofa_train::supernet::Supernet;
use std::path::Path;

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
pub fn recalibrate_on_batch(
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
