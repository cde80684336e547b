//! A file that maps names of classes: lines `theirs,ours`.

use crate::data::DataError;
use ofa_space::input_file;
use ofa_space::plain_text::plain;
use std::path::{Path, PathBuf};

/// Pairs of a data set's class and the network's class that it is, read from a CSV file.
///
/// One pair a line; a field with a comma or a quotation mark is quoted, where `""` is one. Empty lines and a
/// first line `theirs,ours` are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassMap {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<Entry>,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub line: usize,
    pub theirs: String,
    pub ours: String,
}

const HEADER: [&str; 2] = ["theirs", "ours"];

impl ClassMap {
    /// Reads the file.
    ///
    /// # Errors
    /// [`DataError::Io`] if it cannot be read, [`DataError::ClassMap`] naming the line that is no pair, or that maps a class
    /// for the second time.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = input_file::read_text(path, input_file::LARGEST_TEXT).map_err(DataError::io(path))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, DataError> {
        let mut entries: Vec<Entry> = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let number = index + 1;
            let bad = |problem: String| DataError::ClassMap { path: path.to_owned(), line: number, problem };
            let fields = fields(line).ok_or_else(|| bad("has a quotation mark without an end".to_owned()))?;
            let [theirs, ours] = fields.as_slice() else {
                return Err(bad(format!("has {} fields", fields.len())));
            };
            if entries.is_empty() && [theirs.trim(), ours.trim()] == HEADER {
                continue;
            }
            if let Some(known) = entries.iter().find(|entry| entry.theirs == *theirs) {
                return Err(bad(format!("maps `{theirs}` again, after line {}", known.line)));
            }
            entries.push(Entry { line: number, theirs: plain(theirs).into_owned(), ours: plain(ours).into_owned() });
        }
        Ok(Self { path: path.to_owned(), entries })
    }
}

/// The fields of a CSV line; `None` if a quotation mark is left open.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut characters = line.chars().peekable();
    loop {
        let mut field = String::new();
        if characters.next_if_eq(&'"').is_some() {
            loop {
                match characters.next()? {
                    '"' if characters.next_if_eq(&'"').is_some() => field.push('"'),
                    '"' => break,
                    other => field.push(other),
                }
            }
        }
        while let Some(other) = characters.next_if(|c| *c != ',') {
            field.push(other);
        }
        fields.push(field);
        if characters.next().is_none() {
            return Some(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs_are_read_and_other_lines_refused_by_number() {
        let parse = |text: &str| ClassMap::parse(text, Path::new("map.csv"));
        let map = parse("\u{feff}theirs,ours\r\n\nPflaume,plum\n\"a, \"\"b\"\"\",c\n").unwrap();
        let pairs: Vec<_> = map.entries.iter().map(|e| (e.line, e.theirs.as_str(), e.ours.as_str())).collect();
        assert_eq!(pairs, [(3, "Pflaume", "plum"), (4, "a, \"b\"", "c")]);
        for (text, place) in
            [("a,b\nc\n", "line 2"), ("a,b,c", "line 1"), ("a,b\n\na,c", "line 3"), ("\"a,b", "line 1")]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("map.csv") && error.contains(place), "{error}");
        }
    }
}
