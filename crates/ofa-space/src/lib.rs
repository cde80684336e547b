#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod arch;
pub mod atomic_file;
pub mod block_builder;
pub mod block_objective;
pub mod block_plan;
pub mod bottleneck;
pub mod channels;
mod config_check;
pub mod cost;
pub mod encoding;
pub mod error;
pub mod extraction;
pub mod gene;
pub mod importance;
pub mod initialisation;
pub mod inverted_residual;
pub mod mbv3;
mod mobile_stages;
pub mod model;
pub mod net_spec;
pub mod objective;
pub mod plugin;
pub mod population;
pub mod proxyless;
pub mod registry;
pub mod resnet;
pub mod sampling;
pub mod settings;
pub mod slicing;
pub mod space;
pub mod supernet;
pub mod weights;

pub use arch::{Arch, ArchJson};
pub use block_objective::BlockObjective;
pub use block_plan::{BlockPlan, BlockSum, PlainTerm};
pub use error::{SpaceError, WeightsError};
pub use gene::{Dimension, Gene, Opened};
pub use model::{InputFormat, Model, ModelBody};
pub use net_spec::{Activation, Block, BlockKind, NetSpec, Op, OpKind, PoolRounding, TensorRef, TensorRole};
pub use objective::{Objective, ObjectiveError};
pub use population::Population;
pub use registry::SpaceEntry;
pub use settings::{Checked, InvalidSetting, Settings};
pub use space::{SearchSpace, SpaceInfo};
pub use weights::{Tensor, Weights};

// Plugins need the very versions whose registries we read.
pub use inventory;
pub use typetag;
