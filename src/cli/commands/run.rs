//! `ofa run`: the whole job.

use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::output::pipeline_display::Display;
use crate::cli::output::{short_count, table};
use crate::cli::{Context, Failure};
use crate::pipeline::config::{DeviceConfig, PipelineConfig};
use crate::pipeline::estimate::Estimate;
use crate::pipeline::plan::{Start, Wishes};
use crate::pipeline::{self, Existing, Holds, PLAN, Reading, RunOptions, plan};
use crate::report::{self, Case, Infeasible};
use clap::Args;
use ofa_export::importing::import;
use ofa_export::importing::pretrained::Wanted;
use ofa_search::Limit;
use ofa_space::{Model, digest};
use ofa_train::data::Dataset;
use ofa_train::pretrained;
use ofa_train::shrinking::{InitConfig, TrainConfig};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `ofa run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Pipeline configuration (TOML). Left out: the bundled quickstart, or with --resume what the folder was started
    /// with.
    config: Option<PathBuf>,
    /// Your own labelled images, instead of the configuration's data; alone: a plan is made for them.
    #[arg(long)]
    data: Option<String>,
    /// Folder for everything that the run makes.
    #[arg(long, default_value = "ofa-run")]
    out: PathBuf,
    /// Go on with the run in the output folder: finished steps are not redone, unless what they depend on has changed. In an
    /// empty folder a run begins.
    #[arg(long)]
    resume: bool,
    /// Go on with the run, but move its training aside and train anew.
    #[arg(long)]
    retrain: bool,
    /// Read every file of the data, also those that have kept size and time of change since they were read last.
    #[arg(long)]
    verify_data: bool,
    /// What to start from, where a plan is made for --data: `mcunet` (photos by default), `scratch`, a model file, or a
    /// checkpoint that `ofa import pretrained` reads without options.
    #[arg(long, requires = "data", conflicts_with = "config", value_name = "NAME|MODEL")]
    from: Option<String>,
    /// Devices to search for, instead of the plan's; latency limits are for each of them.
    #[arg(long, value_delimiter = ',')]
    device: Vec<String>,
    /// Latency limits in milliseconds, or shares of the largest subnet's, such as 60%.
    #[arg(long, value_delimiter = ',', requires = "device")]
    max_latency_ms: Vec<Limit>,
    /// Limits on multiply-accumulates, or shares such as 25%.
    #[arg(long, value_delimiter = ',')]
    max_macs: Vec<Limit>,
    /// Limits on activation memory in int8, kB of 1,024 bytes, or shares.
    #[arg(long, value_delimiter = ',')]
    max_sram_kb: Vec<Limit>,
    /// Limits on weights in int8, kB of 1,024 bytes, or shares.
    #[arg(long, value_delimiter = ',')]
    max_flash_kb: Vec<Limit>,
    /// Epochs of fine-tuning each chosen net, instead of the plan's; 0 = none.
    #[arg(long)]
    finetune_epochs: Option<f64>,
    /// Print the plan, with an estimate of time and memory, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Leave images out of training that are validation or test images too (identical files).
    #[arg(long)]
    drop_duplicates: bool,
    #[command(flatten)]
    corrupt: CorruptArgs,
}

#[derive(Serialize)]
struct RunReport {
    out: PathBuf,
    report: PathBuf,
    model: PathBuf,
    results: Vec<CaseReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<CaseReport>,
    infeasible: Vec<Infeasible>,
}

#[derive(Serialize)]
struct CaseReport {
    device: Option<String>,
    constraint: serde_json::Value,
    arch: ofa_space::ArchJson,
    accuracy: f64,
    supernet_accuracy: f64,
    /// Mean recall over the classes.
    balanced_accuracy: Option<f64>,
    predicted_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    extrapolated: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prediction_missed: bool,
    latency_ms: Option<f64>,
    macs: u64,
    params: u64,
    onnx: PathBuf,
}

impl CaseReport {
    fn of(case: &Case, out: &Path) -> Self {
        Self {
            device: case.device.clone(),
            constraint: case.constraint.clone(),
            arch: case.arch.clone(),
            accuracy: case.accuracy,
            supernet_accuracy: case.as_cut(),
            balanced_accuracy: case.balanced_accuracy,
            predicted_accuracy: case.predicted_accuracy,
            extrapolated: case.extrapolated,
            prediction_missed: case.prediction_missed,
            latency_ms: case.latency_ms,
            macs: case.macs,
            params: case.params,
            onnx: out.join(&case.onnx),
        }
    }
}

pub fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let (config, dataset) = configuration(args, context)?;
    let options = RunOptions {
        out: &args.out,
        existing: match (args.retrain, args.resume) {
            (true, _) => Existing::Retrain,
            (false, true) => Existing::Resume,
            (false, false) => Existing::Refuse,
        },
        backend: &context.common.backend,
        names_skipped: context.common.verbose > 0,
        dataset,
        data: if args.verify_data { Reading::All } else { Reading::Changed },
        stop: &context.stop,
    };
    if args.dry_run {
        return rehearse(&config, options.dataset.as_ref(), context);
    }
    let mut display = Display::new(context.output);
    let finished = pipeline::run(&config, &options, &mut display)?;
    let results = &finished.results;
    let report = RunReport {
        out: args.out.clone(),
        report: finished.report.clone(),
        model: finished.model.clone(),
        results: results.cases.iter().map(|case| CaseReport::of(case, &args.out)).collect(),
        reference: results.reference.as_ref().map(|case| CaseReport::of(case, &args.out)),
        infeasible: results.infeasible.clone(),
    };
    context.output.result(&report, || {
        let percent = |value: f64| format!("{:.2} %", 100.0 * value);
        let rows: Vec<Vec<String>> = results
            .cases
            .iter()
            .chain(&results.reference)
            .map(|case| {
                vec![
                    case.device().to_owned(),
                    report::limits(&case.constraint),
                    case.latency_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.4} ms")),
                    percent(case.accuracy),
                    percent(case.as_cut()),
                    case.predicted(),
                    short_count(case.macs),
                    short_count(case.params),
                    case.onnx.clone(),
                ]
            })
            .collect();
        let header = ["device", "limit", "latency", "test top-1", "as cut", "predicted", "MACs", "params", "ONNX"];
        let scale: Vec<String> = results
            .extremes
            .iter()
            .map(|e| format!("{} subnet {:.2} % at {} MACs", e.label, 100.0 * e.test_top1, short_count(e.macs)))
            .collect();
        let missed = report::missed_note(&results.cases).map_or_else(String::new, |note| format!("{note}\n"));
        let infeasible: String = results
            .infeasible
            .iter()
            .map(|case| format!("{}: {}: {}\n", case.device(), report::limits(&case.constraint), case.verdict()))
            .collect();
        format!(
            "{}\n{missed}{infeasible}\n{}\nreport: {}\nsupernet: {}\nnetworks: {}\n{:.0} s",
            table(&header, &rows),
            scale.join(", "),
            report.report.display(),
            report.model.display(),
            args.out.join("nets").display(),
            started.elapsed().as_secs_f64()
        )
    })
}

#[derive(Serialize)]
struct DryRun<'a> {
    config: &'a PipelineConfig,
    estimate: Estimate,
}

/// Prints what a run would do and take.
fn rehearse(config: &PipelineConfig, dataset: Option<&Dataset>, context: &Context) -> Result<(), Failure> {
    let device = ofa_train::device::open(&context.common.backend)?;
    let loaded;
    let dataset = match dataset {
        Some(dataset) => dataset,
        None => {
            loaded = config.train.load_data()?;
            &loaded
        }
    };
    let estimate = Estimate::of(config, dataset, &device)?;
    let text = config.to_toml()?;
    let report = DryRun { config, estimate };
    context.output.result(&report, || format!("{text}\n{}", report.estimate.sentence()))
}

impl RunArgs {
    /// What a plan starts from. A checkpoint of a known family becomes a model file in the run's folder.
    fn start(&self, context: &Context) -> Result<Start, Failure> {
        let file = match self.from.as_deref() {
            None => return Ok(Start::Automatic),
            Some("scratch") => return Ok(Start::Scratch),
            Some(name) if pretrained::named(name).is_some() => return Ok(Start::Model(InitConfig::new(name))),
            Some(file) => Path::new(file),
        };
        let not_ours = match Model::load(file) {
            Ok(_) => return Ok(Start::Model(InitConfig::new(file))),
            Err(error) => error,
        };
        if !file.is_file() {
            return Err(not_ours.into());
        }
        let import = import(file, &Wanted::default())
            .map_err(|error| Failure::Input(format!("{error}; see `ofa import pretrained` for what may be given")))?;
        let hash = digest::sha256_of_file(file).map_err(|e| Failure::Input(format!("{}: {e}", file.display())))?;
        let model = self.out.join(plan::start_model(&hash));
        if self.dry_run {
            return Ok(Start::Model(InitConfig::new(model).unwritten(import.import.model, hash)));
        }
        std::fs::create_dir_all(&self.out).map_err(|e| Failure::writing(&self.out, e))?;
        import.import.model.save(&model)?;
        let (family, source) = (&import.family, &import.normalisation_from);
        context.output.note(&format!(
            "{}: {family}, normalisation from {source}; as a model file: {}",
            file.display(),
            model.display()
        ));
        Ok(Start::Model(InitConfig::new(model)))
    }

    fn wishes(&self, start: Start, seed: u64) -> Wishes {
        let limited = |device: Option<String>| DeviceConfig {
            device,
            max_latency_ms: self.max_latency_ms.clone(),
            max_macs: self.max_macs.clone(),
            max_sram_kb: self.max_sram_kb.clone(),
            max_flash_kb: self.max_flash_kb.clone(),
            ..DeviceConfig::default()
        };
        let none = limited(None);
        let devices = match self.device.is_empty() {
            true if none.spreads_latencies() => Vec::new(),
            true => vec![none],
            false => self.device.iter().map(|device| limited(Some(device.clone()))).collect(),
        };
        Wishes {
            start,
            seed,
            devices,
            finetune_epochs: self.finetune_epochs,
            on_corrupt: self.corrupt.given(),
            drop_duplicates: self.drop_duplicates,
        }
    }
}

/// The configuration of a file, of the folder to resume, or a plan made for the data, which are then read already.
fn configuration(args: &RunArgs, context: &Context) -> Result<(PipelineConfig, Option<Dataset>), Failure> {
    let started_with = args.out.join(PLAN);
    let resume = args.resume || args.retrain;
    let file = match &args.config {
        Some(path) => Some(path),
        None if resume && started_with.is_file() => Some(&started_with),
        None => None,
    };
    let Some(path) = file else {
        if let (true, found @ (Holds::Run | Holds::Other(_))) = (resume, pipeline::look(&args.out)) {
            let problem = match found {
                Holds::Other(name) => {
                    format!("holds {name}, but no run to go on with ({PLAN} is missing): choose another --out")
                }
                _ => format!(
                    "holds a run whose {PLAN} is missing: put it back, or give the run's configuration as a file"
                ),
            };
            return Err(Failure::Input(format!("{}: {problem}", args.out.display())));
        }
        let data = args.data.as_deref().unwrap_or("bundled");
        let plan = plan::for_data(data, &args.wishes(args.start(context)?, context.common.seed))?;
        context.output.note("plan");
        for reason in plan.data.iter().chain(&plan.reasons) {
            context.output.note(&format!("  {reason}"));
        }
        if let Some(dataset) = plan.dataset.as_ref().filter(|_| !args.dry_run) {
            let device = ofa_train::device::open(&context.common.backend)?;
            context.output.note(&format!("  {}", Estimate::of(&plan.config, dataset, &device)?.sentence()));
        }
        if !args.dry_run {
            context
                .output
                .note(&format!("  written to {}: edit it and run it to change anything", started_with.display()));
        }
        return Ok((plan.config, plan.dataset));
    };
    let mut config = PipelineConfig::load(path).map_err(|error| match (error, &args.config) {
        (Failure::Input(problem), None) => {
            Failure::Input(format!("{problem}; put it right, or give the run's configuration as a file"))
        }
        (other, _) => other,
    })?;
    config.train = config.train.changed(|train| {
        if let Some(data) = &args.data {
            train.data.clone_from(data);
        }
        if let Some(seed) = context.explicit_seed {
            train.seed = seed;
        }
    })?;
    if args.from.is_some() {
        check_start(&args.start(context)?, &config.train, path)?;
    }
    let config = args.wishes(Start::Automatic, config.train.seed).apply(config)?;
    Ok((config, None))
}

/// Refuses to go on with a run that started from something else than is asked for now.
fn check_start(wanted: &Start, train: &TrainConfig, plan: &Path) -> Result<(), Failure> {
    let same = match (wanted, &train.init) {
        (Start::Automatic, _) | (Start::Scratch, None) => true,
        (Start::Model(model), Some(init)) => model.load()?.hash == init.load()?.hash,
        (Start::Scratch, Some(_)) | (Start::Model(_), None) => false,
    };
    match same {
        true => Ok(()),
        false => Err(Failure::Input(format!(
            "{}: the run started from something else than --from: leave it out, or choose another --out",
            plan.display()
        ))),
    }
}
