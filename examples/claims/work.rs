//! Running a unit: training, and the accuracies of the result.

use crate::Result;
use crate::experiment::{Experiment, Unit};
use crate::lines::{Accuracies, Line};
use ofa::space::{Arch, Checked, Model, ModelBody, Settings, cost, importance, initialisation, supernet};
use ofa::train::data::{Dataset, SplitName};
use ofa::train::device::{self, Device};
use ofa::train::evaluation::EvaluationSettings;
use ofa::train::fine_tuning::{FineTuning, FineTuningObserver};
use ofa::train::shrinking::{InitConfig, Observer, PhaseRecord, Silent, TrainConfig, Trainer};
use ofa::train::{Evaluator, FineTuner};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Steps between notes of the processor time.
const NOTED_STEPS: usize = 100;

pub struct Runner<'a> {
    experiment: &'a Experiment,
    data: String,
    work: PathBuf,
    dataset: Dataset,
    device: Device,
    archs: BTreeMap<String, Arch>,
    /// An untrained supernet of the space.
    blank: Model,
}

impl<'a> Runner<'a> {
    pub fn new(experiment: &'a Experiment, data: &str, work: &Path) -> Result<Self> {
        let mut config = experiment.training(&experiment.largest)?;
        config.data = data.to_owned();
        let config = config.checked()?;
        let dataset = config.load_data()?;
        let device = device::open("flex")?;
        let trainer = Trainer::new(&config, &dataset, &device)?;
        let space = trainer.space().clone();
        let mut provenance = BTreeMap::new();
        dataset.record(&mut provenance);
        let blank = Model {
            weights: initialisation::supernet_weights(space.as_ref(), 0)?,
            body: ModelBody::Supernet { space: space.clone() },
            class_names: dataset.class_names.clone(),
            input: dataset.input.clone(),
            provenance,
        };
        let archs = experiment.archs(space.as_ref())?;
        Ok(Self { experiment, data: data.to_owned(), work: work.to_owned(), dataset, device, archs, blank })
    }

    pub fn run(&mut self, unit: &Unit) -> Result<Line> {
        let folder = self.folder(unit);
        fs::create_dir_all(&folder)?;
        let mut clock = Clock::resume(&folder);
        let (model, steps) = match unit {
            Unit::Largest { seed } => {
                let config = self.experiment.training(&self.experiment.largest)?;
                self.train(config, *seed, &folder, &mut clock)?
            }
            Unit::Supernet { recipe, rate, seed } => {
                let recipe = self.experiment.recipes.get(recipe).ok_or("no such recipe")?;
                let mut config = self.experiment.training(&recipe.file)?;
                scale_rates(&mut config, *rate);
                if config.init.is_some() {
                    let largest = self.folder(&Unit::Largest { seed: *seed }).join(MODEL);
                    config.init = Some(InitConfig::new(largest));
                }
                self.train(config, *seed, &folder, &mut clock)?
            }
            Unit::Alone { arch, epochs, seed } => {
                let settings = FineTuning { epochs: *epochs, seed: *seed, ..self.experiment.alone.clone() };
                let model = self.fresh(arch, *seed)?;
                self.tune(&settings.checked()?, &model, None, &folder, &mut clock)?
            }
            Unit::Tuned { recipe, arch, epochs, seed } => {
                let supernet = self.supernet(recipe, *seed)?;
                let mut evaluator = self.evaluator(&supernet, SplitName::Test)?;
                let subnet = evaluator.extract(&self.archs[arch])?;
                let teacher = evaluator.extract(&self.archs["max"])?;
                let settings = FineTuning { epochs: *epochs, seed: *seed, ..self.experiment.tuned.clone() };
                self.tune(&settings.checked()?, &subnet, Some(&teacher), &folder, &mut clock)?
            }
        };
        let cpu_seconds = clock.seconds();
        model.save(&folder.join(MODEL))?;
        let networks = self.accuracies(unit, &model)?;
        Ok(Line {
            unit: unit.to_string(),
            steps,
            cpu_seconds: (cpu_seconds * 10.0).round() / 10.0,
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            networks,
        })
    }

    fn folder(&self, unit: &Unit) -> PathBuf {
        self.work.join(unit.to_string().replace('/', "-"))
    }

