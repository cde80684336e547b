//! Properties that hold for every space and arch.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_space::{Arch, Opened, SearchSpace, SpaceEntry, Tensor, Weights, cost, extraction, plugin, registry, supernet};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

fn spaces() -> Vec<Arc<dyn SearchSpace>> {
    plugin::entries::<SpaceEntry>().into_iter().map(|entry| (entry.build)().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn json_round_trips(seed in any::<u64>()) {
        for space in spaces() {
            let arch = space.sample(&Opened::EVERYTHING, &mut ChaCha8Rng::seed_from_u64(seed));
            let text = space.format(&arch).to_string();
            prop_assert_eq!(&space.parse(&serde_json::from_str(&text).unwrap()).unwrap(), &arch);
        }
    }

    #[test]
    fn costs_lie_between_min_and_max(seed in any::<u64>()) {
        for space in spaces() {
            let macs = |arch: &Arch| cost::macs(&space.resolve(arch).unwrap());
            let arch = space.sample(&Opened::EVERYTHING, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(macs(&space.min_arch()) <= macs(&arch));
            prop_assert!(macs(&arch) <= macs(&space.max_arch()));
        }
    }

    #[test]
    fn operators_stay_canonical(seed in any::<u64>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for space in spaces() {
            let one = space.sample(&Opened::EVERYTHING, &mut rng);
            let other = space.sample(&Opened::EVERYTHING, &mut rng);
            let child = space.crossover(&one, &other, &mut rng);
            let child = space.mutate(&child, 0.3, &mut rng);
            let again = space.arch(child.choices().to_vec(), child.resolution()).unwrap();
            prop_assert_eq!(&again, &child);
        }
    }

    #[test]
    fn extraction_keeps_costs_and_reads_its_own_tensors(seed in any::<u64>()) {
        let space = registry::named("tiny-28").unwrap();
        let mut weights = Weights::default();
        for (name, def) in supernet::tensors(space.as_ref()).unwrap() {
            weights.insert(name, Tensor::full(&def.shape, 0.5));
        }
        let arch = space.sample(&Opened::EVERYTHING, &mut ChaCha8Rng::seed_from_u64(seed));
        let net = space.resolve(&arch).unwrap();
        let (standalone, own) = extraction::extract(&net, &weights).unwrap();
        prop_assert_eq!(cost::params(&standalone), cost::params(&net));
        prop_assert_eq!(cost::macs(&standalone), cost::macs(&net));
        // Extracting again changes nothing: the standalone net reads its tensors whole.
        let (again, same) = extraction::extract(&standalone, &own).unwrap();
        prop_assert_eq!(again, standalone);
        prop_assert_eq!(same, own);
    }
}

#[test]
fn shrinking_opens_choices_step_by_step() {
    let space = registry::named("tiny-28").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let closed = space.sample(&Opened::NOTHING, &mut rng);
    assert_eq!(closed.choices(), space.max_arch().choices());
    let depth_one = Opened { depth: 1, ..Opened::NOTHING };
    for _ in 0..200 {
        let arch = space.format(&space.sample(&depth_one, &mut rng));
        assert!(arch.groups["d"].iter().all(|d| *d >= 2.0));
        assert!(arch.groups["ks"].iter().all(|k| *k == 7.0 || *k == 3.0));
    }
}

#[test]
fn counts_of_the_paper() {
    for name in ["ofa-mbv3-w1.0", "ofa-mbv3-w1.2"] {
        let space = registry::named(name).unwrap();
        assert_eq!(space.subnets(), num_bigint::BigUint::from(7371u32).pow(5));
    }
    // The last stage has one block: 3 kernel sizes, 3 expansions.
    let proxyless = registry::named("ofa-proxyless-w1.3").unwrap();
    assert_eq!(proxyless.subnets(), num_bigint::BigUint::from(7371u32).pow(5) * 9u32);
    // Stages of 2, 2, 4 and 2 blocks with up to 2 more, each of 3 expansions; 6 widths; the stem's block or not.
    let blocks = |base: u32| num_bigint::BigUint::from((0..3).map(|extra| 3u32.pow(base + extra)).sum::<u32>());
    let resnet = registry::named("ofa-resnet50").unwrap();
    assert_eq!(resnet.subnets(), blocks(2).pow(3) * blocks(4) * 3u32.pow(6) * 2u32);
}

#[test]
fn the_stem_block_of_resnet_is_there_or_not() {
    let space = registry::named("ofa-resnet50").unwrap();
    let with_depth = |depth: u8| {
        let ratios = vec!["0.2"; 18].join(",");
        let text = format!(r#"{{"d":[{depth},0,1,2,0],"e":[{ratios}],"w":[0,1,2,0,1,2],"r":176}}"#);
        space.parse(&serde_json::from_str(&text).unwrap())
    };
    let names = |depth| {
        let net = space.resolve(&with_depth(depth).unwrap()).unwrap();
        net.ops().map(|op| op.name.clone()).filter(|name| name.starts_with("input_stem")).collect::<Vec<_>>()
    };
    assert!(names(2).contains(&"input_stem.1.shortcut".to_owned()));
    assert_eq!(names(0).len(), 6, "two convolutions with batch norm and activation");
    let error = with_depth(1).unwrap_err().to_string();
    assert!(error.contains("d[0] is 1, expected one of 0, 2"), "{error}");
}
