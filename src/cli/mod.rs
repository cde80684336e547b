//! The command line: one module per command, one shape of output and failure for all.

mod args;
mod commands;
mod output;
pub mod outputs;
mod ranks;

pub use crate::failure::Failure;

use crate::interruption;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use commands::Command;
pub use output::Output;
use output::to_stderr;
use outputs::Outputs;
use ranks::Ranks;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Once-for-All networks: train one elastic supernet and specialise it for any device without retraining.
#[derive(Parser, Debug)]
#[command(
    name = "ofa",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = output::help::OVERVIEW,
    subcommand_required = true
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Heading of the options of every command.
const GLOBAL: &str = "Options of every command";

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub struct Common {
    /// Print one JSON value (or JSON Lines) on stdout.
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Do not print progress.
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    quiet: bool,
    /// Print more details.
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Seed of all random choices.
    #[arg(long, global = true, help_heading = GLOBAL, default_value_t = 0)]
    seed: u64,
    /// Compute backend: flex, tch, tch:cuda:0, cuda:0, wgpu; `ofa devices --backends` lists those of this binary.
    #[arg(long, global = true, help_heading = GLOBAL, default_value = "flex")]
    backend: String,
    /// Number of compute threads [default: all cores, divided among the ranks on the machine].
    #[arg(long, global = true, help_heading = GLOBAL)]
    threads: Option<usize>,
    /// Allow device profiles to run the programs that they name.
    #[arg(long, global = true, help_heading = GLOBAL)]
    allow_commands: bool,
}

/// More threads than any machine has cores for.
const MOST_THREADS: usize = 1024;

/// What commands share: options, output, and the request to stop.
pub struct Context {
    common: Common,
    /// The seed, if it stands on the command line; it then comes before a configuration's.
    explicit_seed: Option<u64>,
    output: Output,
    outputs: Outputs,
    stop: Arc<AtomicBool>,
    ranks: Ranks,
}

/// Runs the command line and returns its exit code: 0 done, 1 failed while running, 2 bad usage or input, 130
/// interrupted.
pub fn main() -> ExitCode {
    let Parsed { cli, explicit_seed, outputs } = match parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are not failures; clap chooses the stream for each.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let ranks = match Ranks::join(cli.command.distributed()) {
        Ok(ranks) => ranks,
        Err(failure) => {
            to_stderr(&format!("error: --distributed: {failure}"));
            return ExitCode::from(failure.exit_code());
        }
    };
    let is_first = ranks.is_first();
    let stop = Arc::new(AtomicBool::new(false));
    let (signalled, graceful) = (stop.clone(), cli.command.stops_by_itself());
    let handler = move || {
        let is_repeated = signalled.swap(true, Ordering::SeqCst);
        // Commands of a device are in process groups of their own, which a terminal's Ctrl-C does not reach.
        ofa_hw::devices::command::end_all();
        if is_repeated || !graceful {
            // Files are written whole or not at all, so nothing is lost but time.
            std::process::exit(130);
        }
        if is_first {
            match interruption::is_saving() {
                true => to_stderr("\nstopping after this step, with a checkpoint (again to stop at once) …"),
                false => to_stderr("\nstopping …"),
            }
        }
        // Whatever does not look at the request is ended: long fits, draws of very many subnets.
        interruption::end_soon(move || {
            if is_first {
                to_stderr(
                    "interrupted: what was written before is kept, and --resume goes on with it where a command has it",
                );
            }
            std::process::exit(130);
        });
    };
    // Ctrl-C, and the polite request to end that service managers and `kill` send.
    if let Err(error) = ctrlc::set_handler(handler) {
        to_stderr(&format!("warning: Ctrl-C will not save a checkpoint: {error}"));
    }
    if let Some(threads) = cli.common.threads.or_else(|| ranks.threads()) {
        if !(1..=MOST_THREADS).contains(&threads) {
            to_stderr(&format!("error: --threads is {threads}, expected 1 to {MOST_THREADS}"));
            return ExitCode::from(2);
        }
        if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global() {
            to_stderr(&format!("warning: --threads has no effect: {error}"));
        }
    }
    if cli.common.allow_commands {
        ofa_hw::devices::command::allow();
    }
    let outputs = match ranks.together(outputs) {
        Ok(outputs) => outputs,
        Err(failure) => return ranks.end(&failure),
    };
    let output = match is_first {
        true => Output::new(cli.common.json, cli.common.quiet, outputs.on_stdout),
        false => Output::SILENT,
    };
    let common = Common { backend: ranks.backend(&cli.common.backend), ..cli.common };
    let context = Context { common, explicit_seed, output, outputs, stop, ranks };
    match commands::run(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => context.ranks.end(&failure),
    }
}

/// The command line as data, for completion scripts and checks.
pub fn command() -> clap::Command {
    outputs::with_force(Cli::command())
}

/// A command line.
struct Parsed {
    cli: Cli,
    /// The seed, if it was given.
    explicit_seed: Option<u64>,
    /// What may be written, or why it may not.
    outputs: Result<Outputs, Failure>,
}

/// Reads the command line.
fn parse() -> Result<Parsed, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let given = matches.value_source("seed") == Some(ValueSource::CommandLine);
    let cli = Cli::from_arg_matches(&matches)?;
    let seed = cli.common.seed;
    Ok(Parsed { cli, explicit_seed: given.then_some(seed), outputs: outputs::check(&command, &matches) })
}
