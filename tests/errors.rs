//! Bad input: every case ends with a readable message and exit code 1 or 2, no panic, nothing half-written, and nothing
//! that was there before destroyed.
#![allow(clippy::unwrap_used, missing_docs)]

mod program;

use program::{Outcome, TRAINING, program, run, run_line, train};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A model that has learnt little.
fn model() -> &'static Path {
    static MODEL: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        train(folder.path(), "");
        let path = folder.path().join("run/supernet.safetensors");
        (folder, path)
    });
    path
}

/// The program ended with `code` and a message with all of `words`, without a panic.
#[track_caller]
fn assert_error(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    assert!(outcome.stderr.contains("error:"), "{outcome:#?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "`{word}` is missing: {outcome:#?}");
    }
}

/// Names in a folder, but for the lock.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

/// The smallest pipeline, on the data and with the lines for `[[search.devices]]` given.
fn pipeline(data: &str, device: &str) -> String {
    let training = TRAINING.replace("[[phases]]", "[[train.phases]]");
    let training = training.replace("data = \"bundled\"", &format!("data = {data:?}"));
    format!(
        "[train]\n{training}\n[collect]\ncount = 12\ncalibration_images = 50\n[fit]\npredictor = \"elastic-net\"\n\
         [search]\nevaluations = 200\n[[search.devices]]\n{device}\n"
    )
}

#[test]
fn a_missing_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (missing, out, config) = (at("no photos"), at("out"), at("training.toml"));
    std::fs::write(&config, TRAINING).unwrap();
    for outcome in [
        run_line("run --data {} --out {}", &[&missing, &out]),
        run_line("train {} --data {} --out {}", &[&config, &missing, &out]),
        run_line("eval --arch max --model {} --data {}", &[model(), &missing]),
        run_line("collect --count 3 --model {} --data {} -o {}", &[model(), &missing, &out]),
    ] {
        assert_error(&outcome, 2, &["no photos", "does not exist"]);
    }
    assert_eq!(names(folder.path()), ["training.toml"]);
}

#[test]
fn truncated_images_and_idx_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for class in ["a", "b"] {
        std::fs::create_dir_all(at("photos").join(class)).unwrap();
        for number in 0..8u8 {
            let grey: Vec<u8> = (0..16 * 16u32).map(|i| (i as u8).wrapping_mul(number + 1)).collect();
            let path = at("photos").join(class).join(format!("{number}.png"));
            image::save_buffer(path, &grey, 16, 16, image::ExtendedColorType::L8).unwrap();
        }
    }
    let broken = at("photos").join("b/3.png");
    let whole = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    assert_error(&run_line("run --data {} --out {}", &[&at("photos"), &at("out")]), 2, &["b/3.png", "expected"]);

    // A JPEG header, and nothing after it.
    std::fs::write(&broken, [0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0])
        .unwrap();
    assert_error(&run_line("run --data {} --out {}", &[&at("photos"), &at("out")]), 2, &["b/3.png", "cut off"]);
    let classified = run_line("classify --arch max --model {} {}", &[model(), &broken]);
    assert_error(&classified, 2, &["b/3.png", "cut off"]);

    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/ofa-train/data/mnist");
    std::fs::create_dir(at("idx")).unwrap();
    for entry in std::fs::read_dir(bundled)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "gz"))
    {
        let bytes = std::fs::read(&entry).unwrap();
        let keep = if entry.to_str().unwrap().contains("train-images") { bytes.len() / 2 } else { bytes.len() };
        std::fs::write(at("idx").join(entry.file_name().unwrap()), &bytes[..keep]).unwrap();
    }
    assert_error(&run_line("run --data {} --out {}", &[&at("idx"), &at("out")]), 2, &["train-images"]);
    assert!(!at("out").exists());
}

