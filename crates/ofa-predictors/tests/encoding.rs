//! The one-hot encoding against its definition, on every space.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_predictors::{Arch, Code, Encoder, SearchSpace};
use ofa_space::{Opened, Population, SpaceEntry, plugin};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

fn spaces() -> Vec<Arc<dyn SearchSpace>> {
    plugin::entries::<SpaceEntry>().into_iter().map(|entry| (entry.build)().unwrap()).collect()
}

/// One column per choice of every gene, then one per resolution; the columns of inactive genes are zero.
fn one_hot(space: &dyn SearchSpace, arch: &Arch) -> Vec<f32> {
    let genes = &space.info().genes;
    let mut features = Vec::new();
    for (gene, choice) in genes.iter().zip(arch.choices()) {
        let active = gene.is_active(genes, arch.choices());
        features.extend((0..gene.choices.len()).map(|at| f32::from(u8::from(active && at == usize::from(*choice)))));
    }
    features.extend(space.info().resolutions.iter().map(|r| f32::from(u8::from(arch.resolution() == Some(*r)))));
    features
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn whatever_is_bred_has_its_features(seed in any::<u64>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for space in spaces() {
            let one = space.sample(&Opened::EVERYTHING, &mut rng);
            let other = space.sample(&Opened::EVERYTHING, &mut rng);
            let child = space.crossover(&one, &other, &mut rng);
            let child = space.mutate(&child, 0.3, &mut rng);
            let code = Code::new(Encoder::OneHot, space.as_ref(), None).unwrap();
            let rows = code.rows(space.as_ref(), &Population::of(std::slice::from_ref(&child))).unwrap();
            prop_assert_eq!(rows.dense(), vec![one_hot(space.as_ref(), &child)]);
            prop_assert_eq!(code.labels().len(), code.width());
            for encoder in [Encoder::OneHotCost, Encoder::Stages] {
                let code = Code::new(encoder, space.as_ref(), None).unwrap();
                prop_assert_eq!(code.labels().len(), code.width());
                prop_assert_eq!(encoder.encode(space.as_ref(), std::slice::from_ref(&child)).unwrap()[0].len(), code.width());
            }
        }
    }
}
