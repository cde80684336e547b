//! This machine as a device: every block of the space timed here, and the prediction checked on random networks.
//!
//! Times never repeat, so the profile is measured once. Where networks are chosen by it (device `host`), it is an input of the
//! run from then on; otherwise it is reported beside the results and decides nothing.

use crate::failure::Failure;
use crate::pipeline::Progress;
use crate::pipeline::config::{DeviceConfig, PipelineConfig};
use crate::pipeline::folder::keys::Key;
use crate::pipeline::folder::{Known, RunFolder};
use crate::pipeline::steps::{Step, Subject};
use ofa_hw::{HardwareBackend, Host, HwError, ProfileOptions, Profiler};
use ofa_space::digest;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The device's file in the run's folder.
pub const FILE: &str = "host.toml";

/// What the step needs.
pub struct Profiling<'a> {
    pub subject: &'a Subject<'a>,
    pub config: &'a PipelineConfig,
    pub key: &'a Key,
    pub stop: &'a AtomicBool,
}

impl Profiling<'_> {
    /// Profiles this machine, unless that is done.
    ///
    /// # Errors
    /// [`Failure`] of the measurement; [`Failure::Interrupted`] with the work saved.
    pub fn step(&self, folder: &mut RunFolder, progress: &mut dyn Progress) -> Result<(), Failure> {
        folder.step(Step::Profile, self.key, progress, outputs, |folder, progress| {
            run(self.subject, self.config, folder, progress, self.stop)
        })?;
        Ok(())
    }

    /// The same where networks are chosen by the profile: it is measured again only if that is asked for.
    ///
    /// # Errors
    /// As [`step`](Self::step), and [`Failure::Input`] with the remedies, if the profile is lost or damaged.
    pub fn before_the_search(
        &self,
        reprofile: bool,
        folder: &mut RunFolder,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        match reprofile {
            true => {
                folder.forget(Step::Profile)?;
                let profile = folder.path(FILE);
                if profile.exists() {
                    std::fs::remove_file(&profile).map_err(|e| Failure::writing(&profile, e))?;
                }
            }
            false => require(folder, self.key)?,
        }
        self.step(folder, progress)
    }
}

/// The file that the step writes besides its result, the number of blocks.
fn outputs(_: &RunFolder, _: &usize) -> Vec<String> {
    vec![FILE.to_owned()]
}

/// The device of an entry of the plan; `None` if it has none.
///
/// # Errors
/// [`Failure::Input`] if there is no such device, or its file cannot be read.
pub(crate) fn device(wanted: &DeviceConfig, folder: &RunFolder) -> Result<Option<Arc<dyn HardwareBackend>>, Failure> {
    let Some(name) = &wanted.device else { return Ok(None) };
    let profile = folder.path(FILE);
    Ok(Some(if wanted.is_host() { ofa_hw::load(&profile.to_string_lossy())? } else { ofa_hw::load(name)? }))
}

/// The digest of what an entry's device is, this machine by its measured profile; `None` without a device.
///
/// # Errors
/// As [`device`].
pub(crate) fn content(wanted: &DeviceConfig, folder: &RunFolder) -> Result<Option<String>, Failure> {
    let Some(name) = &wanted.device else { return Ok(None) };
    let profile = folder.path(FILE);
    let of_file =
        || digest::sha256_of_file(&profile).map_err(|e| Failure::Input(format!("{}: {e}", profile.display())));
    Ok(Some(if wanted.is_host() { of_file()? } else { ofa_hw::content(name)? }))
}

/// Refuses to measure a profile again that networks were chosen by.
///
/// # Errors
/// [`Failure::Input`] with the remedies, if it is lost or damaged.
fn require(folder: &RunFolder, key: &Key) -> Result<(), Failure> {
    match folder.known(Step::Profile, key, &outputs) {
        Known::Damaged(file) => Err(Failure::Input(format!(
            "{} is gone or not as it was written, and networks were chosen by it: put it back, or `ofa run {} --reprofile` \
             times this machine again and chooses anew",
            folder.path(&file).display(),
            folder.root().display()
        ))),
        _ => Ok(()),
    }
}

/// Writes the profile and notes the comparison among the run's times; returns the number of blocks.
fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    folder: &mut RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<usize, Failure> {
    let space = subject.space;
    // The record of the step may be lost, but networks may have been chosen by this profile.
    let path = folder.path(FILE);
    if config.chooses_for_host() && path.is_file() {
        let blocks = ofa_hw::load(&path.to_string_lossy())?;
        blocks.subnet_latency_ms(space.as_ref(), &space.max_arch())?;
        progress.note(&format!("profile: {} is there and is kept", path.display()));
        return Ok(0);
    }
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
        HwError::Interrupted => folder.interrupted(""),
        other => other.into(),
    })?;
    measured.table.save(&folder.path(FILE))?;
    folder.timings.latency_check = measured.compare(space.as_ref())?;
    Ok(measured.table.profile().blocks.len())
}
