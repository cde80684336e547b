//! Whatever happens to one file of a finished run, going on ends with the results of an undisturbed run, or with an error that
//! names the remedy; never with other numbers.

use crate::program::Outcome;
use crate::small_run::SmallRun;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Removed,
    /// Cut off after this share.
    CutOff(f64),
    /// A bit flipped at this share.
    Flipped(f64),
    /// A digit changed, so that the text is as valid as before: the one after this share.
    Digit(f64),
}

impl Damage {
    /// Whether the file has changed.
    fn apply(self, path: &Path) -> bool {
        let bytes = std::fs::read(path).unwrap();
        let at = |share: f64| ((bytes.len() as f64 * share) as usize).min(bytes.len().saturating_sub(1));
        let mut damaged = bytes.clone();
        match self {
            Damage::Removed => {
                std::fs::remove_file(path).unwrap();
                return true;
            }
            Damage::CutOff(share) => damaged.truncate(at(share)),
            Damage::Flipped(share) => {
                if let Some(byte) = damaged.get_mut(at(share)) {
                    *byte ^= 4;
                }
            }
            Damage::Digit(share) => {
                let from = at(share).min(damaged.len());
                if let Some(byte) = damaged[from..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                    *byte = if *byte == b'9' { b'1' } else { *byte + 1 };
                }
            }
        }
        std::fs::write(path, &damaged).unwrap();
        damaged != bytes
    }
}

/// Times, pictures and what is written anew each time.
const LEFT_OUT: [&str; 3] = [".lock", "timings.json", "metrics.jsonl"];

/// Every file in a folder, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, into),
                false => into.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    let mut relative: Vec<PathBuf> = found.iter().map(|path| path.strip_prefix(folder).unwrap().to_owned()).collect();
    relative.retain(|path| !path.starts_with("plots") && !LEFT_OUT.iter().any(|name| path.ends_with(name)));
    relative
}

/// Words of which an error names one: what to do.
const REMEDIES: [&str; 5] =
    ["--retrain", "put it back", "put them back", "give the run's configuration", "Undo the change"];

/// How a damaged run went on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Ended {
    Same,
    Refused,
}

struct Undisturbed {
    results: serde_json::Value,
    nets: BTreeMap<String, String>,
}

#[track_caller]
fn check(run: &SmallRun, outcome: &Outcome, expected: &Undisturbed, what: &str) -> Ended {
    match outcome.code {
        Some(0) => {
            assert_eq!(run.results(), expected.results, "{what}: {outcome:#?}");
            assert_eq!(run.nets(), expected.nets, "{what}: {outcome:#?}");
            Ended::Same
        }
        Some(1 | 2) => {
            assert!(REMEDIES.iter().any(|remedy| outcome.stderr.contains(remedy)), "{what}: no remedy: {outcome:#?}");
            Ended::Refused
        }
        _ => panic!("{what}: {outcome:#?}"),
    }
}

fn damage_every_file(finished: fn() -> SmallRun, damages: &[Damage], shown: impl Fn(&str)) {
    let whole = finished();
    let expected = Undisturbed { results: whole.results(), nets: whole.nets() };
    let files = files(&whole.out());
    assert!(files.len() > 15, "{files:?}");
    let mut counts: BTreeMap<Ended, usize> = BTreeMap::new();
    for file in &files {
        for damage in damages {
            let run = finished();
            if !damage.apply(&run.out().join(file)) {
                continue;
            }
            // An edited plan is a wish: it is followed, and what differs is listed. Damage to it is what no editor leaves.
            let plan = file == Path::new("pipeline.toml");
            if plan && matches!(damage, Damage::Flipped(_) | Damage::Digit(_)) {
                continue;
            }
            let what = format!("{} {damage:?}", file.display());
            let ended = check(&run, &run.resume(&[]), &expected, &what);
            shown(&format!("{what}: {ended:?}"));
            *counts.entry(ended).or_default() += 1;
        }
    }
    shown(&format!("{} files: {counts:?}", files.len()));
    assert!(counts[&Ended::Same] > counts[&Ended::Refused], "{counts:?}");
}

#[test]
fn one_damaged_file_never_gives_other_numbers() {
    damage_every_file(SmallRun::finished, &[Damage::Removed, Damage::CutOff(0.5), Damage::Digit(0.4)], |_| {});
}

/// The same with every damage: `cargo test --test state -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn no_damage_to_any_file_gives_other_numbers() {
    let mut damages = vec![Damage::Removed];
    damages.extend([0.0, 0.1, 0.5, 0.9, 1.0].map(Damage::CutOff));
    damages.extend([0.0, 0.02, 0.2, 0.5, 0.8, 0.999].map(Damage::Flipped));
    damages.extend([0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9].map(Damage::Digit));
    damage_every_file(SmallRun::fine_tuned, &damages, |line| eprintln!("{line}"));
}
