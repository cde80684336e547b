//! What can go wrong in exporting, importing and running.

use ofa_space::ModelError;
use ofa_space::{SpaceError, WeightsError};
use std::path::PathBuf;

/// A network that cannot be exported, or a checkpoint that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A tensor is missing or of another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model cannot give the network asked for.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The space is at fault.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A file cannot be written as asked.
    #[error("{option}: {problem}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What was asked and what was expected.
        problem: String,
    },
    /// An ONNX file is not what was expected.
    #[error("the ONNX file {0}")]
    NotOurs(String),
    /// The network ran badly while its activations were watched.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The protobuf writer failed.
    #[error("cannot serialise the ONNX graph: {0}")]
    Protobuf(String),
    /// A checkpoint cannot be read.
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
    /// No runtime of this name is known.
    #[error("there is no runtime called `{name}`; known: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The known names.
        known: String,
    },
    /// The runtime is known, but this program was built without it.
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
