//! `--data`: a data set, split as it was for the training of a model.

use super::Failure;
use ofa_space::Model;
use ofa_train::data::{Dataset, OnCorrupt, TrainedOn};

/// The data set for a model, see [`TrainedOn::load`].
pub fn load_for(model: &Model, spec: &str, max_resolution: u32, on_corrupt: OnCorrupt) -> Result<Dataset, Failure> {
    Ok(TrainedOn::of(model)?.load(spec, max_resolution, on_corrupt)?)
}
