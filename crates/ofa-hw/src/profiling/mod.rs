//! Measuring: whole networks and every block of a space, on this machine or through a command, and devices calibrated
//! to measurements.

pub mod calibrate;
pub mod comparison;
pub mod measurable;
pub mod measurement_cache;
pub mod measurements;
pub mod profiler;
pub mod reachable;
pub mod stopwatch;
pub mod timing;
pub mod unfinished;
