//! A run on several processes: what rank 0 asks the others for, and how it divides work among them.

pub mod parcel;
pub mod pieces;
pub mod ranks;
