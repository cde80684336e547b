//! Spaces that are derived from a network.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use ofa_space::network::operation::same_padding;
use ofa_space::{
    Derived, DerivedConfig, Elasticity, Genes, Model, ModelBody, NetSpec, OpKind, Opened, PaddingRule, SearchSpace,
    TensorRole, Weights, cost, extraction, importance, initialisation, registry, supernet,
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
    assert!(json.contains("\"d\":[0,0,0,0,0,0],\"r\":32"), "{json}");
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

#[test]
fn what_is_elastic_is_found_in_every_family() {
    let lists = |name: &str| Elasticity::of(registry::named(name).unwrap().as_ref()).unwrap();
    let mbv3 = lists("ofa-mbv3-w1.0");
    assert_eq!((mbv3.blocks.len(), mbv3.depths.len()), (20, 5));
    for block in &mbv3.blocks {
        assert_eq!((&block.kernel_sizes[..], &block.expand_ratios[..]), (&[3.0, 5.0, 7.0][..], &[3.0, 4.0, 6.0][..]));
    }
    let names: Vec<&str> = mbv3.blocks.iter().map(|block| block.block.as_str()).collect();
    assert_eq!((names[0], names[19]), ("blocks.1", "blocks.20"));
    let proxyless = lists("ofa-proxyless-w1.3");
    assert_eq!((proxyless.blocks.len(), proxyless.depths.last()), (21, Some(&vec![1.0])));
    let resnet = lists("ofa-resnet50");
    assert_eq!((resnet.blocks.len(), resnet.depths.len(), resnet.widths.len()), (18, 5, 6));
    assert!(resnet.blocks.iter().all(|block| block.kernel_sizes.is_empty() && block.expand_ratios.len() > 1));
    let json = serde_json::to_string(&resnet).unwrap();
    assert!(json.starts_with(r#"{"elastic":[{"block":""#) && json.contains(r#""depths":[[0,2],[0,1,2]"#), "{json}");
    // A gene with one choice is shown beside the other of its block.
    let (net, _) = whole("ofa-mbv3-w1.0", 64);
    let derived = Derived::try_from(DerivedConfig { kernel_sizes: Vec::new(), ..DerivedConfig::of(net) }).unwrap();
    let elastic = Elasticity::of(&derived).unwrap();
    assert_eq!(elastic.blocks.len(), derived.elastic_blocks().len());
    assert!(elastic.blocks.iter().all(|block| block.kernel_sizes.len() == 1 && block.expand_ratios.len() > 1));
}

#[test]
fn the_middle_subnet_lies_between_the_others() {
    for name in ["ofa-mbv3-w1.0", "ofa-resnet50", "tiny-28"] {
        let space = registry::named(name).unwrap();
        let [min, mid, max] = [space.min_arch(), space.mid_arch(), space.max_arch()]
            .map(|arch| cost::macs(&space.resolve(&arch).unwrap()));
        assert!(min < mid && mid < max, "{name}: {min}, {mid}, {max}");
        assert_eq!(space.parse(&space.format(&space.mid_arch())).unwrap(), space.mid_arch());
    }
}

#[test]
fn a_space_is_read_from_a_model_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a network");
    let (net, weights) = whole("ofa-proxyless-w1.3", 64);
    let network = model(net.clone(), weights);
    network.save(&path).unwrap();
    let space = registry::load(path.to_str().unwrap()).unwrap();
    assert_eq!(space.name(), Derived::of(net).unwrap().name());
    let supernet = network.supernet().unwrap();
    supernet.save(&path).unwrap();
    assert_eq!(registry::load(path.to_str().unwrap()).unwrap().name(), space.name());
    supernet.extract(&space.min_arch()).unwrap().save(&path).unwrap();
    let error = registry::load(path.to_str().unwrap()).unwrap_err().to_string();
    assert!(
        error.contains("a network") && error.contains(&format!("cut out of a supernet of `{}`", space.name())),
        "{error}"
    );
    std::fs::write(folder.path().join("cut.safetensors"), "x").unwrap();
    let error = registry::load(folder.path().join("cut.safetensors").to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("cut.safetensors"), "{error}");
    let mut damaged = network;
    let ModelBody::Net { spec, .. } = &mut damaged.body else { unreachable!() };
    spec.blocks[1].ops[0].inputs[0] = 7;
    damaged.save(&path).unwrap();
    let error = registry::load(path.to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("a network: bad network") && error.contains("reads value 7"), "{error}");
    // Narrowed resolutions leave the name, by which predictors know the space.
    let narrow = registry::with_field(space.as_ref(), "resolutions", serde_json::json!([32])).unwrap();
    assert_eq!(narrow.name(), space.name());
}

#[test]
fn a_new_head_changes_the_last_layer_alone() {
    let (net, weights) = whole("ofa-proxyless-w1.3", 64);
    let network = model(net, weights);
    let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    for before in [network.supernet().unwrap(), network.clone()] {
        let after = before.with_new_head(names.clone(), 1).unwrap();
        assert_eq!(after.class_names, names);
        let changed: Vec<&String> = after
            .weights
            .iter()
            .filter(|(name, tensor)| before.weights.get(name) != Some(tensor))
            .map(|(n, _)| n)
            .collect();
        assert_eq!(changed, ["classifier.linear.bias", "classifier.linear.weight"]);
        assert_eq!(after.weights.len(), before.weights.len());
        assert_eq!(after.weights, before.with_new_head(names.clone(), 1).unwrap().weights);
        assert_ne!(after.weights, before.with_new_head(names.clone(), 2).unwrap().weights);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.safetensors");
        after.save(&path).unwrap();
        Model::load(&path).unwrap();
    }
    assert!(network.with_new_head(vec!["one".into()], 0).is_err());
    let mut headless = network;
    let ModelBody::Net { spec, .. } = &mut headless.body else { unreachable!() };
    spec.blocks.pop();
    let error = headless.with_new_head(names, 0).unwrap_err().to_string();
    assert!(error.contains("does not end in a linear layer"), "{error}");
}

#[test]
fn missing_dimensions_are_listed() {
    let (mut net, _) = whole("ofa-proxyless-w1.3", 64);
    net.blocks.retain(|block| block.ops.iter().all(|op| op.inputs.len() == 1));
    let config = DerivedConfig { kernel_sizes: Vec::new(), ..DerivedConfig::of(net.clone()) };
    let missing = Derived::try_from(config).unwrap().fixed_parts();
    assert_eq!((missing[0].name.as_str(), missing[1].name.as_str()), ("kernel sizes", "depths"));
    assert!(missing[1].reason.contains("no residual blocks"), "{missing:?}");
    let config = DerivedConfig { kernel_sizes: Vec::new(), expand_ratios: vec![1.0], ..DerivedConfig::of(net) };
    let error = Derived::try_from(config).unwrap_err().to_string();
    assert!(error.contains("no residual blocks") && error.contains("nothing can be elastic"), "{error}");
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

/// The rule is kept, and the numbers follow from it, at every size and for cut kernels.
#[test]
fn same_padding_survives_sizes_and_cut_kernels() {
    let (mut net, _) = whole("ofa-proxyless-w1.3", 64);
    for op in net.blocks.iter_mut().flat_map(|block| &mut block.ops) {
        if let OpKind::Conv { kernel, padding_rule, .. } = &mut op.kind
            && *kernel > 1
        {
            *padding_rule = PaddingRule::Same;
        }
    }
    let space = Derived::of(net.at_resolution(64).unwrap()).unwrap();
    let mut lopsided = 0;
    for arch in [space.max_arch(), space.min_arch()] {
        for size in [48, 64, 75] {
            let subnet = space.resolve(&arch).unwrap().at_resolution(size).unwrap();
            for block in &subnet.blocks {
                for op in &block.ops {
                    let Some(geometry) = op.kind.geometry().filter(|geometry| geometry.kernel > 1) else { continue };
                    let read = op.inputs[0];
                    let side = if read == 0 { block.input[1] } else { block.ops[read - 1].output[1] };
                    assert_eq!(op.output[1], side.div_ceil(geometry.stride), "{} at {size}", op.name);
                    let (padding, extra) = same_padding(side, geometry.kernel, geometry.stride);
                    assert_eq!((geometry.padding, geometry.extra), (padding, extra), "{} at {size}", op.name);
                    lopsided += extra;
                }
            }
        }
        let kernels = |arch| -> usize {
            let net: NetSpec = space.resolve(arch).unwrap();
            net.ops().filter_map(|op| op.kind.geometry()).map(|geometry| geometry.kernel).max().unwrap()
        };
        assert!(kernels(&space.min_arch()) < kernels(&space.max_arch()), "nothing is cut");
    }
    assert!(lopsided > 0);
}
