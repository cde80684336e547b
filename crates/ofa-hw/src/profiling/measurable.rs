//! Devices that are measured rather than predicted: this machine, or a command.

use super::stopwatch::{HostStopwatch, Stopwatch};
use super::timing::Measurement;
use crate::backend::HardwareBackend;
use crate::devices::command::{self, CommandDevice};
use crate::devices::host::Host;
use crate::devices::{profile, registry};
use crate::error::HwError;
use ofa_space::{SearchSpace, input_file};
use serde::Deserialize;
use std::path::Path;

/// A device that networks are run on.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum MeasurableDevice {
    /// This machine.
    Host(Host),
    /// Whatever a command runs networks on.
    Command(CommandDevice),
}

impl From<Host> for MeasurableDevice {
    fn from(host: Host) -> Self {
        Self::Host(host)
    }
}

impl From<CommandDevice> for MeasurableDevice {
    fn from(device: CommandDevice) -> Self {
        Self::Command(device)
    }
}

impl MeasurableDevice {
    /// `host`, or the profile of kind `host` or `command` of a name or path.
    ///
    /// # Errors
    /// [`HwError::NotMeasurable`] for a device of another kind, otherwise as [`registry::load`].
    pub fn load(name_or_path: &str) -> Result<Self, HwError> {
        if name_or_path == "host" {
            return Ok(Self::Host(Host::default()));
        }
        let unfit = |problem| HwError::NotMeasurable { device: name_or_path.to_owned(), problem };
        let Some(path) = registry::profile_path(name_or_path) else { return Err(unfit("is not a profile")) };
        let text = input_file::read_text(&path, input_file::LARGEST_TEXT).map_err(HwError::reading(&path))?;
        let origin = path.display().to_string();
        // As a device of any kind first, whose errors name the field.
        let device = profile::read::<Box<dyn HardwareBackend>>(&text, &origin)?;
        command::check_device(&origin, device.as_ref())?;
        let mut device: Self = profile::read(&text, &origin).map_err(|_| unfit("is of another kind"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        match &mut device {
            Self::Host(host) => host.open(folder)?,
            Self::Command(device) => device.open(folder)?,
        }
        Ok(device)
    }

    /// What times the blocks and networks of `space` on it; the smallest subnet is the pacer of this machine.
    ///
    /// # Errors
    /// [`HwError`] if the runtime cannot load the pacer.
    pub fn stopwatch(self, space: &dyn SearchSpace) -> Result<Box<dyn Stopwatch>, HwError> {
        Ok(match self {
            Self::Host(host) => Box::new(HostStopwatch::new(host, &space.resolve(&space.min_arch())?)?),
            Self::Command(device) => Box::new(device),
        })
    }

    /// Measures an ONNX file that takes images of `[c, h, w]`, one at a time.
    ///
    /// # Errors
    /// As [`Host::measure`] and [`CommandDevice::measure`].
    pub fn measure(&self, onnx: &[u8], shape: [usize; 3]) -> Result<Measurement, HwError> {
        match self {
            Self::Host(host) => host.measure(onnx, shape),
            Self::Command(device) => device.measure(onnx, shape),
        }
    }
}
