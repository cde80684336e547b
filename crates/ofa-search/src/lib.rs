#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod driver;
pub mod error;
pub mod evaluator;
pub mod memory;
pub mod pareto;
pub mod problem;
pub mod strategies;
pub mod strategy;

pub use driver::{Budget, LimitList, Outcome, Search, Target};
pub use error::SearchError;
pub use evaluator::Evaluator;
pub use problem::{Candidate, Constraint, Observer, Problem, Silent};
pub use strategy::{Strategy, StrategyEntry};
