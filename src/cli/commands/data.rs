//! `ofa data`: what is in a data set, and what would be made of it, without training.

use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::output::table;
use crate::cli::{Context, Failure};
use crate::pipeline::plan::{self, Wishes};
use clap::Args;
use ofa_train::data::{Dataset, OnCorrupt, Skipped, Split};
use serde::Serialize;

/// Arguments of `ofa data`.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// `bundled` or a folder.
    data: String,
    /// Count images as if those in several parts were dropped from the earlier part.
    #[arg(long)]
    drop_duplicates: bool,
    #[command(flatten)]
    corrupt: CorruptArgs,
}

#[derive(Serialize)]
struct DataReport {
    layout: &'static str,
    classes: Vec<ClassCounts>,
    skipped: Vec<SkippedKind>,
    /// Images that are copies of others, byte for byte.
    duplicates: usize,
    /// What `ofa run` would do.
    recipe: String,
}

#[derive(Serialize)]
struct ClassCounts {
    name: String,
    train: usize,
    val: usize,
    test: usize,
}

#[derive(Serialize)]
struct SkippedKind {
    kind: String,
    files: usize,
}

pub fn run(args: &DataArgs, context: &Context) -> Result<(), Failure> {
    let wishes = Wishes {
        seed: context.common.seed,
        // Damaged files are counted, not a reason to stop.
        on_corrupt: Some(args.corrupt.given().unwrap_or(OnCorrupt::Skip)),
        drop_duplicates: args.drop_duplicates,
        ..Wishes::default()
    };
    let dataset = plan::look_at(&args.data, &wishes)?;
    let plan = plan::for_dataset(&args.data, &wishes, dataset.clone())?;
    let skipped = Skipped::counted(&dataset.skipped).into_iter().map(|(kind, files)| SkippedKind { kind, files });
    let report = DataReport {
        layout: dataset.origin.layout,
        classes: counts(&dataset),
        skipped: skipped.collect(),
        duplicates: dataset.duplicates()?.copies,
        recipe: plan.reasons.join("; "),
    };
    context.output.result(&report, || text(&dataset, &report, context.common.verbose > 0))
}

/// Images of each class in each part.
fn counts(dataset: &Dataset) -> Vec<ClassCounts> {
    let of = |split: &Split| {
        let mut counts = vec![0; dataset.class_names.len()];
        split.labels().iter().for_each(|label| counts[*label] += 1);
        counts
    };
    let (train, val, test) = (of(&dataset.train), of(&dataset.validation), of(&dataset.test));
    let named = dataset.class_names.iter().cloned().enumerate();
    named.map(|(class, name)| ClassCounts { name, train: train[class], val: val[class], test: test[class] }).collect()
}

/// The report for a person.
fn text(dataset: &Dataset, report: &DataReport, names_files: bool) -> String {
    let mut lines = vec![format!("layout: {}", report.layout)];
    lines.extend(dataset.remarks(names_files));
    let rows: Vec<Vec<String>> = report
        .classes
        .iter()
        .map(|class| vec![class.name.clone(), class.train.to_string(), class.val.to_string(), class.test.to_string()])
        .collect();
    lines.push(table(&["class", "train", "val", "test"], &rows));
    if let Some([(width, height), (larger_width, larger_height)]) = dataset.sizes {
        lines.push(format!("sizes: {width} × {height} to {larger_width} × {larger_height} pixels"));
    }
    lines.push(format!("{} images are copies of others (identical files)", report.duplicates));
    lines.push(format!("recipe of `ofa run`: {}", report.recipe));
    lines.join("\n")
}