    pub fn experiment(&self) -> &'a Experiment {
        self.experiment
    }

    pub fn validation_images(&self) -> usize {
        self.dataset.validation.len()
    }

    pub fn work_file(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// The supernet of a recipe, once its unit is done.
    pub fn supernet(&self, recipe: &str, seed: u64) -> Result<Model> {
        let unit = Unit::Supernet { recipe: recipe.to_owned(), rate: 1.0, seed };
        Ok(Model::load(&self.folder(&unit).join(MODEL))?)
    }

    pub fn evaluator<'m>(&'m self, model: &'m Model, split: SplitName) -> Result<Evaluator<'m>> {
        let calibration_images = self.experiment.calibration_images;
        let settings = EvaluationSettings { split, calibration_images, ..Default::default() };
        Ok(Evaluator::new(model, &self.dataset, &self.device, &settings)?)
    }

    /// A subnet after the longest fine-tuning of the experiment.
    pub fn fine_tuned(&self, subnet: &Model, teacher: &Model) -> Result<Model> {
        let epochs = self.experiment.tuned_epochs.iter().copied().fold(0.0, f64::max);
        let settings =
            FineTuning { epochs, seed: self.experiment.first_seed(), ..self.experiment.tuned.clone() }.checked()?;
        let tuner = FineTuner::new(&settings, subnet, &self.dataset, &self.device)?.with_teacher(teacher)?;
        Ok(tuner.train(None, &mut Silent, &AtomicBool::new(false))?.model)
    }

    fn train(&self, mut config: TrainConfig, seed: u64, folder: &Path, clock: &mut Clock) -> Result<(Model, usize)> {
        config.data.clone_from(&self.data);
        config.seed = seed;
        let config = config.checked()?;
        let trainer = Trainer::new(&config, &self.dataset, &self.device)?;
        let trained = trainer.train(Some(folder), clock, &AtomicBool::new(false))?;
        let steps = trained.history.phases.iter().map(|phase| phase.steps).sum();
        Ok((trained.model, steps))
    }

    fn tune(
        &self,
        settings: &Checked<FineTuning>,
        model: &Model,
        teacher: Option<&Model>,
        folder: &Path,
        clock: &mut Clock,
    ) -> Result<(Model, usize)> {
        let mut tuner = FineTuner::new(settings, model, &self.dataset, &self.device)?;
        if let Some(teacher) = teacher {
            tuner = tuner.with_teacher(teacher)?;
        }
        let tuned = tuner.train(Some(folder), clock, &AtomicBool::new(false))?;
        Ok((tuned.model, tuned.steps))
    }

    /// A network with weights of its own, as the supernet's are drawn.
    fn fresh(&self, arch: &str, seed: u64) -> Result<Model> {
        let mut model = self.blank.extract(&self.archs[arch])?;
        let defs = model
            .net(None)?
            .tensors()
            .map(|t| (t.name.clone(), supernet::TensorDef { shape: t.full.clone(), role: t.role }))
            .collect();
        model.weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(seed));
        Ok(model)
    }

    fn accuracies(&self, unit: &Unit, model: &Model) -> Result<BTreeMap<String, Accuracies>> {
        let mut sorted = None;
        if let (Unit::Largest { .. }, Some(space)) = (unit, model.space()) {
            // Subnets of the largest network take its most important channels.
            let mut copy = model.clone();
            importance::sort_channels(&mut copy.weights, &supernet::elastic_channels(space.as_ref())?, 0)?;
            sorted = Some(copy);
        }
        let model = sorted.as_ref().unwrap_or(model);
        let mut networks = BTreeMap::new();
        let mut score = |name: &str, arch: Option<&Arch>| -> Result<()> {
            let on = |split| -> Result<f64> { Ok(self.evaluator(model, split)?.score(arch)?.top1) };
            let macs = cost::macs(&model.net(arch)?);
            let (validation, test) = (on(SplitName::Validation)?, on(SplitName::Test)?);
            networks.insert(name.to_owned(), Accuracies { macs, validation, test });
            Ok(())
        };
        match unit {
            Unit::Largest { .. } | Unit::Supernet { .. } => {
                for (name, arch) in &self.archs {
                    score(name, Some(arch))?;
                }
            }
            Unit::Alone { arch, .. } | Unit::Tuned { arch, .. } => score(arch, None)?,
        }
        Ok(networks)
    }
}

const MODEL: &str = "model.safetensors";

fn scale_rates(config: &mut TrainConfig, factor: f64) {
    let rates = config.phases.iter_mut().filter_map(|phase| phase.learning_rate.as_mut());
    for rate in rates.chain(config.schedule.as_mut().map(|schedule| &mut schedule.learning_rate)) {
        *rate *= factor;
    }
}

/// Processor time of a unit, over all attempts.
struct Clock {
    file: PathBuf,
    before: f64,
    started: f64,
    done: usize,
}

impl Clock {
    fn resume(folder: &Path) -> Self {
        let file = folder.join("cpu_seconds");
        let before = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
        Self { file, before, started: cpu_seconds(), done: 0 }
    }

    fn seconds(&self) -> f64 {
        self.before + cpu_seconds() - self.started
    }

    fn step(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(NOTED_STEPS) {
            // Without the note, only an interrupted unit's time is short.
            let _ = fs::write(&self.file, self.seconds().to_string());
        }
    }
}

impl Observer for Clock {
    fn on_step(&mut self, _phase: usize, _step: usize, _loss: f32) {
        self.step();
    }

    fn on_phase(&mut self, record: &PhaseRecord) {
        let subnets: Vec<String> =
            record.subnets.iter().map(|subnet| format!("{} {:.2}", subnet.label, 100.0 * subnet.top1)).collect();
        eprintln!("  {}: {}, {:.0} CPU s", record.name, subnets.join(", "), self.seconds());
    }
}

impl FineTuningObserver for Clock {
    fn on_step(&mut self, _done: usize, _loss: f32) {
        self.step();
    }
}

/// User and system seconds of this process; 0 where the system does not list them in `/proc`.
pub fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = after.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // Fields 14 and 15 of proc(5); a hundred ticks a second. The state letter is not a number.
    ticks.get(10).copied().unwrap_or(0.0) / 100.0 + ticks.get(11).copied().unwrap_or(0.0) / 100.0
}
