//! `metrics.jsonl` in a run's folder: each record is written as soon as it exists, and an interrupted and resumed run
//! ends with the same bytes as an uninterrupted one.

use crate::error::TrainError;
use crate::shrinking::history::{History, PhaseRecord, StepRecord, ValidationRecord};
use crate::shrinking::tensorboard;
use ofa_space::atomic_file;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A line of the file.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    /// Averages over some training steps.
    Step(&'a StepRecord),
    /// Validation within a phase.
    Validation(&'a ValidationRecord),
    /// Validation at the end of a phase.
    Phase(&'a PhaseRecord),
}

/// The files of a run, or nothing if the run has no folder.
pub(crate) struct MetricsFile {
    lines: Option<(PathBuf, File)>,
    events: Option<(PathBuf, File)>,
    steps_done: usize,
}

impl MetricsFile {
    /// Writes what is known so far, and stays open for more; with `tensorboard` also as an event file.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder cannot be written.
    pub fn begin(folder: Option<&Path>, history: &History, tensorboard: bool) -> Result<Self, TrainError> {
        let Some(folder) = folder else { return Ok(Self { lines: None, events: None, steps_done: 0 }) };
        let lines = Some(open(folder.join("metrics.jsonl"), b"")?);
        let events = match tensorboard {
            true => Some(open(folder.join(tensorboard::FILE), &tensorboard::header(now()))?),
            false => None,
        };
        let mut files = Self { lines, events, steps_done: 0 };
        for line in in_order(history) {
            files.add(&line)?;
        }
        Ok(files)
    }

    pub fn step(&mut self, record: &StepRecord) -> Result<(), TrainError> {
        self.add(&Line::Step(record))
    }

    pub fn validation(&mut self, record: &ValidationRecord) -> Result<(), TrainError> {
        self.add(&Line::Validation(record))
    }

    pub fn phase(&mut self, record: &PhaseRecord) -> Result<(), TrainError> {
        self.add(&Line::Phase(record))
    }

    fn add(&mut self, line: &Line<'_>) -> Result<(), TrainError> {
        append(&mut self.lines, to_json(line)?.as_bytes())?;
        let event = match line {
            Line::Step(record) => tensorboard::step(now(), record),
            Line::Validation(record) => tensorboard::validation(now(), record.step, &record.subnets),
            Line::Phase(record) => {
                self.steps_done += record.steps;
                tensorboard::validation(now(), self.steps_done, &record.subnets)
            }
        };
        append(&mut self.events, &event)
    }
}

/// Starts a file, or one that was there, afresh.
fn open(path: PathBuf, beginning: &[u8]) -> Result<(PathBuf, File), TrainError> {
    let opened = atomic_file::write(&path, beginning).and_then(|()| File::options().append(true).open(&path));
    match opened {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(TrainError::Io { action: "write", path, source }),
    }
}

fn append(file: &mut Option<(PathBuf, File)>, bytes: &[u8]) -> Result<(), TrainError> {
    let Some((path, file)) = file else { return Ok(()) };
    file.write_all(bytes).map_err(|source| TrainError::Io { action: "write", path: path.clone(), source })
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn to_json(line: &Line<'_>) -> Result<String, TrainError> {
    serde_json::to_string(line).map(|json| json + "\n").map_err(|e| TrainError::Compute(format!("metrics: {e}")))
}

/// Every record, in the order in which training made them.
fn in_order(history: &History) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let (mut steps, mut validations) = (history.steps.iter().peekable(), history.validations.iter().peekable());
    let mut end = 0;
    let phases = history.phases.iter().map(Some).chain([None]);
    for phase in phases {
        end = phase.map_or(usize::MAX, |phase| end + phase.steps);
        loop {
            let step = steps.peek().map_or(usize::MAX, |record| record.step);
            let validation = validations.peek().map_or(usize::MAX, |record| record.step);
            if step.min(validation) == usize::MAX || step.min(validation) > end {
                break;
            }
            if step <= validation {
                lines.extend(steps.next().map(Line::Step));
            } else {
                lines.extend(validations.next().map(Line::Validation));
            }
        }
        lines.extend(phase.map(Line::Phase));
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn step(step: usize) -> StepRecord {
        StepRecord { phase: "p".into(), step, loss: 1.0, train_top1: 0.5, learning_rate: 0.1 }
    }

    #[test]
    fn what_is_written_at_once_is_what_was_written_line_by_line() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let validation = |step| ValidationRecord { phase: "p".into(), step, subnets: Vec::new() };
        let phase = |steps| PhaseRecord { name: "p".into(), steps, subnets: Vec::new() };
        let mut live = MetricsFile::begin(Some(folders[0].path()), &History::default(), true).unwrap();
        live.step(&step(20)).unwrap();
        live.validation(&validation(20)).unwrap();
        live.step(&step(30)).unwrap();
        live.phase(&phase(30)).unwrap();
        live.validation(&validation(35)).unwrap();
        live.step(&step(50)).unwrap();
        let history = History {
            steps: vec![step(20), step(30), step(50)],
            validations: vec![validation(20), validation(35)],
            phases: vec![phase(30)],
            best: None,
        };
        MetricsFile::begin(Some(folders[1].path()), &history, false).unwrap();
        let text = |folder: &tempfile::TempDir| std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        assert_eq!(text(&folders[0]), text(&folders[1]));
        assert_eq!(text(&folders[0]).lines().count(), 6);
        assert!(std::fs::metadata(folders[0].path().join(tensorboard::FILE)).unwrap().len() > 100);
        assert!(!folders[1].path().join(tensorboard::FILE).exists());
        assert!(text(&folders[0]).starts_with("{\"kind\":\"step\",\"phase\":\"p\",\"step\":20,"));
    }
}
