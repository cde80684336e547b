//! The folder of a run: what lies where, which steps are done and what they depended on, and the networks that are kept.

pub mod kept_networks;
pub mod keys;
pub mod layout;
mod record;

pub use record::{Known, RunFolder, copy_work, have_the_same_training};
pub(crate) use record::{timings_in, write_json};
