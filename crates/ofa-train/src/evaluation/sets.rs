//! The images that networks are scored on, and those that batch norm is recalibrated on.

use crate::data::{DataError, Dataset, SplitName, stratified};
use crate::error::TrainError;
use crate::images::Images;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Images in a batch of evaluation and of BN recalibration, unless a set is cut differently.
pub const EVALUATION_BATCH: usize = 100;

/// Batches of images with their labels, shared between the networks that are scored on them.
pub type LabelledBatches = Arc<Vec<(Images, Vec<usize>)>>;

/// Watches work on batches of images: what is done, with how many of how many.
pub type BatchObserver<'a> = Box<dyn FnMut(BatchWork, usize, usize) + 'a>;

/// What is done with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchWork {
    /// Its images are decoded and brought to the network's size.
    Reading,
    /// A network answers.
    Scoring,
}

/// Images to score networks on: some images of one split, cut into batches and kept in memory at each resolution in use.
pub struct EvaluationSet<'a> {
    dataset: &'a Dataset,
    split: SplitName,
    indices: Vec<usize>,
    batch_size: usize,
    cache: BTreeMap<u32, LabelledBatches>,
    observer: Option<BatchObserver<'a>>,
}

impl<'a> EvaluationSet<'a> {
    /// The images at `indices` of a split.
    pub fn new(dataset: &'a Dataset, split: SplitName, indices: Vec<usize>) -> Self {
        Self { dataset, split, indices, batch_size: EVALUATION_BATCH, cache: BTreeMap::new(), observer: None }
    }

    /// All images of a split.
    pub fn all(dataset: &'a Dataset, split: SplitName) -> Self {
        Self::new(dataset, split, (0..dataset.split(split).len()).collect())
    }

    /// A seeded class-balanced sample of a split; all of it if it has no more than `count` images.
    pub fn sample(dataset: &'a Dataset, split: SplitName, count: usize, seed: u64) -> Self {
        Self::new(dataset, split, stratified::sample(dataset.split(split), count, seed))
    }

    /// The same images in batches of another size; the default is [`EVALUATION_BATCH`].
    #[must_use]
    pub fn in_batches_of(mut self, images: usize) -> Self {
        self.batch_size = images.max(1);
        self.cache.clear();
        self
    }

    /// The same, with an observer of the work on its batches.
    #[must_use]
    pub fn observed(mut self, observer: impl FnMut(BatchWork, usize, usize) + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Tells the observer that so many of all batches are done.
    pub(crate) fn done(&mut self, work: BatchWork, done: usize, of: usize) {
        if let Some(observer) = &mut self.observer {
            observer(work, done, of);
        }
    }

    /// The data set that the images are of.
    pub fn dataset(&self) -> &'a Dataset {
        self.dataset
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// An error if there are none: no network can be scored then.
    ///
    /// # Errors
    /// [`DataError::NoImages`].
    pub fn require(&self) -> Result<(), DataError> {
        match self.is_empty() {
            false => Ok(()),
            true => Err(self.dataset.no_images(self.split)),
        }
    }

    /// The batches at a resolution, made on first use.
    ///
    /// # Errors
    /// [`TrainError::Data`] if an image cannot be read.
    pub fn batches(&mut self, resolution: u32) -> Result<LabelledBatches, TrainError> {
        if let Some(batches) = self.cache.get(&resolution) {
            return Ok(batches.clone());
        }
        let chunks: Vec<Vec<usize>> = self.indices.chunks(self.batch_size).map(<[usize]>::to_vec).collect();
        let mut batches = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            batches.push(self.dataset.eval_batch(self.split, chunk, resolution)?);
            self.done(BatchWork::Reading, batches.len(), chunks.len());
        }
        let batches = Arc::new(batches);
        self.cache.insert(resolution, batches.clone());
        Ok(batches)
    }
}

/// Images below which batch-norm statistics depend on which images were taken.
const FEW_IMAGES: usize = 50;

/// The warning of statistics from too few images; `None` if they are enough.
pub fn few_calibration_images(images: usize) -> Option<String> {
    (images < FEW_IMAGES).then(|| {
        format!(
            "batch norm is recalibrated on {images} images, fewer than {FEW_IMAGES}: its statistics depend on which images \
             these are, and accuracy may be far below what it could be"
        )
    })
}

/// Images to recalibrate batch norm on. They can only come from the training split: statistics of validation or test
/// images would leak into the scores.
pub struct CalibrationSet<'a>(EvaluationSet<'a>);

impl<'a> CalibrationSet<'a> {
    /// A seeded sample of the training images with the classes in proportion; all of them if there are no more than `count`.
    /// A class-balanced one would give statistics of other images than the network is used on: on photos of 43 classes of very
    /// different sizes it cost the full network 3 points of accuracy.
    pub fn sample(dataset: &'a Dataset, count: usize, seed: u64) -> Self {
        let indices = stratified::proportional_sample(&dataset.train, count, seed);
        Self(EvaluationSet::new(dataset, SplitName::Train, indices))
    }

    /// The first `count` training images. The order of [`Dataset::train`] makes them a sample with the classes in
    /// proportion.
    pub fn first(dataset: &'a Dataset, count: usize) -> Self {
        let indices = (0..count.min(dataset.train.len())).collect();
        Self(EvaluationSet::new(dataset, SplitName::Train, indices))
    }

    /// The same images in batches of another size; the default is [`EVALUATION_BATCH`].
    #[must_use]
    pub fn in_batches_of(self, images: usize) -> Self {
        Self(self.0.in_batches_of(images))
    }

    /// The same, with an observer of the work on its batches.
    #[must_use]
    pub fn observed(self, observer: impl FnMut(BatchWork, usize, usize) + 'a) -> Self {
        Self(self.0.observed(observer))
    }

    /// The data set that the images are of.
    pub fn dataset(&self) -> &'a Dataset {
        self.0.dataset
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The batches at a resolution, made on first use.
    ///
    /// # Errors
    /// [`TrainError::Data`] if an image cannot be read.
    pub fn batches(&mut self, resolution: u32) -> Result<LabelledBatches, TrainError> {
        self.0.batches(resolution)
    }
}