#[test]
fn truncated_models_and_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bytes = std::fs::read(model()).unwrap();
    for keep in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let cut = at("cut.safetensors");
        std::fs::write(&cut, &bytes[..keep]).unwrap();
        for line in [
            "eval --arch max --data bundled --model {}",
            "extract --arch min -o out --model {}",
            "measure --arch min --model {}",
        ] {
            assert_error(&run_line(line, &[&cut]), 2, &["cut.safetensors"]);
        }
    }
    let text = pipeline("bundled", "device = \"pixel4-cpu\"");
    for keep in [10, 40, text.len() / 2, text.len() - 12] {
        let keep = (keep..).find(|at| text.is_char_boundary(*at)).unwrap();
        std::fs::write(at("cut.toml"), &text[..keep]).unwrap();
        assert_error(&run_line("run {} --out {}", &[&at("cut.toml"), &at("out")]), 2, &["cut.toml"]);
        assert_error(&run_line("train {} --out {}", &[&at("cut.toml"), &at("out")]), 2, &["cut.toml"]);
    }
    assert!(!at("out").exists());
}

#[test]
fn an_unknown_device_or_predictor_is_named_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (config, out) = (at("pipeline.toml"), at("out"));
    let text = pipeline("bundled", "device = \"pixel4-cpv\"");
    std::fs::write(&config, &text).unwrap();
    assert_error(&run_line("run {} --out {}", &[&config, &out]), 2, &["pixel4-cpv", "did you mean `pixel4-cpu`"]);
    std::fs::write(&config, text.replace("elastic-net", "elastic-met").replace("cpv", "cpu")).unwrap();
    assert_error(&run_line("run {} --out {}", &[&config, &out]), 2, &["elastic-met", "elastic-net"]);
    // The table was measured for other networks.
    std::fs::write(&config, pipeline("bundled", "device = \"note10\"")).unwrap();
    assert_error(&run_line("run {} --out {}", &[&config, &out]), 2, &["note10", "has"]);
    std::fs::write(at("board.toml"), "[device]\nkind = \"rooflin\"\npeak_gmacs = 1\n").unwrap();
    let latency = run_line("latency --space tiny-28 --arch max --device {}", &[&at("board.toml")]);
    assert_error(&latency, 2, &["board.toml", "rooflin", "roofline"]);
    assert!(!out.exists());
}

#[test]
fn a_space_file_with_an_impossible_value() {
    let folder = tempfile::tempdir().unwrap();
    let space = folder.path().join("space.toml");
    for (line, words) in [
        ("kernel_sizes = [3, 4]", ["kernel_sizes", "odd"]),
        ("width = -1.0", ["width", "-1"]),
        ("depths = []", ["depths", "ascending"]),
        ("classes = 1", ["classes", "expected 2"]),
        ("resolutions = [64, 32]", ["resolutions", "ascending"]),
        ("kernels = [3, 5]", ["kernels", "unknown field"]),
    ] {
        std::fs::write(&space, format!("[space]\nkind = \"mbv3\"\n{line}\n")).unwrap();
        let outcome = run_line("info --space {}", &[&space]);
        assert_error(&outcome, 2, &["space.toml", words[0], words[1]]);
    }
}

#[test]
fn latency_limits_that_no_subnet_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (config, out) = (at("pipeline.toml"), at("out"));
    std::fs::write(&config, pipeline("bundled", "device = \"pixel4-cpu\"\nmax_latency_ms = [1e-6, 2e-6]")).unwrap();
    assert_error(
        &run_line("run {} --out {}", &[&config, &out]),
        2,
        &["pixel4-cpu", "no subnet has less than", "max_latency_ms"],
    );
    std::fs::write(&config, pipeline("bundled", "device = \"pixel4-cpu\"\nmax_latency_ms = [-3.0]")).unwrap();
    assert_error(&run_line("run {} --out {}", &[&config, &out]), 2, &["max_latency_ms", "-3"]);
    assert!(!out.exists());
}

#[test]
fn output_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "mine").unwrap();
    std::fs::write(at("training.toml"), TRAINING).unwrap();
    // A folder inside a file can be made by nobody, not even by root.
    let below = at("file").join("out");
    assert_error(&run_line("run --out {}", &[&below]), 2, &["file", "--out"]);
    assert_error(&run_line("train {} --out {}", &[&at("training.toml"), &below]), 2, &["file"]);
    for line in [
        "extract --arch min --model {} -o {}",
        "export --arch min --model {} -o {}",
        "collect --data bundled --count 2 --calibration-images 20 --model {} -o {}",
    ] {
        assert_error(&run_line(line, &[model(), &below]), 1, &["file"]);
    }
    assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "mine");
    assert_eq!(names(folder.path()), ["file", "training.toml"]);
}

