//! Printing results: JSON on stdout if asked, otherwise text for a person.

pub mod help;
pub mod pipeline_display;
pub mod progress;
pub mod run_report;
pub mod training_display;

use super::Failure;
use console::Term;
use ofa_space::plain_text::plain_lines;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    /// Whether results are printed: by one of the processes that work together.
    prints: bool,
    /// Whether stdout takes a file.
    stdout_is_taken: bool,
}

impl Output {
    /// JSON instead of text, whether notes are wanted, and whether results go to stderr because a file goes to stdout.
    pub(super) fn new(json: bool, quiet: bool, stdout_is_taken: bool) -> Self {
        Self { json, quiet, prints: true, stdout_is_taken }
    }

    /// Prints nothing.
    pub(super) const SILENT: Self = Self { json: false, quiet: true, prints: false, stdout_is_taken: false };

    /// Prints one result: the JSON value, or the text that `text` makes.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = if self.json {
            serde_json::to_string(value).map_err(|e| Failure::Running(e.to_string()))?
        } else {
            plain_lines(&text()).into_owned()
        };
        self.print(&line)
    }

    /// Prints a part of a result as soon as it is known; nothing for JSON, which has it in the one value at the end.
    pub fn part(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { self.print(&plain_lines(text)) }
    }

    fn print(&self, line: &str) -> Result<(), Failure> {
        match (self.prints, self.stdout_is_taken) {
            (false, _) => Ok(()),
            (true, true) => {
                to_stderr(line);
                Ok(())
            }
            (true, false) => print(line),
        }
    }

    /// A line for the user on stderr, unless quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            to_stderr(text);
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

/// Prints a line on stderr. Nobody may read it: a closed pipe or a full disk is no reason to stop.
pub fn to_stderr(line: &str) {
    // Paths and names of files are part of messages, and may hold anything.
    let _ = writeln!(std::io::stderr().lock(), "{}", plain_lines(line));
}

fn print(line: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        // The reader of a pipe may have seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Running(error.to_string())),
        _ => Ok(()),
    }
}

/// A text table: a header, and rows of equal length. On a terminal that is too narrow for it, each row is a paragraph.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let text = wide_table(header, rows);
    let columns = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    match columns.filter(|_| std::io::stdout().is_terminal()) {
        Some(columns) if text.lines().any(|line| line.chars().count() > columns) => paragraphs(header, rows, columns),
        _ => text,
    }
}

/// Every row as `name value` pairs, in lines of at most so many characters.
fn paragraphs(header: &[&str], rows: &[Vec<String>], columns: usize) -> String {
    let paragraph = |row: &Vec<String>| {
        let pairs = header.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let mut lines = vec![String::new()];
        for (name, cell) in pairs {
            let pair = format!("{name} {cell}").trim().to_owned();
            let last = lines.last().map_or(0, |line| line.chars().count());
            if last > 0 && last + 2 + pair.chars().count() > columns {
                lines.push("  ".to_owned());
            }
            if let Some(line) = lines.last_mut() {
                if !line.trim().is_empty() {
                    line.push_str(", ");
                }
                line.push_str(&pair);
            }
        }
        lines.join("\n")
    };
    rows.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

fn wide_table(header: &[&str], rows: &[Vec<String>]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_paragraphs_that_fit() {
        let rows = [vec!["phone".to_owned(), "≤ 2 ms".to_owned(), "85.3 %".to_owned()]];
        let text = paragraphs(&["device", "limit", "test top-1"], &rows, 30);
        assert_eq!(text, "device phone, limit ≤ 2 ms\n  test top-1 85.3 %");
        assert!(text.lines().all(|line| line.chars().count() <= 30));
    }
}
