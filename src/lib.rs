//! Once-for-All networks: train one elastic supernet, then specialise it for any device without retraining.
//!
//! This crate is the facade: it re-exports the six crates, and holds the command line ([`cli`]), the whole job as one
//! resumable pipeline ([`pipeline`]) and its [`report`]. A binary with plugins is three lines:
//!
//! ```no_run
//! // use my_device_plugin as _;   // linking the crate registers its entries
//! fn main() -> std::process::ExitCode {
//!     ofa::cli::main()
//! }
//! ```
#![forbid(unsafe_code)]

pub mod cli;
pub mod failure;
mod file_names;
mod folder_lock;
mod interruption;
pub mod limits;
pub mod measured_accuracy;
pub mod measured_profile;
pub mod npy;
pub mod pipeline;
pub mod prediction;
pub mod report;

pub use ofa_export as export;
pub use ofa_hw as hw;
pub use ofa_predictors as predictors;
pub use ofa_search as search;
pub use ofa_space as space;
pub use ofa_train as train;
