//! Sums over blocks against whole networks, in every family.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_space::{BlockObjective, BlockPlan, Objective, Opened, SpaceEntry, cost, plugin, registry};
use rand::SeedableRng;

#[test]
fn tables_agree_with_whole_networks_in_every_family() {
    for entry in plugin::entries::<SpaceEntry>() {
        let space = registry::named(entry.name).unwrap();
        let macs = BlockObjective::cost("macs", space.clone(), cost::block_macs);
        let params = BlockObjective::cost("params", space.clone(), cost::block_params);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let archs: Vec<_> = (0..40).map(|_| space.sample(&Opened::EVERYTHING, &mut rng)).collect();
        let resolution = archs[0].resolution();
        assert!(macs.block_sum(resolution).is_some(), "{} is no sum over blocks", entry.name);
        let values = macs.evaluate(&archs).unwrap().into_iter().zip(params.evaluate(&archs).unwrap());
        for (arch, (macs, params)) in archs.iter().zip(values) {
            let net = space.resolve(arch).unwrap();
            assert_eq!((macs as u64, params as u64), (cost::macs(&net), cost::params(&net)), "{}", entry.name);
        }
    }
}

#[test]
fn constants_and_floors_come_after_the_sum() {
    let space = registry::named("tiny-28").unwrap();
    let macs = BlockObjective::cost("macs", space.clone(), cost::block_macs);
    let archs = [space.min_arch(), space.max_arch()];
    let plain = macs.evaluate(&archs).unwrap();
    let floor = (plain[0] + plain[1]) / 2.0;
    let shifted = BlockObjective::cost("macs", space.clone(), cost::block_macs).with_constant_and_floor(7.0, floor);
    assert_eq!(shifted.evaluate(&archs).unwrap(), [floor, plain[1] + 7.0]);
    let sum = shifted.block_sum(archs[1].resolution()).unwrap();
    assert_eq!(sum.value(archs[0].choices()), floor);
    // A block without a value is never hidden by the floor.
    let holed = BlockObjective::new("holed", space, |_, _| Err("no value".into())).with_constant_and_floor(7.0, floor);
    assert!(holed.evaluate(&archs).is_err());
}

#[test]
fn a_quantity_that_is_no_sum_over_blocks_gets_no_table() {
    let space = registry::named("tiny-28").unwrap();
    let plan = BlockPlan::of(space.as_ref()).unwrap().unwrap();
    let tabulate = |value: &dyn Fn(&ofa_space::NetSpec, usize) -> Result<f64, ofa_space::ObjectiveError>| {
        plan.tabulate(space.as_ref(), Some(28), value).unwrap()
    };
    assert!(tabulate(&|net, block| Ok(cost::block_macs(&net.blocks[block]) as f64)).is_some());
    assert!(tabulate(&|net, _| Ok(net.blocks.len() as f64)).is_none());
    assert!(tabulate(&|net, block| Ok((cost::macs(net) * block as u64) as f64)).is_none());
}
