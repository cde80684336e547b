//! One side of the comparison: a process that makes one step a request.

use crate::Outcome;
use crate::cases::Case;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Threads of a pool that has just worked may spin for a while, on either side.
const SETTLE: Duration = Duration::from_millis(30);
/// Work before a step that is timed.
const WARM_UP: Duration = Duration::from_millis(100);

/// Where both sides run.
#[derive(Clone)]
pub struct Placement {
    /// Backend of ours.
    pub backend: String,
    /// Threads, on a CPU.
    pub threads: usize,
    /// Factor of the cases' batches.
    pub batch_times: usize,
    /// Precision of ours.
    pub precision: String,
}

/// A running side.
pub struct Side {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A timed step.
pub struct Step {
    /// How long it took.
    pub milliseconds: f64,
    /// The loss, or the mean of the logits' absolute values.
    pub check: f64,
}

impl Side {
    /// PyTorch or ONNX Runtime, on the kind of device that ours runs on.
    pub fn peer(peer: &str, what: &str, folder: &Path, case: &Case, on: &Placement) -> Outcome<Self> {
        let script = folder.join("peer.py");
        std::fs::write(&script, include_str!("peer.py"))?;
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let device = if on.backend.contains("cuda") { "cuda" } else { "cpu" };
        let mut command = Command::new(python);
        command.arg(script).args([peer, what]).arg(folder);
        command.args([case.batch.to_string(), on.threads.to_string(), device.to_owned()]);
        Self::start(command)
    }

    /// Ours.
    pub fn ours(what: &str, folder: &Path, case: &Case, on: &Placement) -> Outcome<Self> {
        Self::build(&std::env::current_exe()?, what, folder, case, on)
    }

    /// Ours as another build of this program has it.
    pub fn build(program: &Path, what: &str, folder: &Path, case: &Case, on: &Placement) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.args(["ours", what]).arg(folder).arg(&case.name).env("RAYON_NUM_THREADS", on.threads.to_string());
        // Builds of earlier commits take fewer of these.
        if on.backend != "flex" || on.batch_times != 1 || on.precision != "f32" {
            command.arg(&on.backend).arg(on.batch_times.to_string());
        }
        if on.precision != "f32" {
            command.arg(&on.precision);
        }
        Self::start(command)
    }

    fn start(mut command: Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipe".into());
        };
        let mut side = Self { child, requests, answers: BufReader::new(answers) };
        match side.answer()?.as_str() {
            "ready" => Ok(side),
            other => Err(format!("it did not start: {other}").into()),
        }
    }

    fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("it ended early; see above".into());
        }
        Ok(line.trim().to_owned())
    }

    fn ask(&mut self, request: &str) -> Outcome<String> {
        std::thread::sleep(SETTLE);
        writeln!(self.requests, "{request}")?;
        self.answer()
    }

    /// Makes a step from where it stands.
    pub fn first_step(&mut self) -> Outcome<Step> {
        let answer = self.ask("step")?;
        read(&answer)
    }

    /// Makes a step right after some that are not timed: a core that has idled is slower for a while, and how much depends
    /// on the machine, not on either side.
    pub fn step(&mut self) -> Outcome<Step> {
        let start = Instant::now();
        self.ask("step")?;
        while start.elapsed() < SETTLE + WARM_UP {
            writeln!(self.requests, "step")?;
            self.answer()?;
        }
        writeln!(self.requests, "step")?;
        let answer = self.answer()?;
        read(&answer)
    }

    /// Growth of the resident set since before the first step, at its peak, in MB.
    pub fn growth(&mut self) -> Outcome<f64> {
        Ok(self.ask("memory")?.parse()?)
    }
}

fn read(answer: &str) -> Outcome<Step> {
    let mut numbers = answer.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(milliseconds)), Some(Ok(check))) => Ok(Step { milliseconds, check }),
        _ => Err(format!("not a step: {answer}").into()),
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
