//! The ranks that a command works on: one process, or those that a launcher started.

use super::Failure;
use super::output::to_stderr;
use crate::interruption;
use clap::Args;
use ofa_train::TrainError;
use ofa_train::communication::{self, CommunicationError, Communicator, Single};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// How several processes work together.
#[derive(Args, Debug, Clone)]
pub struct DistributedArgs {
    /// Use all processes started by a launcher: `mpi` (mpirun, srun).
    #[arg(long, value_name = "KIND")]
    pub distributed: Option<String>,
}

/// The ranks of a command.
pub struct Ranks {
    all: Box<dyn Communicator>,
    /// Whether what a command fails with is known to all ranks, so that rank 0 alone reports it.
    agreed: AtomicBool,
}

impl Ranks {
    /// Joins the ranks that this process was started with; without a kind it works alone.
    ///
    /// # Errors
    /// [`Failure::Input`] if there is no such kind.
    pub fn join(kind: Option<&str>) -> Result<Self, Failure> {
        let all = match kind {
            Some(kind) => communication::connect(kind, lost).map_err(|e| Failure::from(TrainError::from(e)))?,
            None => Box::new(Single),
        };
        Ok(Self { all, agreed: AtomicBool::new(false) })
    }

    /// All of them.
    pub fn all(&self) -> &dyn Communicator {
        self.all.as_ref()
    }

    /// Whether this is the rank that writes, prints and draws.
    pub fn is_first(&self) -> bool {
        self.all.rank() == 0
    }

    /// Threads of this rank, where several share a machine: their part of its cores, or those that the launcher bound it to.
    pub fn threads(&self) -> Option<usize> {
        let (_, here) = self.all.on_this_machine();
        let allowed = std::thread::available_parallelism().ok()?.get();
        (here > 1).then(|| if allowed < cores() { allowed } else { (allowed / here).max(1) })
    }

    /// The backend of this rank: of several graphics processors on a machine, each rank takes one.
    pub fn backend(&self, asked: &str) -> String {
        match (self.all.size(), asked) {
            (2.., "cuda") => format!("cuda:{}", self.all.on_this_machine().0),
            _ => asked.to_owned(),
        }
    }

    /// What this rank has prepared, unless that failed on any rank; all learn it.
    ///
    /// # Errors
    /// The failure of the first rank that has one, on all ranks.
    pub fn together<T>(&self, own: Result<T, Failure>) -> Result<T, Failure> {
        if self.all.size() == 1 {
            return own;
        }
        let report = own
            .as_ref()
            .err()
            .map_or_else(Vec::new, |failure| [&[failure.exit_code()][..], failure.to_string().as_bytes()].concat());
        let reports = self.all.gather(report).map_err(TrainError::from)?;
        let mut verdict = match reports.iter().enumerate().find(|(_, report)| !report.is_empty()) {
            None => Vec::new(),
            // What fails everywhere is no rank's own.
            Some((0, report)) => report.clone(),
            Some((rank, report)) => [&report[..1], format!("rank {rank}: ").as_bytes(), &report[1..]].concat(),
        };
        self.all.broadcast(&mut verdict).map_err(TrainError::from)?;
        let Some((code, text)) = verdict.split_first() else { return own };
        self.agreed.store(true, Ordering::Relaxed);
        let text = String::from_utf8_lossy(text).into_owned();
        Err(match code {
            2 => Failure::Input(text),
            130 => Failure::Interrupted(text),
            _ => Failure::Running(text),
        })
    }

    /// Passes a result of common work on, and notes whether all ranks have it.
    pub fn noted<T>(&self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        if let Err(
            TrainError::Interrupted
            | TrainError::Diverged { .. }
            | TrainError::Communication(CommunicationError::Differs { .. } | CommunicationError::Division { .. }),
        ) = &result
        {
            self.agreed.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Ends this rank with a failure, which is reported once.
    pub fn end(self, failure: &Failure) -> ExitCode {
        let is_agreed = self.agreed.load(Ordering::Relaxed);
        match self.all.rank() {
            0 => to_stderr(&format!("error: {failure}")),
            rank if !is_agreed => to_stderr(&format!("error: rank {rank}: {failure}")),
            _ => {}
        }
        if is_agreed {
            // The launcher ends all when one ends like this, so the report comes first.
            let _ = self.all.barrier();
        } else {
            self.all.fail();
        }
        ExitCode::from(failure.exit_code())
    }
}

/// Ends this process because another is gone. Where all are asked to stop, the first may be gone before the others.
fn lost(rank: usize, reports: bool) {
    let is_asked = interruption::is_asked();
    if reports && !is_asked {
        to_stderr(&format!(
            "error: rank {rank} is gone: it was killed, or its machine ran out of memory; --resume goes on from what is saved"
        ));
    }
    std::process::exit(if is_asked { 130 } else { 1 });
}

/// Cores of this machine, whether this process may use them or not.
fn cores() -> usize {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    known.lines().filter(|line| line.starts_with("processor")).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_train::communication::Threads;

    #[test]
    fn a_failure_of_one_rank_is_that_of_all() {
        let outcomes = |own: fn(usize) -> Result<usize, Failure>| -> Vec<String> {
            let ranks = Threads::ranks(3);
            std::thread::scope(|scope| {
                let threads: Vec<_> = ranks
                    .into_iter()
                    .map(|rank| {
                        scope.spawn(move || {
                            let number = rank.rank();
                            let ranks = Ranks { all: Box::new(rank), agreed: AtomicBool::new(false) };
                            match ranks.together(own(number)) {
                                Ok(value) => value.to_string(),
                                Err(failure) => format!("{} {failure}", failure.exit_code()),
                            }
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        };
        assert_eq!(outcomes(Ok), ["0", "1", "2"]);
        assert_eq!(outcomes(|_| Err(Failure::Input("no data".into()))), ["2 no data"; 3]);
        let one = |rank| if rank == 2 { Err(Failure::Running("no disk".into())) } else { Ok(rank) };
        assert_eq!(outcomes(one), ["1 rank 2: no disk"; 3]);
    }
}
