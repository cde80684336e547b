//! What can go wrong in a search.

use ofa_space::ObjectiveError;

/// A search that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No strategy of this name is registered.
    #[error("there is no search strategy called `{name}`{}; registered: {}",
        closest.as_ref().map(|c| format!(" (did you mean `{c}`?)")).unwrap_or_default(), known.join(", "))]
    UnknownStrategy {
        /// The name asked for.
        name: String,
        /// The registered name nearest to it.
        closest: Option<String>,
        /// Every registered name.
        known: Vec<String>,
    },
    /// A hyper-parameter has an impossible value.
    #[error("strategy `{strategy}`: `{field}` {problem}")]
    Config {
        /// Kind of the strategy.
        strategy: &'static str,
        /// The offending field.
        field: &'static str,
        /// What is wrong and what was expected.
        problem: String,
    },
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
    /// The space is too large to enumerate.
    #[error("the space has {subnets} subnets, too many for exhaustive search within {budget} evaluations")]
    TooLarge {
        /// Number of subnets, resolutions counted.
        subnets: String,
        /// The budget.
        budget: usize,
    },
    /// Exact search needs sums over blocks.
    #[error(
        "objective `{objective}` is no sum over blocks, so exact search cannot prove an optimum: use a linear \
             predictor on one-hot features (`ofa fit --predictor elastic-net --encoder one-hot`) and table, roofline, \
             MACs or parameter limits, or another strategy"
    )]
    NotAdditive {
        /// Name of the objective.
        objective: String,
    },
    /// argmin stopped with an error of its own.
    #[error("argmin: {0}")]
    Argmin(String),
}
