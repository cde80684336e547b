//! Progress on a terminal as bars with an ETA, elsewhere as plain lines now and then.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ofa_train::evaluation::BatchWork;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Progress of one long piece of work.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    label: String,
    total: u64,
    last_line: Instant,
    started: Instant,
}

/// Time between plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Work that takes no longer needs no bar.
const SHORT: Duration = Duration::from_secs(1);

/// Bars for the work on batches of images, one for each kind of work; nothing for short work.
pub fn of_batches(output: super::Output) -> impl FnMut(BatchWork, usize, usize) {
    let mut bar: Option<(BatchWork, Progress)> = None;
    let started = Instant::now();
    move |work, done, of| {
        if started.elapsed() < SHORT {
            return;
        }
        if bar.as_ref().is_none_or(|(known, _)| *known != work) {
            let label = match work {
                BatchWork::Reading => "read images",
                BatchWork::Scoring => "score",
            };
            if let Some((_, finished)) = bar.replace((work, Progress::new(label, of as u64, output))) {
                finished.finish();
            }
        }
        if let Some((_, bar)) = &mut bar {
            bar.update(done as u64, "");
        }
        if done == of
            && let Some((_, finished)) = bar.take()
        {
            finished.finish();
        }
    }
}

impl Progress {
    /// Starts work of `total` steps; draws nothing if not `shown`.
    pub fn new(label: &str, total: u64, output: super::Output) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let shown = output.shows_progress();
        let target = if shown && terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        // The template is a constant of ours; an unreadable one would only cost the look of the bar.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>12} {bar:30} {pos}/{len} {msg} · {elapsed} elapsed, {eta} left")
        {
            bar.set_style(style);
        }
        bar.set_prefix(label.to_owned());
        if shown && !terminal {
            super::to_stderr(&format!("{label}: {total} steps"));
        }
        let now = Instant::now();
        Self { bar, plain: shown && !terminal, label: label.to_owned(), total, last_line: now, started: now }
    }

    /// `done` steps are done; `message` is shown beside the bar.
    pub fn update(&mut self, done: u64, message: &str) {
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
        if self.plain && self.last_line.elapsed() >= PLAIN_INTERVAL {
            self.last_line = Instant::now();
            let elapsed = self.started.elapsed().as_secs_f64();
            let left = elapsed / done.max(1) as f64 * self.total.saturating_sub(done) as f64;
            super::to_stderr(&format!("{}: {done}/{} {message}, {left:.0} s left", self.label, self.total));
        }
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        if self.plain {
            super::to_stderr(text);
        } else {
            self.bar.println(text);
        }
    }

    /// The work is done; the bar goes.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
