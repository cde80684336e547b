//! What can go wrong in asking, measuring or fitting a device.

use ofa_export::{ExportError, RuntimeError};
use ofa_space::plugin::UnknownName;
use ofa_space::{InvalidSetting, SpaceError};
use std::path::{Path, PathBuf};

/// A device that cannot be found, read or measured, or that cannot give a latency.
#[derive(Debug, thiserror::Error)]
pub enum HwError {
    /// No device of this name is known.
    #[error("{0}; or give a profile (.toml), a table (.yaml) or a folder of tables")]
    UnknownDevice(UnknownName),
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// A profile, table or file of measurements does not hold what it should.
    #[error("{origin}: {problem}")]
    Profile {
        /// The file (with a line, where the problem does not name it), or the name of a built-in profile.
        origin: String,
        /// The line or field, what is wrong and what was expected.
        problem: String,
    },
    /// A setting with an impossible value.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
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
    /// The device reads archs, and was given a network.
    #[error("the device `{device}` predicts latencies from archs of `{space}`: a network alone is not enough")]
    NeedsArch {
        /// The device.
        device: String,
        /// The space whose archs it reads.
        space: String,
    },
    /// The device reads archs of another space.
    #[error(
        "the device `{device}` predicts latencies of subnets of `{fitted}`, not of `{asked}`{}",
        if fitted == asked { " with other settings" } else { "" }
    )]
    OtherSpace {
        /// The device.
        device: String,
        /// The space of its predictor.
        fitted: String,
        /// The space asked for.
        asked: String,
    },
    /// A device whose files were not read.
    #[error("the files of the device `{device}` are not read yet: load its profile as a whole")]
    NotOpened {
        /// The device.
        device: String,
    },
    /// A device gives the latency neither of networks nor of blocks.
    #[error("the device implements neither the latency of a network nor that of its blocks")]
    NoLatency,
    /// The device gives no energy.
    #[error("the device gives no energy; its profile needs `pj_per_mac`, `pj_per_byte` and `energy_source`")]
    NoEnergy,
    /// The machine was too busy to measure on.
    #[error("the machine is too noisy to measure on: 10th and 90th percentile lie {:.0} % of the median apart after \
             {attempts} attempts, at most {:.0} % are allowed. Stop other programs, or raise `max_spread`",
            100.0 * spread, 100.0 * allowed)]
    Noisy {
        /// Spread of the quietest attempt, as a share of the median.
        spread: f64,
        /// Spread allowed.
        allowed: f64,
        /// Attempts made.
        attempts: usize,
    },
    /// A profile names a folder for its results that is not its own.
    #[error(
        "`cache` is {}, expected a folder inside of {} or of the user's cache", cache.display(), folder.display()
    )]
    CacheOutside {
        /// The folder that it names.
        cache: PathBuf,
        /// The folder of the profile.
        folder: PathBuf,
    },
    /// A profile runs a program, which was not allowed.
    #[error("the profile `{profile}` runs a program on this machine, which must be allowed first: {command}")]
    CommandNotAllowed {
        /// The profile, or the name of its device.
        profile: String,
        /// Its command line.
        command: String,
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
    /// A device predicts latencies instead of measuring them.
    #[error("{device} cannot be measured: it {problem}; only `host` and profiles of kind `host` or `command` can")]
    NotMeasurable {
        /// The device asked for.
        device: String,
        /// What it is instead.
        problem: &'static str,
    },
    /// A device cannot be fitted to measurements.
    #[error("cannot fit {what}: {problem}")]
    Fit {
        /// What was to be fitted.
        what: &'static str,
        /// What is missing or failed.
        problem: String,
    },
    /// A device of this kind has nothing to calibrate.
    #[error("a device of kind `{kind}` cannot be calibrated; rooflines and profiles of `ofa profile` can")]
    NotCalibratable {
        /// Its kind.
        kind: String,
    },
    /// Measurements of another runtime or number of threads than the device's own.
    #[error("the networks were measured in {measured}, the device in {device}: results are never mixed")]
    OtherConditions {
        /// How the networks were measured.
        measured: String,
        /// How the device was measured.
        device: String,
    },
    /// Measuring was stopped by the user.
    #[error("interrupted")]
    Interrupted,
    /// An unfinished profile belongs to another space, runtime, or number of threads, rounds or networks.
    #[error(
        "the unfinished profile was measured for another space, runtime, or number of threads, rounds or nets; \
         results are never mixed: remove it, or write to another file"
    )]
    OtherProfile,
    /// Measured times that make no profile.
    #[error("the measured profile is not usable: {0}")]
    Unusable(InvalidSetting),
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
    /// A predictor that cannot be read or used.
    #[cfg(feature = "predictor")]
    #[error(transparent)]
    Predictor(#[from] ofa_predictors::PredictorError),
}

impl HwError {
    /// For `map_err`: a file or folder that cannot be read.
    pub(crate) fn reading(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { action: "read", path: path.to_owned(), source }
    }

    /// For `map_err`: a file or folder that cannot be written.
    pub(crate) fn writing(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { action: "write", path: path.to_owned(), source }
    }
}
