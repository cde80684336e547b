//! Files that are read whole. Only regular files are: a pipe keeps a reader waiting for ever, and a device has no end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a file that people write: a configuration, a table, a list of names.
pub const LARGEST_TEXT: u64 = 64 << 20;
/// Bytes of a file that programs write line by line, or of a predictor.
pub const LARGEST_RECORDS: u64 = 1 << 30;
/// Bytes of a model or a checkpoint.
pub const LARGEST_MODEL: u64 = 16 << 30;

/// Opens a file, if it is a regular one. A pipe is not waited for.
///
/// # Errors
/// What the system reports, or `InvalidInput` for a folder, a pipe, a socket or a device.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe would wait for a writer.
    regular(&fs::metadata(path)?)?;
    File::open(path)
}

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; `InvalidInput` for a larger file.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let too_large = |length: u64| {
        let problem = format!("it has {length} bytes, expected at most {most}");
        io::Error::new(io::ErrorKind::InvalidInput, problem)
    };
    if length > most {
        return Err(too_large(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // Files of the system grow while they are read, or have no length at all.
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        length if length > most => Err(too_large(length)),
        _ => Ok(bytes),
    }
}

/// The text of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`read`]; `InvalidData` if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        io::Error::new(io::ErrorKind::InvalidData, format!("line {} is not UTF-8", line + 1))
    })
}

fn regular(metadata: &fs::Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false if metadata.is_dir() => {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, expected a file"))
        }
        false => {
            let problem = "it is a pipe, a socket or a device, expected a regular file";
            Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_folders_and_large_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        assert!(read(&path, 3).unwrap_err().to_string().contains("4 bytes, expected at most 3"));
        fs::write(&path, b"one\n\xff").unwrap();
        assert!(read_text(&path, 9).unwrap_err().to_string().contains("line 2 is not UTF-8"));
        assert!(read(folder.path(), 9).unwrap_err().to_string().contains("folder"));
        if Path::new("/dev/zero").exists() {
            assert!(read(Path::new("/dev/zero"), 9).unwrap_err().to_string().contains("device"));
        }
    }
}
