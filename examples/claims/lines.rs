//! Results, one JSON line per unit.

use crate::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// What a unit gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub unit: String,
    /// Optimizer steps.
    pub steps: usize,
    /// User and system seconds of the training, on `threads` threads.
    pub cpu_seconds: f64,
    pub threads: usize,
    /// Accuracies by name of the network.
    pub networks: BTreeMap<String, Accuracies>,
}

/// Accuracies of one network.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Accuracies {
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Top-1 on validation images, by which recipes are chosen.
    pub validation: f64,
    /// Top-1 on test images.
    pub test: f64,
}

/// The lines of a file.
pub struct Lines<T> {
    lines: Vec<T>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("docs/results/claims/{name}.jsonl"))
}

impl<T: DeserializeOwned> Lines<T> {
    pub fn load(name: &str) -> Result<Self> {
        let path = path(name);
        let text = match path.exists() {
            true => fs::read_to_string(&path)?,
            false => String::new(),
        };
        let lines = text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
        Ok(Self { lines })
    }

    pub fn all(&self) -> &[T] {
        &self.lines
    }
}

impl Lines<Line> {
    pub fn of(&self, unit: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.unit == unit)
    }
}

/// Adds a line to a file.
pub fn append(name: &str, line: &impl Serialize) -> Result<()> {
    let path = path(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    writeln!(file, "{}", serde_json::to_string(line)?)?;
    Ok(())
}

/// Mean and standard error.
pub struct Mean {
    pub mean: f64,
    pub error: f64,
    pub least: f64,
    pub count: usize,
}

impl Mean {
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count as f64 - 1.0);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        Self { mean, error: (variance / count as f64).sqrt(), least, count }
    }
}

impl fmt::Display for Mean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.2} ± {:.2} (least {:+.2}, of {})", self.mean, self.error, self.least, self.count)
    }
}
