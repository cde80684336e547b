//! Compares networks found by a search with those one would choose by hand: one kernel size, one expansion ratio, one
//! depth and one resolution for the whole network.

use crate::Result;
use crate::experiment::{Experiment, Searched};
use crate::lines::{self, Lines};
use crate::work::{Runner, cpu_seconds};
use ofa::hw::{self, LatencyObjective};
use ofa::predictors::{EstimatorChoice, Fit, Pair, PredictedObjective, Target};
use ofa::search::{Alternatives, Budget, Constraint, Search, strategy};
use ofa::space::{Arch, ArchJson, Model, SearchSpace};
use ofa::train::Evaluator;
use ofa::train::TrainError;
use ofa::train::collection;
use ofa::train::data::SplitName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A limit of a device, and what either way gives within it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub device: String,
    pub limit_ms: f64,
    /// By predicted accuracy, and by measured accuracy among those that are predicted alike.
    pub searched: Chosen,
    /// The best of all uniform settings on validation images.
    pub scaled: Chosen,
    /// The best validation accuracy of the pairs within the limit.
    pub best_pair: Option<f64>,
    /// How many pairs are within it.
    pub pairs_within: usize,
    /// User and system seconds of the search, and of measuring what is predicted alike.
    pub search_cpu_seconds: f64,
}

/// A network and its accuracies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chosen {
    pub arch: ArchJson,
    pub latency_ms: f64,
    /// In the supernet: top-1 on validation and on test images.
    pub validation: f64,
    pub test: f64,
    /// Fine-tuned, on test images.
    pub tuned_test: f64,
}

/// A network with its accuracy on validation images.
pub type Scored = (Arch, f64);

pub fn run(experiment: &Experiment, runner: &mut Runner<'_>) -> Result<()> {
    let Searched { devices, limits, alternatives, .. } =
        experiment.searched.as_ref().ok_or("the experiment has no table `searched`")?;
    let file = format!("{}-searched", experiment.name);
    let known: Lines<Line> = Lines::load(&file)?;
    let supernet = runner.supernet(&experiment.tuned_recipe, experiment.first_seed())?;
    let begun = cpu_seconds();
    let (space, pairs) = runner.pairs(&supernet)?;
    eprintln!("{} pairs: {:.0} CPU s", pairs.len(), cpu_seconds() - begun);
    let uniform = uniform_archs(space.as_ref())?;
    let uniform = runner.validation_accuracies(&supernet, uniform, &format!("{}-uniform", experiment.name))?;
    let (fitting, held_out) = pairs.split_at(pairs.len() * 4 / 5);
    let of = |scored: &[Scored]| -> Vec<Pair> {
        scored.iter().map(|(arch, value)| Pair { arch: arch.clone(), value: *value }).collect()
    };
    let predictor = Fit::with(EstimatorChoice::named("auto")?).run(space.as_ref(), &of(fitting), &of(held_out))?;
    let tolerance = predictor.report.rmse;
    eprintln!("predictor: error {:.2} points, Kendall tau {:.3}", 100.0 * tolerance, predictor.report.kendall_tau);
    let accuracy = PredictedObjective::new(space.clone(), Arc::new(predictor), Target::Accuracy)?;
    for name in devices {
        let device = hw::load(name)?;
        let latency_of = |arch: &Arch| -> Result<f64> { Ok(device.latency_ms(&space.resolve(arch)?)?) };
        let (least, most) = (latency_of(&space.min_arch())?, latency_of(&space.max_arch())?);
        let objective = Arc::new(LatencyObjective::new(space.clone(), device.clone()));
        for share in limits {
            let limit = least + share * (most - least);
            if known.all().iter().any(|line| line.device == *name && line.limit_ms == limit) {
                continue;
            }
            let begun = cpu_seconds();
            let constraints = [Constraint { objective: objective.clone(), limit }];
            let search = Search { strategy: strategy::named("memetic")?, budget: Budget::evaluations(4000), seed: 0 };
            let best = search.run(space.as_ref(), &accuracy, &constraints)?.best.ok_or("no subnet is fast enough")?;
            let alternatives = Alternatives { tolerance, count: *alternatives, ..Alternatives::default() };
            let alike = alternatives.of(space.as_ref(), &accuracy, &constraints, &best)?;
            let alike = alike.into_iter().map(|candidate| candidate.arch).collect();
            let measured = runner.validation_accuracies(&supernet, alike, "")?;
            let search_cpu_seconds = cpu_seconds() - begun;
            let within = |scored: &[Scored]| -> Result<Vec<Scored>> {
                let mut within = Vec::new();
                for (arch, value) in scored {
                    if latency_of(arch)? <= limit {
                        within.push((arch.clone(), *value));
                    }
                }
                Ok(within)
            };
            let pairs = within(&pairs)?;
            let chosen = |runner: &mut Runner<'_>, scored: &[Scored]| -> Result<Chosen> {
                let (arch, validation) =
                    scored.iter().max_by(|a, b| a.1.total_cmp(&b.1)).ok_or("no network within the limit")?;
                let (test, tuned_test) = runner.tested(&supernet, arch)?;
                let latency_ms = latency_of(arch)?;
                Ok(Chosen { arch: space.format(arch), latency_ms, validation: *validation, test, tuned_test })
            };
            let line = Line {
                device: name.clone(),
                limit_ms: limit,
                searched: chosen(runner, &measured)?,
                scaled: chosen(runner, &within(&uniform)?)?,
                best_pair: pairs.iter().map(|pair| pair.1).max_by(f64::total_cmp),
                pairs_within: pairs.len(),
                search_cpu_seconds,
            };
            eprintln!("{name}, {limit:.3} ms: {:.4} against {:.4}", line.searched.test, line.scaled.test);
            lines::append(&file, &line)?;
        }
    }
    table(&Lines::load(&file)?);
    Ok(())
}

