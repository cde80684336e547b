//! Running the `ofa` binary from tests, and a training configuration of very few steps.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// What one call of the program left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program with these arguments, not started yet.
pub fn program<A: AsRef<OsStr>>(arguments: &[A]) -> Command {
    // Another build of the program, such as an older one, if OFA_BIN names it.
    let binary = std::env::var_os("OFA_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_ofa").into());
    let mut command = Command::new(binary);
    command.args(arguments).env_remove("OFA_DEVICE_PATH");
    // All tests of the program on another backend: tests/backend.sh.
    if let Some(backend) = std::env::var_os("OFA_TEST_BACKEND") {
        command.arg("--backend").arg(backend);
    }
    command
}

/// Runs the program to its end.
pub fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Outcome {
    let output = program(arguments).output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Splits `line` at spaces, puts `paths` where it says `{}`, adds `--json` and runs it.
pub fn run_line(line: &str, paths: &[&Path]) -> Outcome {
    let mut paths = paths.iter();
    let arguments = line.split_whitespace().map(|word| match word {
        "{}" => paths.next().expect("a path for every {}").as_os_str().to_owned(),
        word => word.into(),
    });
    let mut arguments: Vec<_> = arguments.collect();
    assert!(paths.next().is_none(), "more paths than {{}} in `{line}`");
    arguments.push("--json".into());
    run(&arguments)
}

impl Outcome {
    /// The outcome, if the program ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The JSON Lines on stdout; stdout must hold nothing else.
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in `{line}`"));
        self.stdout.lines().map(parse).collect()
    }

    /// The one JSON value on stdout.
    pub fn json(&self) -> Value {
        match self.lines().as_slice() {
            [value] => value.clone(),
            lines => panic!("{} JSON lines, expected one: {self:#?}", lines.len()),
        }
    }
}

/// Two phases of a few steps on the digits that come with the program: seconds, and a model that has learnt little.
pub const TRAINING: &str = r#"
space = "tiny-28"
data = "bundled"
batch_size = 16
validation_images = 100
calibration_images = 64
checkpoint_steps = 5

[[phases]]
name = "resolution"
epochs = 0.01
learning_rate = 0.05

[[phases]]
name = "expansion"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 0.005
learning_rate = 0.02
subnets_per_step = 2
"#;

/// Writes [`TRAINING`] into `folder` and trains to the end; the model is `folder/run/supernet.safetensors`.
pub fn train(folder: &Path, options: &str) -> Outcome {
    let config = folder.join("training.toml");
    std::fs::write(&config, TRAINING).unwrap();
    run_line(&format!("train {{}} --out {{}} {options}"), &[&config, &folder.join("run")]).ok()
}
