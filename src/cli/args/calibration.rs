//! `--calibrate`: a data set or an .npy batch, loaded once for every use of a command.

use super::class_choice::ClassArgs;
use super::model_data::{Reading, load_for};
use super::npy_batch::{check_channels, read_npy};
use super::{Context, Failure};
use crate::cli::output::progress;
use crate::pipeline::device_file::training_images;
use ofa_export::{Batch, Precision};
use ofa_space::{Arch, Model, NetSpec};
use ofa_train::Supernet;
use ofa_train::data::{Dataset, OnCorrupt, TrainedOn};
use ofa_train::device;
use ofa_train::evaluation::{BatchWork, CalibrationSet, few_calibration_images, recalibrate};
use ofa_train::images::Images;
use std::path::Path;

/// Warns of statistics from too few images.
pub fn warn_of_few(images: usize, context: &Context) {
    if let Some(warning) = few_calibration_images(images) {
        context.output.warning(&warning);
    }
}

/// Refuses to measure subnets with the statistics that they share.
pub fn at_least_one(calibration_images: usize) -> Result<(), Failure> {
    match calibration_images {
        0 => Err(Failure::Input(
            "--calibration-images is 0, expected at least 1: subnets are measured with batch-norm statistics of their own".into(),
        )),
        _ => Ok(()),
    }
}

/// Warns that a subnet keeps the statistics that all subnets share, unless this is what the user asked for.
pub fn warn_of_shared(asked_for: bool, context: &Context) {
    if !asked_for {
        context.output.warning(
            "not calibrated: this subnet keeps the batch-norm statistics that all subnets share, and its accuracy may be far \
             below what it could be; --calibrate DATA gives it its own, --no-calibrate accepts this",
        );
    }
}

/// Images to calibrate on.
pub enum CalibrationImages {
    /// Training images of a data set.
    Dataset(Box<Dataset>),
    /// The images of an .npy file, normalised.
    Npy(Images),
}

impl CalibrationImages {
    /// Loads the images for a model, or for a subnet of it.
    pub fn load(
        source: &str,
        model: &Model,
        arch: Option<&Arch>,
        classes: &ClassArgs,
        on_corrupt: OnCorrupt,
        context: &Context,
    ) -> Result<Self, Failure> {
        let net = model.net(arch)?;
        if source.ends_with(".npy") {
            let path = Path::new(source);
            let images = read_npy(path)?;
            check_channels(&images, net.input[0], path)?;
            return Ok(Self::Npy(images));
        }
        let reading = Reading { max_resolution: net.input[1] as u32, on_corrupt, classes };
        let dataset = load_for(model, source, &reading, context)?;
        Ok(Self::Dataset(Box::new(dataset)))
    }

    /// Replaces the running statistics of one subnet's channels in the supernet's weights: by those of a sample of
    /// training images, or of an array cut in order into batches of these sizes. Returns how many images it used; with 0
    /// nothing changes.
    pub fn recalibrate(
        &self,
        model: &mut Model,
        arch: &Arch,
        sample: usize,
        batch_sizes: &[usize],
        context: &Context,
    ) -> Result<usize, Failure> {
        let device = device::open(&context.common.backend)?;
        let mut images_used = 0;
        let running = match self {
            Self::Dataset(dataset) => {
                let calibration = CalibrationSet::sample(dataset, sample, context.common.seed);
                let mut calibration = calibration.observed(progress::of_batches(context.output));
                images_used += calibration.len();
                let (net, supernet) = (model.net(Some(arch))?, Supernet::from_model(model, &device)?);
                TrainedOn::of(model)?.check(dataset)?;
                recalibrate(&supernet, &net, &mut calibration)?
            }
            Self::Npy(images) => {
                let net = model.net(Some(arch))?;
                images_used += images.shape[0];
                Supernet::from_model(model, &device)?.recalibrate(&net, &images.split(batch_sizes))?
            }
        };
        running.store(&mut model.weights);
        if images_used > 0 {
            warn_of_few(images_used, context);
        }
        Ok(images_used)
    }

    /// Training images for a file of this precision, or all images of an .npy file, as the network takes them.
    pub fn batch(&self, net: &NetSpec, precision: Precision, context: &Context) -> Result<Batch, Failure> {
        match self {
            Self::Dataset(dataset) => {
                let mut read = progress::of_batches(context.output);
                let read = |done, all| read(BatchWork::Reading, done, all);
                training_images(dataset, net, precision, context.common.seed, read)
            }
            Self::Npy(images) => {
                let [n, h, w, c] = images.shape;
                Ok(Batch::new(images.to_nchw(), [n, c, h, w])?)
            }
        }
    }
}
