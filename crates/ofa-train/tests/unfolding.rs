//! Batch norms in place of folded ones leave the function as it is.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_space::network::block_builder::{BlockBuilder, ConvShape, Width, classifier_block, global_pool_block};
use ofa_space::supernet::TensorDef;
use ofa_space::{
    Activation, BlockKind, InputFormat, Model, ModelBody, NetSpec, OpKind, Resize, Tensor, initialisation,
};
use ofa_train::images::Images;
use ofa_train::unfolding::{insert_batch_norms, is_folded};
use ofa_train::{Supernet, device, to_host};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const SIZE: usize = 8;

/// A stem, a residual block and a projection of it, all with biases instead of batch norms.
fn folded() -> Model {
    let biased = |input: usize, output: usize, kernel: usize, stride: usize| ConvShape {
        bias: true,
        ..ConvShape::dense(Width::fixed(input), Width::fixed(output), kernel, stride)
    };
    let mut stem = BlockBuilder::new("stem", "stem", [3, SIZE, SIZE]);
    stem.conv("conv", "conv", biased(3, 8, 3, 2)).activation("act", Activation::Relu6);
    let mut blocks = vec![stem.finish(BlockKind::Stem { kernel: 3, stride: 2 })];
    let mut block = BlockBuilder::new("block", "block", blocks[0].output);
    block
        .conv("a", "a", biased(8, 16, 1, 1))
        .activation("act", Activation::HSwish)
        .conv("b", "b", ConvShape { bias: true, ..ConvShape::depthwise(Width::fixed(16), 3, 1) })
        .activation("act2", Activation::HSwish)
        .conv("c", "c", biased(16, 8, 1, 1))
        .add("add", 0);
    let activation = Activation::HSwish;
    blocks.push(block.finish(BlockKind::FinalExpand { activation }));
    blocks.push(global_pool_block(blocks[1].output));
    // Single pixels have nothing to normalise by.
    let mut mix = BlockBuilder::new("mix", "mix", blocks[2].output);
    mix.conv("conv", "conv", biased(8, 8, 1, 1)).activation("act", activation);
    blocks.push(mix.finish(BlockKind::FeatureMix { activation }));
    blocks.push(classifier_block(blocks[3].output, "linear", Width::fixed(8), 4));
    let spec = NetSpec { input: [3, SIZE, SIZE], classes: 4, blocks };
    let defs: BTreeMap<String, TensorDef> =
        spec.tensors().map(|t| (t.name.clone(), TensorDef { shape: t.full.clone(), role: t.role })).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut weights = initialisation::initialise(&defs, &mut rng);
    for name in defs.keys().filter(|name| name.ends_with("bias")) {
        let values = weights.get_mut(name).unwrap();
        *values = Tensor { data: values.data.iter().map(|_| rng.random_range(-1.0..1.0)).collect(), ..values.clone() };
    }
    Model {
        body: ModelBody::Net { spec: Box::new(spec), space: None, arch: None },
        class_names: (0..4).map(|class| class.to_string()).collect(),
        input: InputFormat { mean: vec![0.5; 3], std: vec![0.5; 3], resize: Resize::Stretch },
        provenance: BTreeMap::new(),
        weights,
    }
}

fn images(count: usize, seed: u64) -> Images {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data = (0..count * SIZE * SIZE * 3).map(|_| rng.random_range(-2.0..2.0)).collect();
    Images { data, shape: [count, SIZE, SIZE, 3] }
}

#[test]
fn the_function_stays_and_the_statistics_are_those_of_the_images() {
    let device = device::open("flex").unwrap();
    let model = folded();
    let batches = [images(16, 1), images(9, 5)];
    let unfolded = insert_batch_norms(&model, &batches, &device).unwrap();
    let (before, after) = (model.net(None).unwrap(), unfolded.net(None).unwrap());
    assert!(is_folded(&before) && !is_folded(&after));
    let norms = after.ops().filter(|op| matches!(op.kind, OpKind::BatchNorm(_))).count();
    assert_eq!(norms, 4);
    assert!(unfolded.weights.get("mix.conv.bias").is_some() && unfolded.weights.get("stem.conv.bias").is_none());
    let logits = |model: &Model, net: &NetSpec, images: &Images| {
        let supernet = Supernet::from_model(model, &device).unwrap();
        to_host(supernet.prepare(net, &supernet.running).forward(supernet.upload(images)).logits).unwrap()
    };
    let other = images(5, 9);
    let (a, b) = (logits(&model, &before, &other), logits(&unfolded, &after, &other));
    let largest = a.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 2e-5 * largest, "{difference} of {largest}");
    // Recalibration on the same images in one batch finds what was measured.
    let all =
        Images { data: batches.iter().flat_map(|batch| batch.data.clone()).collect(), shape: [25, SIZE, SIZE, 3] };
    let supernet = Supernet::from_model(&unfolded, &device).unwrap();
    let running = supernet.recalibrate(&after, [&all]).unwrap();
    let mut found = unfolded.weights.clone();
    running.store(&mut found);
    for (name, measured) in unfolded.weights.iter() {
        for (a, b) in measured.data.iter().zip(&found.get(name).unwrap().data) {
            assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{name}: {a} {b}");
        }
    }
    assert!(insert_batch_norms(&model, &[], &device).unwrap_err().to_string().contains("images"));
}
