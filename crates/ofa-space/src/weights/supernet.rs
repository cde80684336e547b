//! The supernet as a whole: every tensor that some subnet of a space reads.

use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::genotype::gene::{Dimension, Gene};
use crate::network::net_spec::{ChannelGroup, NetSpec, TensorRole};
use crate::spaces::space::SearchSpace;
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
    /// Widths that elastic expansion makes of it, descending; if it makes only one, every width in use.
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
    for (_, net) in neighbours_of_max(space)? {
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
    let mut groups: Vec<ElasticChannels> = Vec::new();
    let mut elsewhere: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (changed, net) in neighbours_of_max(space)? {
        for group in net.blocks.into_iter().flat_map(|block| block.channel_groups) {
            match groups.iter_mut().find(|known| known.group.name == group.name) {
                None if changed.is_none() => groups.push(ElasticChannels { widths: vec![group.width], group }),
                None => {}
                // Ranges are opened by the phases of elastic expansion, whatever else narrows the channels.
                Some(known) if changed == Some(Dimension::Expansion) => known.widths.push(group.width),
                Some(_) => elsewhere.entry(group.name).or_default().push(group.width),
            }
        }
    }
    for channels in &mut groups {
        let widest = channels.group.width;
        if channels.widths.iter().all(|width| *width == widest) {
            channels.widths.extend(elsewhere.remove(&channels.group.name).unwrap_or_default());
        }
        channels.widths.sort_unstable_by(|a, b| b.cmp(a));
        channels.widths.dedup();
    }
    groups.retain(|channels| channels.widths.len() > 1);
    Ok(groups)
}

/// The max net first, then the max arch with one gene at another of its choices, for every gene and choice; with the
/// dimension changed.
fn neighbours_of_max(space: &dyn SearchSpace) -> Result<Vec<(Option<Dimension>, NetSpec)>, SpaceError> {
    let max = space.max_arch();
    let genes: &[Gene] = &space.info().genes;
    let mut nets = vec![(None, space.resolve(&max)?)];
    for (index, gene) in genes.iter().enumerate() {
        for choice in 0..(gene.choices.len() - 1) as u8 {
            let mut choices = max.choices().to_vec();
            choices[index] = choice;
            let arch: Arch = space.arch(choices, max.resolution())?;
            nets.push((Some(gene.dimension), space.resolve(&arch)?));
        }
    }
    Ok(nets)
}
