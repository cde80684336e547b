//! Scoring several subnets at once: blocks that they have in common from the input on are computed once.
//!
//! The subnets of one resolution form a tree whose nodes are blocks; two subnets share a node if everything up to it is
//! the same. For each batch the tree is walked once, depth first, so that only the activations along one path are in
//! memory. A first walk over the calibration images collects the statistics of every node, a second one over the
//! validation images uses them. Each subnet goes through the same operations on the same numbers as it would alone.

use crate::communication::Attend;
use crate::elastic::batch_norm::{BatchStatistics, Recalibration, RunningStatistics};
use crate::elastic::executor::{Prepared, Statistics};
use crate::elastic::parameters::Gradients;
use crate::elastic::plan::Plan;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::evaluation::{Accuracy, CalibrationSet, EvaluationSet, Tally};
use burn::tensor::Tensor;
use ofa_space::{Block, NetSpec, cost};

/// A block, and the subnets that contain it.
struct Node {
    block: Block,
    plan: Plan,
    children: Vec<usize>,
    /// Numbers of the subnets that end here.
    ends: Vec<usize>,
}

/// Subnets of one resolution, merged at their beginnings.
pub(super) struct Tree {
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

impl Tree {
    pub fn new(nets: &[NetSpec]) -> Self {
        let mut tree = Self { nodes: Vec::new(), roots: Vec::new() };
        for (number, net) in nets.iter().enumerate() {
            let mut parent = None;
            for block in &net.blocks {
                parent = Some(tree.child(parent, block, net));
            }
            if let Some(last) = parent {
                tree.nodes[last].ends.push(number);
            }
        }
        tree
    }

    /// The node of `block` after `parent`, made if it is not there.
    fn child(&mut self, parent: Option<usize>, block: &Block, net: &NetSpec) -> usize {
        let siblings = parent.map_or(&self.roots, |parent| &self.nodes[parent].children);
        if let Some(known) = siblings.iter().find(|node| computes_the_same(&self.nodes[**node].block, block)) {
            return *known;
        }
        let plan = Plan::new(&NetSpec { input: block.input, classes: net.classes, blocks: vec![block.clone()] });
        self.nodes.push(Node { block: block.clone(), plan, children: Vec::new(), ends: Vec::new() });
        let node = self.nodes.len() - 1;
        match parent {
            Some(parent) => self.nodes[parent].children.push(node),
            None => self.roots.push(node),
        }
        node
    }

    /// Multiply-accumulates of all nodes, for one image.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|node| cost::block_macs(&node.block)).sum()
    }

    /// Accuracy of every subnet after BN recalibration; the supernet's own statistics without calibration images. `attend` is
    /// called before every batch.
    pub fn score(
        &self,
        supernet: &Supernet,
        subnets: usize,
        resolution: u32,
        (calibration, images): (&mut CalibrationSet<'_>, &mut EvaluationSet<'_>),
        attend: Attend<'_>,
    ) -> Result<Vec<Accuracy>, TrainError> {
        let running = self.recalibrate(supernet, resolution, calibration, attend)?;
        let prepared: Vec<Prepared> = self
            .nodes
            .iter()
            .zip(&running)
            .map(|(node, running)| {
                Prepared::new(&node.plan, &supernet.parameters, Statistics::Running(running), Gradients::Skip)
            })
            .collect();
        let mut tallies = vec![Tally::default(); subnets];
        for (batch, labels) in images.batches(resolution)?.iter() {
            attend()?;
            self.walk(supernet.upload(batch), &mut |node, value| {
                let (value, _) = prepared[node].run(value);
                if !self.nodes[node].ends.is_empty() {
                    let logits = to_host(value.clone())?;
                    for &subnet in &self.nodes[node].ends {
                        tallies[subnet].add(&logits, labels);
                    }
                }
                Ok(value)
            })?;
        }
        Ok(tallies.iter().map(Tally::accuracy).collect())
    }

    /// Running statistics for every node.
    fn recalibrate(
        &self,
        supernet: &Supernet,
        resolution: u32,
        calibration: &mut CalibrationSet<'_>,
        attend: Attend<'_>,
    ) -> Result<Vec<RunningStatistics>, TrainError> {
        let prepared: Vec<Prepared> = self
            .nodes
            .iter()
            .map(|node| Prepared::new(&node.plan, &supernet.parameters, Statistics::Batch, Gradients::Skip))
            .collect();
        let mut collected: Vec<Recalibration> = self.nodes.iter().map(|_| Recalibration::default()).collect();
        for (batch, _) in calibration.batches(resolution)?.iter() {
            attend()?;
            self.walk(supernet.upload(batch), &mut |node, value| {
                let (value, statistics): (_, Vec<BatchStatistics>) = prepared[node].run(value);
                collected[node].add(statistics)?;
                Ok(value)
            })?;
        }
        Ok(collected.into_iter().map(|node| node.finish(&supernet.running)).collect())
    }

    /// Runs `work` on every node, each on the value that it made of the node before.
    fn walk(
        &self,
        input: Tensor<4>,
        work: &mut dyn FnMut(usize, Tensor<4>) -> Result<Tensor<4>, TrainError>,
    ) -> Result<(), TrainError> {
        // Nodes still to be run, with their inputs; the next is the last.
        let mut waiting: Vec<(usize, Tensor<4>)> = self.roots.iter().rev().map(|&root| (root, input.clone())).collect();
        drop(input);
        while let Some((node, value)) = waiting.pop() {
            let value = work(node, value)?;
            waiting.extend(self.nodes[node].children.iter().rev().map(|&child| (child, value.clone())));
        }
        Ok(())
    }
}

/// Whether two blocks do the same with the same tensors; their names may differ.
fn computes_the_same(a: &Block, b: &Block) -> bool {
    a.input == b.input
        && a.ops.len() == b.ops.len()
        && a.ops.iter().zip(&b.ops).all(|(x, y)| x.inputs == y.inputs && x.output == y.output && x.kind == y.kind)
}
