//! What an experiment consists of: its plan, the networks that are compared, and the units of work.

use crate::Result;
use ofa::space::{Arch, Opened, SearchSpace};
use ofa::train::collection::distinct_archs;
use ofa::train::fine_tuning::FineTuning;
use ofa::train::shrinking::TrainConfig;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Random subnets beside the smallest, the middle and the largest.
const RANDOM: usize = 10;
/// Seed of the random subnets; no training uses it.
const RANDOM_SEED: u64 = 1234;

/// An experiment's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    pub name: String,
    /// Training of the largest network, from which recipes with `init` branch.
    pub largest: PathBuf,
    /// Training files of supernets, by the name of the recipe.
    pub recipes: BTreeMap<String, Recipe>,
    /// Training of single networks.
    pub alone: FineTuning,
    /// Epochs of the smallest, the middle and the largest network alone that cost as many steps as the whole supernet.
    pub long_epochs: f64,
    /// Fine-tuning of subnets.
    pub tuned: FineTuning,
    /// Epochs of fine-tuning.
    pub tuned_epochs: Vec<f64>,
    /// The recipe whose subnets are fine-tuned.
    pub tuned_recipe: String,
    /// Seeds of the networks with names (`min`, `mid`, `max`); the first one is that of everything else.
    pub seeds: Vec<u64>,
    /// Training images for BN recalibration.
    pub calibration_images: usize,
    /// Searched networks beside hand-made ones.
    pub searched: Option<Searched>,
    /// Folder of the experiment's file.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Searches in the supernet of the recipe that is fine-tuned.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Searched {
    pub devices: Vec<String>,
    /// Limits of latency, as shares of the way from the smallest to the largest network.
    pub limits: Vec<f64>,
    /// Subnets that the predictor learns from.
    pub pairs: usize,
    /// Subnets that are predicted alike and measured, for each limit.
    pub alternatives: usize,
}

/// A way to train a supernet.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Training file.
    pub file: PathBuf,
    /// Factors of all its learning rates that are tried.
    #[serde(default = "one")]
    pub rates: Vec<f64>,
    /// Seeds; the experiment's first one, if left out.
    #[serde(default)]
    pub seeds: Vec<u64>,
}

fn one() -> Vec<f64> {
    vec![1.0]
}

/// One training.
#[derive(Clone)]
pub enum Unit {
    /// The largest network, as it is before its subnets learn.
    Largest { seed: u64 },
    /// A supernet.
    Supernet { recipe: String, rate: f64, seed: u64 },
    /// A network from fresh weights.
    Alone { arch: String, epochs: f64, seed: u64 },
    /// A subnet, fine-tuned with the largest as teacher.
    Tuned { recipe: String, arch: String, epochs: f64, seed: u64 },
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Largest { seed } => write!(f, "largest/{seed}"),
            Self::Supernet { recipe, rate, seed } => write!(f, "supernet/{recipe}/x{rate}/{seed}"),
            Self::Alone { arch, epochs, seed } => write!(f, "alone/{epochs}/{arch}/{seed}"),
            Self::Tuned { recipe, arch, epochs, seed } => write!(f, "tuned/{recipe}/{epochs}/{arch}/{seed}"),
        }
    }
}

/// Networks with a name of their own.
pub const NAMED: [&str; 3] = ["min", "mid", "max"];

impl Experiment {
    pub fn load(path: &Path) -> Result<Self> {
        let mut experiment: Self = toml::from_str(&std::fs::read_to_string(path)?)?;
        experiment.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(experiment)
    }

    /// A training file of the experiment.
    pub fn training(&self, file: &Path) -> Result<TrainConfig> {
        Ok(TrainConfig::load(&self.folder.join(file))?.into_inner())
    }

    pub fn first_seed(&self) -> u64 {
        self.seeds.first().copied().unwrap_or_default()
    }

    /// Names of the networks that are compared.
    pub fn arch_names(&self) -> Vec<String> {
        let random = (0..RANDOM).map(|index| format!("random-{index}"));
        NAMED.iter().map(ToString::to_string).chain(random).collect()
    }

    /// Trainings, dear ones that others need first.
    pub fn units(&self) -> Vec<Unit> {
        let first = self.first_seed();
        let mut units: Vec<Unit> = self.seeds.iter().map(|&seed| Unit::Largest { seed }).collect();
        for (name, recipe) in &self.recipes {
            let seeds = if recipe.seeds.is_empty() { vec![first] } else { recipe.seeds.clone() };
            for (rate, seed) in recipe.rates.iter().flat_map(|rate| seeds.iter().map(move |seed| (*rate, *seed))) {
                units.push(Unit::Supernet { recipe: name.clone(), rate, seed });
            }
        }
        for arch in self.arch_names() {
            let named = NAMED.contains(&arch.as_str());
            for &seed in self.seeds.iter().take(if named { usize::MAX } else { 1 }) {
                units.push(Unit::Alone { arch: arch.clone(), epochs: self.alone.epochs, seed });
            }
            if named {
                units.push(Unit::Alone { arch: arch.clone(), epochs: self.long_epochs, seed: first });
            }
            for &epochs in &self.tuned_epochs {
                units.push(Unit::Tuned { recipe: self.tuned_recipe.clone(), arch: arch.clone(), epochs, seed: first });
            }
        }
        units
    }

    /// The networks that are compared, by name.
    pub fn archs(&self, space: &dyn SearchSpace) -> Result<BTreeMap<String, Arch>> {
        let info = space.info();
        let middle = info.genes.iter().map(|gene| {
            let open: Vec<u8> = gene.open_choices(&Opened::EVERYTHING).collect();
            open[open.len() / 2]
        });
        let middle = space.arch(middle.collect(), info.resolutions.get(info.resolutions.len() / 2).copied())?;
        let named = [space.min_arch(), middle, space.max_arch()];
        let random = distinct_archs(space, RANDOM, RANDOM_SEED, &HashSet::new());
        Ok(self.arch_names().into_iter().zip(named.into_iter().chain(random)).collect())
    }
}
