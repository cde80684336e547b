//! This machine as a device: every block of the space timed here, and the prediction checked on random networks.
//!
//! It is reported beside the results and decides nothing, since times never repeat.

use super::config::PipelineConfig;
use super::record::RunFolder;
use super::{Progress, Subject};
use crate::failure::Failure;
use ofa_hw::{Host, HwError, ProfileOptions, Profiler};
use std::sync::atomic::AtomicBool;

/// The device's file in the run's folder.
pub const FILE: &str = "host.toml";

/// Writes the profile and notes the comparison among the run's times; returns the number of blocks.
pub(super) fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    folder: &mut RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<usize, Failure> {
    let space = subject.space;
    let options =
        ProfileOptions { check_nets: config.deploy.host_nets, seed: config.train.seed, ..ProfileOptions::default() };
    let show = |done: usize, total: usize| match done {
        0 => progress.begin("profile this machine", total),
        done => progress.advance(done, ""),
    };
    let profiler = Profiler::new(space.as_ref()).named("host").options(options).on_progress(show).stop_at(stop);
    let measured = profiler.run(Host::default());
    progress.end();
    let measured = measured.map_err(|error| match error {
        HwError::Interrupted => Failure::Interrupted("interrupted: run the same command with --resume".into()),
        other => other.into(),
    })?;
    measured.table.save(&folder.path(FILE))?;
    folder.timings.latency_check = measured.compare(space.as_ref())?;
    Ok(measured.table.profile().blocks.len())
}
