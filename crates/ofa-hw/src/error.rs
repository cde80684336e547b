//! What can go wrong in asking a device.

use ofa_export::{ExportError, RuntimeError};
use ofa_space::SpaceError;
use std::path::PathBuf;

/// A device that cannot be found or cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum HwError {
    /// No device of this name is known.
    #[error("there is no device called `{name}`{}; registered: {}; or give a profile (.toml), a table (.yaml) or a \
             folder of tables", closest.as_ref().map(|c| format!(" (did you mean `{c}`?)")).unwrap_or_default(),
             known.join(", "))]
    UnknownDevice {
        /// The name asked for.
        name: String,
        /// The known name nearest to it.
        closest: Option<String>,
        /// Every known name.
        known: Vec<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// A profile or table does not hold what it should.
    #[error("{origin}: {problem}")]
    Profile {
        /// The file, or the name of a built-in one.
        origin: String,
        /// The line or field, what is wrong and what was expected.
        problem: String,
    },
    /// A table has no entry for a block.
    #[error("{table} has no entry `{key}` (block `{block}`); it was measured for other networks or resolutions")]
    MissingKey {
        /// The table.
        table: String,
        /// The key looked up.
        key: String,
        /// The block it stands for.
        block: String,
    },
    /// A set of tables has none for a resolution.
    #[error("{device} has no table for {resolution} pixels; it has {}", 
            available.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))]
    MissingResolution {
        /// The device.
        device: String,
        /// The resolution asked for.
        resolution: u32,
        /// Resolutions that it has.
        available: Vec<u32>,
    },
    /// The network cannot be exported for measuring.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The runtime failed in measuring.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The arch does not fit its space.
    #[error(transparent)]
    Space(#[from] SpaceError),
}
