//! Progressive shrinking: one supernet trained phase by phase, from the max subnet to all of them.
//!
//! A [`TrainConfig`] describes the run, a [`Trainer`] does it. [`rehearsal`] estimates what it will cost.

pub mod budget;
mod config;
mod distillation;
mod history;
mod identity;
mod metrics_file;
mod phase;
mod phases;
mod plan;
mod progressive_shrinking;
pub mod rehearsal;
mod starting_point;
mod tensorboard;
mod trainer;
mod validation;
mod weight_average;

pub use config::{SpaceChoice, TrainConfig};
pub use distillation::Distillation;
pub use history::{Best, History, Observer, PhaseRecord, Silent, StepRecord, SubnetRecord, ValidationRecord, Window};
pub use identity::{Found, appends_phases};
pub(crate) use phase::LOG_STEPS;
pub use phases::{PhaseConfig, PhasePlan, ScheduleConfig};
pub use starting_point::{ElasticConfig, InitConfig, Origin, StartingPoint};
pub use trainer::{BEST_MODEL, Trained, Trainer};
