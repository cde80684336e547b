//! Fuzzing in short: every reader on a few hundred files that are nearly right, and on every input that ever failed. The long run
//! is `cargo run --release --example fuzz`.
#![allow(clippy::unwrap_used, missing_docs)]

mod fuzzing;

use fuzzing::targets::ALL;
use fuzzing::{Scratch, Seed, Tally};
use std::path::Path;

/// Cases of every target.
const CASES: u64 = 150;

/// One test, since memory is counted for the whole process.
#[test]
fn readers_refuse_or_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut problems = Vec::new();
    for target in ALL {
        let scratch = Scratch::new();
        let mut tally = Tally::default();
        let seeds = (target.seeds)();
        for seed in &seeds {
            fuzzing::run(target, &scratch, seed, &mut tally);
        }
        assert_eq!(tally.accepted, seeds.len() as u64, "{}: valid files are read", target.name);
        let mut files: Vec<_> = match std::fs::read_dir(corpus.join(target.name)) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        files.sort();
        for path in files {
            // `12-name`: the number of the case, and the name that the reader looks for, `/` as `_`.
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let name = file.split_once('-').map_or(file.as_str(), |(_, name)| name);
            let known = seeds.iter().find(|seed| seed.name.replace('/', "_") == name);
            let input = Seed {
                name: known.map_or_else(|| name.to_owned(), |seed| seed.name.clone()),
                bytes: std::fs::read(&path).unwrap(),
            };
            fuzzing::run(target, &scratch, &input, &mut tally);
        }
        for case in 0..CASES {
            fuzzing::run(target, &scratch, &fuzzing::input(target, &seeds, 0, case), &mut tally);
        }
        problems.extend(tally.defects.iter().map(|defect| {
            format!("{}: {} of {} bytes: {}", target.name, defect.name, defect.bytes.len(), defect.what)
        }));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
