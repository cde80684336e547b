//! The paper's claims at a size that two cores can train: compares subnets of a supernet with the same networks trained
//! alone, and training recipes with each other.
//!
//! ```text
//! cargo run --release --example claims -- list  examples/claims/cifar10.toml
//! cargo run --release --example claims -- run   examples/claims/cifar10.toml --data cifar10 --work claims [UNIT…]
//! cargo run --release --example claims -- search examples/claims/cifar10.toml --data cifar10 --work claims
//! cargo run --release --example claims -- predictor examples/claims/cifar10.toml --data cifar10 --work claims
//! cargo run --release --example claims -- table examples/claims/cifar10.toml
//! ```
//!
//! A unit is one training, of a network or a supernet, with one seed. It can be interrupted and resumed, and adds one
//! line to `docs/results/claims/EXPERIMENT.jsonl`; units with a line are skipped. `UNIT` selects units by the beginning
//! of their names.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod experiment;
mod lines;
mod predictor;
mod searched;
mod table;
mod work;

use clap::{Parser, Subcommand};
use experiment::Experiment;
use lines::{Line, Lines};
use std::error::Error;
use std::path::PathBuf;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the units, and which of them have their line.
    List { experiment: PathBuf },
    /// Runs the units that have no line yet.
    Run {
        experiment: PathBuf,
        /// Data set.
        #[arg(long)]
        data: String,
        /// Folder of checkpoints and supernets.
        #[arg(long)]
        work: PathBuf,
        /// Beginnings of the names of units; all, if left out.
        units: Vec<String>,
    },
    /// Searches networks, and compares them with hand-made ones at the same latency.
    Search {
        experiment: PathBuf,
        #[arg(long)]
        data: String,
        #[arg(long)]
        work: PathBuf,
    },
    /// Fits the accuracy predictor to fewer and more pairs of `search`.
    Predictor {
        experiment: PathBuf,
        #[arg(long)]
        data: String,
        #[arg(long)]
        work: PathBuf,
    },
    /// Prints the tables of the lines.
    Table { experiment: PathBuf },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::List { experiment } => {
            let experiment = Experiment::load(&experiment)?;
            let lines: Lines<Line> = Lines::load(&experiment.name)?;
            for unit in experiment.units() {
                let state = if lines.of(&unit.to_string()).is_some() { "done" } else { "" };
                println!("{:<40} {state}", unit.to_string());
            }
        }
        Command::Run { experiment, data, work, units } => {
            let experiment = Experiment::load(&experiment)?;
            let lines: Lines<Line> = Lines::load(&experiment.name)?;
            let mut runner = work::Runner::new(&experiment, &data, &work)?;
            for unit in experiment.units() {
                let name = unit.to_string();
                let wanted = units.is_empty() || units.iter().any(|beginning| name.starts_with(beginning.as_str()));
                if wanted && lines.of(&name).is_none() {
                    eprintln!("{name}");
                    lines::append(&experiment.name, &runner.run(&unit)?)?;
                }
            }
        }
        Command::Search { experiment, data, work } => {
            let experiment = Experiment::load(&experiment)?;
            searched::run(&experiment, &mut work::Runner::new(&experiment, &data, &work)?)?;
        }
        Command::Predictor { experiment, data, work } => {
            let experiment = Experiment::load(&experiment)?;
            predictor::run(&experiment, &mut work::Runner::new(&experiment, &data, &work)?)?;
        }
        Command::Table { experiment } => {
            let experiment = Experiment::load(&experiment)?;
            table::print(&experiment, &Lines::load(&experiment.name)?);
        }
    }
    Ok(())
}
