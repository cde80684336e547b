//! A finished or unfinished run that is gone on with: what depends on a change is done again, what is lost is made again from
//! what there is, and nothing is lost or repeated silently.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

#[path = "state/small_run.rs"]
mod small_run;

#[path = "state/commands.rs"]
mod commands;
#[path = "state/content.rs"]
mod content;
#[path = "state/damage.rs"]
mod damage;
#[path = "state/files.rs"]
mod files;
#[path = "state/training.rs"]
mod training;
