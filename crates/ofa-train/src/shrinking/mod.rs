//! Progressive shrinking: one supernet trained phase by phase, from the max subnet to all of them.

pub mod config;
pub mod history;
mod metrics_file;
pub mod rehearsal;
pub mod starting_point;
mod tensorboard;
pub mod trainer;
mod validation;
mod weight_average;

pub use config::{PhaseConfig, PhasePlan, TrainConfig};
pub use history::{History, Observer, PhaseRecord, Silent, StepRecord, SubnetRecord, ValidationRecord};
pub use trainer::{BEST_MODEL, EVALUATION_BATCH, Trained, Trainer};
