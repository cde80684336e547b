//! What can go wrong while training or evaluating.

use crate::communication::CommunicationError;
use crate::device::BackendError;
use ofa_space::ModelError;
use ofa_space::dependencies::{self, Difference};
use ofa_space::{InvalidSetting, SpaceError, WeightsError};
use std::path::PathBuf;

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The compute backend cannot be used.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The arch or space is at fault.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A weights file is at fault.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A model file is at fault.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Ranks cannot work together.
    #[error(transparent)]
    Communication(#[from] CommunicationError),
    /// The data set is at fault.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// A field of a training configuration has an impossible value.
    #[error("{file}: `{field}` {problem}")]
    Config {
        /// The file, or where the configuration comes from.
        file: String,
        /// The offending field.
        field: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// The model to start from has a classifier for other classes.
    #[error(
        "{file}: `init.model` has `{tensor}` {found}, this job needs {needed:?}; to train for other classes, start with a \
         new classifier (`new_head = true` in [init])"
    )]
    OtherClassifier {
        /// The model file.
        file: String,
        /// The tensor that does not fit.
        tensor: String,
        /// Its shape, or `missing`.
        found: String,
        /// The shape that the data set's classes need.
        needed: Vec<usize>,
    },
    /// A setting has an impossible value.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Training left the range of finite numbers.
    #[error(
        "the loss became {loss} at step {step} of phase `{phase}`: lower the learning rate (it was {learning_rate}), or limit \
         the gradient's norm with `gradient_clip`"
    )]
    Diverged {
        /// The value.
        loss: f32,
        /// Step within the phase.
        step: usize,
        /// Name of the phase.
        phase: String,
        /// Highest learning rate of the phase.
        learning_rate: f64,
    },
    /// A network answers with NaN or infinity.
    #[error(
        "the network answers {logit}, expected finite numbers: its weights, or the images, hold numbers that are too large"
    )]
    NotFinite {
        /// The answer.
        logit: f32,
    },
    /// Weights left the range of useful numbers.
    #[error(
        "the weights of `{tensor}` became {value} at step {step} of phase `{phase}`: lower the learning rate (it was \
         {learning_rate}), or limit the gradient's norm with `gradient_clip`"
    )]
    Overflown {
        /// Name of the tensor.
        tensor: String,
        /// The value.
        value: f32,
        /// Step within the phase.
        step: usize,
        /// Name of the phase.
        phase: String,
        /// Highest learning rate of the phase.
        learning_rate: f64,
    },
    /// A checkpoint cannot be read or does not belong to this run.
    #[error("checkpoint {}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A folder holds a training of another configuration or data set.
    #[error("{} holds another training: {}", folder.display(), what_differs(differences))]
    OtherTraining {
        /// The folder.
        folder: PathBuf,
        /// What is not as it was when that training began; empty if it is not known.
        differences: Vec<Difference>,
    },
    /// The user asked to stop; the work so far is saved.
    #[error("interrupted; the work so far is saved")]
    Interrupted,
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// The disk is too small for the checkpoints.
    #[error(
        "{}: No space left for the checkpoints: the disk has {} MB free, they take up to {} MB; make room, or choose another \
         folder",
        folder.display(),
        available / 1_000_000,
        needed.div_ceil(1_000_000)
    )]
    DiskSpace {
        /// The folder of the checkpoints.
        folder: PathBuf,
        /// Free bytes.
        available: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// A request that the compute backend could not serve.
    #[error("the compute backend failed: {0}")]
    Compute(String),
}

fn what_differs(differences: &[Difference]) -> String {
    match differences {
        [] => "its checkpoint belongs to another configuration or data set".to_owned(),
        known => dependencies::in_words(known),
    }
}

impl TrainError {
    /// An impossible setting that was read from `file`.
    pub fn in_file(file: &str, InvalidSetting { field, problem }: InvalidSetting) -> Self {
        Self::Config { file: file.to_owned(), field, problem }
    }
}
