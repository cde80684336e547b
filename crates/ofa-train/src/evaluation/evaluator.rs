//! Scoring, recalibrating and extracting subnets of one model on one data set.

use crate::data::{Dataset, SplitName, TrainedOn};
use crate::elastic::batch_norm::RunningStatistics;
use crate::elastic::precision::Precision;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::evaluation::{Accuracy, Answers, CalibrationSet, EvaluationSet, answers, recalibrate};
use crate::images::Images;
use burn::tensor::Device;
use ofa_space::{Arch, Model};

/// Which images an [`Evaluator`] uses.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `split` | test | the images to score on | |
/// | `images` | all | score on a class-balanced sample of this many | ≥ 1 |
/// | `calibration_images` | 2000 | training images, a sample with the classes in proportion, for BN recalibration of each subnet | 0 = keep the supernet's statistics |
/// | `seed` | 0 | of both samples | any |
/// | `precision` | f32 | numbers that convolutions and linear layers multiply | see [`Precision`] |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvaluationSettings {
    /// The images to score on.
    pub split: SplitName,
    /// How many of them; all, if `None`.
    pub images: Option<usize>,
    /// Training images for BN recalibration.
    pub calibration_images: usize,
    /// Seed of both samples.
    pub seed: u64,
    /// Numbers that products multiply.
    pub precision: Precision,
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self { split: SplitName::Test, images: None, calibration_images: 2000, seed: 0, precision: Precision::F32 }
    }
}

/// Scores and extracts subnets of a supernet, or scores a standalone network. Images are prepared once and kept for
/// further subnets.
pub struct Evaluator<'a> {
    pub(crate) model: &'a Model,
    pub(crate) supernet: Supernet,
    pub(crate) calibration: CalibrationSet<'a>,
    pub(crate) images: EvaluationSet<'a>,
}

/// A subnet that left its supernet.
#[derive(Clone, Debug)]
pub struct Specialised {
    /// The standalone network, with BN statistics of its own.
    pub model: Model,
    /// Its answers.
    pub answers: Answers,
}

impl<'a> Evaluator<'a> {
    /// Puts the model on `device`.
    ///
    /// # Errors
    /// [`TrainError::Data`] if the data set is divided, normalised or labelled differently from the one that the model
    /// was trained on ([`TrainedOn`]), or what the model and the backend report.
    pub fn new(
        model: &'a Model,
        dataset: &'a Dataset,
        device: &Device,
        settings: &EvaluationSettings,
    ) -> Result<Self, TrainError> {
        let EvaluationSettings { split, images, calibration_images, seed, precision } = *settings;
        let calibration = CalibrationSet::sample(dataset, calibration_images, seed);
        let images = match images {
            Some(count) => EvaluationSet::sample(dataset, split, count, seed),
            None => EvaluationSet::all(dataset, split),
        };
        Self::on(model, calibration, images, device)?.with_precision(precision, device)
    }

    /// The evaluator with another precision of products; they are in f32 otherwise.
    ///
    /// # Errors
    /// [`TrainError::Config`] if the device does not have it.
    pub fn with_precision(self, precision: Precision, device: &Device) -> Result<Self, TrainError> {
        precision.check(device)?;
        Ok(Self { supernet: self.supernet.with_precision(precision), ..self })
    }

    /// The same with images chosen otherwise than [`EvaluationSettings`] can.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(
        model: &'a Model,
        calibration: CalibrationSet<'a>,
        images: EvaluationSet<'a>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let trained = TrainedOn::of(model)?;
        trained.check(calibration.dataset())?;
        trained.check(images.dataset())?;
        Ok(Self { model, supernet: Supernet::from_model(model, device)?, calibration, images })
    }

    /// Training images that batch norm is recalibrated on.
    pub fn calibration_images(&self) -> usize {
        self.calibration.len()
    }

    /// Accuracy of a subnet after BN recalibration, or of a standalone network (`arch` is `None`) as it is.
    ///
    /// # Errors
    /// [`TrainError`] if the arch does not fit the model, or an image or the backend fails.
    pub fn score(&mut self, arch: Option<&Arch>) -> Result<Accuracy, TrainError> {
        Ok(self.answers(arch)?.accuracy)
    }

    /// [`score`](Self::score), with the answers class by class and image by image.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn answers(&mut self, arch: Option<&Arch>) -> Result<Answers, TrainError> {
        self.images.require()?;
        let net = self.model.net(arch)?;
        let running = match arch {
            Some(arch) => self.recalibrate(arch)?,
            None => self.supernet.running.clone(),
        };
        answers(&self.supernet, &net, &running, &mut self.images)
    }

    /// The standalone network of a subnet, with BN statistics of its own.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn extract(&mut self, arch: &Arch) -> Result<Model, TrainError> {
        let running = self.recalibrate(arch)?;
        extract_with(self.model, arch, &running)
    }

    /// BN statistics of a subnet's own, from the calibration images; the model keeps the supernet's.
    /// [`RunningStatistics::store`] puts them into weights.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn recalibrate(&mut self, arch: &Arch) -> Result<RunningStatistics, TrainError> {
        let net = self.model.net(Some(arch))?;
        recalibrate(&self.supernet, &net, &mut self.calibration)
    }

    /// [`score`](Self::score) and [`extract`](Self::extract) with one recalibration.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn specialise(&mut self, arch: &Arch) -> Result<Specialised, TrainError> {
        self.images.require()?;
        let net = self.model.net(Some(arch))?;
        let running = self.recalibrate(arch)?;
        let answers = answers(&self.supernet, &net, &running, &mut self.images)?;
        Ok(Specialised { model: extract_with(self.model, arch, &running)?, answers })
    }
}

/// The standalone network of a subnet whose batch norm is recalibrated on these batches, in order. For a data set, see
/// [`Evaluator::extract`].
///
/// # Errors
/// [`TrainError`] if the arch does not fit the model, or the backend fails.
pub fn extract_on(model: &Model, arch: &Arch, batches: &[Images], device: &Device) -> Result<Model, TrainError> {
    let net = model.net(Some(arch))?;
    let running = Supernet::from_model(model, device)?.recalibrate(&net, batches)?;
    extract_with(model, arch, &running)
}

/// Logits `[n, classes]` of a batch, row by row: of a standalone network (`arch` is `None`), or of a subnet with the BN
/// statistics that the model holds.
///
/// # Errors
/// [`TrainError`] if the arch does not fit the model, or the backend fails.
pub fn logits(model: &Model, arch: Option<&Arch>, images: &Images, device: &Device) -> Result<Vec<f32>, TrainError> {
    let net = model.net(arch)?;
    let network = Supernet::from_model(model, device)?;
    to_host(network.prepare(&net, &network.running).forward(network.upload(images)).logits)
}

fn extract_with(model: &Model, arch: &Arch, running: &RunningStatistics) -> Result<Model, TrainError> {
    let mut recalibrated = model.clone();
    running.store(&mut recalibrated.weights);
    Ok(recalibrated.extract(arch)?)
}
