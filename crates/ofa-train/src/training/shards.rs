//! A step whose batch is cut into shards, which ranks compute side by side.
//!
//! The batch is drawn as ever and cut by position. Batch norm takes the statistics of a shard, as in training with one process a
//! GPU; gradients, statistics, losses and counts are summed over the shards in one buffer, once a step, in the order of a binary
//! tree over the numbers of the shards. The bits of the result depend on the number of shards, not on that of the ranks.

use crate::communication::{CommunicationError, Communicator, Pace, SlowRank, TreeSum, check_division};
use crate::elastic::batch_norm::BatchMoments;
use crate::elastic::parameters::ParameterModule;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::training::optimizer::Optimizer;
use crate::training::outcome::Outcome;
use crate::training::step::{Pass, StepInput, StepReport, descend, pass};
use burn::module::{Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The shards of a batch, and the ranks that share them.
pub struct Shards<'a> {
    ranks: &'a dyn Communicator,
    count: usize,
    /// How long ranks work; it decides nothing.
    pace: Mutex<Pace>,
}

/// A step that all ranks have done.
#[derive(Clone, PartialEq, Debug)]
pub struct StepOnRanks {
    /// What came out, over all shards.
    pub report: StepReport,
    /// Whether any rank was asked to stop before it.
    pub stopping: bool,
    /// Ranks that have turned out to be steadily slower than the others: in 40 of 50 steps, they worked 1.25 times as long as the
    /// others at their median. Each is named once.
    pub slow: Vec<SlowRank>,
}

impl<'a> Shards<'a> {
    /// So many shards on these ranks.
    ///
    /// # Errors
    /// [`CommunicationError::Division`] unless both numbers are powers of two and every rank gets a shard.
    pub fn new(ranks: &'a dyn Communicator, count: usize) -> Result<Self, CommunicationError> {
        check_division(ranks.size(), count)?;
        Ok(Self { ranks, count, pace: Mutex::new(Pace::new(ranks.size())) })
    }

