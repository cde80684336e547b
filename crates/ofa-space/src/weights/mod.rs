//! Weights: the tensors of supernets and single networks, model files, and what is done to tensors before training.

pub mod extraction;
pub mod importance;
pub mod initialisation;
pub mod model;
mod new_head;
pub mod slicing;
pub mod supernet;
pub mod tensors;
