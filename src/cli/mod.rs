//! The command line: one module per command, one shape of output and failure for all.

mod arch_choice;
mod classify;
mod collect;
mod completions;
mod devices;
mod evaluate;
mod evaluate_onnx;
mod export;
mod extract;
mod finetune;
mod fit;
mod forward;
mod help;
mod import;
mod info;
mod latency;
mod listings;
mod measure;
mod memory_limits;
mod output;
mod profile;
mod progress;
mod refine;
mod run;
mod search;
mod search_devices;
mod search_report;
mod train;

pub use crate::failure::Failure;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
pub use output::Output;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Once-for-All networks: train one elastic supernet, specialise it for any device without retraining.
#[derive(Parser, Debug)]
#[command(
    name = "ofa",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = help::OVERVIEW,
    subcommand_required = true
)]
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
    /// Compute backend: flex, tch, cuda:0, wgpu.
    #[arg(long, global = true, default_value = "flex")]
    backend: String,
    /// Threads of compute; all cores if left out.
    #[arg(long, global = true)]
    threads: Option<usize>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The whole job: train, collect, fit, search, deploy, report. No file: the bundled quickstart.
    #[command(after_help = help::RUN)]
    Run(run::RunArgs),
    /// Render the report of a finished run again.
    #[command(after_help = help::REPORT)]
    Report(run::ReportArgs),
    /// List the registered search spaces.
    Spaces,
    /// List the registered devices, and profiles found in OFA_DEVICE_PATH; fit a device to measured networks.
    #[command(after_help = help::DEVICES)]
    Devices(devices::DevicesArgs),
    /// List the registered predictors.
    Predictors,
    /// List the registered search strategies.
    Strategies,
    /// List the registered samplers: which subnets a training step trains.
    Samplers,
    /// List the registered distillation losses.
    Losses,
    /// Count the subnets of a space, or cost one of them.
    #[command(after_help = help::INFO)]
    Info(info::InfoArgs),
    /// Train a supernet by progressive shrinking.
    #[command(after_help = help::TRAIN)]
    Train(train::TrainArgs),
    /// Accuracy of a subnet or a standalone net.
    #[command(after_help = help::EVAL)]
    Eval(evaluate::EvalArgs),
    /// Logits of a batch in an .npy file.
    #[command(after_help = help::FORWARD)]
    Forward(forward::ForwardArgs),
    /// Predictions for image files.
    #[command(after_help = help::CLASSIFY)]
    Classify(classify::ClassifyArgs),
    /// Measure (arch, accuracy) pairs of random subnets.
    #[command(after_help = help::COLLECT)]
    Collect(collect::CollectArgs),
    /// Fit and score a predictor on pairs.
    #[command(after_help = help::FIT)]
    Fit(fit::FitArgs),
    /// Predicted accuracy of archs.
    #[command(after_help = help::PREDICT)]
    Predict(fit::PredictArgs),
    /// Latency of archs on a device.
    #[command(after_help = help::LATENCY)]
    Latency(latency::LatencyArgs),
    /// Best subnet for each constraint, or the Pareto front.
    #[command(after_help = help::SEARCH)]
    Search(search::SearchArgs),
    /// Search, measure subnets of the front, fit the predictor again, and repeat.
    #[command(after_help = help::REFINE)]
    Refine(refine::RefineArgs),
    /// Cut a standalone subnet out of a supernet.
    #[command(after_help = help::EXTRACT)]
    Extract(extract::ExtractArgs),
    /// Train a standalone subnet on from its inherited weights.
    #[command(after_help = help::FINETUNE)]
    Finetune(finetune::FinetuneArgs),
    /// Write a network as ONNX.
    #[command(after_help = help::EXPORT)]
    Export(export::ExportArgs),
    /// Time a network in a real inference runtime.
    #[command(after_help = help::MEASURE)]
    Measure(measure::MeasureArgs),
    /// Time every block of a space on this machine, as a device for --device.
    #[command(after_help = help::PROFILE)]
    Profile(profile::ProfileArgs),
    /// Read official PyTorch checkpoints.
    #[command(subcommand, after_help = help::IMPORT)]
    Import(import::ImportCommand),
    /// Print a completion script for a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Whether the command looks at [`Context::stop`] between two pieces of work and saves what it has.
    fn stops_by_itself(&self) -> bool {
        matches!(
            self,
            Command::Run(_)
                | Command::Train(_)
                | Command::Collect(_)
                | Command::Search(_)
                | Command::Refine(_)
                | Command::Profile(_)
                | Command::Finetune(_)
        )
    }
}

/// What commands share: options, output, and the request to stop.
pub struct Context {
    common: Common,
    /// The seed, if it stands on the command line; it then comes before a configuration's.
    explicit_seed: Option<u64>,
    output: Output,
    stop: Arc<AtomicBool>,
}

/// Runs the command line and returns its exit code: 0 done, 1 failed while running, 2 bad usage or input, 130
/// interrupted.
pub fn main() -> ExitCode {
    let (cli, explicit_seed) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are not failures; clap knows which stream each belongs to.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (signalled, graceful) = (stop.clone(), cli.command.stops_by_itself());
    let handler = move || {
        let is_first = !signalled.swap(true, Ordering::SeqCst);
        // Commands of a device are in process groups of their own, which a terminal's Ctrl-C does not reach.
        ofa_hw::devices::command::end_all();
        if !(is_first && graceful) {
            // Files are written whole or not at all, so nothing is lost but time.
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step (again to stop at once) …");
    };
    // Ctrl-C, and the polite request to end that service managers and `kill` send.
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
    let context = Context { common: cli.common, explicit_seed, output, stop };
    match run(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Reads the command line; beside it the seed, if it was given.
fn parse() -> Result<(Cli, Option<u64>), clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let given = matches.value_source("seed") == Some(ValueSource::CommandLine);
    let cli = Cli::from_arg_matches(&matches)?;
    let seed = cli.common.seed;
    Ok((cli, given.then_some(seed)))
}

fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args, context),
        Command::Report(args) => run::report(&args, context),
        Command::Spaces => listings::spaces(context),
        Command::Devices(args) => devices::run(&args, context),
        Command::Predictors => listings::predictors(context),
        Command::Strategies => listings::strategies(context),
        Command::Samplers => listings::samplers(context),
        Command::Losses => listings::losses(context),
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
        Command::Refine(args) => refine::run(&args, context),
        Command::Extract(args) => extract::run(&args, context),
        Command::Finetune(args) => finetune::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Measure(args) => measure::run(&args, context),
        Command::Profile(args) => profile::run(&args, context),
        Command::Import(command) => import::run(&command, context),
        Command::Completions(args) => completions::run(&args),
    }
}