/// Runs the program where no file may grow beyond `kib`, as on a full disk.
#[cfg(unix)]
fn run_with_little_room(kib: u32, arguments: &[&str]) -> Outcome {
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 1024 / 512);
    let ofa = program::<&str>(&[]).get_program().to_owned();
    let output = Command::new("sh").args(["-c", &script, "sh"]).arg(ofa).args(arguments).output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_does_not_fit_leaves_the_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = model().to_str().unwrap();
    for (command, file) in [("extract", "net.safetensors"), ("export", "net.onnx")] {
        std::fs::write(at(file), "what was here before").unwrap();
        let outcome = run_with_little_room(8, &[command, "--arch", "max", "--model", model, "-o", &at(file)]);
        assert_error(&outcome, 1, &[file]);
        assert_eq!(std::fs::read_to_string(at(file)).unwrap(), "what was here before");
    }
    std::fs::write(at("training.toml"), TRAINING).unwrap();
    let outcome = run_with_little_room(8, &["train", &at("training.toml"), "--out", &at("run")]);
    assert_error(&outcome, 1, &["checkpoint"]);
    assert_eq!(names(folder.path()), ["net.onnx", "net.safetensors", "run", "training.toml"]);
    // The metrics of the steps that were done are whole lines.
    assert_eq!(names(&folder.path().join("run")), ["metrics.jsonl", "training.json"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    std::fs::write(folder.path().join("training.toml"), TRAINING).unwrap();
    // A file system of our own that only this shell sees; it goes with the shell.
    let script = "mount -t tmpfs -o size=64k tmpfs disk || exit 77; \"$@\"; code=$?; ls -A disk/run; exit $code";
    let ofa = program::<&str>(&[]).get_program().to_owned();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(ofa)
        .args(["train", "training.toml", "--out", "disk/run"])
        .current_dir(folder.path())
        .output();
    let output = match output {
        Ok(output) if output.status.code() == Some(77) || output.stderr.starts_with(b"unshare:") => {
            eprintln!("skipped: no file system can be mounted here ({})", String::from_utf8_lossy(&output.stderr));
            return;
        }
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: no `unshare` here ({error})");
            return;
        }
    };
    let outcome = Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_error(&outcome, 1, &["disk/run", "No space left"]);
    assert!(
        outcome.stdout.lines().all(|name| [".lock", "metrics.jsonl", "training.json"].contains(&name)),
        "half-written files: {outcome:#?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_printed() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = program(&["spaces", "--json"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("error:"), "{output:?}");
}

#[test]
fn two_runs_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (config, out, pairs) = (at("training.toml"), at("out"), at("pairs.jsonl"));
    std::fs::write(&config, TRAINING).unwrap();
    std::fs::create_dir(&out).unwrap();
    let lock = File::create(out.join(".lock")).unwrap();
    lock.lock().unwrap();
    assert_error(&run_line("run --out {}", &[&out]), 2, &["another run"]);
    assert_error(&run_line("run --data bundled --out {} --resume", &[&out]), 2, &["another run"]);
    assert_error(&run_line("train {} --out {}", &[&config, &out]), 2, &["another run"]);
    assert!(names(&out).is_empty());
    let part = File::create(at("pairs.jsonl.part")).unwrap();
    part.lock().unwrap();
    let collect = "collect --data bundled --count 2 --resume --model {} -o {}";
    assert_error(&run_line(collect, &[model(), &pairs]), 2, &["another run"]);
}

#[test]
fn a_folder_of_somebody_else_s_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.html"), "my own report").unwrap();
    for options in ["run --out {}", "run --resume --out {}"] {
        assert_error(&run_line(options, &[folder.path()]), 2, &["report.html", "another --out"]);
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("report.html")).unwrap(), "my own report");
    assert_eq!(names(folder.path()), ["report.html"]);
    assert_error(&run_line("report {}", &[folder.path()]), 2, &["results.json", "finished run"]);
}

#[test]
fn plugins_of_the_examples_are_not_in_the_plain_program() {
    for (command, name) in [("devices", "systolic-16"), ("devices", "raspberry-pi-5"), ("spaces", "separable")] {
        let listed = run(&[command, "--json"]).ok().json();
        assert!(listed.as_array().unwrap().iter().all(|entry| entry["name"] != name), "{name} is in {command}");
    }
}
