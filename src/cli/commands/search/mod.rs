//! `ofa search`: the best subnet for every combination of limits, or the Pareto front.

mod next_device;
mod report;

use crate::cli::args::memory_limits::MemoryLimits;
use crate::cli::args::search_devices::{Wanted, supported, wanted};
use crate::cli::args::space_choice::space;
use crate::cli::output::progress::Progress;
use crate::cli::{Context, Failure};
use crate::limits::Bounds;
use crate::prediction::Shown;
use clap::Args;
use ofa_hw::{LatencyObjective, LatencySource};
use ofa_predictors::{self as predictors, FittedPredictor, PredictedObjective};
use ofa_search::{Budget, Outcome, Search, pareto, strategy};
use ofa_search::{Candidate, Observer};
use ofa_search::{Limit, LimitList, SearchError, Target};
use ofa_space::{BlockObjective, Objective, SearchSpace, cost, settings};
use report::{CaseReport, DeviceReport, SearchReport, limits, plot, section, text};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Arguments of `ofa search`.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// Folder of a finished run, to find networks for another device. The given devices and limits are added to its
    /// plan, and new networks are searched, extracted, fine-tuned (if the run did), tested and exported.
    #[arg(value_name = "RUN", required_unless_present_all = ["space", "accuracy"], conflicts_with_all = OF_A_SEARCH_ALONE)]
    run: Option<PathBuf>,
    #[command(flatten)]
    next: next_device::NextDeviceArgs,
    /// Registered name, TOML file, or model file.
    #[arg(long, requires = "accuracy")]
    space: Option<String>,
    /// Predictor of accuracy: a file of `ofa fit`, or an official `.pth`.
    #[arg(long, alias = "predictor", requires = "space")]
    accuracy: Option<PathBuf>,
    /// Device for the latency limits. Can be repeated or list several names, and a device can have its own limits:
    /// `--device note10:15,20 --device v100:0.5,0.7`. Devices share what the search finds.
    #[arg(long, value_name = "DEVICE[:MS,…]")]
    device: Vec<String>,
    /// Latency limits in milliseconds, for devices without their own limits. Every limit can also be a share of the
    /// largest subnet, such as 60%.
    #[arg(long, value_delimiter = ',', requires = "device", value_name = "MS|%")]
    max_latency_ms: Vec<Limit>,
    /// Limits on multiply-accumulates, such as 300M.
    #[arg(long, value_delimiter = ',', value_name = "MACS|%")]
    max_macs: Vec<Limit>,
    /// Limits on parameters.
    #[arg(long, value_delimiter = ',', value_name = "PARAMS|%")]
    max_params: Vec<Limit>,
    #[command(flatten)]
    memory: MemoryLimits,
    /// Return the Pareto front of all evaluated subnets instead of one network per limit.
    #[arg(long)]
    pareto: bool,
    /// Search strategy.
    #[arg(long, default_value = strategy::DEFAULT)]
    strategy: String,
    /// Budget of evaluations per case [default: the strategy's own].
    #[arg(long)]
    evaluations: Option<usize>,
    /// Wall time for all cases together in seconds, instead of a number of evaluations. The result then depends on the
    /// speed of the machine.
    #[arg(long, conflicts_with = "evaluations")]
    seconds: Option<f64>,
    /// Maximise the prediction minus this many standard deviations, so that the search does not prefer uncertain
    /// predictions.
    #[arg(long, default_value_t = 0.0)]
    caution: f64,
    /// Draw the front, the limits and the chosen networks, block by block, into this SVG file.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Options that a run's own plan has, or that its report shows.
const OF_A_SEARCH_ALONE: [&str; 8] =
    ["space", "accuracy", "pareto", "strategy", "evaluations", "seconds", "caution", "plot"];

/// One grid of limits: for a device, or without one.
struct Grid {
    wanted: Option<Wanted>,
    space: Arc<dyn SearchSpace>,
    lists: Vec<LimitList>,
    names: Vec<String>,
    /// What is known about each limited quantity; nothing for a front, which has no limits.
    bounds: Vec<Bounds>,
}

