#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod atomic_file;
pub mod dependencies;
pub mod digest;
pub mod error;
pub mod file_digest;
pub mod genotype;
pub mod input_file;
pub mod json;
pub mod listing;
pub mod network;
pub mod objectives;
pub mod plain_text;
pub mod plugin;
pub mod settings;
pub mod spaces;
pub mod weights;

pub use error::{SpaceError, WeightsError};
pub use genotype::arch::{Arch, ArchJson};
pub use genotype::gene::{ActiveWhen, Dimension, Gene, Opened};
pub use genotype::genes::Genes;
pub use genotype::population::Population;
pub use network::fusion::{Step, fuse};
pub use network::net_spec::{Block, BlockKind, NetSpec, Op, Shape, TensorRef, TensorRole};
pub use network::operation::{Activation, BatchNorm, ConvGeometry, Gate, OpKind, PaddingRule, PoolRounding};
pub use network::{cost, memory};
pub use objectives::block_objective::BlockObjective;
pub use objectives::block_plan::{BlockMaximum, BlockPlan, BlockSum, PlainTerm};
pub use objectives::objective::{FnObjective, Objective, ObjectiveError};
pub use objectives::over_blocks::OverBlocks;
pub use settings::{Checked, InvalidSetting, Settings};
pub use spaces::derived::{Derived, DerivedConfig};
pub use spaces::elasticity::{BlockChoices, Elasticity, OtherChoices};
pub use spaces::registry::{self, SpaceEntry};
pub use spaces::space::{FixedPart, SearchSpace, SpaceInfo};
pub use weights::model::{CALIBRATED, InputFormat, Model, ModelBody, ModelError, Resize};
pub use weights::tensors::{Tensor, Weights, first_not_finite};
pub use weights::{extraction, importance, initialisation, slicing, supernet};

// Plugins need the very versions whose registries we read.
pub use inventory;
pub use typetag;
