//! What can go wrong in fitting and predicting.

use crate::target::Target;
use ofa_space::plugin::UnknownName;
use ofa_space::{InvalidSetting, SpaceError};
use std::path::PathBuf;

/// A predictor that cannot be fitted, read or used.
#[derive(Debug, thiserror::Error)]
pub enum PredictorError {
    /// No estimator of this name is registered.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A hyper-parameter has an impossible value.
    #[error("predictor `{estimator}`: {invalid}")]
    Setting {
        /// Kind of the estimator.
        estimator: &'static str,
        /// The field, what is wrong with it and what was expected.
        invalid: InvalidSetting,
    },
    /// The arch does not fit the space or the encoding.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}{}: {problem}", path.display(), line.map(|l| format!(":{l}")).unwrap_or_default())]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, if it has lines.
        line: Option<usize>,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// Another process writes the file.
    #[error("{}: another run is writing this file: wait for it, or choose another output", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Too few pairs for what was asked.
    #[error("{found} pairs are too few: {purpose} needs at least {needed}")]
    TooFewPairs {
        /// Pairs given.
        found: usize,
        /// Pairs needed.
        needed: usize,
        /// What needs them.
        purpose: String,
    },
    /// Too many pairs for an estimator whose memory grows with their square.
    #[error(
        "{found} pairs are too many for `{estimator}`, which keeps a number for every two of them and takes at most \
         {most}: fit it to a random subset of the pairs, or take `ridge`"
    )]
    TooManyPairs {
        /// Kind of the estimator.
        estimator: &'static str,
        /// Pairs given.
        found: usize,
        /// Pairs that it takes.
        most: usize,
    },
    /// No training pair had this resolution, or the encoding lacks it.
    #[error(
        "resolution {resolution} was not among the pairs that the predictor was fitted to, which have {}{}; measure pairs \
         at {resolution} and fit again, or use one of those resolutions",
        known.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        if *interpolates { " (resolutions in between are accepted too)" } else { "" }
    )]
    UnseenResolution {
        /// The resolution asked for.
        resolution: u32,
        /// Resolutions with a code.
        known: Vec<u32>,
        /// Whether resolutions between two of them have a code too.
        interpolates: bool,
    },
    /// No training pair had this choice of a gene.
    #[error(
        "{arch}: none of the pairs that the predictor was fitted to has {choice}; measure pairs with it and fit again"
    )]
    UnseenChoice {
        /// The arch.
        arch: String,
        /// The choice, such as `ks[3]=7`.
        choice: String,
    },
    /// The space has other choices than the one of that name that the predictor was fitted for.
    #[error(
        "the predictor was fitted for a space `{space}` of {fitted} features, but this one has {asked}: their choices differ"
    )]
    OtherChoices {
        /// Name of both.
        space: String,
        /// Features fitted on.
        fitted: usize,
        /// Features of this space.
        asked: usize,
    },
    /// The predictor speaks of a choice that no gene of the space has.
    #[error("the predictor has choice {choice} of gene {gene}, which the space `{space}` lacks: fit it again")]
    UnknownChoice {
        /// Name of the space.
        space: String,
        /// Number of the gene.
        gene: usize,
        /// Number of the choice.
        choice: u8,
    },
    /// The predictor was fitted for another space.
    #[error("the predictor was fitted for the space `{fitted}`, not for `{asked}`")]
    OtherSpace {
        /// Space it was fitted for.
        fitted: String,
        /// Space asked for.
        asked: String,
    },
    /// The predictor predicts something else.
    #[error(
        "{}the predictor predicts {found}, expected one that predicts {wanted}: fit it to pairs with `{}`",
        path.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default(), wanted.field()
    )]
    OtherTarget {
        /// Its file, if it was read from one.
        path: Option<PathBuf>,
        /// What it predicts.
        found: Target,
        /// What was asked for.
        wanted: Target,
    },
    /// A bound was asked of a predictor without an uncertainty of its own.
    #[error(
        "the predictor `{predictor}` has no uncertainty of its own; fit `ridge`, `gaussian-process` or \
             `mlp-ensemble` for cautious search"
    )]
    NoUncertainty {
        /// Kind of the predictor.
        predictor: String,
    },
    /// The library behind an estimator failed.
    #[error("fitting `{estimator}` failed: {problem}")]
    Fit {
        /// Kind of the estimator.
        estimator: &'static str,
        /// The library's message.
        problem: String,
    },
}
