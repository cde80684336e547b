//! What can go wrong in exporting, importing and running.

use crate::verification::Agreement;
use ofa_space::plugin::UnknownName;
use ofa_space::{InvalidSetting, ModelError, SpaceError, WeightsError};
use std::path::PathBuf;

/// A network that cannot be exported, or a checkpoint that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A tensor is missing or of another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model does not hold the network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The space is at fault.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A setting with an impossible value.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// An ONNX file is not what was expected.
    #[error("the ONNX file {0}")]
    NotOurs(String),
    /// A network without operations has no file of another precision.
    #[error("the network has no operations with weights")]
    NoOperations,
    /// Int8 without images to take the ranges of activations from.
    #[error("int8 needs calibration images, for the ranges of activations")]
    NoCalibrationImages,
    /// Images of another size or number of channels than the network's.
    #[error("the {role} images are {found:?} (channels, height, width), the network takes {expected:?}")]
    ImageShape {
        /// What the images are for.
        role: &'static str,
        /// `[channels, height, width]` of the images.
        found: [usize; 3],
        /// `[channels, height, width]` of the network's input.
        expected: [usize; 3],
    },
    /// Bytes instead of normalised values, or the reverse.
    #[error("the {role} images must be {expected}")]
    ImageType {
        /// What the images are for.
        role: &'static str,
        /// Type and layout.
        expected: &'static str,
    },
    /// The logits of the file do not match the reference in number.
    #[error("the file gives {found} logits, the reference has {expected}")]
    LogitCount {
        /// Logits of the file.
        found: usize,
        /// Logits of the reference.
        expected: usize,
    },
    /// No number of first operations in f32 keeps f16 within its tolerance.
    #[error("f16 moves the logits by at least {nearest:.1e} of the largest, more than the tolerance of {tolerance}")]
    F16Tolerance {
        /// Share of the largest logit that was allowed.
        tolerance: f64,
        /// The smallest share that was found.
        nearest: f64,
    },
    /// The file's logits are too far from the reference.
    #[error(
        "{runtime} gives other logits: they differ by {:.1e}, the largest is {:.3}, a share of {allowed:.0e} is allowed",
        .agreement.max_abs_diff, .agreement.max_abs_logit
    )]
    Disagreement {
        /// Name and version of the runtime.
        runtime: String,
        /// How far they are apart.
        agreement: Agreement,
        /// The largest difference allowed, as a share of the largest logit.
        allowed: f64,
    },
    /// A runtime refused the file or failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A PyTorch module with a name that Python does not import.
    #[error("{}: a PyTorch module is a Python file, expected a name that ends in .py", path.display())]
    ModuleName {
        /// The file.
        path: PathBuf,
    },
    /// The file of a PyTorch module's weights would replace one that no export wrote.
    #[error(
        "{}: the weights of the module would be written there, over a file that is not the weights of an exported module; \
         choose another name, or move that file away", path.display()
    )]
    WeightsInTheWay {
        /// The file.
        path: PathBuf,
    },
    /// The writer of PyTorch's archive failed.
    #[error("cannot write the weights as an archive of PyTorch: {0}")]
    TorchArchive(String),
    /// The protobuf writer failed.
    #[error("cannot serialise the ONNX graph: {0}")]
    Protobuf(String),
    /// The description of a network has a field that is missing, unknown or impossible.
    #[error("{}: {problem}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// The field, and what was expected.
        problem: InvalidSetting,
    },
    /// A checkpoint's classifier has another number of classes than the space.
    #[error(
        "{}: `{tensor}` is for {found} classes, the space `{space}` has {expected}; import it with {found} classes, or \
         keep everything but the classifier and start that afresh", path.display()
    )]
    Classes {
        /// The checkpoint.
        path: PathBuf,
        /// A tensor of its classifier.
        tensor: String,
        /// Classes of the checkpoint.
        found: usize,
        /// Name of the space.
        space: String,
        /// Classes of the space.
        expected: usize,
    },
    /// A checkpoint fits several families of networks that compute something else.
    #[error(
        "{}: its names and shapes are those of several families, which differ in what no checkpoint holds; choose the \
         one that it was trained as:\n  {}", path.display(), .families.join("\n  ")
    )]
    Family {
        /// The checkpoint.
        path: PathBuf,
        /// Each family, with what differs.
        families: Vec<String>,
    },
    /// A checkpoint of a network that is read together with its description.
    #[error(
        "{}: it has the names of MCUNet's, ProxylessNAS's and the Once-for-All authors' networks, which are read together \
         with their description (JSON)", path.display()
    )]
    DescriptionNeeded {
        /// The checkpoint.
        path: PathBuf,
    },
    /// An ONNX file without the mean and standard deviation of its images.
    #[error(
        "{}: an ONNX file does not hold the mean and standard deviation that its images are normalised with, and wrong \
         ones cost much accuracy; give those that the network was trained with", path.display()
    )]
    NormalisationNeeded {
        /// The file.
        path: PathBuf,
    },
    /// An ONNX file for images of any size.
    #[error("{}: it takes images of any size; choose one", path.display())]
    ImageSizeNeeded {
        /// The file.
        path: PathBuf,
    },
    /// No family of networks has this name.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A checkpoint cannot be read, or lacks what a network needs.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// A runtime that refused a file or failed in running it.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No runtime has this name.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// This program was built without the runtime.
    #[error("this program was built without the runtime `{runtime}`: build it with `--features {runtime}`")]
    NotCompiledIn {
        /// Its name.
        runtime: &'static str,
    },
    /// The file cannot be loaded.
    #[error("{runtime} cannot load the ONNX file: {problem}")]
    Load {
        /// Name of the runtime.
        runtime: &'static str,
        /// Its message.
        problem: String,
    },
    /// A run failed.
    #[error("{runtime} failed: {problem}")]
    Run {
        /// Name of the runtime.
        runtime: &'static str,
        /// Its message.
        problem: String,
    },
    /// The input does not fill its shape.
    #[error("the input has {found} values, its shape {shape:?} needs {expected}")]
    InputShape {
        /// The shape given.
        shape: [usize; 4],
        /// Values that it needs.
        expected: usize,
        /// Values given.
        found: usize,
    },
}
