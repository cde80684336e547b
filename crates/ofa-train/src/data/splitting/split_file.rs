//! The division of a folder as a table: `file,label,split,sha256`.

use crate::data::{Dataset, Split};
use std::fmt::Write;
use std::path::Path;

/// Name of the table in the folder of a training or a run.
pub const SPLIT_TABLE: &str = "split.csv";

impl Dataset {
    /// Every image file with its class, its part (`train`, `val`, `test`, or `dropped` for duplicates) and the SHA-256 of
    /// its bytes, as CSV in the order of the file names, which are relative to the folder. `None` if the images are not
    /// files of their own. Validation images beyond those that are scored are `val` too.
    pub fn split_table(&self) -> Option<String> {
        let parts: [(&Split, &str); 5] = [
            (&self.train, "train"),
            (&self.validation, "val"),
            (&self.unscored, "val"),
            (&self.test, "test"),
            (&self.dropped, "dropped"),
        ];
        let folder = Path::new(&self.origin.source);
        let mut rows = Vec::new();
        for (split, name) in parts {
            for i in 0..split.len() {
                let digest = split.file_digest(i)?;
                let file = digest.path.strip_prefix(folder).unwrap_or(&digest.path);
                rows.push((file, &self.class_names[split.label(i)], name, &digest.sha256));
            }
        }
        rows.sort();
        let mut table = "file,label,split,sha256\n".to_owned();
        for (file, label, split, sha256) in rows {
            let _ = writeln!(table, "{},{},{split},{sha256}", field(&file.to_string_lossy()), field(label));
        }
        Some(table)
    }
}

/// A field of CSV, in quotes where it needs them.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