impl Grid {
    fn new(
        args: &SearchArgs,
        wanted: Option<Wanted>,
        space: Arc<dyn SearchSpace>,
        predictor: &FittedPredictor,
    ) -> Result<Self, Failure> {
        let space = supported(space, predictor, wanted.as_ref())?;
        let mut lists: Vec<LimitList> = Vec::new();
        let mut add = |objective: Arc<dyn Objective>, limits: &[Limit]| -> Result<(), SearchError> {
            let value = |limit: &Limit| limit.value(objective.as_ref(), space.as_ref());
            let limits: Vec<f64> = limits.iter().map(value).collect::<Result<_, _>>()?;
            match limits.is_empty() {
                true if !args.pareto => {}
                true => lists.push(LimitList { objective, limits: vec![f64::INFINITY] }),
                false => lists.push(LimitList { objective, limits }),
            }
            Ok(())
        };
        if let Some(wanted) = &wanted {
            add(Arc::new(LatencyObjective::new(space.clone(), wanted.device.clone())), &wanted.limits)?;
        }
        if wanted.is_none() || !args.max_macs.is_empty() {
            add(Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs)), &args.max_macs)?;
        }
        if !args.max_params.is_empty() {
            add(Arc::new(BlockObjective::cost("params", space.clone(), cost::block_params)), &args.max_params)?;
        }
        for (objective, limits) in args.memory.objectives(&space, wanted.as_ref().map(|wanted| &wanted.device))? {
            add(objective, limits)?;
        }
        if lists.is_empty() {
            return Err(Failure::Input(
                "nothing limits the search: give --device with --max-latency-ms, --max-macs or --max-params, or --pareto"
                    .into(),
            ));
        }
        let names = lists.iter().map(|list| list.objective.name().to_owned()).collect();
        let bounds = if args.pareto { Vec::new() } else { Bounds::of(&lists, space.as_ref())? };
        Ok(Self { wanted, space, lists, names, bounds })
    }

    fn cases(&self) -> usize {
        self.lists.iter().map(|list| list.limits.len()).product()
    }

    fn resolutions(&self) -> &[u32] {
        &self.space.info().resolutions
    }

    /// Name of the device; empty without one.
    fn device(&self) -> String {
        self.wanted.as_ref().map_or_else(String::new, |wanted| wanted.name.clone())
    }

    /// What was found; the device is named in each result where there are `several`.
    fn reports(&self, outcomes: &[Outcome], args: &SearchArgs, several: bool) -> Result<Vec<CaseReport>, Failure> {
        let device = several.then(|| self.device());
        let describe = |candidate: &Candidate, constraint| -> Result<CaseReport, Failure> {
            let net = self.space.resolve(&candidate.arch)?;
            let latency = |wanted: &Wanted| wanted.device.subnet_latency_ms(self.space.as_ref(), &candidate.arch);
            let latency_ms = self.wanted.as_ref().map(latency).transpose()?;
            let shown = Shown::of(candidate.score);
            Ok(CaseReport {
                device: device.clone(),
                constraint,
                arch: Some(self.space.format(&candidate.arch)),
                accuracy: Some(shown.accuracy),
                extrapolated: shown.extrapolated,
                latency_ms,
                macs: Some(cost::macs(&net)),
                params: Some(cost::params(&net)),
                optimal: false,
                closest: None,
                unfound: None,
            })
        };
        if args.pareto {
            let all: Vec<Candidate> = outcomes.iter().flat_map(|outcome| outcome.front.clone()).collect();
            return pareto::front(&all).iter().map(|candidate| describe(candidate, serde_json::Map::new())).collect();
        }
        let report = |outcome: &Outcome| match &outcome.best {
            Some(best) => {
                let found = describe(best, limits(&self.names, &outcome.limits))?;
                Ok(CaseReport { optimal: outcome.proven, ..found })
            }
            None => Ok(CaseReport::unfound(device.clone(), &self.names, &self.bounds, outcome)),
        };
        outcomes.iter().map(report).collect()
    }
}

