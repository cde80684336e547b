//! The strategies of this crate. Each is a plugin of [`crate::strategy`], like any other crate's.

pub mod annealing;
pub mod evolution;
pub mod exact;
pub mod exhaustive;
pub mod memetic;
pub mod neighbourhood;
pub mod nsga2;
pub mod particle_swarm;
pub mod random;
