//! Measured pairs of arch and accuracy or latency, and the files that hold them: one JSON a line,
//! `{"arch":{…},"top1":…}`, `{"arch":{…},"latency_ms":…}`, or the flat published form with the genes beside the value.
//! Lines that we write have a checksum of arch and value as `"crc32c"`.

mod file;

pub use file::PairsFile;

use crate::error::PredictorError;
use crate::target::Target;
use ofa_space::{Arch, ArchJson, SearchSpace, digest, input_file, json};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// A measured arch.
#[derive(Clone, PartialEq, Debug)]
pub struct Pair {
    /// The arch.
    pub arch: Arch,
    /// What was measured, in the unit of the [`Target`].
    pub value: f64,
}

/// Reads a pairs file. Empty lines are skipped, and fields that are not needed are ignored.
///
/// # Errors
/// [`PredictorError::Io`], or [`PredictorError::Format`] naming file and line.
pub fn read(path: impl AsRef<Path>, space: &dyn SearchSpace, target: Target) -> Result<Vec<Pair>, PredictorError> {
    let path = path.as_ref();
    let text = input_file::read_text(path, input_file::LARGEST_RECORDS).map_err(|source| PredictorError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    parsed(&text, space, target, |line, problem| PredictorError::Format {
        path: path.to_owned(),
        line: Some(line),
        problem,
    })
}

/// The pairs of a whole text; `bad` makes an error of a line's number and what is wrong with it.
fn parsed(
    text: &str,
    space: &dyn SearchSpace,
    target: Target,
    bad: impl Fn(usize, String) -> PredictorError,
) -> Result<Vec<Pair>, PredictorError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| parse(line, space, target).map_err(|problem| bad(index + 1, problem))).collect()
}

/// One line of a pairs file.
///
/// # Errors
/// What is wrong and what was expected, in words.
pub fn parse(line: &str, space: &dyn SearchSpace, target: Target) -> Result<Pair, String> {
    let mut json: serde_json::Value = json::from_str(line).map_err(|e| format!("is not JSON: {e}"))?;
    let (field, expected) = (target.field(), target.expected());
    let value = json.get(field).and_then(serde_json::Value::as_f64);
    let value = value.ok_or_else(|| format!("has no number `{field}` ({target}: {expected})"))?;
    if !target.allows(value) {
        return Err(format!("`{field}` is {value}, expected {expected}"));
    }
    let checksum = json.get_mut(CHECKSUM).map(serde_json::Value::take);
    let arch = match json.get_mut("arch") {
        Some(arch) => arch.take(),
        None => json,
    };
    let arch: ArchJson = serde_json::from_value(arch).map_err(|e| e.to_string())?;
    let arch = space.parse(&arch).map_err(|e| e.to_string())?;
    // Of what the line means, so that tools may write it differently.
    let found = digest::crc32c([format_bare(space, &arch, target, value).as_bytes()]);
    match checksum {
        Some(checksum) if checksum.as_str() != Some(&found) => Err(format!(
            "is damaged or was edited: arch and `{field}` have the checksum \"{found}\", `{CHECKSUM}` is {checksum}; measure it \
             again, or leave `{CHECKSUM}` out of a line of your own"
        )),
        _ => Ok(Pair { arch, value }),
    }
}

/// The field of a line's checksum, which lines of earlier versions and of others do not have.
pub const CHECKSUM: &str = "crc32c";

/// One line of a pairs file, without a line break.
pub fn format_line(space: &dyn SearchSpace, arch: &Arch, target: Target, value: f64) -> String {
    let mut line = format_bare(space, arch, target, value);
    let checksum = digest::crc32c([line.as_bytes()]);
    line.pop();
    line + &format!(",\"{CHECKSUM}\":\"{checksum}\"}}")
}

/// A line without a checksum.
fn format_bare(space: &dyn SearchSpace, arch: &Arch, target: Target, value: f64) -> String {
    format!("{{\"arch\":{},\"{}\":{}}}", space.format(arch), target.field(), serde_json::Value::from(value))
}

/// At most `most` of the pairs, drawn at random with this seed.
pub fn subset(pairs: Vec<Pair>, most: usize, seed: u64) -> Vec<Pair> {
    if pairs.len() <= most {
        return pairs;
    }
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order.truncate(most);
    order.sort_unstable();
    order.into_iter().map(|index| pairs[index].clone()).collect()
}

/// A seeded split into the rest and a held-out `share` of the pairs.
pub fn hold_out(pairs: &[Pair], share: f64, seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let held = ((pairs.len() as f64 * share).round() as usize).min(pairs.len());
    let take = |indices: &[usize]| indices.iter().map(|i| pairs[*i].clone()).collect();
    (take(&order[held..]), take(&order[..held]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_space::registry;

    #[test]
    fn a_line_whose_value_or_arch_was_changed_is_refused_and_one_without_a_checksum_is_not() {
        let space = registry::named("tiny-28").unwrap();
        let (space, target) = (space.as_ref(), Target::Accuracy);
        let pair = Pair { arch: space.max_arch(), value: 0.1 + 0.2 };
        let line = format_line(space, &pair.arch, target, pair.value);
        assert_eq!(parse(&line, space, target).unwrap(), pair);
        assert_eq!(parse(&line.replace(',', ", ").replace(':', ": "), space, target).unwrap(), pair);
        let changed = [("0.3000", "0.3100"), ("[7,", "[5,"), ("\"crc32c\":\"", "\"crc32c\":\"0")];
        for (from, to) in changed {
            let error = parse(&line.replacen(from, to, 1), space, target).unwrap_err();
            assert!(error.contains("damaged or was edited"), "{error}");
        }
        let bare = format_bare(space, &pair.arch, target, pair.value);
        parse(&bare.replace("0.3000", "0.3100"), space, target).unwrap();
        // No flipped bit gives another pair.
        for bit in 0..8 * line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = String::from_utf8(bytes).ok().and_then(|flipped| parse(&flipped, space, target).ok());
            assert!(read.is_none_or(|read| read == pair), "bit {bit}");
        }
    }
}
