//! The command line: one module per command, one shape of output and failure for all.

mod arch_choice;
mod classify;
mod collect;
mod evaluate;
mod export;
mod extract;
mod fit;

mod forward;
mod import;
mod info;
mod latency;
mod listings;
mod measure;
mod output;
mod progress;
mod run;
mod search;
mod train;

pub use crate::failure::Failure;

use clap::{Args, Parser, Subcommand};
pub use output::Output;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Once-for-All networks: train one elastic supernet, specialise it for any device without retraining.
#[derive(Parser, Debug)]
#[command(name = "ofa", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub struct Common {
    /// Print exactly one JSON value (or JSON Lines) on stdout.
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Seed of every random choice.
    #[arg(long, global = true, default_value_t = 0)]
    seed: u64,
    /// Compute backend: flex, tch, cuda:0.
    #[arg(long, global = true, default_value = "flex")]
    backend: String,
    /// Threads of compute; all cores if left out.
    #[arg(long, global = true)]
    threads: Option<usize>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The whole job: train, collect, fit, search, deploy, report. No file: the bundled quickstart.
    Run(run::RunArgs),
    /// Render the report of a finished run again.
    Report(run::ReportArgs),
    /// List the registered search spaces.
    Spaces,
    /// List the registered devices, and profiles found in OFA_DEVICE_PATH.
    Devices,
    /// List the registered predictors.
    Predictors,
    /// List the registered search strategies.
    Strategies,
    /// Count the subnets of a space, or cost one of them.
    Info(info::InfoArgs),
    /// Train a supernet by progressive shrinking.
    Train(train::TrainArgs),
    /// Accuracy of a subnet or a standalone net.
    Eval(evaluate::EvalArgs),
    /// Logits of a batch in an .npy file.
    Forward(forward::ForwardArgs),
    /// Predictions for image files.
    Classify(classify::ClassifyArgs),
    /// Measure (arch, accuracy) pairs of random subnets.
    Collect(collect::CollectArgs),
    /// Fit and score a predictor on pairs.
    Fit(fit::FitArgs),
    /// Predicted accuracy of archs.
    Predict(fit::PredictArgs),
    /// Latency of archs on a device.
    Latency(latency::LatencyArgs),
    /// Best subnet for each constraint, or the Pareto front.
    Search(search::SearchArgs),
    /// Cut a standalone subnet out of a supernet.
    Extract(extract::ExtractArgs),
    /// Write a network as ONNX.
    Export(export::ExportArgs),
    /// Time a network in a real inference runtime.
    Measure(measure::MeasureArgs),
    /// Read official PyTorch checkpoints.
    #[command(subcommand)]
    Import(import::ImportCommand),
}

/// What commands share: options, output, and the request to stop.
pub struct Context {
    common: Common,
    output: Output,
    stop: Arc<AtomicBool>,
}

/// Runs the command line and returns its exit code: 0 done, 1 failed while running, 2 bad usage or input, 130
/// interrupted.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not failures; clap knows which stream each belongs to.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let signalled = stop.clone();
    let handler = move || {
        if signalled.swap(true, Ordering::SeqCst) {
            // A second Ctrl-C means now; files are written whole or not at all, so nothing is lost but time.
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step (Ctrl-C again to stop at once) …");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C will not save a checkpoint: {error}");
    }
    if let Some(threads) = cli.common.threads {
        if threads == 0 {
            eprintln!("error: --threads is 0, expected at least 1");
            return ExitCode::from(2);
        }
        if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global() {
            eprintln!("warning: --threads has no effect: {error}");
        }
    }
    let output = Output::new(cli.common.json, cli.common.quiet);
    let context = Context { common: cli.common, output, stop };
    match run(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args, context),
        Command::Report(args) => run::report(&args, context),
        Command::Spaces => listings::spaces(context),
        Command::Devices => listings::devices(context),
        Command::Predictors => listings::predictors(context),
        Command::Strategies => listings::strategies(context),
        Command::Info(args) => info::run(&args, context),
        Command::Train(args) => train::run(&args, context),
        Command::Eval(args) => evaluate::run(&args, context),
        Command::Forward(args) => forward::run(&args, context),
        Command::Classify(args) => classify::run(&args, context),
        Command::Collect(args) => collect::run(&args, context),
        Command::Fit(args) => fit::run(&args, context),
        Command::Predict(args) => fit::predict(&args, context),
        Command::Latency(args) => latency::run(&args, context),
        Command::Search(args) => search::run(&args, context),
        Command::Extract(args) => extract::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Measure(args) => measure::run(&args, context),
        Command::Import(command) => import::run(&command, context),
    }
}
