//! Objectives that are sums over a network's blocks: exact costs, and latency by table.

use crate::genotype::arch::Arch;
use crate::genotype::population::Population;
use crate::network::net_spec::{Block, NetSpec};
use crate::objectives::block_plan::{BlockMaximum, BlockPlan, BlockSum};
use crate::objectives::objective::{Objective, ObjectiveError};
use crate::spaces::space::SearchSpace;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The value of one block of a network.
pub type BlockValue = dyn Fn(&NetSpec, usize) -> Result<f64, ObjectiveError> + Send + Sync;

/// Tables of one quantity, made on demand: the plan of the space once, a [`BlockSum`] for each resolution asked for.
#[derive(Debug, Default)]
pub struct BlockTables {
    plan: OnceLock<Option<BlockPlan>>,
    sums: Mutex<HashMap<Option<u32>, Option<Arc<BlockSum>>>>,
    maxima: Mutex<HashMap<Option<u32>, Option<Arc<BlockMaximum>>>>,
}

impl BlockTables {
    /// The sum of `value` at a resolution; `None` where the space does not allow it. `space` and `value` must be the
    /// same in every call.
    pub fn sum_at(
        &self,
        space: &dyn SearchSpace,
        resolution: Option<u32>,
        value: &BlockValue,
    ) -> Option<Arc<BlockSum>> {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.entry(resolution)
            .or_insert_with(|| {
                // A space that cannot be planned or resolved reports its error where an arch is asked for.
                let plan = self.plan.get_or_init(|| BlockPlan::of(space).ok().flatten());
                let sum = plan.as_ref()?.tabulate(space, resolution, value).ok().flatten();
                sum.map(Arc::new)
            })
            .clone()
    }
}

impl BlockTables {
    /// The maximum of `value` at a resolution, as [`sum_at`](Self::sum_at) gives the sum.
    pub fn maximum_at(
        &self,
        space: &dyn SearchSpace,
        resolution: Option<u32>,
        value: &BlockValue,
    ) -> Option<Arc<BlockMaximum>> {
        let mut maxima = self.maxima.lock().unwrap_or_else(PoisonError::into_inner);
        maxima
            .entry(resolution)
            .or_insert_with(|| {
                let plan = self.plan.get_or_init(|| BlockPlan::of(space).ok().flatten());
                let maximum = plan.as_ref()?.tabulate_maximum(space, resolution, value).ok().flatten();
                maximum.map(Arc::new)
            })
            .clone()
    }
}

/// A sum over blocks as an objective. It is tabulated once for each resolution, and then costs one gather per block;
/// where the space does not allow that, every network is resolved.
pub struct BlockObjective {
    name: String,
    space: Arc<dyn SearchSpace>,
    value: Box<BlockValue>,
    tables: BlockTables,
}

impl BlockObjective {
    /// The sum of `value` over the blocks of subnets of `space`.
    pub fn new(
        name: impl Into<String>,
        space: Arc<dyn SearchSpace>,
        value: impl Fn(&NetSpec, usize) -> Result<f64, ObjectiveError> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), space, value: Box::new(value), tables: BlockTables::default() }
    }

    /// An exact cost such as [`crate::network::cost::block_macs`].
    pub fn cost(name: impl Into<String>, space: Arc<dyn SearchSpace>, of: fn(&Block) -> u64) -> Self {
        Self::new(name, space, move |net, block| Ok(of(&net.blocks[block]) as f64))
    }

    fn sum_at(&self, resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        self.tables.sum_at(self.space.as_ref(), resolution, self.value.as_ref())
    }

    /// The value by resolving the network: slower, but names what is missing.
    fn resolved(&self, arch: &Arch) -> Result<f64, ObjectiveError> {
        let net = self.space.resolve(arch)?;
        (0..net.blocks.len()).try_fold(0.0, |total, block| Ok(total + (self.value)(&net, block)?))
    }
}

impl Objective for BlockObjective {
    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        let mut values = Vec::with_capacity(archs.len());
        self.evaluate_rows(&Population::of(archs), &mut values)?;
        Ok(values)
    }

    fn evaluate_rows(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), ObjectiveError> {
        values.clear();
        let mut known: Option<(Option<u32>, Option<Arc<BlockSum>>)> = None;
        for row in 0..rows.len() {
            let resolution = rows.resolution(row);
            if known.as_ref().is_none_or(|(at, _)| *at != resolution) {
                known = Some((resolution, self.sum_at(resolution)));
            }
            let sum = known.as_ref().and_then(|(_, sum)| sum.as_ref());
            values.push(match sum.map(|sum| sum.value(rows.choices(row))) {
                Some(value) if !value.is_nan() => value,
                _ => self.resolved(&rows.arch(row))?,
            });
        }
        Ok(())
    }

    fn block_sum(&self, resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        self.sum_at(resolution)
    }
}
