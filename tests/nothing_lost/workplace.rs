//! A folder with every kind of file that commands read, for a test to work in.

use crate::program::{Outcome, program, train};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The folder: `supernet.safetensors`, `net.safetensors`, `pairs.jsonl`, `predictor.json` and `batch.npy`.
pub struct Workplace {
    folder: TempDir,
}

const FILES: [&str; 5] = ["supernet.safetensors", "net.safetensors", "pairs.jsonl", "predictor.json", "batch.npy"];

impl Workplace {
    /// A copy of its own.
    pub fn new() -> Self {
        static MADE: OnceLock<Workplace> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let made = Self { folder: tempfile::tempdir().unwrap() };
            train(made.root(), "");
            std::fs::copy(made.at("run/supernet.safetensors"), made.at(FILES[0])).unwrap();
            made.line("extract --model supernet.safetensors --arch max --output net.safetensors").ok();
            let collect = "collect --model supernet.safetensors --data bundled --count 12 --output pairs.jsonl \
                           --calibration-images 20 --validation-images 40";
            made.line(collect).ok();
            made.line("fit --pairs pairs.jsonl --space tiny-28 --predictor ridge --output predictor.json").ok();
            write_batch(&made.at("batch.npy"));
            made
        });
        let copy = Self { folder: tempfile::tempdir().unwrap() };
        for file in FILES {
            std::fs::copy(made.at(file), copy.at(file)).unwrap();
        }
        copy
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Runs the program in the folder, with the words of a line as arguments.
    pub fn line(&self, line: &str) -> Outcome {
        let words: Vec<&str> = line.split_whitespace().collect();
        run_in(self.root(), &words)
    }

    /// Everything in the folder, by name.
    pub fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())).collect()
    }

    /// Runs a line that must be refused, with all of these words, and must change nothing.
    #[track_caller]
    pub fn assert_refused(&self, line: &str, words: &[&str]) {
        let before = self.content();
        let outcome = self.line(line);
        assert_eq!(outcome.code, Some(2), "{line}: {outcome:#?}");
        for word in words {
            assert!(outcome.stderr.contains(word), "`{word}` is missing: {line}: {outcome:#?}");
        }
        let after = self.content();
        let changed: Vec<&String> =
            before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect();
        assert!(changed.is_empty(), "{line} changed {changed:?}: {outcome:#?}");
    }
}

/// Runs the program in a folder, for at most two minutes.
pub fn run_in(folder: &Path, arguments: &[&str]) -> Outcome {
    let mut command = program(arguments);
    let child = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    ended(child.unwrap())
}

/// The end of a process, or of the two minutes that it may take.
pub fn ended(mut child: Child) -> Outcome {
    let id = child.id().to_string();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(120);
        if stopped.recv_timeout(deadline - Instant::now()).is_err() {
            let _ = std::process::Command::new("kill").args(["-KILL", &id]).status();
        }
    });
    let _ = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    let _ = stop.send(());
    guard.join().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Writes two grey images of 28 pixels.
fn write_batch(path: &Path) {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let shape = [2, 1, 28, 28];
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd().unwrap();
    writer.extend((0..2 * 28 * 28).map(|index| (index as f32 * 0.1).sin())).unwrap();
    writer.finish().unwrap();
    std::fs::write(path, bytes).unwrap();
}
