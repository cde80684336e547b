//! `ofa run`: the whole job.

use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::memory_limits::MemoryLimits;
use crate::cli::output::pipeline_display::Display;
use crate::cli::output::run_report;
use crate::cli::ranks::DistributedArgs;
use crate::cli::{Context, Failure};
use crate::pipeline::config::{DeviceConfig, PipelineConfig};
use crate::pipeline::estimate::Estimate;
use crate::pipeline::plan::{Start, Wishes};
use crate::pipeline::{self, Existing, Holds, PLAN, Reading, RunOptions, plan};
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
use std::time::{Duration, Instant};

/// Arguments of `ofa run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Pipeline configuration (TOML), or the folder of a run to resume [default: the bundled quickstart; with --resume, the
    /// configuration in the output folder].
    config: Option<PathBuf>,
    /// Your own labelled images, instead of the data in the configuration. Without a configuration, a plan is made for
    /// them.
    #[arg(long)]
    data: Option<String>,
    /// Folder for everything that the run writes [default: ofa-run].
    #[arg(short, long, alias = "output")]
    out: Option<PathBuf>,
    /// Resume the run in the output folder. Finished steps are repeated only if something they depend on has changed.
    /// In an empty folder, a new run starts with the given configuration or data.
    #[arg(long)]
    resume: bool,
    /// Resume the run, but move its training aside and train again.
    #[arg(long)]
    retrain: bool,
    /// Time the blocks on this machine again if networks were chosen for `host`, and choose them again.
    #[arg(long)]
    reprofile: bool,
    /// Read every file of the data, including those with unchanged size and modification time.
    #[arg(long)]
    verify_data: bool,
    /// Network to start from when a plan is made for --data: `mcunet` (default for photos), `scratch`, a model file, or
    /// a checkpoint that `ofa import pretrained` reads without options.
    #[arg(long, requires = "data", conflicts_with = "config", value_name = "NAME|MODEL")]
    from: Option<String>,
    /// Devices to search for, instead of those in the plan; latency limits apply to each of them.
    #[arg(long, value_delimiter = ',')]
    device: Vec<String>,
    /// Latency limits in milliseconds, or as shares of the largest subnet, such as 60%.
    #[arg(long, value_delimiter = ',', requires = "device")]
    max_latency_ms: Vec<Limit>,
    /// Limits on multiply-accumulates, such as 300M, or as shares, such as 25%.
    #[arg(long, value_delimiter = ',')]
    max_macs: Vec<Limit>,
    /// Limits on parameters, or as shares.
    #[arg(long, value_delimiter = ',')]
    max_params: Vec<Limit>,
    #[command(flatten)]
    memory: MemoryLimits,
    /// Epochs of fine-tuning for each chosen network, instead of those in the plan; 0 = none.
    #[arg(long)]
    finetune_epochs: Option<f64>,
    /// Fit a new run into this time on this machine, such as 15m or 2h. Epochs are scaled once, after a short
    /// measurement, and written to the plan of the run.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    budget: Option<Duration>,
    /// Print the plan with an estimate of time and memory, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Exclude images from training that are also validation or test images (identical files).
    #[arg(long)]
    drop_duplicates: bool,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    pub(super) ranks: DistributedArgs,
}

/// Where a run goes if no place is given.
const DEFAULT_OUT: &str = "ofa-run";

pub fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let ranks = &context.ranks;
    if !ranks.is_first() {
        return pipeline::ranks::assist(ranks.all(), &context.common.backend, &context.stop);
    }
    let place = args.place()?;
    let out = place.out.as_path();
    let Planned { config, dataset, estimate, .. } =
        configuration(args, &place, context)?.within(args.budget, context)?;
    let options = RunOptions {
        out,
        existing: match (args.retrain, place.resume) {
            (true, _) => Existing::Retrain,
            (false, true) => Existing::Resume,
            (false, false) => Existing::Refuse,
        },
        backend: &context.common.backend,
        names_skipped: context.common.verbose > 0,
        dataset,
        estimate,
        reprofile: args.reprofile,
        data: if args.verify_data { Reading::All } else { Reading::Changed },
        ranks: ranks.all(),
        stop: &context.stop,
    };
    // The others need the plan, or nothing.
    let plan = if args.dry_run { String::new() } else { config.to_file()? };
    pipeline::ranks::tell(ranks.all(), plan.as_bytes())?;
    if args.dry_run {
        return rehearse(&config, options.dataset.as_ref(), context);
    }
    let mut display = Display::new(context.output);
    let finished = pipeline::run(&config, &options, &mut display)?;
    run_report::show(&finished, out, started, context)
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

/// Whether a folder holds a run, finished or not, or the plan of one.
fn is_begun(folder: &Path) -> bool {
    matches!(pipeline::look(folder), Holds::Run | Holds::Plan)
}

/// Where a run is, and where its plan is.
struct Place {
    out: PathBuf,
    /// A configuration that was given.
    config: Option<PathBuf>,
    /// Whether to go on with what is there.
    resume: bool,
}

