//! A prepared block as one operation of the CPU kernels.

use crate::elastic::batch_norm::BatchStatistics;
use crate::elastic::operation::{self, FrozenBlock};
use crate::elastic::precision::Precision;
use crate::elastic::weight::Weight;
use burn::tensor::Tensor;
use ofa_kernels::block::{Block, Slot};
use ofa_space::Step;
use std::sync::Arc;

impl From<Precision> for ofa_kernels::precision::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// A block, its parameters, and the names of the running statistics that its batch norms belong to.
pub(super) struct FusedBlock {
    block: Arc<Block>,
    params: Vec<Weight>,
    /// Positions in the kernels' running means and variances.
    statistics: Vec<String>,
    /// Where nothing of it changes any more; `params` are empty then.
    frozen: Option<FrozenBlock>,
}

impl FusedBlock {
    /// `None` where the kernels do not support the block.
    pub(super) fn new(prepared: &[Step<Weight>], precision: Precision) -> Option<Self> {
        let (mut params, mut statistics) = (Vec::new(), Vec::new());
        let mut slot = |_, weight: &Weight| match weight {
            Weight::Statistic(name) => {
                statistics.push(name.clone());
                Slot { index: statistics.len() - 1, rows: 0 }
            }
            tensor => {
                params.push(tensor.clone());
                Slot { index: params.len() - 1, rows: tensor.shape()[0] }
            }
        };
        let steps = prepared.iter().map(|step| step.map_weights(&mut slot)).collect();
        let block = Arc::new(Block::new(steps)?.with_precision(precision.into()));
        let frozen = FrozenBlock::new(block.clone(), &params);
        let params = if frozen.is_some() { vec![] } else { params };
        Some(Self { block, params, statistics, frozen })
    }

    /// Whether it runs every input that the prepared steps run, so that those can be dropped.
    pub(super) fn stands_alone(&self) -> bool {
        self.frozen.is_some() && self.block.takes_any_size()
    }

    /// Runs it; `None` where the kernels cannot take the tensors.
    pub(super) fn run(&self, input: &Tensor<4>, statistics: &mut Vec<BatchStatistics>) -> Option<Tensor<4>> {
        if let Some(frozen) = &self.frozen {
            return frozen.run(input);
        }
        let made = operation::run_block(&self.block, input, &self.params)?;
        let [n, h, w, c] = input.dims();
        let shapes = self.block.shapes([h, w, c])?;
        let norms =
            self.block.steps().iter().zip(&shapes[1..]).filter_map(|(step, shape)| Some((step.norm.as_ref()?, shape)));
        for ((norm, [h, w, _]), (mean, variance)) in norms.zip(made.statistics) {
            statistics.push(BatchStatistics {
                mean_name: self.statistics[norm.mean.index].clone(),
                variance_name: self.statistics[norm.variance.index].clone(),
                mean,
                variance,
                count: n * h * w,
                images: n,
            });
        }
        Some(made.value)
    }
}
