//! Objectives made of a network's blocks: exact costs, latency by table, and the largest block's memory.

use crate::genotype::arch::Arch;
use crate::genotype::population::Population;
use crate::network::net_spec::{Block, NetSpec};
use crate::objectives::block_plan::{BlockPlan, BlockSum, Combination};
use crate::objectives::objective::{Objective, ObjectiveError};
use crate::objectives::over_blocks::OverBlocks;
use crate::spaces::space::SearchSpace;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The value of one block of a network.
pub type BlockValue = dyn Fn(&NetSpec, usize) -> Result<f64, ObjectiveError> + Send + Sync;

/// Tables of one quantity, made on demand: the plan of the space once, a table for each resolution asked for.
#[derive(Debug, Default)]
pub struct BlockTables {
    plan: OnceLock<Option<BlockPlan>>,
    tables: Mutex<HashMap<Option<u32>, Option<OverBlocks>>>,
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
        let sum = |plan: &BlockPlan| plan.tabulate(space, resolution, value).ok().flatten();
        match self.at(space, resolution, |plan| sum(plan).map(|sum| OverBlocks::Sum(Arc::new(sum))))? {
            OverBlocks::Sum(sum) => Some(sum),
            OverBlocks::Maximum(_) => None,
        }
    }

    fn at(
        &self,
        space: &dyn SearchSpace,
        resolution: Option<u32>,
        table: impl FnOnce(&BlockPlan) -> Option<OverBlocks>,
    ) -> Option<OverBlocks> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables
            .entry(resolution)
            .or_insert_with(|| {
                // A space that cannot be planned or resolved reports its error where an arch is asked for.
                self.plan.get_or_init(|| BlockPlan::of(space).ok().flatten()).as_ref().and_then(table)
            })
            .clone()
    }
}

/// A sum or a maximum over blocks as an objective. It is tabulated once for each resolution, and then costs one gather per
/// block; where the space does not allow that, every network is resolved.
pub struct BlockObjective {
    name: String,
    space: Arc<dyn SearchSpace>,
    value: Box<BlockValue>,
    combination: Combination,
    constant: f64,
    floor: f64,
    tables: BlockTables,
}

impl BlockObjective {
    /// The sum of `value` over the blocks of subnets of `space`.
    pub fn new(
        name: impl Into<String>,
        space: Arc<dyn SearchSpace>,
        value: impl Fn(&NetSpec, usize) -> Result<f64, ObjectiveError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            space,
            value: Box::new(value),
            combination: Combination::Sum,
            constant: 0.0,
            floor: f64::NEG_INFINITY,
            tables: BlockTables::default(),
        }
    }

    /// The largest `value` of the blocks of subnets of `space`.
    pub fn maximum(
        name: impl Into<String>,
        space: Arc<dyn SearchSpace>,
        value: impl Fn(&NetSpec, usize) -> Result<f64, ObjectiveError> + Send + Sync + 'static,
    ) -> Self {
        Self { combination: Combination::Maximum, ..Self::new(name, space, value) }
    }

    /// An exact cost such as [`crate::network::cost::block_macs`].
    pub fn cost(name: impl Into<String>, space: Arc<dyn SearchSpace>, of: fn(&Block) -> u64) -> Self {
        Self::new(name, space, move |net, block| Ok(of(&net.blocks[block]) as f64))
    }

    /// A sum to which each network adds `constant`, and which is never below `floor`.
    #[must_use]
    pub fn with_constant_and_floor(self, constant: f64, floor: f64) -> Self {
        Self { constant, floor, ..self }
    }

    fn table(&self, resolution: Option<u32>) -> Option<OverBlocks> {
        let (space, value) = (self.space.as_ref(), self.value.as_ref());
        self.tables.at(space, resolution, |plan| {
            Some(match self.combination {
                Combination::Sum => {
                    let sum = plan.tabulate(space, resolution, value).ok().flatten()?;
                    OverBlocks::Sum(Arc::new(sum.plus(self.constant).at_least(self.floor)))
                }
                Combination::Maximum => {
                    OverBlocks::Maximum(Arc::new(plan.tabulate_maximum(space, resolution, value).ok().flatten()?))
                }
            })
        })
    }

    /// The value by resolving the network: slower, but names what is missing.
    fn resolved(&self, arch: &Arch) -> Result<f64, ObjectiveError> {
        let net = self.space.resolve(arch)?;
        let values = (0..net.blocks.len()).map(|block| (self.value)(&net, block));
        let values = values.collect::<Result<Vec<f64>, _>>()?;
        Ok((self.combination.of(values.into_iter()) + self.constant).max(self.floor))
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
        let mut known: Option<(Option<u32>, Option<OverBlocks>)> = None;
        for row in 0..rows.len() {
            let resolution = rows.resolution(row);
            if known.as_ref().is_none_or(|(at, _)| *at != resolution) {
                known = Some((resolution, self.table(resolution)));
            }
            let table = known.as_ref().and_then(|(_, table)| table.as_ref());
            values.push(match table.map(|table| table.value(rows.choices(row))) {
                Some(value) if !value.is_nan() => value,
                _ => self.resolved(&rows.arch(row))?,
            });
        }
        Ok(())
    }

    fn block_sum(&self, resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        match self.table(resolution)? {
            OverBlocks::Sum(sum) => Some(sum),
            OverBlocks::Maximum(_) => None,
        }
    }

    fn over_blocks(&self, resolution: Option<u32>) -> Option<OverBlocks> {
        self.table(resolution)
    }
}
