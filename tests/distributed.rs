//! Working on several processes: the error of a program without MPI, and runs on ranks that are threads of one process.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;
#[allow(dead_code)] // other tests use the rest of it
#[path = "state/small_run.rs"]
mod small_run;

use ofa::failure::Failure;
use ofa::pipeline::config::PipelineConfig;
use ofa::pipeline::{self, Existing, Progress, Reading, RunOptions};
use ofa::train::communication::{CommunicationError, Communicator, Single, Threads};
use ofa::train::shrinking::{Observer, Silent};
use program::{TRAINING, run_line};
use small_run::{DEVICE, PIPELINE, write_images};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn a_way_that_is_not_there_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("training.toml"), folder.path().join("run"));
    std::fs::write(&config, TRAINING).unwrap();
    let expected = if cfg!(feature = "mpi") { "there is no communicator" } else { "--features mpi" };
    let kind = if cfg!(feature = "mpi") { "mpy" } else { "mpi" };
    let refused = run_line(&format!("train {{}} --out {{}} --distributed {kind}"), &[&config, &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains(expected), "{refused:#?}");
    assert!(!out.exists());
}

#[test]
fn one_rank_is_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("training.toml");
    std::fs::write(&config, TRAINING).unwrap();
    let [alone, single] = ["", "--distributed single"].map(|options| {
        let out = folder.path().join(format!("run{}", options.len()));
        run_line(&format!("train {{}} --out {{}} {options}"), &[&config, &out]).ok();
        std::fs::read(out.join("supernet.safetensors")).unwrap()
    });
    assert!(alone == single);
}

/// A pipeline in which every step has work for several ranks.
fn config(folder: &Path) -> PipelineConfig {
    let (photos, toy) = (folder.join("photos"), folder.join("toy.toml"));
    write_images(&photos);
    std::fs::write(&toy, DEVICE).unwrap();
    let text = PIPELINE
        .replace("\"photos\"", &format!("{photos:?}"))
        .replace("\"toy.toml\"", &format!("{toy:?}"))
        .replace("batch_size = 6", "batch_size = 6\nshards = 2")
        .replace("evaluations = 60", "evaluations = 60\ncandidates = 6");
    let more = "[search.refine]\nrounds = 2\nper_round = 3\n[deploy.finetune]\nepochs = 0.8\nbatch_size = 6\n";
    PipelineConfig::parse(&format!("{text}\n{more}"), "test").unwrap()
}

/// Shows nothing.
struct Quiet(Silent);

impl Progress for Quiet {
    fn note(&mut self, _: &str) {}
    fn begin(&mut self, _: &str, _: usize) {}
    fn advance(&mut self, _: usize, _: &str) {}
    fn end(&mut self) {}
    fn training(&mut self) -> &mut dyn Observer {
        &mut self.0
    }
}

/// What rank 0 does.
fn first(config: &PipelineConfig, out: &Path, ranks: &dyn Communicator) -> Result<(), Failure> {
    pipeline::ranks::tell(ranks, config.to_file().unwrap().as_bytes())?;
    let options = RunOptions {
        out,
        existing: Existing::Resume,
        backend: "flex",
        names_skipped: false,
        dataset: None,
        estimate: None,
        data: Reading::Changed,
        reprofile: false,
        ranks,
        stop: &AtomicBool::new(false),
    };
    pipeline::run(config, &options, &mut Quiet(Silent)).map(drop)
}

/// Runs the pipeline on so many ranks; the last may be asked to stop while it fine-tunes.
fn run_on(ranks: usize, config: &PipelineConfig, out: &Path, stops: bool) -> Result<(), Failure> {
    if ranks == 1 {
        return first(config, out, &Single);
    }
    let mut all = Threads::ranks(ranks).into_iter();
    let zero = all.next().unwrap();
    thread::scope(|scope| {
        for rank in all {
            scope.spawn(move || {
                let is_last = rank.rank() + 1 == ranks;
                let stop = AtomicBool::new(false);
                let begins = AtomicBool::new(false);
                // What fails because rank 0 has ended is no failure of this rank.
                let _ = match stops && is_last {
                    true => pipeline::ranks::assist(&Stopped { rank, begins, stop: &stop }, "flex", &stop),
                    false => pipeline::ranks::assist(&rank, "flex", &stop),
                };
            });
        }
        let result = first(config, out, &zero);
        drop(zero);
        result
    })
}

/// A rank that is asked to stop as soon as it has a network to fine-tune.
struct Stopped<'a> {
    rank: Threads,
    begins: AtomicBool,
    stop: &'a AtomicBool,
}

impl Communicator for Stopped<'_> {
    fn rank(&self) -> usize {
        self.rank.rank()
    }

    fn size(&self) -> usize {
        self.rank.size()
    }

    fn exchange(&self, partner: usize, outgoing: &[f32], incoming: &mut [f32]) -> Result<(), CommunicationError> {
        self.rank.exchange(partner, outgoing, incoming)
    }

    fn send(&self, to: usize, message: &[u8]) -> Result<(), CommunicationError> {
        self.rank.send(to, message)
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>, CommunicationError> {
        let message = self.rank.receive(from)?;
        if String::from_utf8_lossy(&message).contains("\"Network\"") {
            self.begins.store(true, Ordering::Relaxed);
        } else if self.begins.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(message)
    }

    fn poll(&self) -> Result<Option<(usize, Vec<u8>)>, CommunicationError> {
        self.rank.poll()
    }
}

/// Every file of a run but those with measured times.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, into);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let is_timed = ["timings.json", "report.html", "report.md", "data-files.json"]
                .iter()
                .any(|timed| name.ends_with(timed));
            if !is_timed && !name.contains("lock") {
                into.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

#[track_caller]
fn assert_same(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>, what: &str) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other), "{what}");
    let different: Vec<&String> =
        one.iter().filter(|(name, file)| other[*name] != **file).map(|(name, _)| name).collect();
    assert!(different.is_empty(), "{what}: {different:?}");
}

#[test]
fn a_run_on_several_ranks_has_the_bytes_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let out = |name: &str| folder.path().join(name);
    run_on(1, &config, &out("alone"), false).unwrap();
    let alone = files(&out("alone"));
    for name in ["results.json", "work/pairs.jsonl", "work/refined/pairs.jsonl", "work/deploy.json"] {
        assert!(alone.contains_key(name), "{name} is missing: {:?}", alone.keys());
    }
    assert!(alone.keys().filter(|name| name.starts_with("work/tuned/") && name.ends_with(".safetensors")).count() > 2);
    run_on(2, &config, &out("two"), false).unwrap();
    assert_same(&files(&out("two")), &alone, "2 ranks");

    // Rank 1 is stopped in its first network, and with it rank 0. What they have is gone on with by one process, and by two.
    let stopped = run_on(2, &config, &out("stopped"), true).unwrap_err();
    assert!(matches!(stopped, Failure::Interrupted(_)), "{stopped}");
    let kept = files(&out("stopped"));
    assert!(kept.keys().any(|name| name.contains("/checkpoint")), "{:?}", kept.keys());
    small_run::copy_folder(&out("stopped"), &out("stopped-copy"));
    for (ranks, name) in [(1, "stopped"), (2, "stopped-copy")] {
        run_on(ranks, &config, &out(name), false).unwrap();
        assert_same(&files(&out(name)), &alone, &format!("stopped, then gone on with on {ranks} ranks"));
    }
}
