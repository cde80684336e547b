//! Collecting (arch, accuracy) pairs for predictors.

mod clusters;
mod information;
mod shared_prefix;

pub use clusters::{CLUSTER, clustered_archs};

use crate::communication::{Attend, CommunicationError, Communicator, hand_out};
use crate::error::TrainError;
use crate::evaluation::{Accuracy, Evaluator};
use ofa_space::{Arch, Opened, SearchSpace, cost};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shared_prefix::Tree;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// `count` distinct archs, drawn uniformly over genes; fewer if the space has fewer.
pub fn distinct_archs(space: &dyn SearchSpace, count: usize, seed: u64, exclude: &HashSet<Arch>) -> Vec<Arch> {
    const MISSES_IN_A_ROW: usize = 10_000;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = exclude.clone();
    let mut archs = Vec::with_capacity(count);
    let mut misses = 0;
    while archs.len() < count && misses < MISSES_IN_A_ROW {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        if seen.insert(arch.clone()) {
            archs.push(arch);
            misses = 0;
        } else {
            misses += 1;
        }
    }
    archs
}

/// Archs scored together at most.
const TOGETHER: usize = 2 * CLUSTER;

impl Evaluator<'_> {
    /// Measures subnets for a predictor: recalibrates and scores every arch in turn and passes its top-1 accuracy to
    /// `on_pair`, which usually writes it to a file. Returns how many were passed on: all of them, unless `stop` was set
    /// meanwhile.
    ///
    /// Neighbours of the same resolution are scored together, and the blocks that they share from the input on are
    /// computed once ([`clustered_archs`] draws archs for which this saves much). The accuracies are those of
    /// [`Evaluator::score`].
    ///
    /// # Errors
    /// [`TrainError`] if an arch, an image or the backend fails, or the first error of `on_pair`, after which nothing
    /// more is measured.
    pub fn collect<E: From<TrainError>>(
        &mut self,
        archs: &[Arch],
        stop: &AtomicBool,
        mut on_pair: impl FnMut(&Arch, f64) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut count = 0;
        for alike in archs.chunk_by(|a, b| a.resolution() == b.resolution()) {
            for group in alike.chunks(TOGETHER) {
                for (arch, accuracy) in group.iter().zip(self.score_together(group)?) {
                    on_pair(arch, accuracy.top1)?;
                    count += 1;
                    if stop.load(Ordering::Relaxed) {
                        return Ok(count);
                    }
                }
            }
        }
        Ok(count)
    }

    /// [`collect`](Self::collect) on several ranks, all of which call this with the same archs: each takes the next archs when
    /// it is free. `on_pair` is called on rank 0, in the order of the archs, and `stop` counts there. Returns how many were
    /// passed on; 0 on other ranks.
    ///
    /// # Errors
    /// As [`collect`](Self::collect), and [`TrainError::Communication`] if a rank is gone.
    pub fn collect_on<E: From<TrainError>>(
        &mut self,
        ranks: &dyn Communicator,
        archs: &[Arch],
        stop: &AtomicBool,
        mut on_pair: impl FnMut(&Arch, f64) -> Result<(), E>,
    ) -> Result<usize, E> {
        if ranks.size() == 1 {
            return self.collect(archs, stop, on_pair);
        }
        // Small pieces, so that all ranks end at about the same time.
        let alike = archs.chunk_by(|a, b| a.resolution() == b.resolution());
        let pieces: Vec<&[Arch]> = alike.flat_map(|alike| alike.chunks(CLUSTER)).collect();
        let measure = |piece: usize, attend: Attend<'_>| -> Result<Vec<u8>, OnRanks<E>> {
            let scores = self.score_attending(pieces[piece], attend).map_err(|error| OnRanks(error.into()))?;
            Ok(scores.iter().flat_map(|score| score.top1.to_le_bytes()).collect())
        };
        let mut count = 0;
        let pass_on = |piece: usize, scores: Vec<u8>| {
            for (arch, top1) in pieces[piece].iter().zip(scores.as_chunks().0) {
                on_pair(arch, f64::from_le_bytes(*top1)).map_err(OnRanks)?;
                count += 1;
            }
            Ok(())
        };
        match hand_out(ranks, pieces.len(), stop, measure, pass_on) {
            Ok(_) => Ok(count),
            Err(OnRanks(error)) => Err(error),
        }
    }

    /// Accuracy of archs of one resolution after BN recalibration, with what they share computed once.
    ///
    /// # Errors
    /// [`TrainError`] if an arch does not fit the model, or an image or the backend fails.
    pub fn score_together(&mut self, archs: &[Arch]) -> Result<Vec<Accuracy>, TrainError> {
        self.score_attending(archs, &mut || Ok(()))
    }

    fn score_attending(&mut self, archs: &[Arch], attend: Attend<'_>) -> Result<Vec<Accuracy>, TrainError> {
        self.images.require()?;
        let nets = archs.iter().map(|arch| Ok(self.model.net(Some(arch))?)).collect::<Result<Vec<_>, TrainError>>()?;
        let Some(first) = nets.first() else { return Ok(Vec::new()) };
        let resolution = first.input[1] as u32;
        Tree::new(&nets).score(
            &self.supernet,
            nets.len(),
            resolution,
            (&mut self.calibration, &mut self.images),
            attend,
        )
    }
}

/// A failure of collecting on ranks.
struct OnRanks<E>(E);

impl<E: From<TrainError>> From<CommunicationError> for OnRanks<E> {
    fn from(error: CommunicationError) -> Self {
        Self(TrainError::from(error).into())
    }
}

/// How many multiply-accumulates scoring one by one takes for each that [`Evaluator::collect`] takes.
///
/// # Errors
/// What [`SearchSpace::resolve`] reports.
pub fn saving(space: &dyn SearchSpace, archs: &[Arch]) -> Result<f64, TrainError> {
    let (mut alone, mut together) = (0, 0);
    for alike in archs.chunk_by(|a, b| a.resolution() == b.resolution()) {
        for group in alike.chunks(TOGETHER) {
            let nets = group.iter().map(|arch| Ok(space.resolve(arch)?)).collect::<Result<Vec<_>, TrainError>>()?;
            alone += nets.iter().map(cost::macs).sum::<u64>();
            together += Tree::new(&nets).macs();
        }
    }
    Ok(alone as f64 / together.max(1) as f64)
}
