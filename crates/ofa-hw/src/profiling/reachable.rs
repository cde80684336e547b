//! Which blocks the subnets of a space are made of.

use crate::block_key;
use ofa_space::{Arch, Block, SearchSpace, SpaceError};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Archs, at one resolution, that together hold every block of every subnet.
///
/// Found by closure: from the largest and smallest subnet on, genes are changed one at a time, and whatever shows a
/// block at a place where it was not seen before is changed further. A block that depends on several genes is reached
/// one gene after the other, since each step makes another block.
///
/// # Errors
/// [`SpaceError`] if the space refuses an arch of its own genes.
pub fn covering_archs(space: &dyn SearchSpace) -> Result<Vec<Arch>, SpaceError> {
    let genes = &space.info().genes;
    let resolution = space.info().resolutions.last().copied().unwrap_or(224);
    let mut seen: HashSet<(String, u64)> = HashSet::new();
    let mut tried: HashSet<Arch> = HashSet::new();
    let mut covering = Vec::new();
    let mut queue = VecDeque::new();
    let mut look = |arch: Arch, queue: &mut VecDeque<Arch>| -> Result<(), SpaceError> {
        if !tried.insert(arch.clone()) {
            return Ok(());
        }
        let net = space.resolve(&arch)?;
        let mut is_new = false;
        for block in &net.blocks {
            is_new |= seen.insert((place(block), block_key::hash(block)));
        }
        if is_new {
            covering.push(arch.clone());
            queue.push_back(arch);
        }
        Ok(())
    };
    for start in [space.max_arch(), space.min_arch()] {
        look(start.with_resolution(resolution), &mut queue)?;
    }
    while let Some(arch) = queue.pop_front() {
        for (index, gene) in genes.iter().enumerate() {
            for choice in 0..gene.choices.len() as u8 {
                if choice != arch.choices()[index] {
                    let mut choices = arch.choices().to_vec();
                    choices[index] = choice;
                    look(space.arch(choices, Some(resolution))?, &mut queue)?;
                }
            }
        }
    }
    Ok(covering)
}

/// The place of a block in the supernet: the first tensor that it reads.
fn place(block: &Block) -> String {
    let mut tensors = block.ops.iter().flat_map(|op| op.kind.tensors());
    tensors.next().map_or_else(String::new, |(_, tensor)| tensor.name.clone())
}

/// Every distinct block of a space at these resolutions, in the order of resolutions; the key of each is unique.
///
/// # Errors
/// [`SpaceError`] if the space refuses an arch of its own genes.
pub fn blocks(space: &dyn SearchSpace, resolutions: &[u32]) -> Result<Vec<Block>, SpaceError> {
    let covering = covering_archs(space)?;
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for resolution in resolutions {
        let mut here: BTreeMap<String, Block> = BTreeMap::new();
        for arch in &covering {
            for block in space.resolve(&arch.with_resolution(*resolution))?.blocks {
                if seen.insert(block_key::hash(&block)) {
                    here.insert(block_key::key(&block), block);
                }
            }
        }
        found.extend(here.into_values());
    }
    Ok(found)
}
