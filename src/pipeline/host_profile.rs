//! This machine as a device: every block of the space timed here, and the prediction checked on random networks.
//!
//! It stands beside the results and decides nothing, since times never repeat.

use super::config::PipelineConfig;
use super::record::RunFolder;
use super::{Progress, Subject};
use crate::failure::Failure;
use crate::measured_profile::{compare, toml_text};
use ofa_hw::HwError;
use ofa_hw::devices::block_table::BlockTable;
use ofa_hw::devices::host::Host;
use ofa_hw::profiling::profiler::{self, Measured, Partial, ProfileObserver, ProfileOptions};
use ofa_hw::profiling::stopwatch::HostStopwatch;
use ofa_space::atomic_file;
use std::sync::atomic::AtomicBool;

/// The device's file in the run's folder.
pub const FILE: &str = "host.toml";

/// Shows how far the work is; nothing is saved in between.
struct Shown<'a>(&'a mut dyn Progress);

impl ProfileObserver for Shown<'_> {
    fn on_progress(&mut self, done: usize, total: usize) {
        match done {
            0 => self.0.begin("profile this machine", total),
            done => self.0.advance(done, ""),
        }
    }

    fn on_group(&mut self, _partial: &Partial) -> Result<(), HwError> {
        Ok(())
    }
}

/// Writes the profile and notes the comparison among the run's times; returns the number of blocks.
pub(super) fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    folder: &mut RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<usize, Failure> {
    let space = subject.space;
    let mut stopwatch = HostStopwatch::new(Host::default(), &space.resolve(&space.min_arch())?)?;
    let (check_nets, seed) = (config.deploy.host_nets, config.train.seed);
    let options = ProfileOptions { check_nets, seed, ..ProfileOptions::default() };
    let measured =
        profiler::profile(space.as_ref(), &mut stopwatch, &options, Partial::default(), &mut Shown(progress), stop);
    progress.end();
    let Measured { mut profile, checks } = measured.map_err(|error| match error {
        HwError::Interrupted => Failure::Interrupted("interrupted: run the same command with --resume".into()),
        other => other.into(),
    })?;
    profile.name = "host".to_owned();
    let table =
        BlockTable::try_from(profile).map_err(|e| Failure::Running(format!("the profile is not usable: {e}")))?;
    let path = folder.path(FILE);
    atomic_file::write(&path, toml_text(&table)?.as_bytes()).map_err(|e| Failure::writing(&path, e))?;
    folder.timings.latency_check = compare(&table, space.as_ref(), &checks)?;
    Ok(table.profile().blocks.len())
}
