//! A user's program, run with a time limit and ended together with everything that it started.
//!
//! On Unix it leads a process group of its own. When it is over, for whatever reason, what is left of the group is
//! ended, so that nothing goes on using the device beside the next measurement.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a program left behind.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) complaint: String,
}

/// Why a program did not come to its own end.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It could not be started or waited for.
    System(std::io::Error),
    /// It took too long.
    TimedOut,
    /// [`end_all`] was called.
    Ended,
}

/// Between the polite request to end and the end.
const GRACE: Duration = Duration::from_secs(1);
/// Pipes can outlive a program, in the hands of a service that it started.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes kept of what a program prints.
const MOST_OUTPUT: usize = 1 << 20;
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A running program, for [`end_all`].
struct Running {
    #[cfg_attr(not(unix), allow(dead_code))]
    id: u32,
    is_ended: Arc<AtomicBool>,
}

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every command of a device that this process is running, with all that they started, and returns when they are
/// gone. The measurements in progress fail with [`crate::HwError::Interrupted`]. Meant for a handler of Ctrl-C: a
/// terminal's own signal does not reach commands, since each is in a process group of its own.
pub fn end_all() {
    for entry in running().iter() {
        entry.is_ended.store(true, Ordering::SeqCst);
        group::ask_to_end(entry.id);
    }
    let started = Instant::now();
    while !running().is_empty() && started.elapsed() < 2 * GRACE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program with these words as its command line.
pub(crate) fn run(words: &[String], limit: Duration) -> Result<Finished, Problem> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    group::lead(&mut command);
    let is_ended = Arc::new(AtomicBool::new(false));
    // Started and entered in one step, so that `end_all` misses nothing.
    let mut child = {
        let mut list = running();
        let child = command.spawn().map_err(Problem::System)?;
        list.push(Running { id: child.id(), is_ended: is_ended.clone() });
        child
    };
    let (output, complaint) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let own_end = wait(&mut child, limit, &is_ended);
    if matches!(own_end, Err(Problem::TimedOut)) {
        group::ask_to_end(child.id());
    }
    if own_end.is_err() {
        let _ = wait(&mut child, GRACE, &AtomicBool::new(false));
    }
    group::end(&mut child);
    let status = child.wait();
    running().retain(|entry| entry.id != child.id());
    own_end?;
    let status = status.map_err(Problem::System)?;
    Ok(Finished { status, output: output.text(), complaint: complaint.text() })
}

/// Waits until the program is over; on Unix it can still be waited for, so its number is not given to another.
fn wait(child: &mut Child, limit: Duration, is_ended: &AtomicBool) -> Result<(), Problem> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !group::is_over(child).map_err(Problem::System)? {
        if is_ended.load(Ordering::SeqCst) {
            return Err(Problem::Ended);
        }
        if started.elapsed() >= limit {
            return Err(Problem::TimedOut);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    match is_ended.load(Ordering::SeqCst) {
        true => Err(Problem::Ended),
        false => Ok(()),
    }
}

/// What comes out of a pipe.
struct Drained {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Drained {
    /// Everything, or what has come so far if another process holds the pipe open.
    fn text(self) -> String {
        let _ = self.end.recv_timeout(LAST_WORDS);
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// Reads a pipe beside the waiting, so that a talkative program does not block on a full one.
fn drain(pipe: Option<impl Read + Send + 'static>) -> Drained {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let (sender, end) = channel();
    let into = bytes.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        if let Some(mut pipe) = pipe {
            // Whatever came before an error is still worth showing.
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..count]);
                // Of a program that never stops printing, the end is what counts.
                if kept.len() > 2 * MOST_OUTPUT {
                    let surplus = kept.len() - MOST_OUTPUT;
                    kept.drain(..surplus);
                }
            }
        }
        let _ = sender.send(());
    });
    Drained { bytes, end }
}

/// Process groups.
#[cfg(unix)]
mod group {
    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    pub(super) fn lead(command: &mut Command) {
        command.process_group(0);
    }

    /// Signals to a group that is gone already fail; that is what was wanted.
    fn signal(id: u32, signal: Signal) {
        if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }

    pub(super) fn ask_to_end(id: u32) {
        signal(id, Signal::TERM);
    }

    pub(super) fn end(child: &mut Child) {
        signal(child.id(), Signal::KILL);
    }

    pub(super) fn is_over(child: &mut Child) -> std::io::Result<bool> {
        let leave_it = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(child)), leave_it)?.is_some())
    }
}

/// Elsewhere, the program alone.
#[cfg(not(unix))]
mod group {
    use std::process::{Child, Command};

    pub(super) fn lead(_command: &mut Command) {}

    pub(super) fn ask_to_end(_id: u32) {}

    pub(super) fn end(child: &mut Child) {
        let _ = child.kill();
    }

    pub(super) fn is_over(child: &mut Child) -> std::io::Result<bool> {
        Ok(child.try_wait()?.is_some())
    }
}
