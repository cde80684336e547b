//! A device by its content: two are the same if they give the same latencies, wherever their files are.

use super::registry;
use crate::error::HwError;
use ofa_space::digest::{self, Digest};
use ofa_space::input_file;
use std::path::{Path, PathBuf};

/// SHA-256 over everything that the device of a name or path is read from, hexadecimal: of a registered device what is in
/// the program; of a profile the file and the files that it names; of tables every table.
///
/// # Errors
/// As [`load`](super::registry::load); [`HwError::Io`] for a file that cannot be read.
pub fn content(name_or_path: &str) -> Result<String, HwError> {
    if let Some(entry) = registry::entries().into_iter().find(|entry| entry.name == name_or_path) {
        let device = serde_json::to_value((entry.build)()?.as_ref()).unwrap_or_default();
        return Ok(digest::sha256(format!("{name_or_path}\n{device}")));
    }
    let path = Path::new(name_or_path);
    let files = match (path.is_dir(), registry::profile_path(name_or_path)) {
        (true, _) => tables(path)?,
        (false, Some(profile)) => with_named(profile)?,
        (false, None) => vec![path.to_owned()],
    };
    let mut digest = Digest::default();
    for file in files {
        digest.add(digest::sha256_of_file(&file).map_err(HwError::reading(&file))?);
    }
    Ok(digest.hex())
}

/// The files in a folder of tables, by name.
fn tables(folder: &Path) -> Result<Vec<PathBuf>, HwError> {
    let entries = std::fs::read_dir(folder).map_err(HwError::reading(folder))?;
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// A profile, and every file in its folder that one of its texts names.
fn with_named(profile: PathBuf) -> Result<Vec<PathBuf>, HwError> {
    let text = input_file::read_text(&profile, input_file::LARGEST_TEXT).map_err(HwError::reading(&profile))?;
    let mut names = Vec::new();
    // What is wrong with a profile is reported where the device is read.
    if let Ok(table) = toml::from_str::<toml::Table>(&text) {
        texts(&toml::Value::Table(table), &mut names);
    }
    let folder = profile.parent().unwrap_or(Path::new("")).to_owned();
    let named = names.into_iter().map(|name| folder.join(name)).filter(|path| path.is_file());
    let named: Vec<PathBuf> = named.collect();
    Ok(std::iter::once(profile).chain(named).collect())
}

fn texts(value: &toml::Value, into: &mut Vec<String>) {
    match value {
        toml::Value::String(text) => into.push(text.clone()),
        toml::Value::Array(values) => values.iter().for_each(|value| texts(value, into)),
        toml::Value::Table(fields) => fields.values().for_each(|value| texts(value, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_copy_is_the_same_and_an_edit_of_any_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |place: &str, profile: &str, predictor: &str| {
            let place = folder.path().join(place);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("p.json"), predictor).unwrap();
            fs::write(place.join("d.toml"), profile).unwrap();
            content(place.join("d.toml").to_str().unwrap()).unwrap()
        };
        let profile = "[device]\nkind = \"predictor\"\npredictor = \"p.json\"\nspace = \"tiny-28\"\n";
        let first = write("one", profile, "1");
        assert_eq!(write("two", profile, "1"), first);
        assert_ne!(write("two", profile, "2"), first);
        assert_ne!(write("two", &profile.replace("28", "32"), "1"), first);

        let table = folder.path().join("t.yaml");
        fs::write(&table, "a: 1\n").unwrap();
        let before = content(table.to_str().unwrap()).unwrap();
        let of_folder = |folder: &Path| content(folder.to_str().unwrap()).unwrap();
        let both = of_folder(folder.path());
        fs::write(&table, "a: 2\n").unwrap();
        assert_ne!(content(table.to_str().unwrap()).unwrap(), before);
        assert_ne!(of_folder(folder.path()), both);
    }

    #[test]
    fn registered_devices_differ_and_repeat() {
        let names: Vec<&str> = registry::entries().iter().map(|entry| entry.name).collect();
        let all: Vec<String> = names.iter().map(|name| content(name).unwrap()).collect();
        let again: Vec<String> = names.iter().map(|name| content(name).unwrap()).collect();
        assert_eq!(all, again);
        let distinct: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(content("no-such-device").is_err());
    }
}
