#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod annealing;
pub mod driver;
pub mod error;
pub mod evolution;
pub mod exhaustive;
pub mod pareto;
pub mod problem;
pub mod random;
pub mod strategy;

pub use driver::{Budget, Outcome, Search};
pub use error::SearchError;
pub use problem::{Candidate, Constraint, Problem};
pub use strategy::{Strategy, StrategyEntry};
