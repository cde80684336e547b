//! Parts of a collection, which several machines measure without knowing of each other, and their merging.
//!
//! A part is a pairs file. Its first line holds beside the pair which part of what it is, so that one file is all that has to be
//! moved.

use crate::cli::{Context, Failure};
use ofa_predictors::pairs;
use ofa_space::dependencies::{self, Dependencies};
use ofa_space::{Arch, atomic_file, digest, input_file};
use ofa_train::collection::CLUSTER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which part of how many: `3/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartChoice {
    /// From 1.
    number: usize,
    of: usize,
}

impl FromStr for PartChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("expected K/N, part K of N, such as 3/8".to_owned()),
        }
    }
}

impl std::fmt::Display for PartChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl PartChoice {
    /// The archs of this part: whole clusters, since what their archs share is computed once.
    pub fn archs(self, all: &[Arch]) -> Result<Vec<Arch>, Failure> {
        let clusters: Vec<&[Arch]> = all.chunks(CLUSTER).collect();
        let Self { number, of } = self;
        if of > clusters.len() {
            return Err(Failure::Input(format!(
                "--part {self}: {} subnets are measured {CLUSTER} at a time, so there are {} parts at most",
                all.len(),
                clusters.len()
            )));
        }
        Ok(clusters[(number - 1) * clusters.len() / of..number * clusters.len() / of].concat())
    }
}

/// What the first line of a part holds under [`FIELD`].
#[derive(Clone, Serialize, Deserialize)]
struct Mark {
    number: usize,
    of: usize,
    /// Pairs of this part.
    pairs: usize,
    /// SHA-256 of its lines, without this.
    sha256: String,
    /// What all parts have in common.
    from: Dependencies,
}

const FIELD: &str = ",\"part\":";

/// A line without a mark.
fn bare(line: &str) -> String {
    match line.find(FIELD) {
        Some(start) => format!("{}}}", &line[..start]),
        None => line.to_owned(),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    input_file::read_text(path, input_file::LARGEST_RECORDS)
}

fn bare_lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(bare).collect()
}

fn in_lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Marks a finished pairs file as a part.
///
/// # Errors
/// [`Failure::Running`] if the file cannot be read or written.
pub fn mark(path: &Path, PartChoice { number, of }: PartChoice, from: &Dependencies) -> Result<(), Failure> {
    let writing = |e| Failure::writing(path, e);
    let mut lines = bare_lines(&read(path).map_err(writing)?);
    let (pairs, sha256) = (lines.len(), digest::sha256(in_lines(&lines)));
    let mark = Mark { number, of, pairs, sha256, from: from.clone() };
    let mark = serde_json::to_string(&mark).map_err(|e| Failure::Running(e.to_string()))?;
    if let Some(open) = lines.first().and_then(|first| first.strip_suffix('}')) {
        lines[0] = format!("{open}{FIELD}{mark}}}");
    }
    atomic_file::write(path, in_lines(&lines).as_bytes()).map_err(writing)
}

/// A part that was read.
struct Part {
    path: PathBuf,
    mark: Mark,
    lines: Vec<String>,
}

impl Part {
    fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |problem: String| Failure::Input(format!("{}: {problem}", path.display()));
        let text = read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let first: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or_default();
        let mark: Mark = serde_json::from_value(first.get("part").cloned().unwrap_or_default()).map_err(|_| {
            wrong("is not a finished part of a collection (`ofa collect --part K/N` makes one)".to_owned())
        })?;
        let lines = bare_lines(&text);
        if lines.len() != mark.pairs || digest::sha256(in_lines(&lines)) != mark.sha256 {
            return Err(wrong(format!(
                "is damaged: it is not as it was written, with {} pairs; measure the part again",
                mark.pairs
            )));
        }
        Ok(Self { path: path.to_owned(), mark, lines })
    }
}

/// Puts all parts of a collection into one pairs file, which has the bytes of a collection by one process, and prints it.
///
/// # Errors
/// [`Failure::Input`] if a part is damaged, missing, there twice, or of another collection.
pub fn merge(files: &[PathBuf], output: &Path, context: &Context) -> Result<(), Failure> {
    let parts = files.iter().map(|path| Part::read(path)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = parts.first() else { return Err(Failure::Input("--merge: no parts are given".into())) };
    let mut sorted: BTreeMap<usize, &Part> = BTreeMap::new();
    for part in &parts {
        let differences = part.mark.from.since(&first.mark.from);
        if !differences.is_empty() || part.mark.of != first.mark.of {
            let what = match differences.as_slice() {
                [] => format!("it is one of {} parts, not of {}", part.mark.of, first.mark.of),
                known => dependencies::in_words(known),
            };
            let (one, other) = (part.path.display(), first.path.display());
            return Err(Failure::Input(format!("{one} is a part of another collection than {other}: {what}")));
        }
        if let Some(twice) = sorted.insert(part.mark.number, part) {
            return Err(Failure::Input(format!(
                "part {} is there twice: {} and {}",
                part.mark.number,
                twice.path.display(),
                part.path.display()
            )));
        }
    }
    let of = first.mark.of;
    let missing: Vec<String> = (1..=of).filter(|number| !sorted.contains_key(number)).map(|n| n.to_string()).collect();
    if !missing.is_empty() {
        return Err(Failure::Input(format!("of {of} parts, these are missing: {}", missing.join(", "))));
    }
    let mut seen: HashMap<String, &Path> = HashMap::new();
    let mut merged = Vec::new();
    for part in sorted.values() {
        for line in &part.lines {
            let mut pair: Value = serde_json::from_str(line)
                .map_err(|e| Failure::Input(format!("{}: a line is not JSON: {e}", part.path.display())))?;
            if let Some(other) = seen.insert(pair["arch"].to_string(), &part.path) {
                let (one, other) = (part.path.display(), other.display());
                return Err(Failure::Input(format!("a subnet is in {one} and in {other}: {}", pair["arch"])));
            }
            // What is printed is the pair, without the checksum of its line.
            if let Some(fields) = pair.as_object_mut() {
                fields.remove(pairs::CHECKSUM);
            }
            merged.push(pair);
        }
    }
    if output.exists() {
        return Err(Failure::Input(format!("{} exists: choose another file", output.display())));
    }
    let text: String = sorted.values().map(|part| in_lines(&part.lines)).collect();
    atomic_file::write(output, text.as_bytes()).map_err(|e| Failure::writing(output, e))?;
    for pair in &merged {
        context
            .output
            .result(pair, || format!("{:.4}  {}", pair["top1"].as_f64().unwrap_or_default(), pair["arch"]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_space::registry;
    use ofa_train::collection::clustered_archs;

    #[test]
    fn parts_are_all_archs_in_order() {
        let space = registry::named("tiny-28").unwrap();
        for (count, of) in [(32, 8), (30, 8), (5, 2), (37, 3), (4, 1)] {
            let all = clustered_archs(space.as_ref(), count, 1).unwrap();
            let parts = (1..=of).flat_map(|number| PartChoice { number, of }.archs(&all).unwrap());
            assert_eq!(parts.collect::<Vec<_>>(), all);
        }
        let all = clustered_archs(space.as_ref(), 8, 1).unwrap();
        assert!(PartChoice { number: 1, of: 3 }.archs(&all).is_err());
    }

    #[test]
    fn a_part_is_written_as_a_fraction() {
        assert_eq!("3/8".parse(), Ok(PartChoice { number: 3, of: 8 }));
        for wrong in ["0/8", "9/8", "3", "3/", "a/b", "-1/8", "1/0"] {
            assert!(wrong.parse::<PartChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mark_comes_off_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.jsonl");
        let text = "{\"arch\":{\"d\":[1]},\"top1\":0.5}\n{\"arch\":{\"d\":[2]},\"top1\":0.25}\n";
        std::fs::write(&path, text).unwrap();
        let choice = PartChoice { number: 2, of: 4 };
        mark(&path, choice, &Dependencies::default()).unwrap();
        let marked = std::fs::read_to_string(&path).unwrap();
        mark(&path, choice, &Dependencies::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), marked);
        let part = Part::read(&path).unwrap();
        assert_eq!((in_lines(&part.lines).as_str(), part.mark.number), (text, 2));
        std::fs::write(&path, marked.replace("0.25", "0.26")).unwrap();
        assert!(Part::read(&path).is_err());
    }
}
