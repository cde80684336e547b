//! `ofa eval`: accuracy on a data set, after BN recalibration for a supernet's subnet.

mod onnx;

use crate::cli::args::calibration;
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::model_data::{Reading, load_for};
use crate::cli::args::precision_choice::PrecisionArgs;
use crate::cli::args::run_choice::RunNetworkArgs;
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::output::{progress, table};
use crate::cli::{Context, Failure};
use crate::measured_accuracy::{MeasuredAccuracy, baseline};
use crate::report::or_dash;
use clap::{Args, ValueEnum};
use ofa_train::data::{OnCorrupt, SplitName};
use ofa_train::device;
use ofa_train::elastic::precision::Precision;
use ofa_train::evaluation::{Accuracy, Answers, CalibrationSet, ClassAccuracy, Confusion, EvaluationSet, Evaluator};
use onnx::OnnxEvaluation;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `ofa eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Folder of a run, to score its recommended network on its data. With --model or --onnx: a data set, as for
    /// --data.
    #[arg(value_name = "RUN", required_unless_present_any = ["model", "onnx"])]
    run: Option<PathBuf>,
    #[command(flatten)]
    network: RunNetworkArgs,
    /// Model file, or the name of a pretrained network: mcunet.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Exported ONNX file to run in an inference runtime, instead of a model file.
    #[arg(long, conflicts_with_all = ["model", "arch", "device"])]
    onnx: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// `bundled` or a folder [default for a run: its own data].
    #[arg(long)]
    data: Option<String>,
    /// Images to score.
    #[arg(long, value_enum, default_value = "test")]
    split: SplitChoice,
    /// Score a class-balanced sample of this many images, drawn by the seed.
    #[arg(long)]
    limit: Option<usize>,
    /// Training images for BN recalibration of a subnet of a supernet; 0 = off.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Alternative spelling of --calibration-images.
    #[arg(long, hide = true, value_name = "N")]
    calibrate_images: Option<usize>,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

/// A split of a data set.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum SplitChoice {
    /// Training images.
    Train,
    /// Images excluded from training, for choices and predictors.
    #[value(alias = "val")]
    Validation,
    /// Images for final figures.
    Test,
    /// All images, for a network that was trained on other data.
    All,
}

impl From<SplitChoice> for SplitName {
    fn from(choice: SplitChoice) -> Self {
        match choice {
            SplitChoice::Train => SplitName::Train,
            SplitChoice::Validation => SplitName::Validation,
            SplitChoice::Test => SplitName::Test,
            SplitChoice::All => SplitName::All,
        }
    }
}

#[derive(Serialize)]
pub(super) struct EvalReport {
    pub(super) top1: f64,
    /// 95 % interval of `top1`.
    pub(super) interval: [f64; 2],
    /// Share of the largest class.
    pub(super) baseline: Option<f64>,
    pub(super) top5: f64,
    pub(super) images: usize,
    /// Mean recall over the classes with images.
    pub(super) balanced_accuracy: Option<f64>,
    pub(super) per_class: Vec<ClassAccuracy>,
    /// `[class of the image][class of the answer]`, in the order of `per_class`.
    pub(super) confusion: Vec<Vec<usize>>,
    pub(super) calibration_images: usize,
    pub(super) seconds: f64,
    /// Numbers that products multiplied, if not f32.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    pub(super) precision: Precision,
    /// The inference runtime, if the network was run in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<String>,
}

/// What is scored.
struct Subject {
    file: PathBuf,
    data: String,
    /// The size at which a run keeps images, pixels.
    kept_resolution: Option<u32>,
    on_corrupt: OnCorrupt,
    /// Whether it is an ONNX file.
    in_a_runtime: bool,
}

impl EvalArgs {
    fn subject(&self, context: &Context) -> Result<Subject, Failure> {
        let of_run = |folder: &PathBuf| {
            let network = self.network.network(folder, context)?;
            let data = network.data(self.data.as_deref())?;
            let (kept_resolution, on_corrupt) = (Some(network.kept_resolution()?), network.on_corrupt());
            let on_corrupt = self.corrupt.given().unwrap_or(on_corrupt);
            let in_a_runtime = network.is_converted;
            let file = if in_a_runtime { network.onnx } else { network.weights };
            Ok(Subject { file, data, kept_resolution, on_corrupt, in_a_runtime })
        };
        let (file, in_a_runtime) = match (&self.onnx, &self.model, &self.run) {
            (Some(file), ..) => (file, true),
            (None, Some(file), _) => (file, false),
            (None, None, Some(folder)) => return of_run(folder),
            (None, None, None) => {
                return Err(Failure::Input("give the folder of a run, --model M or --onnx F".into()));
            }
        };
        self.network.refuse()?;
        let positional = self.run.as_ref().map(|data| data.display().to_string());
        let data = match (&self.data, positional) {
            (Some(data), Some(other)) => {
                return Err(Failure::Input(format!("two data sets are given: --data {data}, and {other}")));
            }
            (Some(data), None) => data.clone(),
            (None, Some(data)) => data,
            (None, None) => return Err(Failure::Input("--data is missing: `bundled` or a folder".into())),
        };
        Ok(Subject { file: file.clone(), data, kept_resolution: None, on_corrupt: self.corrupt.choice(), in_a_runtime })
    }
}

impl EvalReport {
    /// Of a network that was not recalibrated, by our own executor.
    pub(super) fn of(accuracy: Accuracy, confusion: &Confusion, class_names: &[String], started: Instant) -> Self {
        let Accuracy { top1, top5, images } = accuracy;
        let per_class = confusion.per_class(class_names);
        Self {
            top1,
            interval: MeasuredAccuracy::new(top1, images).interval(),
            baseline: baseline(&per_class),
            top5,
            images,
            balanced_accuracy: confusion.balanced_accuracy(),
            per_class,
            confusion: confusion.counts().to_vec(),
            calibration_images: 0,
            seconds: started.elapsed().as_secs_f64(),
            precision: Precision::F32,
            runtime: None,
        }
    }

    fn measured(&self, share: f64) -> MeasuredAccuracy {
        MeasuredAccuracy::new(share, self.images)
    }
}

pub fn run(args: &EvalArgs, context: &Context) -> Result<(), Failure> {
    let subject = args.subject(context)?;
    let report = match &subject {
        Subject { in_a_runtime: true, .. } if !args.precision.choice().is_f32() => {
            return Err(Failure::Input(
                "--precision is not for networks in an ONNX file (as this one), which have a precision of their own"
                    .into(),
            ));
        }
        Subject { file, data, on_corrupt, kept_resolution, in_a_runtime: true } => {
            let evaluation = OnnxEvaluation {
                file,
                data,
                split: args.split,
                limit: args.limit,
                on_corrupt: *on_corrupt,
                kept_resolution: *kept_resolution,
                classes: &args.classes,
                runtime: &args.runtime,
            };
            onnx::evaluate(&evaluation, context)?
        }
        subject => evaluate_model(args, subject, context)?,
    };
    context.output.result(&report, || {
        let how = match &report.runtime {
            Some(runtime) => runtime.clone(),
            None if report.calibration_images == 0 => "not recalibrated".to_owned(),
            None => format!("{} for BN recalibration", report.calibration_images),
        };
        let how = if report.precision.is_f32() { how } else { format!("{how}, in bf16") };
        format!(
            "top-1 {}, top-5 {} on {} images ({how}), {:.1} s\nbalanced accuracy {}; the largest class is {} of the images{}",
            report.measured(report.top1).with_interval(),
            report.measured(report.top5).percent(),
            report.images,
            report.seconds,
            or_dash(report.balanced_accuracy, report.images),
            or_dash(report.baseline, report.images),
            by_class(&report)
        )
    })
}

/// Classes of a table on the terminal, and of a matrix, at most; JSON has them all.
const MOST_ROWS: usize = 30;
const MOST_COLUMNS: usize = 12;

/// The classes in a table, with what their images were taken for.
fn by_class(report: &EvalReport) -> String {
    let names: Vec<&str> = report.per_class.iter().map(|class| class.class.as_str()).collect();
    if names.len() > MOST_ROWS {
        return String::new();
    }
    let with_matrix = names.len() <= MOST_COLUMNS;
    let mut header = vec!["class", "images", "recall", "precision"];
    let taken_for: Vec<String> = names.iter().map(|name| format!("as {name}")).collect();
    if with_matrix {
        header.extend(taken_for.iter().map(String::as_str));
    }
    let row = |(class, counts): (&ClassAccuracy, &Vec<usize>)| {
        let mut row = vec![
            class.class.clone(),
            class.images.to_string(),
            or_dash(class.recall, class.images),
            or_dash(class.precision, class.images),
        ];
        if with_matrix {
            row.extend(counts.iter().map(usize::to_string));
        }
        row
    };
    let rows: Vec<Vec<String>> = report.per_class.iter().zip(&report.confusion).map(row).collect();
    format!("\n{}", table(&header, &rows))
}

/// Accuracy of a model file, computed by our own executor.
fn evaluate_model(args: &EvalArgs, subject: &Subject, context: &Context) -> Result<EvalReport, Failure> {
    let started = Instant::now();
    let seed = context.common.seed;
    let Network { model, arch, .. } = model_choice::network(&subject.file, args.arch.as_deref(), seed)?;
    let net = model.net(arch.as_ref())?;
    let max_resolution = subject.kept_resolution.unwrap_or(net.input[1] as u32);
    let reading = Reading { max_resolution, on_corrupt: subject.on_corrupt, classes: &args.classes };
    let dataset = load_for(&model, &subject.data, &reading, context)?;
    dataset.require(args.split.into())?;
    let device = device::open(&context.common.backend)?;
    let wanted = args.calibrate_images.unwrap_or(args.calibration_images);
    let (split, calibration) = (args.split.into(), CalibrationSet::sample(&dataset, wanted, seed));
    let images = match args.limit {
        Some(limit) => EvaluationSet::sample(&dataset, split, limit, seed),
        None => EvaluationSet::all(&dataset, split),
    };
    let images = images.observed(progress::of_batches(context.output));
    let mut evaluator =
        Evaluator::on(&model, calibration, images, &device)?.with_precision(args.precision.choice(), &device)?;
    let calibration_images = if arch.is_some() { evaluator.calibration_images() } else { 0 };
    if arch.is_some() && calibration_images > 0 {
        calibration::warn_of_few(calibration_images, context);
    }
    let Answers { accuracy, confusion, .. } = evaluator.answers(arch.as_ref())?;
    let precision = args.precision.choice();
    Ok(EvalReport {
        calibration_images,
        precision,
        ..EvalReport::of(accuracy, &confusion, &model.class_names, started)
    })
}
