//! Spaces that are derived from a network.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use ofa_space::{
    Derived, DerivedConfig, Genes, Model, ModelBody, NetSpec, OpKind, Opened, SearchSpace, TensorRole, Weights, cost,
    extraction, importance, initialisation, registry, supernet,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The largest subnet of a registered space as a network of its own, with random weights.
fn whole(name: &str, resolution: u32) -> (NetSpec, Weights) {
    let space = registry::named(name).unwrap();
    let net = space.resolve(&space.max_arch().with_resolution(resolution)).unwrap();
    let weights = initialisation::supernet_weights(space.as_ref(), 3).unwrap();
    extraction::extract(&net, &weights).unwrap()
}

fn without_groups(mut net: NetSpec) -> NetSpec {
    net.blocks.iter_mut().for_each(|block| block.channel_groups.clear());
    net
}

#[test]
fn the_largest_subnet_is_the_network_itself() {
    for name in ["ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "ofa-resnet50", "cifar-32", "tiny-28"] {
        let (net, weights) = whole(name, 64);
        let space = Derived::of(net.clone()).unwrap();
        let largest = space.resolve(&space.max_arch().with_resolution(64)).unwrap();
        assert_eq!(without_groups(largest.clone()), net, "{name}");
        let (_, extracted) = extraction::extract(&largest, &weights).unwrap();
        assert_eq!(extracted, weights, "{name}");
    }
}

#[test]
fn every_subnet_reads_slices_that_fit_together() {
    for name in ["ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "ofa-resnet50"] {
        let (net, weights) = whole(name, 64);
        let model = model(net, weights).supernet().unwrap();
        let space = model.elastic_space().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let largest = cost::macs(&space.resolve(&space.max_arch()).unwrap());
        for arch in (0..20).map(|_| space.sample(&Opened::EVERYTHING, &mut rng)).chain([space.min_arch()]) {
            let subnet = space.resolve(&arch).unwrap();
            assert!(cost::macs(&subnet) < largest, "{name}");
            // The channels that one operation makes are those that the next reads.
            let (standalone, own) = extraction::extract(&subnet, &model.weights).unwrap();
            for op in standalone.ops() {
                if let OpKind::Conv { weight, groups, .. } = &op.kind {
                    assert_eq!(own.get(&weight.name).unwrap().shape, weight.full, "{name} {}", op.name);
                    assert_eq!(weight.full[0], op.output[0]);
                    assert_eq!(weight.full[0] % groups, 0);
                }
            }
            assert_eq!(space.parse(&space.format(&arch)).unwrap(), arch);
        }
    }
}

#[test]
fn the_smallest_mobilenet_keeps_half_of_the_channels_the_first_block_of_a_stage_and_3x3_kernels() {
    let (net, _) = whole("ofa-mbv3-w1.0", 64);
    let space = Derived::of(net.clone()).unwrap();
    // Stem with the fixed residual block, five stages, final expansion, pooling, feature mix, classifier.
    assert_eq!(space.stages().len(), 10);
    let smallest = space.resolve(&space.min_arch()).unwrap();
    for block in &smallest.blocks {
        if let ofa_space::BlockKind::InvertedResidual { kernel, middle, .. } = block.kind {
            let before = net.blocks.iter().find(|known| known.name == block.name).unwrap();
            let ofa_space::BlockKind::InvertedResidual { middle: full, .. } = before.kind else { unreachable!() };
            assert_eq!(kernel, 3);
            // The first block has no expansion: its middle channels are its input's.
            let expected = if block.name == "blocks.0" { full } else { full / 2 / 8 * 8 };
            assert_eq!(middle, expected, "{}", block.name);
        }
    }
    let json = serde_json::to_string(&space.format(&space.min_arch())).unwrap();
    assert!(json.contains("\"d\":[0,0,0,0,0,0],\"r\":16"), "{json}");
}

#[test]
fn channels_are_permuted_without_changing_what_a_narrow_subnet_could_not_see() {
    let (net, weights) = whole("ofa-proxyless-w1.3", 64);
    let model = model(net, weights).supernet().unwrap();
    let space = model.elastic_space().unwrap();
    let groups = supernet::elastic_channels(space.as_ref()).unwrap();
    assert!(groups.iter().all(|group| group.group.scale.is_some()));
    let mut sorted = model.weights.clone();
    let permutations = importance::sort_channels(&mut sorted, &groups, 0).unwrap();
    assert_eq!(permutations.len(), groups.len());
    for (group, permutation) in groups.iter().zip(&permutations) {
        for (name, axis) in &group.group.members {
            let (before, after) = (model.weights.get(name).unwrap(), sorted.get(name).unwrap());
            assert_eq!(before.shape, after.shape);
            assert_eq!(before.shape[*axis], permutation.order.len(), "{name}");
        }
    }
    // Every tensor over the channels of a block is a member.
    let members: Vec<&String> = groups.iter().flat_map(|group| group.group.members.iter().map(|m| &m.0)).collect();
    let narrow = space.resolve(&space.min_arch()).unwrap();
    for tensor in narrow.tensors().filter(|tensor| tensor.role != TensorRole::KernelTransform) {
        let narrowed = tensor.take[0] != tensor.full[0] || tensor.take.get(1) != tensor.full.get(1);
        assert!(!narrowed || members.contains(&&tensor.name), "{}", tensor.name);
    }
}

#[test]
fn the_head_takes_other_classes_and_the_name_follows_the_structure() {
    let (net, _) = whole("ofa-proxyless-w1.3", 64);
    let space = Derived::of(net.clone()).unwrap();
    let six = registry::with_classes(&space, 6).unwrap();
    let largest = six.resolve(&six.max_arch()).unwrap();
    assert_eq!((largest.classes, largest.blocks.last().unwrap().output[0]), (6, 6));
    let eight = |name: &str| name.strip_prefix("derived-").unwrap().len();
    assert_eq!((eight(space.name()), eight(six.name())), (8, 8));
    assert_ne!(space.name(), six.name());
    assert_eq!(Derived::of(net.clone()).unwrap().name(), space.name());
    let read: Box<dyn SearchSpace> =
        serde_json::from_value(serde_json::to_value(&space as &dyn SearchSpace).unwrap()).unwrap();
    assert_eq!(read.name(), space.name());
    let whole_kernels =
        Derived::try_from(DerivedConfig { kernel_sizes: Vec::new(), ..DerivedConfig::of(net) }).unwrap();
    assert!(whole_kernels.genes().iter().filter(|gene| gene.group == "ks").all(|gene| gene.choices.len() == 1));
}

#[test]
fn what_stays_fixed_has_a_reason() {
    let (net, _) = whole("ofa-mbv3-w1.0", 64);
    let fixed = Derived::of(net).unwrap().fixed_parts();
    let reason = |name: &str| fixed.iter().find(|part| part.name == name).map(|part| part.reason.as_str());
    assert_eq!(reason("first_conv"), Some("its channels are read by other blocks"));
    assert_eq!(reason("classifier"), Some("one output for each class"));
    assert_eq!(reason("blocks.2"), None);
}

fn model(net: NetSpec, weights: Weights) -> Model {
    let channels = net.input[0];
    Model {
        class_names: (0..net.classes).map(|class| class.to_string()).collect(),
        body: ModelBody::Net { spec: Box::new(net), space: None, arch: None },
        input: ofa_space::InputFormat {
            mean: vec![0.5; channels],
            std: vec![0.5; channels],
            resize: ofa_space::Resize::CenterCrop { numerator: 256, denominator: 224 },
        },
        provenance: Default::default(),
        weights,
    }
}
