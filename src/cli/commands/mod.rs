//! One module per command.

mod classify;
mod collect;
mod completions;
mod data;
mod devices;
mod eval;
mod export;
mod extract;
mod finetune;
mod fit;
mod forward;
mod import;
mod info;
mod latency;
mod listings;
mod measure;
mod predict;
mod profile;
mod refine;
mod report;
mod run;
mod search;
mod train;

use super::output::help;
use super::{Context, Failure};
use clap::Subcommand;

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Do everything: train, collect, fit, search, deploy, report. Without arguments, run the bundled quickstart.
    #[command(after_help = help::RUN)]
    Run(run::RunArgs),
    /// Write the report of a finished run again.
    #[command(after_help = help::REPORT)]
    Report(report::ReportArgs),
    /// List the registered search spaces.
    Spaces,
    /// List the registered devices and the profiles in OFA_DEVICE_PATH; fit a device to measured networks.
    #[command(after_help = help::DEVICES)]
    Devices(devices::DevicesArgs),
    /// List the registered predictors.
    Predictors,
    /// List the registered search strategies.
    Strategies,
    /// List the registered samplers, which choose the subnets of a training step.
    Samplers,
    /// List the registered distillation losses.
    Losses,
    /// Count the subnets of a space, show the cost of one, or list what is elastic in a model.
    #[command(after_help = help::INFO)]
    Info(info::InfoArgs),
    /// Show a data set: layout, classes, parts, files not read, duplicates, and the recipe that a run would use.
    #[command(after_help = help::DATA)]
    Data(data::DataArgs),
    /// Train a supernet by progressive shrinking.
    #[command(after_help = help::TRAIN)]
    Train(train::TrainArgs),
    /// Measure the accuracy of a subnet or a standalone network.
    #[command(after_help = help::EVAL)]
    Eval(eval::EvalArgs),
    /// Compute the logits of a batch in an .npy file.
    #[command(after_help = help::FORWARD)]
    Forward(forward::ForwardArgs),
    /// Classify image files.
    #[command(after_help = help::CLASSIFY)]
    Classify(classify::ClassifyArgs),
    /// Measure the accuracy of random subnets and write (arch, accuracy) pairs.
    #[command(after_help = help::COLLECT)]
    Collect(collect::CollectArgs),
    /// Fit a predictor to pairs and score it.
    #[command(after_help = help::FIT)]
    Fit(fit::FitArgs),
    /// Predict the accuracy or latency of archs.
    #[command(after_help = help::PREDICT)]
    Predict(predict::PredictArgs),
    /// Print the latency of archs on a device.
    #[command(after_help = help::LATENCY)]
    Latency(latency::LatencyArgs),
    /// Find the best subnet for each limit, or the Pareto front.
    #[command(after_help = help::SEARCH)]
    Search(search::SearchArgs),
    /// Search, measure subnets of the front, fit the predictor again, and repeat.
    #[command(after_help = help::REFINE)]
    Refine(refine::RefineArgs),
    /// Cut a standalone subnet out of a supernet.
    #[command(after_help = help::EXTRACT)]
    Extract(extract::ExtractArgs),
    /// Continue training a standalone network from its weights.
    #[command(after_help = help::FINETUNE)]
    Finetune(finetune::FinetuneArgs),
    /// Write a network as ONNX or as a PyTorch module.
    #[command(after_help = help::EXPORT)]
    Export(export::ExportArgs),
    /// Time a network in an inference runtime.
    #[command(after_help = help::MEASURE)]
    Measure(measure::MeasureArgs),
    /// Time every block of a space on this machine and write a profile for --device.
    #[command(after_help = help::PROFILE)]
    Profile(profile::ProfileArgs),
    /// Import official checkpoints, pretrained networks and ONNX files.
    #[command(subcommand, after_help = help::IMPORT)]
    Import(import::ImportCommand),
    /// Print a completion script for a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// How several processes work together on the command, if they do.
    pub fn distributed(&self) -> Option<&str> {
        let arguments = match self {
            Command::Train(arguments) => &arguments.ranks,
            Command::Collect(arguments) => &arguments.ranks,
            Command::Run(arguments) => &arguments.ranks,
            _ => return None,
        };
        arguments.distributed.as_deref()
    }

    /// Whether the command looks at [`Context::stop`] between two pieces of work and saves what it has.
    pub fn stops_by_itself(&self) -> bool {
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

/// Runs one command.
pub fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args, context),
        Command::Report(args) => report::run(&args, context),
        Command::Spaces => listings::spaces(context),
        Command::Devices(args) => devices::run(&args, context),
        Command::Predictors => listings::predictors(context),
        Command::Strategies => listings::strategies(context),
        Command::Samplers => listings::samplers(context),
        Command::Losses => listings::losses(context),
        Command::Info(args) => info::run(&args, context),
        Command::Data(args) => data::run(&args, context),
        Command::Train(args) => train::run(&args, context),
        Command::Eval(args) => eval::run(&args, context),
        Command::Forward(args) => forward::run(&args, context),
        Command::Classify(args) => classify::run(&args, context),
        Command::Collect(args) => collect::run(&args, context),
        Command::Fit(args) => fit::run(&args, context),
        Command::Predict(args) => predict::run(&args, context),
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
