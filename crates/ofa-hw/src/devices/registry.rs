//! Named devices, and devices read from files.

use super::command;
use super::lut::Lut;
use super::profile::DeviceProfile;
use crate::backend::{HardwareBackend, LatencySource};
use crate::error::HwError;
use ofa_space::plugin::{self, Entry, UnknownName};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A registered device. Submit one with [`inventory::submit!`] to make it selectable by name.
pub struct DeviceEntry {
    /// The name to select it by.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    /// Where its latencies come from.
    pub source: LatencySource,
    /// Builds it.
    pub build: fn() -> Result<Arc<dyn HardwareBackend>, HwError>,
}

inventory::collect!(DeviceEntry);

impl Entry for DeviceEntry {
    const WHAT: &'static str = "device";

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// Folders of profiles beside the registered devices, separated as in `PATH`.
const PATH_VARIABLE: &str = "OFA_DEVICE_PATH";

/// Every registered device, by name.
pub fn entries() -> Vec<&'static DeviceEntry> {
    plugin::entries()
}

/// Profiles found in the folders of `OFA_DEVICE_PATH`: name and file.
pub fn dropped_in() -> Vec<(String, PathBuf)> {
    let folders = std::env::var_os(PATH_VARIABLE).unwrap_or_default();
    let mut found: Vec<(String, PathBuf)> = std::env::split_paths(&folders)
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
        .collect();
    found.sort();
    found
}

/// The device registered under `name`.
///
/// # Errors
/// [`HwError::UnknownDevice`] with the nearest name and all names.
pub fn named(name: &str) -> Result<Arc<dyn HardwareBackend>, HwError> {
    match plugin::find::<DeviceEntry>(name) {
        Ok(entry) => (entry.build)(),
        Err(UnknownName { what, mut known, .. }) => {
            known.extend(dropped_in().into_iter().map(|(name, _)| name));
            Err(HwError::UnknownDevice(UnknownName::new(what, name, known)))
        }
    }
}

/// The device of a name or path: a registered name, a profile (`.toml`), a table (`.yaml`), a folder of
/// tables, or the name of a profile in a folder of `OFA_DEVICE_PATH`.
///
/// # Errors
/// [`HwError::CommandNotAllowed`] for a profile that runs a program, unless [`command::allow`] was called;
/// [`HwError`] naming the file and field, or the nearest name.
pub fn load(name_or_path: &str) -> Result<Arc<dyn HardwareBackend>, HwError> {
    if entries().iter().any(|entry| entry.name == name_or_path) {
        return named(name_or_path);
    }
    let path = Path::new(name_or_path);
    let has_extension = |wanted: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(wanted));
    if path.is_dir() {
        return Ok(Arc::new(Lut::from_folder(path)?));
    }
    if has_extension("yaml") || has_extension("yml") {
        return Ok(Arc::new(Lut::from_file(path)?));
    }
    match profile_path(name_or_path) {
        Some(path) => {
            let device = DeviceProfile::load(&path)?.device;
            // Refused here, before any work that would end with the refusal.
            command::check_device(&path.display().to_string(), device.as_ref())?;
            Ok(device)
        }
        None => named(name_or_path),
    }
}

/// The profile (.toml) of a name or path, if it has one.
pub fn profile_path(name_or_path: &str) -> Option<PathBuf> {
    let path = Path::new(name_or_path);
    match path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) {
        true => Some(path.to_owned()),
        false => dropped_in().into_iter().find(|(name, _)| name == name_or_path).map(|(_, path)| path),
    }
}

/// Reads the `[device]` table of a TOML profile; `origin` is for messages. Files that the profile names are found from the
/// working directory.
///
/// # Errors
/// [`HwError::Profile`] with line and field.
pub fn from_profile(text: &str, origin: &str) -> Result<Arc<dyn HardwareBackend>, HwError> {
    Ok(DeviceProfile::parse(text, origin, Path::new(""))?.device)
}
