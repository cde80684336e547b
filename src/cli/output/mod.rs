//! Printing results: JSON on stdout if asked, otherwise text for a person.

pub mod help;
pub mod pipeline_display;
pub mod progress;
pub mod run_report;
pub mod training_display;

use super::Failure;
use serde::Serialize;
use std::io::Write;

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// JSON instead of text, and whether notes are wanted.
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Prints one result: the JSON value, or the text that `text` makes.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line =
            if self.json { serde_json::to_string(value).map_err(|e| Failure::Running(e.to_string()))? } else { text() };
        print(&line)
    }

    /// Prints a part of a result as soon as it is known; nothing for JSON, which has it in the one value at the end.
    pub fn part(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { print(text) }
    }

    /// A line for the user on stderr, unless quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// A line for the user on stderr about a result that is not what it may seem, unless quiet.
    pub fn warning(&self, text: &str) {
        self.note(&format!("warning: {text}"));
    }

    /// Whether progress may be drawn.
    pub fn shows_progress(&self) -> bool {
        !self.quiet
    }
}

fn print(line: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        // The reader of a pipe may have seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Running(error.to_string())),
        _ => Ok(()),
    }
}

/// A text table: a header, and rows of equal length.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.push(widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>().join("  "));
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// A count with a unit prefix, such as `1.53 M`.
pub fn short_count(count: u64) -> String {
    let value = count as f64;
    match count {
        0..=9_999 => count.to_string(),
        10_000..=999_999 => format!("{:.1} k", value / 1e3),
        1_000_000..=999_999_999 => format!("{:.2} M", value / 1e6),
        _ => format!("{:.2} G", value / 1e9),
    }
}
