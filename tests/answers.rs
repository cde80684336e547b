//! Right answers: classes by name, exact limits, possible numbers, calibrated networks, and accuracy of every class.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

#[path = "answers/calibration.rs"]
mod calibration;
#[path = "answers/classes.rs"]
mod classes;
#[path = "answers/fruit.rs"]
mod fruit;
#[path = "answers/imbalance.rs"]
mod imbalance;
#[path = "answers/limits.rs"]
mod limits;
#[path = "answers/predictions.rs"]
mod predictions;
#[path = "answers/run.rs"]
mod run;
