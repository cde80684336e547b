//! `ofa eval`: accuracy on a data set, after BN recalibration for a supernet's subnet.

mod onnx;

use crate::cli::args::calibration;
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::model_data::{Reading, load_for};
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::output::table;
use crate::cli::{Context, Failure};
use crate::report::percent;
use clap::{Args, ValueEnum};
use ofa_train::data::SplitName;
use ofa_train::device;
use ofa_train::evaluation::{ClassAccuracy, EvaluationSettings, Evaluator};
use onnx::OnnxEvaluation;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `ofa eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Model file, or the name of a pretrained network: mcunet.
    #[arg(long, required_unless_present = "onnx")]
    model: Option<PathBuf>,
    /// An exported ONNX file instead, run in a real runtime.
    #[arg(long, conflicts_with_all = ["model", "arch"])]
    onnx: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// `bundled` or a folder.
    #[arg(long)]
    data: String,
    /// Which images to score.
    #[arg(long, value_enum, default_value = "test")]
    split: SplitChoice,
    /// Score a seeded class-balanced sample of this many images.
    #[arg(long)]
    limit: Option<usize>,
    /// Training images for BN recalibration of a supernet's subnet; 0 = off.
    #[arg(long, default_value_t = 2000)]
    calibration_images: usize,
    /// Alternative spelling of --calibration-images.
    #[arg(long, hide = true, value_name = "N")]
    calibrate_images: Option<usize>,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

/// A split of a data set.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum SplitChoice {
    /// The images that networks learn from.
    Train,
    /// Images kept out of training, for predictors.
    #[value(alias = "val")]
    Validation,
    /// For final figures.
    Test,
    /// Every image, for a network that was trained on other data.
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
    pub(super) top5: f64,
    pub(super) images: usize,
    /// Mean recall over the classes with images.
    pub(super) balanced_accuracy: Option<f64>,
    pub(super) per_class: Vec<ClassAccuracy>,
    /// `[class of the image][class of the answer]`, in the order of `per_class`.
    pub(super) confusion: Vec<Vec<usize>>,
    pub(super) calibration_images: usize,
    pub(super) seconds: f64,
    /// The inference runtime, if the network was run in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<String>,
}

pub fn run(args: &EvalArgs, context: &Context) -> Result<(), Failure> {
    let report = match (&args.onnx, &args.model) {
        (Some(file), _) => {
            let evaluation = OnnxEvaluation {
                file,
                data: &args.data,
                split: args.split,
                limit: args.limit,
                on_corrupt: args.corrupt.choice(),
                classes: &args.classes,
                runtime: &args.runtime,
            };
            onnx::evaluate(&evaluation, context)?
        }
        (None, Some(path)) => evaluate_model(args, path, context)?,
        (None, None) => return Err(Failure::Input("give --model M or --onnx F".into())),
    };
    context.output.result(&report, || {
        let how = match &report.runtime {
            Some(runtime) => runtime.clone(),
            None if report.calibration_images == 0 => "not recalibrated".to_owned(),
            None => format!("{} for BN recalibration", report.calibration_images),
        };
        format!(
            "top-1 {:.2} %, top-5 {:.2} % on {} images ({how}), {:.1} s\nbalanced accuracy {}{}",
            100.0 * report.top1,
            100.0 * report.top5,
            report.images,
            report.seconds,
            or_dash(report.balanced_accuracy),
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
        let mut row =
            vec![class.class.clone(), class.images.to_string(), or_dash(class.recall), or_dash(class.precision)];
        if with_matrix {
            row.extend(counts.iter().map(usize::to_string));
        }
        row
    };
    let rows: Vec<Vec<String>> = report.per_class.iter().zip(&report.confusion).map(row).collect();
    format!("\n{}", table(&header, &rows))
}

/// A share in per cent; a dash where it is undefined.
fn or_dash(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), percent)
}

/// Accuracy of a model file, computed by our own executor.
fn evaluate_model(args: &EvalArgs, path: &Path, context: &Context) -> Result<EvalReport, Failure> {
    let started = Instant::now();
    let seed = context.common.seed;
    let Network { model, arch, .. } = model_choice::network(path, args.arch.as_deref(), seed)?;
    let net = model.net(arch.as_ref())?;
    let reading =
        Reading { max_resolution: net.input[1] as u32, on_corrupt: args.corrupt.choice(), classes: &args.classes };
    let dataset = load_for(&model, &args.data, &reading, context)?;
    dataset.require(args.split.into())?;
    let device = device::open(&context.common.backend)?;
    let settings = EvaluationSettings {
        split: args.split.into(),
        images: args.limit,
        calibration_images: args.calibrate_images.unwrap_or(args.calibration_images),
        seed,
    };
    let mut evaluator = Evaluator::new(&model, &dataset, &device, &settings)?;
    let calibration_images = if arch.is_some() { evaluator.calibration_images() } else { 0 };
    if arch.is_some() && calibration_images > 0 {
        calibration::warn_of_few(calibration_images, context);
    }
    let (accuracy, confusion) = evaluator.score_by_class(arch.as_ref())?;
    Ok(EvalReport {
        top1: accuracy.top1,
        top5: accuracy.top5,
        images: accuracy.images,
        balanced_accuracy: confusion.balanced_accuracy(),
        per_class: confusion.per_class(&model.class_names),
        confusion: confusion.counts().to_vec(),
        calibration_images,
        seconds: started.elapsed().as_secs_f64(),
        runtime: None,
    })
}
