//! `labels.csv` and `labels.tsv`: a line for each image with its file, its class and, if all lines have one, its part.

use super::layout::{Listing, part_called};
use crate::data::reading::kinds::{self, Skipped};
use crate::data::{DataError, SplitName, SplitRule};
use ofa_space::input_file;
use ofa_space::plain_text::plain;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Names that are looked for, and what separates their fields.
const NAMES: [(&str, char); 2] = [("labels.csv", ','), ("labels.tsv", '\t')];
const EXPECTED: &str = "lines with file, label and, if at all, split (train, val or test)";
/// No list of images in use is longer.
const MAX_BYTES: u64 = 1 << 30;

/// What a labels file lists.
pub(super) struct LabelsFile {
    pub path: PathBuf,
    pub class_names: Vec<String>,
    pub train: Listing,
    pub validation: Option<Listing>,
    pub test: Option<Listing>,
    pub skipped: Vec<Skipped>,
}

/// A line.
struct Row {
    number: usize,
    file: String,
    label: String,
    part: Option<SplitName>,
}

/// The labels file of a folder.
pub(super) fn find(folder: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|(name, _)| folder.join(name)).find(|path| path.is_file())
}

impl LabelsFile {
    /// Reads the file. Images are relative to its folder.
    pub fn read(path: &Path, rule: SplitRule) -> Result<Self, DataError> {
        let length = fs::metadata(path).map_err(DataError::io(path))?.len();
        if length > MAX_BYTES {
            let problem = format!("is {length} bytes long");
            return Err(DataError::malformed(path, problem, "at most 1 GiB", "check the file"));
        }
        let bytes = input_file::read(path, MAX_BYTES).map_err(DataError::io(path))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| DataError::malformed(path, "is not in UTF-8", "UTF-8", "save it as UTF-8"))?;
        let separator = NAMES.iter().find(|(name, _)| path.ends_with(name)).map_or(',', |(_, separator)| *separator);
        let rows = rows(path, text.trim_start_matches('\u{feff}'), separator)?;
        let classes: BTreeMap<String, usize> = {
            let names: std::collections::BTreeSet<&String> = rows.iter().map(|row| &row.label).collect();
            names.into_iter().cloned().zip(0..).collect()
        };
        let mut found = Self {
            path: path.to_owned(),
            class_names: classes.keys().cloned().collect(),
            train: Vec::new(),
            validation: None,
            test: None,
            skipped: Vec::new(),
        };
        if classes.len() < 2 {
            let problem = format!("has {} classes", classes.len());
            return Err(DataError::malformed(path, problem, "two or more", "list images of every class"));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut lines: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for row in rows {
            let file = folder.join(&row.file);
            let wrong = |problem: String, remedy| {
                DataError::malformed(path, format!("line {}: {problem}", row.number), "one line for each image", remedy)
            };
            if let Some(first) = lines.insert(file.clone(), row.number) {
                return Err(wrong(format!("`{}` is in line {first} already", row.file), "remove one of the lines"));
            }
            match fs::metadata(&file) {
                Err(_) => return Err(wrong(format!("`{}` does not exist", row.file), "correct or remove the line")),
                Ok(found_there) if !found_there.is_file() => {
                    found.skipped.push(Skipped::new(&file, Skipped::SPECIAL));
                    continue;
                }
                Ok(_) if !kinds::is_read(&file, rule) => {
                    found.skipped.push(Skipped::by_name(&file));
                    continue;
                }
                Ok(_) => {}
            }
            let listing = match row.part {
                None | Some(SplitName::Train | SplitName::All) => &mut found.train,
                Some(SplitName::Validation) => found.validation.get_or_insert_default(),
                Some(SplitName::Test) => found.test.get_or_insert_default(),
            };
            if let Some(class) = classes.get(&row.label) {
                listing.push((file, *class));
            }
        }
        if found.train.is_empty() {
            let problem = "lists no training images that can be read";
            return Err(DataError::malformed(path, problem, EXPECTED, "add lines with split `train`"));
        }
        Ok(found)
    }
}