impl RunArgs {
    /// A configuration that is the folder of a run means that run.
    fn place(&self) -> Result<Place, Failure> {
        let (default, resume) = (PathBuf::from(DEFAULT_OUT), self.resume || self.retrain);
        match &self.config {
            Some(folder) if folder.is_dir() => match (is_begun(folder), &self.out) {
                (true, None) => Ok(Place { out: folder.clone(), config: None, resume: true }),
                (true, Some(out)) => Err(Failure::Input(format!(
                    "{} is a run to go on with, and --out {} another place: give one of them, or {} for a new run of the \
                     same plan",
                    folder.display(),
                    out.display(),
                    folder.join(PLAN).display()
                ))),
                (false, _) => Err(Failure::Input(format!(
                    "{} is a folder without a run: for your own images give --data {0}",
                    folder.display()
                ))),
            },
            config => Ok(Place { out: self.out.clone().unwrap_or(default), config: config.clone(), resume }),
        }
    }

    /// What a plan starts from. A checkpoint of a known family becomes a model file in the run's folder.
    fn start(&self, out: &Path, context: &Context) -> Result<Start, Failure> {
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
        let model = pipeline::work_of(out).join(plan::start_model(&hash));
        if self.dry_run {
            return Ok(Start::Model(InitConfig::new(model).unwritten(import.import.model, hash)));
        }
        let work = pipeline::work_of(out);
        std::fs::create_dir_all(&work).map_err(|e| Failure::writing(&work, e))?;
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
        let limited = |device: Option<String>| {
            self.memory.within(DeviceConfig {
                device,
                max_latency_ms: self.max_latency_ms.clone(),
                max_macs: self.max_macs.clone(),
                max_params: self.max_params.clone(),
                ..DeviceConfig::default()
            })
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

/// What is to be done, and what was learnt while it was planned.
struct Planned {
    config: PipelineConfig,
    dataset: Option<Dataset>,
    estimate: Option<Estimate>,
    /// The plan of a run that goes on.
    begun: Option<PathBuf>,
}

impl Planned {
    /// The same in a given time.
    fn within(self, budget: Option<Duration>, context: &Context) -> Result<Self, Failure> {
        let Some(time) = budget else { return Ok(self) };
        if let Some(plan) = &self.begun {
            return Err(Failure::Input(format!(
                "--budget is for a new run: the epochs of this one are in {}",
                plan.display()
            )));
        }
        let dataset = match self.dataset {
            Some(dataset) => dataset,
            None => self.config.train.load_data()?,
        };
        let device = ofa_train::device::open(&context.common.backend)?;
        let full = match self.estimate {
            Some(estimate) => estimate,
            None => Estimate::of(&self.config, &dataset, &device)?,
        };
        let config = full.within(time.as_secs_f64(), self.config)?;
        let estimate = Estimate::of(&config, &dataset, &device)?;
        let epochs = config.train.phases.iter().map(|phase| format!("{} {}", phase.name, phase.epochs));
        let tuning = config.deploy.finetune.as_ref().map(|tuning| format!("fine-tuning {}", tuning.epochs));
        let epochs = epochs.chain(tuning).collect::<Vec<_>>().join(", ");
        context.output.note(&format!("  epochs for the budget: {epochs}; {}", estimate.sentence()));
        Ok(Self { config, dataset: Some(dataset), estimate: Some(estimate), begun: None })
    }
}

/// The configuration of a file, of the folder to resume, or a plan made for the data, which are then read already.
fn configuration(args: &RunArgs, Place { out, config, resume }: &Place, context: &Context) -> Result<Planned, Failure> {
    let started_with = out.join(PLAN);
    let resume = *resume;
    let file = match config {
        Some(path) => Some(path),
        None if resume && started_with.is_file() => Some(&started_with),
        None => None,
    };
    let Some(path) = file else {
        if let (true, found @ (Holds::Run | Holds::Other(_))) = (resume, pipeline::look(out)) {
            return Err(match found {
                Holds::Other(name) => pipeline::no_run_in(out, &name),
                _ => Failure::Input(format!(
                    "{}: holds a run whose {PLAN} is missing: put it back, or give the run's configuration as a file",
                    out.display()
                )),
            });
        }
        if resume && args.data.is_none() {
            // A run that was killed before it wrote its plan is not the quickstart.
            return Err(Failure::Input(format!(
                "{}: holds no run to resume: give the configuration or the data that it was started with; without --resume, \
                 the quickstart begins",
                out.display()
            )));
        }
        let data = args.data.as_deref().unwrap_or("bundled");
        let plan = plan::for_data(data, &args.wishes(args.start(out, context)?, context.common.seed))?;
        context.output.note("plan");
        for reason in plan.data.iter().chain(&plan.reasons) {
            context.output.note(&format!("  {reason}"));
        }
        let mut estimate = None;
        if let Some(dataset) = plan.dataset.as_ref().filter(|_| !args.dry_run) {
            let device = ofa_train::device::open(&context.common.backend)?;
            let known = estimate.insert(Estimate::of(&plan.config, dataset, &device)?);
            context.output.note(&format!("  {}", known.sentence()));
        }
        if !args.dry_run {
            context
                .output
                .note(&format!("  written to {}: edit it and run it to change anything", started_with.display()));
        }
        return Ok(Planned { config: plan.config, dataset: plan.dataset, estimate, begun: None });
    };
    let mut config = PipelineConfig::load(path).map_err(|error| match (error, config) {
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
        check_start(&args.start(out, context)?, &config.train, path)?;
    }
    let config = args.wishes(Start::Automatic, config.train.seed).apply(config)?;
    let begun = (resume && started_with.is_file()).then_some(started_with);
    Ok(Planned { config, dataset: None, estimate: None, begun })
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
