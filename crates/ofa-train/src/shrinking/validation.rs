//! Validation while training: the smallest, the middle and the largest opened subnet.

use crate::communication::{Attend, Communicator, hand_out};
use crate::data::{Dataset, SplitName};
use crate::elastic::Supernet;
use crate::error::TrainError;
use crate::evaluation::{CalibrationSet, EvaluationSet, evaluate, recalibrate};
use crate::sampler::smallest;
use crate::shrinking::config::TrainConfig;
use crate::shrinking::history::SubnetRecord;
use crate::shrinking::phases::PhasePlan;
use ofa_space::{Arch, Opened, SearchSpace};
use std::sync::atomic::AtomicBool;

/// The images to recalibrate and to score on, read once for a whole run.
pub(crate) struct Validation<'a> {
    calibration: CalibrationSet<'a>,
    images: EvaluationSet<'a>,
}

impl<'a> Validation<'a> {
    pub fn new(config: &TrainConfig, dataset: &'a Dataset) -> Self {
        Self {
            calibration: CalibrationSet::first(dataset, config.calibration_images),
            images: EvaluationSet::all(dataset, SplitName::Validation),
        }
    }

    /// Scores the subnets of a phase, each on the rank that is free first; every rank gets all scores.
    ///
    /// # Errors
    /// [`TrainError`] if an image or the backend fails.
    pub fn run(
        &mut self,
        plan: &PhasePlan,
        space: &dyn SearchSpace,
        supernet: &Supernet,
        ranks: &dyn Communicator,
    ) -> Result<Vec<SubnetRecord>, TrainError> {
        let named =
            [("min", smallest(space, &plan.opened)), ("mid", middle(space, &plan.opened)?), ("max", space.max_arch())];
        let score = |subnet: usize, _: Attend<'_>| -> Result<Vec<u8>, TrainError> {
            let net = space.resolve(&named[subnet].1)?;
            let running = recalibrate(supernet, &net, &mut self.calibration)?;
            Ok(evaluate(supernet, &net, &running, &mut self.images)?.top1.to_le_bytes().to_vec())
        };
        let mut scores = Vec::new();
        hand_out(ranks, named.len(), &AtomicBool::new(false), score, |_, score| {
            scores.extend(score);
            Ok(())
        })?;
        ranks.broadcast(&mut scores)?;
        let scores = scores.as_chunks().0.iter().map(|score| f64::from_le_bytes(*score));
        let record = |((label, arch), top1): (&(&str, Arch), f64)| SubnetRecord {
            label: (*label).to_owned(),
            arch: space.format(arch),
            top1,
        };
        Ok(named.iter().zip(scores).map(record).collect())
    }
}

/// The middle of the open choices of every gene, at the middle resolution.
pub(crate) fn middle(space: &dyn SearchSpace, opened: &Opened) -> Result<Arch, TrainError> {
    let info = space.info();
    let middle = |gene: &ofa_space::Gene| {
        let open: Vec<u8> = gene.open_choices(opened).collect();
        open.get(open.len() / 2).copied().unwrap_or((gene.choices.len() - 1) as u8)
    };
    let choices = info.genes.iter().map(middle).collect();
    Ok(space.arch(choices, info.resolutions.get(info.resolutions.len() / 2).copied())?)
}
