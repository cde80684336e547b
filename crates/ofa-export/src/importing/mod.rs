//! Networks that others trained, as models: the authors' supernet checkpoints, and single networks with their
//! descriptions.

pub mod net;
pub mod net_config;
pub mod state_dict;
pub mod supernet;