    /// The ranks.
    pub fn ranks(&self) -> &'a dyn Communicator {
        self.ranks
    }

    /// All shards.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Shards of this rank.
    pub fn own(&self) -> usize {
        self.count / self.ranks.size()
    }

    /// Positions of this rank's images in a batch of so many, which the shards divide.
    pub fn positions(&self, images: usize) -> Range<usize> {
        let share = images / self.ranks.size();
        self.ranks.rank() * share..(self.ranks.rank() + 1) * share
    }

    /// Mean over all shards of a number that this rank has for each of its own.
    ///
    /// # Errors
    /// [`CommunicationError`] if a rank is gone.
    pub fn mean(&self, own: impl IntoIterator<Item = f32>) -> Result<f32, CommunicationError> {
        let mut sum = TreeSum::default();
        own.into_iter().for_each(|value| sum.add(vec![value]));
        let mut sum = sum.finish();
        self.sum(&mut sum)?;
        Ok(sum.first().copied().unwrap_or_default() / self.count as f32)
    }

    /// [`Communicator::sum`], which waits for the slowest rank.
    fn sum(&self, values: &mut [f32]) -> Result<(), CommunicationError> {
        let begun = Instant::now();
        self.ranks.sum(values)?;
        self.pace().wait(begun.elapsed());
        Ok(())
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step on all shards; `inputs` are those of this rank, in order. `asked` is whether a request to stop has reached this rank.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend fails, [`TrainError::Communication`] if a rank is gone.
    pub fn step(
        &self,
        supernet: &mut Supernet,
        optimizer: &mut Optimizer,
        rate: f64,
        inputs: &[StepInput<'_>],
        asked: bool,
    ) -> Result<StepOnRanks, TrainError> {
        self.step_by(supernet, optimizer, rate, inputs, asked, &pass)
    }

    /// [`step`](Self::step) with another pass.
    fn step_by(
        &self,
        supernet: &mut Supernet,
        optimizer: &mut Optimizer,
        rate: f64,
        inputs: &[StepInput<'_>],
        asked: bool,
        pass: &dyn Fn(&Supernet, &StepInput<'_>) -> Result<Pass, TrainError>,
    ) -> Result<StepOnRanks, TrainError> {
        let mut sum = TreeSum::default();
        let mut layout = None;
        for input in inputs {
            let Pass { gradients, unread } = pass(supernet, input)?;
            let (values, order) = Layout::flatten(gradients, unread.read()?, &supernet.parameters.module, asked)?;
            sum.add(values);
            layout = Some(order);
        }
        let (Some(layout), Some(first)) = (layout, inputs.first()) else {
            return Err(TrainError::Compute("a rank has no shard".to_owned()));
        };
        let mut values = sum.finish();
        let slow = self.sum_step(&mut values)?;
        let device = supernet.device().clone().inner();
        let (gradients, Outcome { report, moments, .. }, stopping) = layout.mean(values, self.count, &device);
        supernet.running.follow(&moments, first.bn_momentum);
        descend(supernet, optimizer, rate, gradients, first.gradient_clip)?;
        Ok(StepOnRanks { report, stopping, slow })
    }

    /// Sums the buffer of a step. Of several ranks, each adds how long it has worked, in a place of its own at the end.
    fn sum_step(&self, values: &mut Vec<f32>) -> Result<Vec<SlowRank>, CommunicationError> {
        if self.ranks.size() == 1 {
            return self.sum(values).map(|()| Vec::new());
        }
        let (own, worked) = (self.ranks.rank(), self.pace().worked());
        let buffer = values.len();
        values.extend((0..self.ranks.size()).map(|rank| if rank == own { worked } else { 0.0 }));
        self.sum(values)?;
        Ok(self.pace().done(values.split_off(buffer)))
    }
}

/// What is where in the buffer of a step: gradients, statistics, losses, counts of right answers, and the request to stop.
struct Layout {
    /// Parameters with a gradient, and their shapes.
    gradients: Vec<(ParamId, Vec<usize>)>,
    /// Statistics, without their values.
    moments: Vec<BatchMoments>,
    subnets: usize,
    /// Images of the shard.
    images: usize,
}

impl Layout {
    /// A pass as one buffer.
    fn flatten(
        mut gradients: GradientsParams,
        outcome: Outcome,
        module: &ParameterModule,
        asked: bool,
    ) -> Result<(Vec<f32>, Self), TrainError> {
        let Outcome { report, mut moments, images } = outcome;
        let (mut values, mut shapes) = (Vec::new(), Vec::new());
        let ParameterModule { vectors, matrices, kernels } = module;
        for param in vectors {
            take(&mut gradients, param, &mut values, &mut shapes)?;
        }
        for param in matrices {
            take(&mut gradients, param, &mut values, &mut shapes)?;
        }
        for param in kernels {
            take(&mut gradients, param, &mut values, &mut shapes)?;
        }
        for batch in &mut moments {
            values.extend_from_slice(&batch.mean);
            values.extend_from_slice(&batch.variance);
            batch.variance.clear();
        }
        values.extend_from_slice(&report.losses);
        values.extend(report.correct.iter().map(|right| *right as f32));
        values.push(f32::from(u8::from(asked)));
        Ok((values, Self { gradients: shapes, moments, subnets: report.losses.len(), images }))
    }

    /// The pass over the whole batch, from the sum of the shards' buffers: gradients, statistics and losses are means over
    /// shards of the same size, which are exact, since their number is a power of two.
    fn mean(self, values: Vec<f32>, shards: usize, device: &Device) -> (GradientsParams, Outcome, bool) {
        let share = 1.0 / shards as f32;
        let mut rest = &values[..];
        let mut next = |length: usize| {
            let (part, after) = rest.split_at(length);
            rest = after;
            part
        };
        let scaled = |part: &[f32]| part.iter().map(|value| value * share).collect::<Vec<f32>>();
        let mut gradients = GradientsParams::new();
        for (id, shape) in self.gradients {
            let data = TensorData::new(scaled(next(shape.iter().product())), shape.clone());
            match shape.len() {
                1 => gradients.register(id, Tensor::<1>::from_data(data, device)),
                2 => gradients.register(id, Tensor::<2>::from_data(data, device)),
                _ => gradients.register(id, Tensor::<4>::from_data(data, device)),
            }
        }
        let moments = self.moments.into_iter().map(|batch| {
            let length = batch.mean.len();
            BatchMoments { mean: scaled(next(length)), variance: scaled(next(length)), ..batch }
        });
        let moments = moments.collect();
        let losses = scaled(next(self.subnets));
        let correct = next(self.subnets).iter().map(|right| *right as usize).collect();
        let stop = next(1)[0] > 0.0;
        let images = self.images * shards;
        (gradients, Outcome { report: StepReport { losses, correct }, moments, images }, stop)
    }
}

/// Moves the gradient of a parameter, if it has one, to the end of the buffer.
fn take<const D: usize>(
    gradients: &mut GradientsParams,
    param: &Param<Tensor<D>>,
    values: &mut Vec<f32>,
    shapes: &mut Vec<(ParamId, Vec<usize>)>,
) -> Result<(), TrainError> {
    if let Some(gradient) = gradients.remove::<D>(param.id) {
        shapes.push((param.id, gradient.dims().to_vec()));
        values.extend(to_host(gradient)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::communication::Single;
    use crate::elastic::executor::{Prepared, Statistics};
    use crate::elastic::parameters::Gradients;
    use crate::elastic::plan::Plan;
    use crate::elastic::transfer::upload;
    use crate::images::Images;
    use crate::training::step::pass_by;
    use ofa_space::{NetSpec, initialisation, registry, supernet};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// A pass with batch norm in evaluation mode.
    fn with_running_statistics(supernet: &Supernet, input: &StepInput<'_>) -> Result<Pass, TrainError> {
        pass_by(supernet, input, &|net, images| {
            let statistics = Statistics::Running(&supernet.running);
            let prepared = Prepared::new(&Plan::new(net), &supernet.parameters, statistics, Gradients::Record);
            prepared.forward(upload(images, supernet.device()))
        })
    }

    /// 20 steps of two subnets on batches of 16 in so many shards: losses, and the weights after them.
    fn trained(
        count: usize,
        pass: &dyn Fn(&Supernet, &StepInput<'_>) -> Result<Pass, TrainError>,
    ) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
        let space = registry::named("tiny-28").unwrap();
        let subnets: Vec<NetSpec> = [space.max_arch(), space.min_arch()]
            .iter()
            .map(|arch| space.resolve(&arch.with_resolution(28)).unwrap())
            .collect();
        let defs = supernet::tensors(space.as_ref()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let weights = initialisation::initialise(&defs, &mut rng);
        let mut supernet = Supernet::new(defs, &weights, &Device::flex().autodiff()).unwrap();
        let mut optimizer = Optimizer::new(0.9, 3e-5);
        let shards = Shards::new(&Single, count).unwrap();
        let mut losses = Vec::new();
        for _ in 0..20 {
            let shape = [16, 28, 28, 1];
            let data = (0..shape.iter().product()).map(|_| rng.random_range(-1.0f32..1.0)).collect();
            let parts = Images { data, shape }.split(&[16 / count]);
            let labels: Vec<usize> = (0..16).map(|_| rng.random_range(0..10)).collect();
            let inputs: Vec<StepInput<'_>> = parts
                .iter()
                .zip(labels.chunks(16 / count))
                .map(|(images, labels)| StepInput {
                    gradient_clip: Some(1.0),
                    ..StepInput::from_labels(images, labels, &subnets)
                })
                .collect();
            let done = shards.step_by(&mut supernet, &mut optimizer, 0.02, &inputs, false, pass).unwrap();
            losses.extend(done.report.losses);
        }
        let weights = supernet.weights().unwrap();
        (losses, weights.iter().map(|(name, tensor)| (name.clone(), tensor.data.clone())).collect())
    }

    /// Largest relative difference of losses, and largest difference of weights.
    fn differences(pass: &dyn Fn(&Supernet, &StepInput<'_>) -> Result<Pass, TrainError>) -> (f32, f32) {
        let ((one_losses, one), (two_losses, two)) = (trained(1, pass), trained(2, pass));
        let losses = one_losses.iter().zip(&two_losses).map(|(a, b)| (a - b).abs() / a.abs());
        let weights = one.iter().zip(&two).flat_map(|((_, a), (_, b))| a.iter().zip(b).map(|(a, b)| (a - b).abs()));
        (losses.fold(0.0, f32::max), weights.fold(0.0, f32::max))
    }

    #[test]
    fn one_batch_is_two_halves() {
        // Without statistics of the batch, images do not affect each other: only rounding differs.
        let (losses, weights) = differences(&with_running_statistics);
        eprintln!("batch norm in evaluation mode: losses differ by {losses:e}, weights by {weights:e}");
        assert!(losses <= 1e-5 && weights <= 1e-5, "{losses:e} {weights:e}");
        // It is a training: the first losses are not the last.
        let (trained, _) = trained(2, &with_running_statistics);
        assert!(trained.iter().all(|loss| loss.is_finite()) && trained[0] != trained[38]);
        // Statistics of half a batch are others than those of a whole one.
        let (losses, weights) = differences(&pass);
        eprintln!("batch norm in training mode: losses differ by {losses:e}, weights by {weights:e}");
        assert!(losses > 1e-4 && losses < 1.0, "{losses:e} {weights:e}");
    }
}
