//! Measuring: whole networks and every block of a space, on this machine or through a command, and devices calibrated
//! to measurements.

pub mod calibrate;
pub mod measurement_cache;
pub mod profiler;
pub mod reachable;
pub mod stopwatch;
pub mod timing;
