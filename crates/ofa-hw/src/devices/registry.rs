//! Named devices, and devices read from files.

use crate::backend::{HardwareBackend, LatencySource};
use crate::devices::lut::Lut;
use crate::devices::profile_text;
use crate::error::HwError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A registered device. Submit one with [`inventory::submit!`] to make it selectable by name.
pub struct DeviceEntry {
    /// Name, as given to `--device`.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    /// Where its latencies come from.
    pub source: LatencySource,
    /// Builds it.
    pub build: fn() -> Result<Arc<dyn HardwareBackend>, HwError>,
}

inventory::collect!(DeviceEntry);

/// Folders of profiles beside the registered devices, separated as in `PATH`.
const PATH_VARIABLE: &str = "OFA_DEVICE_PATH";

/// Every registered device, by name.
pub fn entries() -> Vec<&'static DeviceEntry> {
    let mut all: Vec<&DeviceEntry> = inventory::iter::<DeviceEntry>.into_iter().collect();
    all.sort_by_key(|entry| entry.name);
    all
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
    if let Some(entry) = entries().into_iter().find(|entry| entry.name == name) {
        return (entry.build)();
    }
    let mut known: Vec<String> = entries().iter().map(|entry| entry.name.to_owned()).collect();
    known.extend(dropped_in().into_iter().map(|(name, _)| name));
    Err(HwError::UnknownDevice { name: name.to_owned(), closest: ofa_space::registry::closest(name, &known), known })
}

/// The device of `--device`: a registered name, a profile (`.toml`), a table (`.yaml`), a folder of tables, or the name
/// of a profile in a folder of `OFA_DEVICE_PATH`.
///
/// # Errors
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
    if has_extension("toml") {
        return from_profile(&read(path)?, &path.display().to_string());
    }
    match dropped_in().into_iter().find(|(name, _)| name == name_or_path) {
        Some((_, path)) => from_profile(&read(&path)?, &path.display().to_string()),
        None => named(name_or_path),
    }
}

/// The profile (.toml) that a name or path stands for, if it stands for one.
pub fn profile_path(name_or_path: &str) -> Option<PathBuf> {
    let path = Path::new(name_or_path);
    match path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) {
        true => Some(path.to_owned()),
        false => dropped_in().into_iter().find(|(name, _)| name == name_or_path).map(|(_, path)| path),
    }
}

/// Reads the `[device]` table of a TOML profile; `origin` is for messages.
///
/// # Errors
/// [`HwError::Profile`] with line and field.
pub fn from_profile(text: &str, origin: &str) -> Result<Arc<dyn HardwareBackend>, HwError> {
    let device: Box<dyn HardwareBackend> = profile_text::read(text, origin)?;
    Ok(Arc::from(device))
}

fn read(path: &Path) -> Result<String, HwError> {
    std::fs::read_to_string(path).map_err(|source| HwError::Io { path: path.to_owned(), source })
}
