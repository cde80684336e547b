//! The kinds of devices, one module each; their registry; and reading them from profiles.

pub mod block_table;
pub mod command;
mod content;
pub mod host;
pub mod lut;
#[cfg(feature = "predictor")]
pub mod predictor;
pub mod profile;
pub mod registry;
#[cfg(feature = "regression")]
pub mod regression;
pub mod roofline;
mod subprocess;
pub mod whole_net;

pub use content::content;
