//! Training step, evaluation forward and BN recalibration of ours against PyTorch and ONNX Runtime.
//!
//! Run it by `benches/vs-pytorch`, which documents the options. Each side is a process of its own that makes one step
//! a request; one of ours and one of the peer's are timed in turn, so that what else the machine does meets both.
#![allow(missing_docs, reason = "a program")]

mod cases;
mod ours;
mod side;

use cases::Case;
use serde_json::json;
use side::{Placement, Side};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is timed.
const WHATS: [&str; 3] = ["train_step", "eval", "recalibrate"];
/// What it is timed against.
const PEERS: [&str; 7] = [
    "torch_nchw",
    "torch_channels_last",
    "torch_compile",
    "torch_graph",
    "torch_amp",
    "torch_compile_amp",
    "onnxruntime",
];
/// Before the path of another build of this program, as a peer.
const BUILD: &str = "build:";

/// Ours in f32, beside another `--precision`.
const F32: &str = "f32";
/// Largest relative difference of the first step's check value between the sides; in bf16, of 8 bits, the other.
const AGREEMENT: f64 = 0.01;
const AGREEMENT_BF16: f64 = 0.05;

struct Options {
    json: bool,
    whats: Vec<String>,
    peers: Vec<String>,
    pairs: usize,
    on: Placement,
    cases: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let result = match arguments.first().map(String::as_str) {
        Some("ours") => ours::serve(&arguments[1..]),
        _ => parse(&arguments).and_then(|options| run(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Outcome<Options> {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let on = Placement { backend: "flex".to_owned(), threads: 2, batch_times: 1, precision: "f32".to_owned() };
    let mut options = Options { json: false, whats: list(&WHATS), peers: list(&PEERS), pairs: 7, on, cases: vec![] };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let split = |text: &String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match argument.as_str() {
            "--json" => options.json = true,
            "--what" => options.whats = split(value()?),
            "--peer" => options.peers = split(value()?),
            "--pairs" => options.pairs = value()?.parse()?,
            "--threads" => options.on.threads = value()?.parse()?,
            "--backend" => options.on.backend.clone_from(value()?),
            "--precision" => options.on.precision.clone_from(value()?),
            "--batch-times" => options.on.batch_times = value()?.parse()?,
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}").into()),
            case => options.cases.push(case.to_owned()),
        }
    }
    let unknown = |given: &[String], known: &[&str]| given.iter().find(|g| !known.contains(&g.as_str())).cloned();
    if let Some(name) = unknown(&options.whats, &WHATS) {
        return Err(format!("unknown `{name}`; --what takes {WHATS:?}").into());
    }
    let named =
        options.peers.iter().filter(|peer| !peer.starts_with(BUILD) && *peer != F32).cloned().collect::<Vec<_>>();
    if let Some(name) = unknown(&named, &PEERS) {
        return Err(format!("unknown `{name}`; --peer takes {PEERS:?}, {F32} and {BUILD}PATH").into());
    }
    Ok(options)
}

fn run(options: &Options) -> Outcome<()> {
    let cases = cases::matching(&options.cases, options.on.batch_times)?;
    let on_gpu = options.on.backend.contains("cuda");
    let mut rows = Vec::new();
    if !options.json {
        println!(
            "{:<28} {:<12} {:<20} {:>9} {:>9} {:>6} {:>8} {:>8}",
            "case", "what", "peer", "ours ms", "peer ms", "ratio", "ours MB", "peer MB"
        );
    }
    for case in cases {
        let folder = tempfile::tempdir()?;
        case.write(folder.path())?;
        for what in &options.whats {
            for peer in &options.peers {
                // ONNX Runtime is compared on CPUs, graphs of kernels exist on GPUs.
                let skipped = match peer.as_str() {
                    "onnxruntime" => what != "eval" || on_gpu,
                    "torch_graph" => !on_gpu,
                    _ => false,
                };
                if skipped {
                    continue;
                }
                match compare(&case, what, peer, folder.path(), options) {
                    Ok(row) => {
                        if !options.json {
                            row.print();
                        }
                        rows.push(row);
                    }
                    Err(error) => eprintln!("{} {what} {peer}: left out: {error}", case.name),
                }
            }
        }
    }
    if options.json {
        let rows: Vec<serde_json::Value> = rows.iter().map(Row::json).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(())
}

struct Row {
    case: String,
    what: String,
    peer: String,
    ours_ms: f64,
    peer_ms: f64,
    ratio: f64,
    ours_growth_mb: f64,
    peer_growth_mb: f64,
}

impl Row {
    fn print(&self) {
        println!(
            "{:<28} {:<12} {:<20} {:>9.1} {:>9.1} {:>6.2} {:>8.0} {:>8.0}",
            self.case,
            self.what,
            self.peer,
            self.ours_ms,
            self.peer_ms,
            self.ratio,
            self.ours_growth_mb,
            self.peer_growth_mb
        );
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "case": self.case, "what": self.what, "ours_ms": self.ours_ms, "peer": self.peer, "peer_ms": self.peer_ms,
            "ratio": self.ratio, "ours_growth_mb": self.ours_growth_mb, "peer_growth_mb": self.peer_growth_mb,
        })
    }
}

/// Interleaved pairs of one case; some steps come first, unmeasured, and the first of them is compared in value.
fn compare(case: &Case, what: &str, peer: &str, folder: &Path, options: &Options) -> Outcome<Row> {
    let mut theirs = match peer.strip_prefix(BUILD) {
        Some(program) => Side::build(Path::new(program), what, folder, case, &options.on)?,
        None if peer == F32 => {
            Side::ours(what, folder, case, &Placement { precision: F32.to_owned(), ..options.on.clone() })?
        }
        None => Side::peer(peer, what, folder, case, &options.on)?,
    };
    let mut ours = Side::ours(what, folder, case, &options.on)?;
    let (first, other) = (ours.first_step()?, theirs.first_step()?);
    let difference = (first.check - other.check).abs() / other.check.abs().max(1e-6);
    let rounds = peer.ends_with("amp") || options.on.precision != F32;
    let agreement = if rounds { AGREEMENT_BF16 } else { AGREEMENT };
    if difference.is_nan() || difference > agreement {
        return Err(format!("the sides disagree: {} and {}", first.check, other.check).into());
    }
    ours.step()?;
    theirs.step()?;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..options.pairs {
        our_times.push(ours.step()?.milliseconds);
        their_times.push(theirs.step()?.milliseconds);
    }
    let mut ratios: Vec<f64> = our_times.iter().zip(&their_times).map(|(ours, theirs)| ours / theirs).collect();
    Ok(Row {
        case: case.name.clone(),
        what: what.to_owned(),
        peer: peer.to_owned(),
        ours_ms: median(&mut our_times),
        peer_ms: median(&mut their_times),
        ratio: median(&mut ratios),
        ours_growth_mb: ours.growth()?,
        peer_growth_mb: theirs.growth()?,
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
