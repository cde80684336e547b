//! What is changed about a trained network before it is fine-tuned on other images.

use crate::data::{DataError, Dataset};
use crate::elastic::Supernet;
use crate::error::TrainError;
use crate::evaluation::{CalibrationSet, recalibrate};
use crate::unfolding;
use burn::tensor::Device;
use ofa_space::{Model, ModelBody};

/// What is changed about a network before it is fine-tuned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Preparation {
    /// Seed of a new classifier for the classes of the data; `None` keeps the network's own.
    pub new_head: Option<u64>,
    /// Another size of images, in pixels; `None` keeps the network's own.
    pub image_size: Option<u32>,
}

/// Training images that batch norm is recalibrated on.
const CALIBRATION_IMAGES: usize = 1000;

impl Preparation {
    /// The changed network, with batch norm recalibrated on training images; the same network if nothing changes. Folded batch
    /// norms are [put back](crate::unfolding::trainable).
    ///
    /// # Errors
    /// [`TrainError::Model`] if the model is a supernet or does not end in a linear layer, [`TrainError::Setting`] if it cannot
    /// take images of the size, [`TrainError::Data`] if the data set has other classes and there is no new classifier; what images and backend
    /// report.
    pub fn apply(&self, model: &Model, dataset: &Dataset, device: &Device) -> Result<Model, TrainError> {
        let model = &unfolding::trainable(model, dataset, self.new_head.unwrap_or_default(), device)?;
        let mut changed = match self.new_head {
            Some(seed) => model.with_new_head(dataset.class_names.clone(), seed)?,
            None => model.clone(),
        };
        let (expected, found) = (changed.class_names.len(), dataset.class_names.len());
        if expected != found {
            return Err(DataError::Classes { dataset: dataset.name.clone(), expected, found }.into());
        }
        if let (Some(size), ModelBody::Net { spec, .. }) = (self.image_size, &mut changed.body) {
            **spec = spec.at_resolution(size as usize)?;
        }
        let net = changed.net(None)?;
        let resized = net.input != model.net(None)?.input;
        if resized || self.new_head.is_some() {
            let network = Supernet::from_model(&changed, device)?;
            let mut images = CalibrationSet::first(dataset, CALIBRATION_IMAGES);
            recalibrate(&network, &net, &mut images)?.store(&mut changed.weights);
        }
        Ok(changed)
    }
}
