//! What a compute backend gives on this machine: whether it agrees with `flex`, what a subnet that is new to it costs, and how long
//! steps take.
//!
//! ```text
//! cargo run --release --features wgpu --example backend_check -- --backend wgpu agreement
//! backend_check --backend cuda:0 agreement elastic steps memory      # parts, in this order
//! backend_check --backend cuda:0 --precision bf16 agreement steps
//! backend_check --backend wgpu --small                               # sizes for a GPU that a CPU plays
//! ```
//!
//! Prints one JSON line for each thing it measures; the exit code is 1 if the backend disagrees.
#![allow(missing_docs, reason = "a program")]

mod agreement;
mod elastic;
mod networks;
mod steps;

use ofa::train::device;
use ofa::train::elastic::precision::Precision;
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is asked for.
pub struct Options {
    pub backend: String,
    pub precision: Precision,
    /// Small networks and batches.
    pub small: bool,
    parts: Vec<String>,
}

const PARTS: [&str; 4] = ["agreement", "elastic", "steps", "memory"];

fn main() -> ExitCode {
    match parse().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Outcome<Options> {
    let mut options =
        Options { backend: "flex".to_owned(), precision: Precision::F32, small: false, parts: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--backend" => options.backend = arguments.next().ok_or("--backend needs a name")?,
            "--precision" => {
                let name = arguments.next().ok_or("--precision needs a name")?;
                let unknown = || format!("unknown precision `{name}`; expected one of {:?}", Precision::NAMES);
                options.precision = Precision::named(&name).ok_or_else(unknown)?;
            }
            "--small" => options.small = true,
            part if PARTS.contains(&part) => options.parts.push(argument),
            other => {
                return Err(format!(
                    "unknown `{other}`; expected --backend, --precision, --small and parts of {PARTS:?}"
                )
                .into());
            }
        }
    }
    if options.parts.is_empty() {
        options.parts = PARTS.map(str::to_owned).to_vec();
    }
    Ok(options)
}

/// Whether the backend agrees.
fn run(options: &Options) -> Outcome<bool> {
    let device = device::open(&options.backend)?;
    options.precision.check(&device)?;
    let mut agrees = true;
    for part in &options.parts {
        match part.as_str() {
            "agreement" => agrees &= agreement::check(&device, options)?,
            "elastic" => elastic::time(&device, options)?,
            "steps" => steps::time(&device, options)?,
            _ => steps::memory(&device, options)?,
        }
    }
    Ok(agrees)
}

/// Prints a result at once, so that what was measured is kept if a later part fails.
pub fn report(part: &str, result: Value) {
    let mut line = json!({ "part": part });
    if let (Some(line), Value::Object(result)) = (line.as_object_mut(), result) {
        line.extend(result);
    }
    println!("{line}");
}
