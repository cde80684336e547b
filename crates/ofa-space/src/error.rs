//! What can be wrong with a space, an arch, or a weights file.

use crate::plugin::UnknownName;
use crate::settings::InvalidSetting;
use crate::weights::model::ModelError;
use std::path::PathBuf;

/// A space, an arch or a request that does not fit the space.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// No space of this name is registered.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A field of a space's configuration has an impossible value.
    #[error("space `{space}`: field `{field}` {problem}")]
    Config {
        /// Name of the space.
        space: String,
        /// The offending field.
        field: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// An arch that this space cannot express.
    #[error("this arch does not fit the space `{space}`: {problem}")]
    Arch {
        /// Name of the space.
        space: String,
        /// The offending field and what was expected.
        problem: String,
    },
    /// A gene that no arch can have.
    #[error("`{space}`: gene `{gene}` {problem}")]
    Gene {
        /// Name of the space.
        space: String,
        /// Group and index of the gene, such as `ks[3]`.
        gene: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A gene was asked for that does not exist.
    #[error("there is no gene {gene}, expected one of {known}")]
    UnknownGene {
        /// Group and index of the gene, such as `ks[3]`.
        gene: String,
        /// Every gene there is.
        known: String,
    },
    /// The arch carries no resolution where one is needed.
    #[error("the arch has no resolution: add \"r\" (for example \"r\":{example})")]
    MissingResolution {
        /// A resolution of the space.
        example: u32,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// A model file was given for a space, but has no subnets to choose from.
    #[error(
        "{}: is a network that was cut out of a supernet{}, without subnets of its own; expected a supernet, a whole \
         network or a space",
        path.display(), of(.space)
    )]
    NoSubnets {
        /// The file.
        path: PathBuf,
        /// Name of the supernet's space, if it is known.
        space: Option<String>,
    },
    /// A model file was given for a space, and cannot be read.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// A file is not valid TOML or JSON for its purpose.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        problem: String,
    },
}

fn of(space: &Option<String>) -> String {
    space.as_ref().map(|space| format!(" of `{space}`")).unwrap_or_default()
}

impl SpaceError {
    /// An impossible value in the configuration of the space called `space`.
    pub fn config(space: &str, invalid: InvalidSetting) -> Self {
        Self::Config { space: space.to_owned(), field: invalid.field, problem: invalid.problem }
    }
}

/// A weights or model file that cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system refused to read or write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// Not a safetensors file, or damaged.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A tensor that the network needs is absent.
    #[error("the weights have no tensor `{name}` (expected shape {shape:?})")]
    Missing {
        /// Name of the tensor.
        name: String,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// A tensor has another shape than the network needs.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the network needs.
        expected: Vec<usize>,
    },
}
