#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod alternatives;
pub mod driver;
pub mod error;
pub mod minimum;
pub mod pareto;
pub mod problem;
pub mod refinement;
pub mod strategies;
pub mod strategy;

pub use alternatives::Alternatives;
pub use driver::budget::Budget;
pub use driver::grid::{LimitList, Target};
pub use driver::limit::{InvalidLimit, Limit};
pub use driver::{Outcome, Search};
pub use error::SearchError;
pub use minimum::Minimum;
pub use problem::Problem;
pub use problem::candidate::{Candidate, Constraint};
pub use problem::evaluator::Evaluator;
pub use problem::observer::{Observer, Silent};
pub use strategy::{Strategy, StrategyEntry};

// What a problem is made of, for callers that need no networks.
pub use ofa_space::{Arch, ArchJson, FnObjective, Gene, Genes, Objective, ObjectiveError, Settings, settings};
