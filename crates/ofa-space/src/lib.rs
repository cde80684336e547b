//! Elastic search spaces of Once-for-All networks, without any deep-learning framework.
//!
//! Data flows one way: a [`SearchSpace`] resolves a genotype ([`Arch`]) to a complete static network
//! ([`NetSpec`]), and everything else (cost, latency, execution, extraction, export) reads the `NetSpec`.
//!
//! ```
//! use ofa_space::{registry, cost};
//!
//! let space = registry::named("ofa-mbv3-w1.0")?;
//! assert_eq!(space.subnets().to_string(), "21758655492572485851"); // 7371^5, one resolution
//!
//! let arch = space.min_arch();
//! let net = space.resolve(&arch)?;
//! println!("{} MACs, {} parameters", cost::macs(&net), cost::params(&net));
//! # Ok::<(), ofa_space::SpaceError>(())
//! ```
#![forbid(unsafe_code)]

pub mod arch;
pub mod atomic_file;
pub mod block_builder;
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
pub mod proxyless;
pub mod registry;
pub mod resnet;
pub mod sampling;
pub mod slicing;
pub mod space;
pub mod supernet;
pub mod weights;

pub use arch::{Arch, ArchJson};
pub use error::{SpaceError, WeightsError};
pub use gene::{Dimension, Gene, Opened};
pub use model::{InputFormat, Model, ModelBody};
pub use net_spec::{Activation, Block, BlockKind, NetSpec, Op, OpKind, PoolRounding, TensorRef, TensorRole};
pub use objective::{Objective, ObjectiveError};
pub use registry::SpaceEntry;
pub use space::{SearchSpace, SpaceInfo};
pub use weights::{Tensor, Weights};

// Plugins need the very versions whose registries we read.
pub use inventory;
pub use typetag;
