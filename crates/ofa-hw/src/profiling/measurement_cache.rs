//! Measurements kept on disk, each under the hash of everything that it depends on.

use crate::error::HwError;
use crate::profiling::timing::Measurement;
use ofa_space::digest::Digest;
use ofa_space::{atomic_file, input_file};
use std::path::{Component, Path, PathBuf};

/// The user's folder of what can be measured again.
fn base_of_user() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("ofa"))
}

/// A path without links, of which the end may not exist yet.
fn real(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)))?;
    let (folder, known) = existing;
    Some(known.join(absolute.strip_prefix(folder).ok()?))
}

/// A folder of measurements.
#[derive(Clone, Debug)]
pub struct MeasurementCache {
    folder: PathBuf,
}

impl MeasurementCache {
    /// A cache in this folder, which is made when first written to.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The user's own: `$XDG_CACHE_HOME/ofa/measurements`, else `~/.cache/ofa/measurements`; none without a home.
    pub fn of_user() -> Option<Self> {
        Some(Self::new(&base_of_user()?.join("measurements")))
    }

    /// The folder that a profile in `folder` names, seen from there; `None` if it names none. It must lie in `folder`, or in the user's own cache: a
    /// profile that comes from elsewhere writes nowhere else.
    ///
    /// # Errors
    /// [`HwError::CacheOutside`].
    pub(crate) fn confined(named: Option<&Path>, folder: &Path) -> Result<Option<PathBuf>, HwError> {
        let Some(named) = named.filter(|named| !named.as_os_str().is_empty()) else { return Ok(None) };
        let wanted = folder.join(named);
        let goes_up = named.components().any(|part| part == Component::ParentDir);
        let own = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let allowed = [Some(own.to_owned()), base_of_user()];
        let is_inside = |base: PathBuf| Some(real(&wanted)?.starts_with(real(&base)?));
        match !goes_up && allowed.into_iter().flatten().filter_map(is_inside).any(|inside| inside) {
            true => Ok(Some(wanted)),
            false => Err(HwError::CacheOutside { cache: named.to_owned(), folder: own.to_owned() }),
        }
    }

    /// The name of a measurement of this file by this device; `device` holds everything that could change the result:
    /// the command, or runtime, version, threads and number of runs.
    pub fn key(onnx: &[u8], device: &str) -> String {
        let mut digest = Digest::default();
        digest.add(device);
        digest.add([0]);
        digest.add(onnx);
        digest.hex()
    }

    /// The measurement kept under this name; an unreadable one counts as none.
    pub fn get(&self, key: &str) -> Option<Measurement> {
        serde_json::from_slice(&input_file::read(&self.file(key), input_file::LARGEST_TEXT).ok()?).ok()
    }

    /// Keeps a measurement.
    ///
    /// # Errors
    /// [`HwError::Io`] if the folder cannot be written.
    pub fn put(&self, key: &str, measurement: &Measurement) -> Result<(), HwError> {
        let io = HwError::writing(&self.folder);
        std::fs::create_dir_all(&self.folder).map_err(&io)?;
        let bytes = serde_json::to_vec(measurement).unwrap_or_default();
        atomic_file::write(&self.file(key), &bytes).map_err(&io)
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }
}
