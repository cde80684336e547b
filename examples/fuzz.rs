//! Fuzzes the readers with any number of cases:
//!
//! ```sh
//! cargo run --release --example fuzz -- --cases 1000000 --seed 1
//! ```
//!
//! `--cases` is divided among all targets; `--target NAME` fuzzes one of them. Inputs that fail are written to `--out`
//! (default: `target/fuzz`), and should be moved to `tests/corpus` once the defect is fixed. If the process aborts or
//! hangs, the input is there too, as `TARGET-current`.
#![allow(clippy::unwrap_used)]

#[path = "../tests/fuzzing/mod.rs"]
mod fuzzing;

use fuzzing::targets::{ALL, Target};
use fuzzing::{LONGEST, Scratch, Tally};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since the start at which the case in progress began.
static BEGAN: AtomicU64 = AtomicU64::new(0);
/// Cases between two notes of the input in progress, which cost a write.
const SAME_DEFECT: usize = 3;

struct Options {
    cases: u64,
    seed: u64,
    first: u64,
    target: Option<String>,
    out: PathBuf,
}

fn options() -> Result<Options, String> {
    let mut options = Options { cases: 10_000, seed: 1, first: 0, target: None, out: PathBuf::from("target/fuzz") };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{word} {value}: {e}"));
        match word.as_str() {
            "--cases" => options.cases = number()?,
            "--seed" => options.seed = number()?,
            "--first" => options.first = number()?,
            "--target" => options.target = Some(value),
            "--out" => options.out = PathBuf::from(value),
            _ => return Err(format!("{word}: expected --cases, --seed, --first, --target or --out")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<&Target> =
        ALL.iter().filter(|t| options.target.as_deref().is_none_or(|name| name == t.name)).collect();
    std::fs::create_dir_all(&options.out).unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    watch(started);
    let share = options.cases.div_ceil(chosen.len().max(1) as u64);
    println!(
        "{:<16} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "target", "cases", "accepted", "peak MiB", "longest", "defects", "seconds"
    );
    let mut all = 0;
    let mut defects = 0;
    for target in chosen {
        let begun = Instant::now();
        let tally = fuzz(target, &options, share, started);
        all += tally.cases;
        defects += tally.defects.len();
        println!(
            "{:<16} {:>9} {:>9} {:>9.1} {:>8.2}s {:>8} {:>8.0}",
            target.name,
            tally.cases,
            tally.accepted,
            tally.peak as f64 / f64::from(1 << 20),
            tally.longest.as_secs_f64(),
            tally.defects.len(),
            begun.elapsed().as_secs_f64()
        );
        keep(target, &tally, &options.out);
    }
    println!("{all} cases with seed {}, {defects} defects", options.seed);
    if defects == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends the process if a case takes much too long; the input is in its file.
fn watch(started: Instant) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let began = Duration::from_millis(BEGAN.load(Ordering::Relaxed));
            if started.elapsed().saturating_sub(began) > 3 * LONGEST {
                println!("a case hangs: see the input called …-current");
                std::process::exit(1);
            }
        }
    });
}

fn fuzz(target: &Target, options: &Options, cases: u64, started: Instant) -> Tally {
    /// A fresh folder now and then, for readers that write.
    const PER_FOLDER: u64 = 1000;
    let seeds = (target.seeds)();
    let current = options.out.join(format!("{}-current", target.name));
    let mut tally = Tally::default();
    let mut scratch = Scratch::new();
    for case in options.first..options.first + cases {
        if case % PER_FOLDER == 0 {
            scratch = Scratch::new();
        }
        let input = fuzzing::input(target, &seeds, options.seed, case);
        std::fs::write(&current, &input.bytes).unwrap();
        BEGAN.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
        fuzzing::run(target, &scratch, &input, &mut tally);
    }
    let _ = std::fs::remove_file(current);
    tally
}

/// Writes a few inputs of every kind of failure.
fn keep(target: &Target, tally: &Tally, out: &Path) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (index, defect) in tally.defects.iter().enumerate() {
        let kind: String = defect.what.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(120).collect();
        let count = kinds.entry(kind.clone()).or_default();
        *count += 1;
        if *count <= SAME_DEFECT {
            let name = format!("{index}-{}", defect.name.replace('/', "_"));
            let folder = out.join(target.name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(&name), &defect.bytes).unwrap();
            println!("  {}: {}: {}", target.name, name, defect.what.lines().next().unwrap_or_default());
        }
    }
    for (kind, count) in kinds.iter().filter(|(_, count)| **count > SAME_DEFECT) {
        println!("  {}: {count} times: {}", target.name, kind.lines().next().unwrap_or_default());
    }
}
