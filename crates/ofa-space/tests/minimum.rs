//! The exact minimum of a quantity against enumeration.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_space::memory::{Schedule, block_peak_bytes, block_weight_bytes, peak_activation_bytes};
use ofa_space::{
    BlockObjective, BlockSum, Gene, Genes, NetSpec, Objective, ObjectiveError, OverBlocks, PlainTerm, SearchSpace,
    cost, registry,
};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Two stages of one or two blocks, and a width that the blocks of both share.
fn genes() -> Vec<Gene> {
    let depth = |stage: usize| Gene::depth(stage, &[1, 2]);
    let kernel = |block: usize| Gene::kernel_size(block, &[3, 5, 7]).only_if(block / 2, (block % 2 + 1) as f64);
    (0..2).map(depth).chain((0..4).map(kernel)).chain([Gene::new("width", [1.0, 2.0])]).collect()
}

/// Every arch in canonical form.
fn all(genes: &[Gene]) -> Vec<Vec<u8>> {
    let mut rows: Vec<Vec<u8>> = vec![Vec::new()];
    for gene in genes {
        let longer = |row: &Vec<u8>, choice: usize| [row.as_slice(), &[choice as u8]].concat();
        rows = rows.iter().flat_map(|row| (0..gene.choices.len()).map(move |choice| longer(row, choice))).collect();
    }
    let canonical = |row: Vec<u8>| genes.to_vec().arch(row, None).unwrap().choices().to_vec();
    let canonical: BTreeSet<Vec<u8>> = rows.into_iter().map(canonical).collect();
    canonical.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn sums_have_the_minimum_of_enumeration(
        values in prop::collection::vec(prop_oneof![9 => -1.0f64..1.0, 1 => Just(f64::NAN)], 24),
        depths in prop::collection::vec(-1.0f64..1.0, 4),
    ) {
        let genes = genes();
        // A block that is there changes with its kernel and the width; each depth has a price of its own.
        let block = |block: usize| PlainTerm {
            genes: vec![(2 + block, 3), (6, 2)],
            needs: if block.is_multiple_of(2) { vec![] } else { vec![(block / 2, 1)] },
            values: values[6 * block..6 * block + 6].to_vec(),
        };
        let depth = |stage: usize| PlainTerm {
            genes: vec![(stage, 2)], needs: vec![], values: depths[2 * stage..2 * stage + 2].to_vec(),
        };
        let sum = BlockSum::of_terms((0..4).map(block).chain((0..2).map(depth)));
        let least = all(&genes).iter().map(|row| sum.value(row)).filter(|v| !v.is_nan()).reduce(f64::min);
        let found = OverBlocks::Sum(Arc::new(sum.clone())).minimum(&genes).unwrap();
        match (found, least) {
            (Some(choices), Some(least)) => {
                prop_assert!((sum.value(&choices) - least).abs() < 1e-12, "{} of {least}", sum.value(&choices));
                let canonical = genes.arch(choices.clone(), None).unwrap();
                prop_assert_eq!(canonical.choices(), &choices[..]);
            }
            (None, None) => {}
            (found, least) => prop_assert!(false, "{found:?} against {least:?}"),
        }
    }
}

/// A quantity of a network, block by block.
type Value = fn(&NetSpec, usize) -> Result<f64, ObjectiveError>;

/// The smallest value over every arch of a space at a resolution.
fn enumerated(space: &dyn SearchSpace, resolution: u32, of: impl Fn(&NetSpec) -> f64) -> f64 {
    let mut least = f64::INFINITY;
    for row in all(space.genes()) {
        least = least.min(of(&space.resolve(&space.arch(row, Some(resolution)).unwrap()).unwrap()));
    }
    least
}

#[test]
fn networks_have_the_minimum_of_enumeration() {
    let mut space = registry::named("tiny-28").unwrap();
    // Few enough subnets to enumerate.
    for (field, choices) in [("kernel_sizes", json!([3, 5])), ("expand_ratios", json!([2.0, 4.0]))] {
        space = registry::with_field(space.as_ref(), field, choices).unwrap();
    }
    let genes = space.genes();
    let sram: Value = |net, block| Ok(block_peak_bytes(&net.blocks[block], Schedule::MICROCONTROLLER) as f64);
    let flash: Value = |net, block| Ok(block_weight_bytes(&net.blocks[block], 1) as f64);
    for resolution in &space.info().resolutions {
        let maximum = BlockObjective::maximum("sram", space.clone(), sram).over_blocks(Some(*resolution)).unwrap();
        assert!(matches!(maximum, OverBlocks::Maximum(_)));
        let found = maximum.minimum(genes).unwrap().unwrap();
        let least =
            enumerated(space.as_ref(), *resolution, |net| peak_activation_bytes(net, Schedule::MICROCONTROLLER) as f64);
        assert_eq!(maximum.value(&found), least);
        let sum = BlockObjective::new("flash", space.clone(), flash).over_blocks(Some(*resolution)).unwrap();
        let found = sum.minimum(genes).unwrap().unwrap();
        let weights = |net: &NetSpec| net.blocks.iter().map(|block| block_weight_bytes(block, 1) as f64).sum();
        assert_eq!(sum.value(&found), enumerated(space.as_ref(), *resolution, weights));
    }
}

#[test]
fn every_family_has_a_minimum_of_macs_and_of_memory() {
    for entry in ofa_space::plugin::entries::<ofa_space::SpaceEntry>() {
        let space = registry::named(entry.name).unwrap();
        let resolution = space.info().resolutions.first().copied();
        let macs = BlockObjective::cost("macs", space.clone(), cost::block_macs);
        let least = macs.over_blocks(resolution).unwrap().minimum(space.genes()).unwrap().unwrap();
        let smallest = space.resolve(&space.min_arch()).unwrap();
        assert!(macs.over_blocks(resolution).unwrap().value(&least) <= cost::macs(&smallest) as f64, "{}", entry.name);
        let sram: Value = |net, block| Ok(block_peak_bytes(&net.blocks[block], Schedule::MICROCONTROLLER) as f64);
        let maximum = BlockObjective::maximum("sram", space.clone(), sram).over_blocks(resolution);
        let maximum = maximum.unwrap_or_else(|| panic!("{} has no maximum", entry.name));
        let least = maximum.minimum(space.genes()).unwrap().unwrap();
        let peak = peak_activation_bytes(&smallest, Schedule::MICROCONTROLLER) as f64;
        assert!(maximum.value(&least) <= peak, "{}", entry.name);
    }
}
