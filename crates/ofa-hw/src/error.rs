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
    /// The machine was too busy to measure on.
    #[error("the machine is too noisy to measure on: 10th and 90th percentile lie {:.0} % of the median apart after \
             {attempts} attempts, at most {:.0} % are allowed. Stop other programs, or raise --max-spread",
            100.0 * spread, 100.0 * allowed)]
    Noisy {
        /// Spread of the quietest attempt, as a share of the median.
        spread: f64,
        /// Spread allowed.
        allowed: f64,
        /// Attempts made.
        attempts: usize,
    },
    /// A user's command gave no measurement.
    #[error("`{command}` gave no measurement in {tries} tries: {problem}")]
    Command {
        /// The command, as configured.
        command: String,
        /// Tries made.
        tries: usize,
        /// What was wrong with the last try.
        problem: String,
    },
    /// A device cannot be fitted to measurements.
    #[error("cannot fit {what}: {problem}")]
    Fit {
        /// What was to be fitted.
        what: &'static str,
        /// What is missing or failed.
        problem: String,
    },
    /// Measuring was stopped by the user.
    #[error("interrupted")]
    Interrupted,
    /// A partial profile belongs to another space, runtime, or number of threads, rounds or networks.
    #[error(
        "the unfinished profile was measured for another space, runtime, or number of threads, rounds or nets; \
             results are never mixed: remove it, or write to another file"
    )]
    OtherProfile,
    /// A table cannot be written in the official layout.
    #[error("the official YAML layout cannot hold this profile: {0}")]
    Layout(String),
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
