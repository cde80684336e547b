//! The supernet as a whole: every tensor that some subnet of a space reads.

use crate::arch::Arch;
use crate::error::SpaceError;
use crate::gene::Gene;
use crate::net_spec::{ChannelGroup, NetSpec, TensorRole};
use crate::space::SearchSpace;
use std::collections::BTreeMap;

/// A tensor of the supernet.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorDef {
    /// Shape.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: TensorRole,
}

/// Channels that are elastic together, with every width that some subnet uses.
#[derive(Clone, PartialEq, Debug)]
pub struct ElasticChannels {
    /// The group in the max subnet.
    pub group: ChannelGroup,
    /// Widths in use over the space, descending.
    pub widths: Vec<usize>,
}

/// Every tensor of the supernet, by name.
///
/// Found by resolving the max arch with one gene changed at a time, which reaches every tensor as long as no tensor
/// exists for a combination of genes only.
///
/// # Errors
/// What [`SearchSpace::resolve`] reports.
pub fn tensors(space: &dyn SearchSpace) -> Result<BTreeMap<String, TensorDef>, SpaceError> {
    let mut found = BTreeMap::new();
    for net in neighbours_of_max(space)? {
        for tensor in net.tensors() {
            let def = || TensorDef { shape: tensor.full.clone(), role: tensor.role };
            found.entry(tensor.name.clone()).or_insert_with(def);
            for step in &tensor.kernel_steps {
                let area = step.size * step.size;
                let def = || TensorDef { shape: vec![area, area], role: TensorRole::KernelTransform };
                found.entry(step.matrix.clone()).or_insert_with(def);
            }
        }
    }
    Ok(found)
}

/// The elastic channel groups of the supernet: those of which some subnet uses fewer channels than the max.
///
/// # Errors
/// What [`SearchSpace::resolve`] reports.
pub fn elastic_channels(space: &dyn SearchSpace) -> Result<Vec<ElasticChannels>, SpaceError> {
    let mut widths: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut groups: Vec<ChannelGroup> = Vec::new();
    for (index, net) in neighbours_of_max(space)?.into_iter().enumerate() {
        for group in net.blocks.into_iter().flat_map(|block| block.channel_groups) {
            widths.entry(group.name.clone()).or_default().push(group.width);
            if index == 0 {
                groups.push(group);
            }
        }
    }
    let elastic = groups.into_iter().map(|group| {
        let mut widths = widths.remove(&group.name).unwrap_or_default();
        widths.sort_unstable_by(|a, b| b.cmp(a));
        widths.dedup();
        ElasticChannels { group, widths }
    });
    Ok(elastic.filter(|channels| channels.widths.len() > 1).collect())
}

/// The max net first, then the max arch with one gene at another of its choices, for every gene and choice.
fn neighbours_of_max(space: &dyn SearchSpace) -> Result<Vec<NetSpec>, SpaceError> {
    let max = space.max_arch();
    let genes: &[Gene] = &space.info().genes;
    let mut nets = vec![space.resolve(&max)?];
    for (index, gene) in genes.iter().enumerate() {
        for choice in 0..(gene.choices.len() - 1) as u8 {
            let mut choices = max.choices().to_vec();
            choices[index] = choice;
            let arch: Arch = space.arch(choices, max.resolution())?;
            nets.push(space.resolve(&arch)?);
        }
    }
    Ok(nets)
}
