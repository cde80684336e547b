//! Files that come from elsewhere: what they may not do. Every test names what happened before it was mended.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

#[allow(dead_code)]
#[path = "state/small_run.rs"]
mod small_run;

mod nothing_let_in {
    mod commands;
    mod files;
    mod interruption;
    mod metadata;
    mod names;
    mod not_finite;
    mod numbers;
    mod predictors;
    mod sizes;
}

use program::{Outcome, program};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files of an earlier version.
fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/5257198").join(path)
}

/// Runs the program, which is ended if it takes too long: `code` is then `None`.
fn run_within<A: AsRef<std::ffi::OsStr>>(seconds: u64, arguments: &[A]) -> Outcome {
    run_in_within(Path::new("."), seconds, arguments)
}

/// The same in a folder.
fn run_in_within<A: AsRef<std::ffi::OsStr>>(folder: &Path, seconds: u64, arguments: &[A]) -> Outcome {
    use std::io::Read;
    use std::process::Stdio;
    let mut child = program(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = out.read_to_end(&mut bytes);
        bytes
    });
    let complaints = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = err.read_to_end(&mut bytes);
        bytes
    });
    let started = Instant::now();
    let mut code = None;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            code = status.code();
            break;
        }
        if started.elapsed() > Duration::from_secs(seconds) {
            child.kill().unwrap();
            child.wait().unwrap();
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { code, stdout: text(reading.join().unwrap()), stderr: text(complaints.join().unwrap()) }
}

/// [`run_within`] of a line, with paths where it says `{}`.
fn line(text: &str, paths: &[&Path]) -> Outcome {
    const SECONDS: u64 = 60;
    let mut paths = paths.iter();
    let words = text.split_whitespace().map(|word| match word {
        "{}" => paths.next().expect("a path for every {}").as_os_str().to_owned(),
        word => word.into(),
    });
    run_within(SECONDS, &words.collect::<Vec<std::ffi::OsString>>())
}

/// The input was refused: exit code 2 and a message with all of `words`, without a panic.
#[track_caller]
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("error:") && !outcome.stderr.contains("panicked"), "{outcome:#?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "`{word}` is missing: {outcome:#?}");
    }
}

/// A model file like a fixture, with other metadata and other tensor data.
fn changed_model(
    to: &Path,
    fixture_name: &str,
    metadata: impl FnOnce(&mut serde_json::Value),
    data: impl FnOnce(&mut [u8]),
) {
    let bytes = std::fs::read(fixture(&format!("models/{fixture_name}.safetensors"))).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut outer: serde_json::Value = serde_json::from_str(&text(&header["__metadata__"]["ofa"])).unwrap();
    let mut model: serde_json::Value = serde_json::from_str(&text(&outer["model"])).unwrap();
    metadata(&mut model);
    outer["model"] = model.to_string().into();
    header["__metadata__"]["ofa"] = outer.to_string().into();
    let mut tensors = bytes[8 + length..].to_vec();
    data(&mut tensors);
    let header = header.to_string().into_bytes();
    std::fs::write(to, [&(header.len() as u64).to_le_bytes(), header.as_slice(), &tensors].concat()).unwrap();
}

/// An `.npy` file of f32 with this shape, as text, and these values.
fn npy(to: &Path, shape: &str, values: impl IntoIterator<Item = f32>) {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    std::fs::write(to, bytes).unwrap();
}

/// A photo of one colour.
fn photo(path: &Path, width: u32, height: u32, shade: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_pixel(width, height, image::Luma([shade])).save(path).unwrap();
}
