//! `--data`: a data set, split as it was for the training of a model, with the model's classes.

use super::class_choice::{self, ClassArgs};
use super::{Context, Failure};
use ofa_space::Model;
use ofa_train::data::{Dataset, OnCorrupt, TrainedOn};

/// How a data set is read for a model.
pub struct Reading<'a> {
    /// The largest image size in use, pixels.
    pub max_resolution: u32,
    /// What to do about images that cannot be decoded.
    pub on_corrupt: OnCorrupt,
    /// Which class is which.
    pub classes: &'a ClassArgs,
}

/// The data set for a model, see [`TrainedOn::load`].
pub fn load_for(model: &Model, spec: &str, reading: &Reading<'_>, context: &Context) -> Result<Dataset, Failure> {
    load(&TrainedOn::of(model)?, spec, reading, context)
}

/// The same from what is known about the network's training. What a user should know of the data is printed.
pub fn load(trained: &TrainedOn, spec: &str, reading: &Reading<'_>, context: &Context) -> Result<Dataset, Failure> {
    let matching = reading.classes.matching()?;
    let dataset = trained.load_of_any_classes(spec, reading.max_resolution, reading.on_corrupt)?;
    let (dataset, matched) = trained.with_classes(dataset, &matching)?;
    announce(&dataset, context);
    class_choice::report(&matched, context);
    Ok(dataset)
}

/// Prints how a data set is divided and what of it is not read; with `-v` each file that is not.
pub fn announce(dataset: &Dataset, context: &Context) {
    for line in dataset.remarks(context.common.verbose > 0) {
        context.output.note(&line);
    }
}
