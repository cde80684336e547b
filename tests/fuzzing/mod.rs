//! Fuzzing of every reader: valid files are changed in ways that their format allows, and read. A reader may refuse them; it may
//! not panic, take long or take much memory.
//!
//! The same seed gives the same cases. `tests/readers.rs` runs a few of them and every input that ever failed
//! (`tests/corpus`); `examples/fuzz.rs` runs as many as are wanted.

mod formats;
mod mutation;
pub mod targets;

use peak_alloc::PeakAlloc;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use targets::Target;

/// Counts what the readers take.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes that a reader may take for an input of less than a megabyte.
pub const MOST_MEMORY: usize = 1 << 30;
/// Time that it may take.
pub const LONGEST: Duration = Duration::from_secs(10);

/// A file before it is changed.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Its name in the folder that it is read from.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// An input that a reader did not survive well.
#[derive(Clone, Debug)]
pub struct Defect {
    /// What it did.
    pub what: String,
    /// Name of the file.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// How a run over a target went.
#[derive(Debug, Default)]
pub struct Tally {
    /// Inputs read.
    pub cases: u64,
    /// Of these, accepted.
    pub accepted: u64,
    /// The most bytes that one took.
    pub peak: usize,
    /// The longest time that one took.
    pub longest: Duration,
    /// Failures.
    pub defects: Vec<Defect>,
}

/// A folder that a target reads from.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// A new folder, in memory where the system has such a place.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        Self { folder: folder.expect("a temporary folder") }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file; its path.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a folder");
        }
        std::fs::write(&path, bytes).expect("a file");
        path
    }
}

/// The input of case number `case`.
pub fn input(target: &Target, seeds: &[Seed], seed: u64, case: u64) -> Seed {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(case);
    let valid = mutation::one_of(&mut rng, seeds);
    Seed { name: valid.name.clone(), bytes: (target.change)(&valid.bytes, &mut rng) }
}

/// Reads an input and adds how that went.
pub fn run(target: &Target, scratch: &Scratch, input: &Seed, tally: &mut Tally) {
    let started = Instant::now();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = catch_unwind(AssertUnwindSafe(|| (target.read)(input, scratch)));
    let took = started.elapsed();
    let peak = MEMORY.peak_usage().saturating_sub(before);
    tally.cases += 1;
    tally.peak = tally.peak.max(peak);
    tally.longest = tally.longest.max(took);
    let what = match result {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("panicked: {}", text.unwrap_or_default()))
        }
        Ok(_) if took > LONGEST => Some(format!("took {:.1} s", took.as_secs_f64())),
        Ok(_) if peak > MOST_MEMORY => Some(format!("took {} MiB", peak >> 20)),
        Ok(accepted) => {
            tally.accepted += u64::from(accepted);
            None
        }
    };
    if let Some(what) = what {
        tally.defects.push(Defect { what, name: input.name.clone(), bytes: input.bytes.clone() });
    }
}
