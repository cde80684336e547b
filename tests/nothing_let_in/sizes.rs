//! Number 11: sizes are bounded before memory is taken, and only regular files are read.

use crate::small_run::SmallRun;
use crate::{assert_refused, changed_model, fixture, line, photo, run_in_within};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// 208 bytes took 4 GB in `classify`: the image was resized to 256 × 16,776,960 pixels before its centre was cut out.
#[test]
fn a_strip_of_pixels_is_no_photo() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = at("model.safetensors");
    changed_model(
        &model,
        "net",
        |m| m["input"]["resize"] = json!({"type": "center_crop", "numerator": 256, "denominator": 224}),
        |_| {},
    );
    for (width, height) in [(1, 65_535), (65_535, 1), (1, 1_000_000), (12_000, 12_000)] {
        photo(&at("strip.png"), width, height, 7);
        let outcome = line("classify --model {} {}", &[&model, &at("strip.png")]);
        assert_refused(&outcome, &["strip.png", "pixels"]);
    }
}

/// A strip of a million pixels aborted a training.
#[test]
fn a_strip_in_a_data_set_is_an_image_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for number in 0..8u32 {
        photo(&at(&format!("data/a/{number}.png")), 20 + number, 20, 40);
        photo(&at(&format!("data/b/{number}.png")), 20, 20 + number, 90);
    }
    photo(&at("data/a/strip.png"), 1, 1_000_000, 7);
    let outcome = line("data {}", &[&at("data")]);
    assert!(outcome.code == Some(0) && outcome.stdout.contains("1 corrupt"), "{outcome:#?}");
}

/// Zeros of a gigabyte fit into a megabyte.
#[test]
fn a_small_file_unpacks_to_a_small_one() {
    let folder = tempfile::tempdir().unwrap();
    let head = |kind: u8, sizes: &[u32]| -> Vec<u8> {
        [0, 0, 8, kind].into_iter().chain(sizes.iter().flat_map(|size| size.to_be_bytes())).collect()
    };
    let write = |name: &str, head: Vec<u8>, bytes: usize| {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        let mut zipped = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        zipped.write_all(&head).unwrap();
        let zeros = vec![0; 1 << 20];
        for start in (0..bytes).step_by(zeros.len()) {
            zipped.write_all(&zeros[..zeros.len().min(bytes - start)]).unwrap();
        }
        zipped.finish().unwrap();
    };
    write("train-images-idx3-ubyte.gz", head(3, &[1 << 18, 32, 32]), 1 << 28);
    write("train-labels-idx1-ubyte.gz", head(1, &[1 << 18]), 1 << 18);
    write("t10k-images-idx3-ubyte.gz", head(3, &[2, 32, 32]), 2048);
    write("t10k-labels-idx1-ubyte.gz", head(1, &[2]), 2);
    assert_refused(&line("data {}", &[folder.path()]), &["train-images", "gunzip"]);
}

/// A pipe kept the program waiting, through Ctrl-C and SIGTERM; a device has no end.
#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let make_pipe = |path: &Path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    for name in
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    {
        make_pipe(&at("idx").join(name));
    }
    assert_refused(&line("data {}", &[&at("idx")]), &["regular file"]);
    make_pipe(&at("pipe.png"));
    assert_refused(
        &line("classify --model {} {}", &[&fixture("models/net.safetensors"), &at("pipe.png")]),
        &["regular file"],
    );
    let mobile = fixture("models/mobile.safetensors");
    for (extension, command) in [
        ("safetensors", "info --model {}"),
        ("onnx", "eval --data bundled --model {}"),
        ("toml", "info --space {}"),
        ("toml", "train --out {out} {}"),
        ("npy", "forward --model {mobile} -o {out} --input {}"),
        ("json", "predict --space tiny-28 --arch max --predictor {}"),
        ("jsonl", "fit --space tiny-28 -o {out} --pairs {}"),
        ("yaml", "latency --space tiny-28 --arch max --device {}"),
        ("pth", "import supernet --space tiny-28 -o {out} {}"),
    ] {
        let path = at(&format!("endless.{extension}"));
        if !path.exists() {
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        }
        let command = command.replace("{mobile}", "{}").replace("{out}", at("out").to_str().unwrap());
        let paths: Vec<&Path> = if command.matches("{}").count() == 2 { vec![&mobile, &path] } else { vec![&path] };
        assert_refused(&line(&command, &paths), &["endless"]);
    }
}

/// A pipe among the files of somebody else's run kept `--resume` waiting for ever.
#[cfg(unix)]
#[test]
fn no_file_of_a_run_is_waited_for() {
    let files: Vec<PathBuf> = {
        let run = SmallRun::finished();
        let folders = [run.out(), run.at("train"), run.at("pairs.jsonl").parent().unwrap().to_owned()];
        let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.map(|path| path.strip_prefix(run.root()).unwrap().to_owned()).collect()
    };
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let run = SmallRun::finished();
        let path = run.root().join(&file);
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let outcome = run_in_within(run.root(), 60, &["run", "--resume", "--out", "run"]);
        assert!(matches!(outcome.code, Some(0..=2)), "{}: {outcome:#?}", file.display());
    }
}

/// Methods that keep a number for every two pairs took all memory there was.
#[test]
fn too_many_pairs_for_a_method_are_refused_and_a_subset_is_offered() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = std::fs::read_to_string(fixture("pairs.jsonl")).unwrap();
    std::fs::write(at("pairs.jsonl"), text.repeat(14_000 / text.lines().count())).unwrap();
    let paths = [at("pairs.jsonl"), fixture("spaces/mobile.toml"), at("p.json")];
    let paths: Vec<&Path> = paths.iter().map(std::path::PathBuf::as_path).collect();
    for kind in ["gaussian-process", "svr"] {
        let fit = format!("fit --pairs {{}} --space {{}} -o {{}} --predictor {kind}");
        assert_refused(&line(&fit, &paths), &["too many", "--subset"]);
        assert_eq!(line(&format!("{fit} --subset 40"), &paths).code, Some(0));
    }
}