pub fn run(args: &SearchArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    args.seconds.map_or(Ok(()), |seconds| settings::positive("--seconds", seconds))?;
    settings::number("--caution", args.caution, 0.0..=1000.0)?;
    let (listed, accuracy) = match (&args.run, &args.space, &args.accuracy) {
        (Some(folder), ..) => return next_device::run(args, folder, context),
        (None, Some(space), Some(accuracy)) => (space, accuracy),
        _ => return Err(Failure::Input("give the folder of a run, or --space and --accuracy".into())),
    };
    args.next.refuse()?;
    let devices = wanted(&args.device, &args.max_latency_ms, args.pareto)?;
    let predictor = Arc::new(FittedPredictor::load_for(accuracy, predictors::Target::Accuracy)?);
    let listed = space(listed, None)?;
    let grids: Result<Vec<Grid>, Failure> = match devices.is_empty() {
        true => vec![None],
        false => devices.into_iter().map(Some).collect(),
    }
    .into_iter()
    .map(|device| Grid::new(args, device, listed.clone(), &predictor))
    .collect();
    let grids = grids?;
    for wanted in grids.iter().filter_map(|grid| grid.wanted.as_ref()) {
        if wanted.device.source() == LatencySource::Measured {
            context.output.note(&format!(
                "{0}: every network is timed while the search goes on; `ofa profile --device {0} --space {1} -o profile.toml` \
                 times the blocks once, and a search with that profile takes a fraction of a second",
                wanted.name,
                args.space.as_deref().unwrap_or_default()
            ));
        }
    }
    for grid in &grids {
        let of = if grids.len() > 1 { format!("{}: ", grid.device()) } else { String::new() };
        let minima = Bounds::minima_in_words(&grid.bounds);
        for note in minima.into_iter().chain(Bounds::loose_limits(&grid.bounds, &grid.lists)) {
            context.output.note(&format!("{of}{note}"));
        }
    }
    let mut resolutions: Vec<u32> = grids.iter().flat_map(|grid| grid.resolutions().iter().copied()).collect();
    resolutions.sort_unstable();
    resolutions.dedup();
    let space = match &grids[..] {
        [only] => only.space.clone(),
        _ => ofa_space::registry::with_field(listed.as_ref(), "resolutions", serde_json::json!(resolutions))?,
    };
    let accuracy =
        PredictedObjective::new(space.clone(), predictor, predictors::Target::Accuracy)?.cautious(args.caution)?;
    let strategy = strategy::named(&args.strategy)?;
    let cases: usize = grids.iter().map(Grid::cases).sum();
    let evaluations = args.evaluations.unwrap_or_else(|| strategy.default_evaluations_of(grids.len(), cases));
    let budget = match args.seconds {
        None => Budget::evaluations(evaluations),
        Some(seconds) if seconds > 0.0 && seconds.is_finite() => Budget::seconds(seconds / cases.max(1) as f64),
        Some(seconds) => return Err(Failure::Input(format!("--seconds is {seconds}, expected more than 0"))),
    };
    let search = Search { strategy, budget, seed: context.common.seed };
    let mut observer = Bar(Progress::new("search", (evaluations * cases) as u64, context.output));
    let targets: Vec<Target<'_>> =
        grids.iter().map(|grid| Target { genes: grid.space.as_ref(), lists: &grid.lists }).collect();
    let outcomes = search.run_targets(&accuracy, &targets, &mut observer, &context.stop).map_err(|error| {
        // A device that was measuring when the user interrupted has failed for that reason.
        match context.stop.load(Ordering::SeqCst) {
            true => Failure::Interrupted("interrupted while a device was measuring".into()),
            false => error.into(),
        }
    })?;
    observer.0.finish();
    let interrupted = context.stop.load(Ordering::SeqCst);
    let several = grids.len() > 1;
    let mut results = Vec::new();
    let mut sections = Vec::new();
    for (grid, outcomes) in grids.iter().zip(&outcomes) {
        results.extend(grid.reports(outcomes, args, several)?);
        let mut title = if several { grid.device() } else { String::new() };
        if interrupted {
            title = format!("{title} (interrupted)").trim_start().to_owned();
        }
        sections.push(section(title, &grid.names, outcomes, grid.space.as_ref())?);
    }
    if let Some(path) = args.plot.as_ref().filter(|_| !interrupted || results.iter().any(|case| case.arch.is_some())) {
        plot(path, &sections, space.as_ref())?;
    }
    let feasible = results.iter().any(|case| case.arch.is_some());
    let impossible = results.iter().all(|case| case.unfound.as_ref().is_some_and(|unfound| unfound.infeasible));
    let of_device = |grid: &Grid| DeviceReport { device: grid.device(), resolutions: grid.resolutions().to_vec() };
    let report = SearchReport {
        strategy: args.strategy.clone(),
        evaluations: outcomes.iter().flatten().map(|outcome| outcome.evaluations).sum(),
        seconds: started.elapsed().as_secs_f64(),
        resolutions,
        devices: if several { grids.iter().map(of_device).collect() } else { Vec::new() },
        interrupted,
        results,
    };
    context.output.result(&report, || text(&report))?;
    match (feasible, impossible) {
        _ if interrupted => {
            Err(Failure::Interrupted("interrupted: what is shown is the best of a part of the search".into()))
        }
        (true, _) => Ok(()),
        (false, true) => Err(Failure::Running("no case is feasible: the closest values found are shown".into())),
        (false, false) => Err(Failure::Running(
            "no subnet within the limits was found: the closest values found are shown; with more --evaluations or another \
             --strategy there may be one"
                .into(),
        )),
    }
}

struct Bar(Progress);

impl Observer for Bar {
    fn on_progress(&mut self, evaluations: usize, best: Option<&Candidate>) {
        let accuracy = best.map_or_else(|| "–".to_owned(), |b| Shown::of(b.score).percent(3));
        self.0.update(evaluations as u64, &accuracy);
    }
}
