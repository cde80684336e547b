//! Pairs files: one JSON a line, `{"arch":{…},"top1":…}` or the flat published form.

use crate::error::PredictorError;
use ofa_space::{Arch, ArchJson, SearchSpace};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// A measured arch.
#[derive(Clone, PartialEq, Debug)]
pub struct Pair {
    /// The arch.
    pub arch: Arch,
    /// Top-1 accuracy as a fraction, or another target.
    pub value: f64,
}

/// Reads a pairs file; empty lines are skipped.
///
/// # Errors
/// [`PredictorError`] naming file and line.
pub fn read(path: &Path, space: &dyn SearchSpace) -> Result<Vec<Pair>, PredictorError> {
    let text = std::fs::read_to_string(path).map_err(|source| PredictorError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            parse(line, space).map_err(|problem| PredictorError::Format {
                path: path.to_owned(),
                line: Some(index + 1),
                problem,
            })
        })
        .collect()
}

/// One line of a pairs file.
///
/// # Errors
/// What is wrong, in words.
pub fn parse(line: &str, space: &dyn SearchSpace) -> Result<Pair, String> {
    let mut value: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("is not JSON: {e}"))?;
    let top1 =
        value.get("top1").and_then(serde_json::Value::as_f64).ok_or("has no number `top1` (accuracy as a fraction)")?;
    if !(0.0..=1.0).contains(&top1) {
        return Err(format!("`top1` is {top1}, expected a fraction from 0 to 1"));
    }
    let json = match value.get_mut("arch") {
        Some(arch) => arch.take(),
        None => value,
    };
    let json: ArchJson = serde_json::from_value(json).map_err(|e| e.to_string())?;
    let arch = space.parse(&json).map_err(|e| e.to_string())?;
    Ok(Pair { arch, value: top1 })
}

/// One line of a pairs file, without a line break.
pub fn format_line(space: &dyn SearchSpace, arch: &Arch, top1: f64) -> String {
    format!("{{\"arch\":{},\"top1\":{}}}", space.format(arch), serde_json::Value::from(top1))
}

/// A seeded split into the rest and a held-out `share` of the pairs.
pub fn hold_out(pairs: &[Pair], share: f64, seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let held = ((pairs.len() as f64 * share).round() as usize).min(pairs.len());
    let take = |indices: &[usize]| indices.iter().map(|i| pairs[*i].clone()).collect();
    (take(&order[held..]), take(&order[..held]))
}