/// The lines of the file, without a header if it has one.
fn rows(path: &Path, text: &str, separator: char) -> Result<Vec<Row>, DataError> {
    const FILE: &[&str] = &["file", "filename", "file_name", "path", "image"];
    const LABEL: &[&str] = &["label", "class", "category", "target"];
    const SPLIT: &[&str] = &["split", "part", "subset", "set"];
    let wrong = |number: usize, problem: String| {
        DataError::malformed(path, format!("line {number}: {problem}"), EXPECTED, "correct the line")
    };
    let mut lines =
        text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, l)| !l.trim().is_empty());
    let Some((_, first)) = lines.clone().next() else {
        return Err(DataError::malformed(path, "is empty", EXPECTED, "list the images"));
    };
    let head = fields(first, separator).unwrap_or_default();
    let column = |names: &[&str]| head.iter().position(|field| names.iter().any(|n| n.eq_ignore_ascii_case(field)));
    let (file, label, split) = match (column(FILE), column(LABEL)) {
        (Some(file), Some(label)) => {
            lines.next();
            (file, label, column(SPLIT))
        }
        // No header.
        _ => (0, 1, (head.len() > 2).then_some(2)),
    };
    let mut rows = Vec::new();
    for (number, line) in lines {
        let fields = fields(line, separator).ok_or_else(|| wrong(number, "has an open quotation mark".into()))?;
        let field = |index: usize| fields.get(index).cloned().unwrap_or_default();
        let (file, label) = (field(file), plain(&field(label)).into_owned());
        if file.is_empty() || label.is_empty() {
            return Err(wrong(number, format!("has {} fields", fields.len())));
        }
        let part = match split.map(field).filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => {
                Some(part_called(&name).ok_or_else(|| wrong(number, format!("`{name}` is no part of a data set")))?)
            }
        };
        rows.push(Row { number, file, label, part });
    }
    if rows.iter().any(|row| row.part.is_some())
        && let Some(row) = rows.iter().find(|row| row.part.is_none())
    {
        return Err(wrong(row.number, "has no split, though other lines have one".into()));
    }
    Ok(rows)
}

/// The fields of a line, trimmed; those in quotation marks may hold the separator. `None` if a quotation mark is open.
fn fields(line: &str, separator: char) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let mut letters = line.chars().peekable();
    let finish = |field: &mut String, was_quoted: bool| {
        let text = std::mem::take(field);
        if was_quoted { text } else { text.trim().to_owned() }
    };
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.trim().is_empty() => {
                field.clear();
                (quoted, was_quoted) = (true, true);
            }
            letter if letter == separator && !quoted => {
                fields.push(finish(&mut field, was_quoted));
                was_quoted = false;
            }
            letter => field.push(letter),
        }
    }
    fields.push(finish(&mut field, was_quoted));
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_trimmed_and_may_be_quoted() {
        assert_eq!(fields("a.jpg, blue sky ,train", ',').unwrap(), ["a.jpg", "blue sky", "train"]);
        assert_eq!(fields("\"a, b.jpg\",\"say \"\"x\"\"\",", ',').unwrap(), ["a, b.jpg", "say \"x\"", ""]);
        assert_eq!(fields("a.jpg\tx", '\t').unwrap(), ["a.jpg", "x"]);
        assert_eq!(fields("\"a.jpg,x", ','), None);
    }

    #[test]
    fn mistakes_name_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        for name in ["a.jpg", "b.jpg"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        for (text, problem) in [
            ("file,label\na.jpg,x\nb.jpg", "line 3: has 1 fields"),
            ("file,label\na.jpg,x\nc.jpg,y", "line 3: `c.jpg` does not exist"),
            ("a.jpg,x\nb.jpg,y\na.jpg,y", "line 3: `a.jpg` is in line 1 already"),
            ("file,label,split\na.jpg,x,train\nb.jpg,y,", "line 3: has no split"),
            ("file,label,split\na.jpg,x,train\nb.jpg,y,later", "`later` is no part"),
            ("file,label\na.jpg,x\nb.jpg,x", "has 1 classes"),
            ("", "is empty"),
            ("file,label,split\na.jpg,x,test\nb.jpg,y,test", "no training images"),
        ] {
            fs::write(&path, text).unwrap();
            let error = LabelsFile::read(&path, SplitRule::Content).err().unwrap().to_string();
            assert!(error.contains(problem), "{text:?}: {error}");
        }
    }
}
