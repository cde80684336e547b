//! Where the pairs of an unfinished file come from: seed, model, images and settings, in a file beside it.

use super::CollectArgs;
use crate::cli::Failure;
use ofa_predictors::Pair;
use ofa_space::dependencies::{self, Dependencies};
use ofa_space::digest::Digest;
use ofa_space::{Arch, Model};
use ofa_train::TrainError;
use ofa_train::communication::{self, Communicator};
use ofa_train::data::Dataset;
use ofa_train::evaluation::Evaluator;
use std::path::{Path, PathBuf};

/// What the pairs depend on.
pub struct Origin {
    depends_on: Dependencies,
    of_all_parts: Dependencies,
    /// The file beside the unfinished pairs.
    path: PathBuf,
}

/// Earlier versions kept no origin, and other machines round differently: this much may the accuracy of a pair differ.
const ROUNDING: f64 = 0.01;

impl Origin {
    /// The origin of what would be written to `part` now.
    pub fn of(args: &CollectArgs, seed: u64, model: &Model, dataset: &Dataset, part: &Path) -> Result<Self, Failure> {
        let mut depends_on = Dependencies::default();
        let mut weights = Digest::default();
        model.weights.add_to(&mut weights);
        depends_on.add("seed", &seed);
        depends_on.add("model", &format!("sha256 {}", weights.hex()));
        depends_on.add("training_images", &dataset.train.content()?);
        depends_on.add("validation_images", &dataset.validation.content()?);
        depends_on.add("calibration_images", &args.calibration_images);
        depends_on.add("scored_images", &args.validation_images);
        depends_on.add("independent", &args.independent);
        let mut of_all_parts = depends_on.clone();
        of_all_parts.add("count", &args.count);
        if let Some(part) = args.part {
            depends_on.add("part", &part.to_string());
        }
        let mut path = part.as_os_str().to_owned();
        path.push(".key");
        Ok(Self { depends_on, of_all_parts, path: path.into() })
    }

    /// What the parts of one collection have in common.
    pub fn of_all_parts(&self) -> &Dependencies {
        &self.of_all_parts
    }

    /// Makes sure that every rank is about to measure the same with the same program.
    ///
    /// # Errors
    /// [`TrainError::Communication`] on all ranks, naming the first that differs from rank 0.
    pub fn check_ranks(&self, ranks: &dyn Communicator) -> Result<(), TrainError> {
        let mut all = self.of_all_parts.clone();
        if ranks.size() > 1 {
            all.add("program", &communication::program());
        }
        Ok(communication::agree(ranks, &all)?)
    }

    /// Refuses pairs of another origin.
    ///
    /// # Errors
    /// [`Failure::Input`] with what differs.
    pub fn check(
        &self,
        pairs: &[Pair],
        file: &Path,
        archs: &[Arch],
        evaluator: &mut Evaluator<'_>,
    ) -> Result<(), Failure> {
        let refused = |problem: String| {
            let remedy = "go on with what it was begun with, or remove it to start afresh";
            Err(Failure::Input(format!("{}: {problem}; {remedy}", file.display())))
        };
        let known = Dependencies::read(&self.path);
        if let Some(known) = known.as_ref().filter(|known| **known != self.depends_on) {
            let differences = dependencies::in_words(&self.depends_on.since(known));
            return refused(format!("was begun with other settings, model or data ({differences})"));
        }
        if !same_archs(pairs, archs) {
            return refused(
                "holds other subnets than are asked for: those of another seed or way of drawing".to_owned(),
            );
        }
        // By an earlier version: a pair that is measured again shows whether model and images are the same.
        if let (None, Some(first)) = (known, pairs.first()) {
            let again = evaluator.score(Some(&first.arch))?.top1;
            if (again - first.value).abs() > ROUNDING {
                let (then, now) = (100.0 * first.value, 100.0 * again);
                return refused(format!(
                    "its first subnet has {then:.2} % there, and {now:.2} % with this model and these images"
                ));
            }
        }
        Ok(())
    }

    /// Keeps the origin beside the pairs.
    pub fn keep(&self) -> Result<(), Failure> {
        self.depends_on.write(&self.path).map_err(|e| Failure::writing(&self.path, e))
    }

    /// Removes it, once the pairs are complete. What cannot be removed costs space only.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether pairs are of the first archs, in order.
pub fn same_archs(pairs: &[Pair], archs: &[Arch]) -> bool {
    pairs.iter().zip(archs).all(|(pair, arch)| pair.arch == *arch)
}
