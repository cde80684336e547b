//! Measurements kept on disk, each under the hash of everything that it depends on.

use crate::error::HwError;
use crate::profiling::timing::Measurement;
use ofa_space::atomic_file;
use ofa_space::digest::Digest;
use std::path::{Path, PathBuf};

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
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
        Some(Self::new(&base.join("ofa").join("measurements")))
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
        serde_json::from_slice(&std::fs::read(self.file(key)).ok()?).ok()
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
