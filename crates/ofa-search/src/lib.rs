#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod annealing;
pub mod driver;
pub mod error;
pub mod evaluator;
pub mod evolution;
pub mod exact;
pub mod exhaustive;
mod island;
pub mod memetic;
pub mod memory;
pub mod neighbourhood;
pub mod nsga2;
pub mod pareto;
pub mod particle_swarm;
mod pricing;
pub mod problem;
pub mod random;
pub mod strategy;

pub use driver::{Budget, Outcome, Search};
pub use error::SearchError;
pub use evaluator::Evaluator;
pub use problem::{Candidate, Constraint, Problem};
pub use strategy::{Strategy, StrategyEntry};
