//! The predictor in the loop, on a space where every arch can be looked up.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_search::refinement::{Ended, Measurement, Refinement, Surrogate};
use ofa_search::{Arch, FnObjective, Gene, Genes, Objective, ObjectiveError, SearchError};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn genes() -> Vec<Gene> {
    (0..5).map(|index| Gene::new("units", [8, 16, 32, 64]).at(index)).collect()
}

/// What is slow to measure: late units matter more, and a large sum is punished.
fn truth(arch: &Arch) -> f64 {
    let sum: f64 = arch.choices().iter().enumerate().map(|(i, c)| f64::from(*c) * (1.0 + i as f64)).sum();
    sum - 0.02 * sum * sum
}

fn known(archs: &[Arch]) -> Vec<Measurement> {
    archs.iter().map(|arch| Measurement { arch: arch.clone(), value: truth(arch) }).collect()
}

/// Mean of what was measured with each choice of each gene, summed over the genes.
struct Means {
    genes: Vec<Gene>,
    means: Vec<Vec<f64>>,
}

impl Means {
    fn fit(genes: &[Gene], known: &[Measurement]) -> Self {
        let all = known.iter().map(|one| one.value).sum::<f64>() / known.len() as f64;
        let mean = |gene: usize, choice: u8| {
            let with: Vec<f64> =
                known.iter().filter(|one| one.arch.choices()[gene] == choice).map(|one| one.value).collect();
            if with.is_empty() { 0.0 } else { with.iter().sum::<f64>() / with.len() as f64 - all }
        };
        let means = (0..genes.len()).map(|gene| (0..4).map(|choice| mean(gene, choice)).collect()).collect();
        Self { genes: genes.to_vec(), means }
    }
}

impl Objective for Means {
    fn name(&self) -> &str {
        "predicted"
    }
    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        let value = |arch: &Arch| arch.choices().iter().zip(&self.means).map(|(c, means)| means[usize::from(*c)]).sum();
        Ok(archs.iter().map(value).collect())
    }
}

impl Surrogate for Means {
    fn genes(&self) -> &dyn Genes {
        &self.genes
    }
    fn score(&self) -> &dyn Objective {
        self
    }
    fn quantities(&self) -> Vec<Arc<dyn Objective>> {
        let size = |arch: &Arch| Ok(arch.choices().iter().map(|c| f64::from(*c)).sum());
        vec![Arc::new(FnObjective::new("size", size))]
    }
}

fn start() -> Vec<Measurement> {
    let genes = genes();
    known(&[genes.min_arch(), genes.max_arch(), genes.arch(vec![0, 3, 1, 2, 0], None).unwrap()])
}

fn refine(refinement: &Refinement<'_>, known: &mut Vec<Measurement>) -> Ended {
    let genes = genes();
    let measure = |archs: &[Arch]| Ok::<_, SearchError>(archs.iter().map(truth).collect());
    refinement.run(known, |known| Ok(Means::fit(&genes, known)), measure, |_| Ok(())).unwrap()
}

#[test]
fn rounds_find_better_archs_and_measure_none_twice() {
    let mut known = start();
    let best = |known: &[Measurement]| known.iter().map(|one| one.value).fold(f64::NEG_INFINITY, f64::max);
    let before = best(&known);
    assert_eq!(refine(&Refinement { rounds: 4, per_round: 6, ..Refinement::default() }, &mut known), Ended::Finished);
    assert_eq!(known.len(), 3 + 4 * 6);
    assert_eq!(known.iter().map(|one| &one.arch).collect::<HashSet<_>>().len(), known.len());
    assert!(best(&known) > before + 1.0, "{} after {before}", best(&known));
}

#[test]
fn a_round_depends_on_what_is_known_and_not_on_the_call() {
    let (mut at_once, mut in_parts) = (start(), start());
    refine(&Refinement { rounds: 3, ..Refinement::default() }, &mut at_once);
    for _ in 0..3 {
        refine(&Refinement { rounds: 1, ..Refinement::default() }, &mut in_parts);
    }
    assert_eq!(at_once, in_parts);
}

#[test]
fn a_small_space_ends_before_its_rounds() {
    let mut known = start();
    let refinement = Refinement { rounds: 100, per_round: 500, ..Refinement::default() };
    assert_eq!(refine(&refinement, &mut known), Ended::Exhausted);
    assert!(known.len() > 900, "{} of 1024", known.len());
}

#[test]
fn a_stopped_refinement_keeps_what_was_measured() {
    let genes = genes();
    let stop = AtomicBool::new(false);
    let refinement = Refinement { per_round: 8, stop: &stop, ..Refinement::default() };
    let (mut known, mut rounds) = (start(), 0);
    // The flag is set after three of the eight.
    let measure = |archs: &[Arch]| {
        stop.store(true, Ordering::Relaxed);
        Ok::<_, SearchError>(archs.iter().take(3).map(truth).collect())
    };
    let ended = refinement.run(
        &mut known,
        |known| Ok(Means::fit(&genes, known)),
        measure,
        |_| {
            rounds += 1;
            Ok(())
        },
    );
    assert_eq!((ended.unwrap(), known.len(), rounds), (Ended::Stopped, 6, 0));
}

#[test]
fn errors_of_the_caller_pass_through() {
    let genes = genes();
    let mut known = start();
    let failed = SearchError::Argmin("no power".to_owned());
    let mut measure = Some(failed);
    let ended = Refinement::default().run(
        &mut known,
        |known| Ok(Means::fit(&genes, known)),
        |_| Err(measure.take().unwrap()),
        |_| Ok(()),
    );
    assert!(ended.unwrap_err().to_string().contains("no power"));
    assert_eq!(known.len(), 3);
}