/// Seed of the pairs; no training uses it.
const PAIRS_SEED: u64 = 4321;

/// Every setting of one choice for all genes of a dimension, at every resolution.
fn uniform_archs(space: &dyn SearchSpace) -> Result<Vec<Arch>> {
    let info = space.info();
    let everything = ofa::space::Opened::EVERYTHING;
    let mut dimensions: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for gene in &info.genes {
        let choices: Vec<u8> = gene.open_choices(&everything).collect();
        let kept = dimensions.entry(gene.group.clone()).or_insert_with(|| choices.clone());
        kept.retain(|choice| choices.contains(choice));
    }
    let mut settings: Vec<BTreeMap<&str, u8>> = vec![BTreeMap::new()];
    for (dimension, choices) in &dimensions {
        settings = settings
            .iter()
            .flat_map(|setting| {
                choices.iter().map(move |choice| {
                    let mut setting = setting.clone();
                    setting.insert(dimension, *choice);
                    setting
                })
            })
            .collect();
    }
    let mut archs = Vec::new();
    for resolution in &info.resolutions {
        for setting in &settings {
            let genes = info.genes.iter().map(|gene| setting[gene.group.as_str()]).collect();
            archs.push(space.arch(genes, Some(*resolution))?);
        }
    }
    // Kernels and expansions of blocks that a depth leaves out make no difference.
    let mut seen = HashSet::new();
    archs.retain(|arch| seen.insert(arch.clone()));
    Ok(archs)
}

impl Runner<'_> {
    /// The space of a supernet, and accuracies of random subnets of it on validation images, in the order in which they were
    /// drawn.
    pub fn pairs(&self, supernet: &Model) -> Result<(Arc<dyn SearchSpace>, Vec<Scored>)> {
        let experiment = self.experiment();
        let searched = experiment.searched.as_ref().ok_or("the experiment has no table `searched`")?;
        let space = supernet.space().ok_or("the model is no supernet")?.clone();
        let archs = collection::distinct_archs(space.as_ref(), searched.pairs, PAIRS_SEED, &HashSet::new());
        let mut pairs = self.validation_accuracies(supernet, archs.clone(), &format!("{}-pairs", experiment.name))?;
        let position = |arch: &Arch| archs.iter().position(|drawn| drawn == arch);
        pairs.sort_by_key(|(arch, _)| position(arch));
        Ok((space, pairs))
    }

    /// Accuracies on validation images, kept in a file of the work folder under a name.
    fn validation_accuracies(&self, supernet: &Model, mut archs: Vec<Arch>, name: &str) -> Result<Vec<Scored>> {
        let space = supernet.space().ok_or("the model is no supernet")?;
        let path = self.work_file(&format!("{name}.json"));
        if !name.is_empty() && path.exists() {
            let kept: Vec<(ArchJson, f64)> = serde_json::from_slice(&std::fs::read(path)?)?;
            return kept.into_iter().map(|(arch, value)| Ok((space.parse(&arch)?, value))).collect();
        }
        // Images are read once a size.
        archs.sort_by(|a, b| a.resolution().cmp(&b.resolution()).then_with(|| a.cmp(b)));
        archs.dedup();
        let mut evaluator = self.evaluator(supernet, SplitName::Validation)?;
        let mut scored = Vec::new();
        evaluator.collect(&archs, &AtomicBool::new(false), |arch, top1| -> std::result::Result<(), TrainError> {
            scored.push((arch.clone(), top1));
            Ok(())
        })?;
        if !name.is_empty() {
            let kept: Vec<(ArchJson, f64)> = scored.iter().map(|(arch, value)| (space.format(arch), *value)).collect();
            std::fs::write(path, serde_json::to_vec(&kept)?)?;
        }
        Ok(scored)
    }

    /// Top-1 on test images in the supernet, and fine-tuned.
    fn tested(&mut self, supernet: &Model, arch: &Arch) -> Result<(f64, f64)> {
        let mut evaluator: Evaluator<'_> = self.evaluator(supernet, SplitName::Test)?;
        let test = evaluator.score(Some(arch))?.top1;
        let max = supernet.space().ok_or("the model is no supernet")?.max_arch();
        let (subnet, teacher) = (evaluator.extract(arch)?, evaluator.extract(&max)?);
        let tuned = self.fine_tuned(&subnet, &teacher)?;
        Ok((test, self.evaluator(&tuned, SplitName::Test)?.score(None)?.top1))
    }
}

fn table(lines: &Lines<Line>) {
    println!(
        "| device | limit, ms | searched | by hand | gain | fine-tuned | by hand | gain | best pair − searched, validation |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut gains, mut tuned) = (Vec::new(), Vec::new());
    for Line { device, limit_ms, searched, scaled, best_pair, .. } in lines.all() {
        let gain = 100.0 * (searched.test - scaled.test);
        let tuned_gain = 100.0 * (searched.tuned_test - scaled.tuned_test);
        println!(
            "| {device} | {limit_ms:.4} | {:.2} | {:.2} | {gain:+.2} | {:.2} | {:.2} | {tuned_gain:+.2} | {:+.2} |",
            100.0 * searched.test,
            100.0 * scaled.test,
            100.0 * searched.tuned_test,
            100.0 * scaled.tuned_test,
            100.0 * (best_pair.unwrap_or(f64::NAN) - searched.validation),
        );
        gains.push(gain);
        tuned.push(tuned_gain);
    }
    println!("\nmean gain {}, fine-tuned {}", lines::Mean::of(&gains), lines::Mean::of(&tuned));
}
