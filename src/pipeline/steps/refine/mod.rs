//! The refining step, where the plan asks for it: the predictor in the loop. Subnets of the front that the predictor promises are
//! measured on validation images, and it is fitted again on all pairs. It is done for the first device of the plan.

pub mod rounds;

use crate::failure::Failure;
use crate::pipeline::Progress;
use crate::pipeline::config::{PipelineConfig, RefineConfig};
use crate::pipeline::folder::RunFolder;
use crate::pipeline::processes::ranks;
use crate::pipeline::steps::collect::{self, PAIRS};
use crate::pipeline::steps::{Subject, profile};
use ofa_hw::LatencyObjective;
use ofa_predictors::FittedPredictor;
use ofa_search::strategy;
use ofa_space::{Arch, BlockObjective, cost};
use ofa_train::evaluation::Evaluator;
use rounds::{GrowingPairs, OnPair, Refinement, Round, Searched};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The predictor that is fitted on all pairs, in a run's folder.
pub const PREDICTOR: &str = "refined/predictor.json";
/// All pairs.
pub const REFINED_PAIRS: &str = "refined/pairs.jsonl";

/// Runs the rounds. An interrupted step begins anew: it takes as long as collecting as many pairs.
pub(crate) fn run(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    settings: &RefineConfig,
    folder: &RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Vec<Round>, Failure> {
    let Subject { space, dataset, device, model, .. } = *subject;
    let (from, to) = (folder.path(PAIRS), folder.path(REFINED_PAIRS));
    let writing = |e| Failure::writing(&to, e);
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(writing)?;
    }
    if to.exists() {
        std::fs::remove_file(&to).map_err(writing)?;
    }
    let mut growing = GrowingPairs::open(&from, &to, space.as_ref())?;
    let target = match config.search.devices.first() {
        Some(wanted) => profile::device(wanted, folder)?,
        None => None,
    };
    let searched = |predictor: &FittedPredictor| -> Result<Searched, Failure> {
        let space = predictor.narrowed(space.clone())?;
        Ok(match &target {
            Some(target) => (space.clone(), Arc::new(LatencyObjective::new(space, target.clone()))),
            None => (space.clone(), Arc::new(BlockObjective::cost("macs", space, cost::block_macs))),
        })
    };
    let evaluation = collect::evaluation(config);
    let mut evaluator = Evaluator::new(model, dataset, device, &evaluation)?;
    let refinement = Refinement {
        space: space.as_ref(),
        searched: &searched,
        predictor: &config.fit.predictor,
        rounds: settings.rounds,
        per_round: settings.per_round,
        strategy: strategy::DEFAULT,
        evaluations: config.search.evaluations,
        seed: config.train.seed,
        stop,
    };
    let mut rounds = Vec::new();
    let measure = |archs: &[Arch], on_pair: OnPair<'_>| ranks::measure(subject, &mut evaluator, archs, stop, on_pair);
    let fitted = rounds::run(&refinement, measure, &mut growing, progress, |round| {
        rounds.push(round.clone());
        Ok(())
    });
    let fitted = fitted.map_err(|failure| match failure {
        Failure::Interrupted(_) => folder.interrupted(""),
        other => other,
    })?;
    for Round { round, pairs, best, .. } in &rounds {
        progress.note(&format!("refine round {round}: {pairs} pairs, best measured {:.2} %", 100.0 * best));
    }
    fitted.save(&folder.path(PREDICTOR))?;
    Ok(rounds)
}
