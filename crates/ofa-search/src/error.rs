//! What can go wrong in a search.

use crate::strategy::Strategy;
use ofa_space::plugin::UnknownName;
use ofa_space::{InvalidSetting, ObjectiveError, SpaceError};

/// A search that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No strategy of this name is registered.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A setting of a strategy has an impossible value.
    #[error("strategy `{strategy}`: {invalid}")]
    Setting {
        /// Kind of the strategy.
        strategy: &'static str,
        /// The offending field.
        invalid: InvalidSetting,
    },
    /// The genes form no archs, or an arch does not fit them.
    #[error(transparent)]
    Genes(#[from] SpaceError),
    /// An objective could not be computed.
    #[error("objective `{objective}`: {source}")]
    Objective {
        /// Name of the objective.
        objective: String,
        /// Its own error.
        source: ObjectiveError,
    },
    /// An objective is not a number.
    #[error("objective `{objective}` is {value} for {arch}")]
    NotFinite {
        /// Name of the objective.
        objective: String,
        /// The value.
        value: f64,
        /// The arch, in its JSON form.
        arch: String,
    },
    /// A constraint's limit is not a number.
    #[error("the limit on `{objective}` is {limit}, expected a finite number")]
    Limit {
        /// Name of the objective.
        objective: String,
        /// The limit.
        limit: f64,
    },
    /// There are too many archs to enumerate.
    #[error("the space has {subnets} subnets, too many for exhaustive search within {budget} evaluations")]
    TooLarge {
        /// Number of subnets, resolutions counted.
        subnets: String,
        /// The budget.
        budget: usize,
    },
    /// Exact search needs sums over blocks.
    #[error(
        "objective `{objective}` is not a sum over blocks, so exact search cannot prove an optimum: use a linear \
             predictor on one-hot features (such as `elastic-net` on `one-hot`) and table, roofline, MACs or parameter \
             limits, or another strategy"
    )]
    NotAdditive {
        /// Name of the objective.
        objective: String,
    },
    /// argmin stopped with an error of its own.
    #[error("argmin: {0}")]
    Argmin(String),
}

impl SearchError {
    /// An impossible setting of a strategy.
    pub(crate) fn setting(strategy: &dyn Strategy, invalid: InvalidSetting) -> Self {
        Self::Setting { strategy: strategy.typetag_name(), invalid }
    }
}
