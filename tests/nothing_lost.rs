//! Nothing that a user has is lost: no command writes over what it reads or replaces another file by surprise, outputs appear
//! together or not at all, and damage to what is kept is found.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

#[allow(dead_code)]
#[path = "state/small_run.rs"]
mod small_run;

#[path = "nothing_lost/beforehand.rs"]
mod beforehand;
#[path = "nothing_lost/checksums.rs"]
mod checksums;
#[path = "nothing_lost/help.rs"]
mod help;
#[path = "nothing_lost/left_over.rs"]
mod left_over;
#[path = "nothing_lost/overwriting.rs"]
mod overwriting;
#[path = "nothing_lost/places.rs"]
mod places;
#[path = "nothing_lost/plan.rs"]
mod plan;
#[path = "nothing_lost/together.rs"]
mod together;
#[path = "nothing_lost/workplace.rs"]
mod workplace;
