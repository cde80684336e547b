//! Files of measured networks: one JSON a line, `{"arch": …, "latency_ms": …}`, with `runtime` and `threads` where they are
//! known.

use super::calibrate::MeasuredNet;
use crate::error::HwError;
use ofa_space::{Arch, ArchJson, SearchSpace, atomic_file, input_file, json};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// What ran the networks. Results of different runtimes or thread counts are never mixed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Conditions {
    /// Name and version of the runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Its threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

impl Conditions {
    /// What is known from either; `None` if they contradict each other.
    pub fn with(&self, other: &Self) -> Option<Self> {
        fn differ<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_some() && b.is_some() && a != b
        }
        let contradict = differ(&self.runtime, &other.runtime) || differ(&self.threads, &other.threads);
        (!contradict).then(|| Self {
            runtime: self.runtime.clone().or_else(|| other.runtime.clone()),
            threads: self.threads.or(other.threads),
        })
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.runtime.as_deref().unwrap_or("an unnamed runtime"))?;
        match self.threads {
            Some(threads) => write!(f, " with {threads} threads"),
            None => Ok(()),
        }
    }
}

/// Measured subnets of a space.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measurements {
    /// Subnets and their latencies in milliseconds.
    pub archs: Vec<(Arch, f64)>,
    /// What ran all of them, as far as it is known.
    pub conditions: Conditions,
}

/// A line of the file. Lines of [`Compared`](super::comparison::Compared) are understood too.
#[derive(Serialize, Deserialize)]
struct Line {
    arch: ArchJson,
    #[serde(alias = "measured_ms", alias = "median_ms")]
    latency_ms: f64,
    #[serde(flatten)]
    conditions: Conditions,
}

impl Measurements {
    /// Reads a file of measurements of subnets of `space`.
    ///
    /// # Errors
    /// [`HwError::Io`]; [`HwError::Profile`] with the line for anything that is not a measurement, and for a line of other
    /// conditions than those before it.
    pub fn load(path: &Path, space: &dyn SearchSpace) -> Result<Self, HwError> {
        let text = input_file::read_text(path, input_file::LARGEST_RECORDS).map_err(HwError::reading(path))?;
        let mut found = Self::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let origin = format!("{}:{}", path.display(), index + 1);
            let bad = |problem: String| HwError::Profile { origin: origin.clone(), problem };
            let line: Line =
                json::from_str(line).map_err(|e| bad(format!("{e}; expected {{\"arch\": …, \"latency_ms\": …}}")))?;
            if !(line.latency_ms > 0.0 && line.latency_ms.is_finite()) {
                return Err(bad(format!("latency_ms is {}, expected more than 0", line.latency_ms)));
            }
            found.conditions = found.conditions.with(&line.conditions).ok_or_else(|| {
                let (own, before) = (&line.conditions, &found.conditions);
                bad(format!("measured in {own}, the lines before in {before}: results are never mixed"))
            })?;
            let arch = space.parse(&line.arch).map_err(|e| bad(e.to_string()))?;
            found.archs.push((arch, line.latency_ms));
        }
        match found.archs.is_empty() {
            true => {
                let problem = "holds no measurements".to_owned();
                Err(HwError::Profile { origin: path.display().to_string(), problem })
            }
            false => Ok(found),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`HwError::Io`].
    pub fn save(&self, path: &Path, space: &dyn SearchSpace) -> Result<(), HwError> {
        let line = |(arch, ms): &(Arch, f64)| Line {
            arch: space.format(arch),
            latency_ms: *ms,
            conditions: self.conditions.clone(),
        };
        let text = in_lines(self.archs.iter().map(line)).map_err(|e| HwError::writing(path)(e.into()))?;
        atomic_file::write(path, text.as_bytes()).map_err(HwError::writing(path))
    }

    /// The measured networks.
    ///
    /// # Errors
    /// [`HwError::Space`] for an arch of another space.
    pub fn nets(&self, space: &dyn SearchSpace) -> Result<Vec<MeasuredNet>, HwError> {
        let net = |(arch, ms): &(Arch, f64)| Ok(MeasuredNet { net: space.resolve(arch)?, latency_ms: *ms });
        self.archs.iter().map(net).collect()
    }
}

/// One JSON a line.
pub(super) fn in_lines<T: Serialize>(lines: impl Iterator<Item = T>) -> Result<String, serde_json::Error> {
    let lines: Result<Vec<String>, _> = lines.map(|line| Ok(serde_json::to_string(&line)? + "\n")).collect();
    Ok(lines?.concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn measurements_survive_their_file() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("timings.jsonl");
        let space = ofa_space::registry::named("tiny-28")?;
        let conditions = Conditions { runtime: Some("rten 0.27".into()), threads: Some(1) };
        let measured = Measurements { archs: vec![(space.min_arch(), 0.1 + 0.2), (space.max_arch(), 1.5)], conditions };
        measured.save(&path, space.as_ref())?;
        assert_eq!(Measurements::load(&path, space.as_ref())?, measured);
        let text = std::fs::read_to_string(&path)?;
        // A file that leaves the conditions out fits any, but two that differ are never mixed.
        let (first, second) = text.split_once('\n').ok_or("one line")?;
        let bare = first.replace(",\"runtime\":\"rten 0.27\",\"threads\":1", "");
        std::fs::write(&path, format!("{bare}\n{second}"))?;
        assert_eq!(Measurements::load(&path, space.as_ref())?, measured);
        std::fs::write(&path, format!("{first}\n\n{}", second.replace("\"threads\":1", "\"threads\":2")))?;
        let error = Measurements::load(&path, space.as_ref()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("timings.jsonl:3") && error.contains("never mixed"), "{error}");
        Ok(())
    }
}
