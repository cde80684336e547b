//! Networks from ONNX files: exported ones come back as the same layers, and what cannot be read is named.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::importing::onnx::import_onnx;
use ofa_export::importing::pretrained::Wanted;
use ofa_export::importing::pretrained::families::Families;
use ofa_export::importing::pretrained::layers::{Named, Variant};
use ofa_export::{ExportError, SessionOptions, export_net, runtime};
use ofa_space::supernet::TensorDef;
use ofa_space::{
    BlockKind, Derived, Genes, NetSpec, OpKind, PaddingRule, SearchSpace, Weights, extraction, initialisation, registry,
};
use onnx_protobuf::{Message, ModelProto, NodeProto};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const SIZE: u32 = 64;

/// The largest subnet of a space as a network of its own.
fn of_space(name: &str) -> (NetSpec, Weights) {
    let space = registry::named(name).unwrap();
    let net = space.resolve(&space.max_arch().with_resolution(SIZE)).unwrap();
    extraction::extract(&net, &initialisation::supernet_weights(space.as_ref(), 7).unwrap()).unwrap()
}

fn of_family(name: &str) -> (NetSpec, Weights) {
    let all = Families::all();
    let family = all.named(name).unwrap();
    let variant = Variant { image_size: SIZE as usize, classes: 4, outputs_of: &|_| Some(8) };
    let net = Named::new(family, all.architecture(family), all.namings(family).next().unwrap(), variant).unwrap().net;
    let defs: BTreeMap<String, TensorDef> =
        net.tensors().map(|t| (t.name.clone(), TensorDef { shape: t.full.clone(), role: t.role })).collect();
    let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(7));
    (net, weights)
}

fn given() -> Wanted {
    Wanted { mean: Some(vec![0.5; 3]), std: Some(vec![0.5; 3]), ..Wanted::default() }
}

fn import(onnx: &[u8], wanted: &Wanted) -> Result<(NetSpec, Weights), ExportError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.onnx");
    std::fs::write(&file, onnx).unwrap();
    let model = import_onnx(&file, wanted)?.import.model;
    Ok((model.net(None).unwrap(), model.weights))
}

fn run(onnx: &[u8], net: &NetSpec) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let [c, h, w] = net.input;
    let x: Vec<f32> = (0..2 * c * h * w).map(|_| rng.random_range(-2.0..2.0)).collect();
    runtime::load(onnx, &SessionOptions { threads: Some(1) }).unwrap().run(&x, [2, c, h, w]).unwrap()
}

/// What lookup tables and listings see of a block.
fn seen(net: &NetSpec) -> Vec<String> {
    let described = |kind: &BlockKind| match kind {
        BlockKind::InvertedResidual { kernel, stride, middle, residual, squeeze_excite, activation, .. } => {
            format!("k{kernel} s{stride} m{middle} {residual} {squeeze_excite} {activation:?}")
        }
        BlockKind::Bottleneck { kernel, stride, middle, downsample, .. }
        | BlockKind::BasicBlock { kernel, stride, middle, downsample, .. } => {
            format!("k{kernel} s{stride} m{middle} {downsample}")
        }
        _ => String::new(),
    };
    net.blocks.iter().map(|block| format!("{} {}", block.kind.name(), described(&block.kind))).collect()
}

#[test]
fn exported_networks_come_back() {
    let spaces = ["ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "tiny-28"].map(|name| (name, of_space(name)));
    let families = ["mobilenet_v2", "mobilenet_v3_small", "tf_efficientnet_lite0", "efficientnet_b0", "resnet18"]
        .map(|name| (name, of_family(name)));
    for (name, (net, weights)) in spaces.into_iter().chain(families) {
        let onnx = export_net(&net, &weights, &BTreeMap::new()).unwrap();
        let wanted = match net.input[0] {
            3 => given(),
            _ => Wanted { mean: Some(vec![0.5]), std: Some(vec![0.5]), ..Wanted::default() },
        };
        let (imported, own) = import(&onnx, &wanted).unwrap();
        assert_eq!(seen(&imported), seen(&net), "{name}");
        assert_eq!((imported.input, imported.classes), (net.input, net.classes), "{name}");
        let again = export_net(&imported, &own, &BTreeMap::new()).unwrap();
        assert_eq!(run(&again, &imported), run(&onnx, &net), "{name}");
        // It has what a space is derived from.
        let space = Derived::of(imported).unwrap();
        assert_eq!(space.elastic_blocks().len(), Derived::of(net).unwrap().elastic_blocks().len(), "{name}");
        assert!(space.resolve(&space.min_arch()).is_ok(), "{name}");
    }
}

#[test]
fn padding_that_follows_tensorflows_rule_keeps_it() {
    let (net, weights) = of_family("tf_efficientnet_lite0");
    let onnx = export_net(&net, &weights, &BTreeMap::new()).unwrap();
    let (imported, _) = import(&onnx, &given()).unwrap();
    let stem = |net: &NetSpec| match net.blocks[0].ops[0].kind {
        OpKind::Conv { padding, extra_padding, padding_rule, .. } => (padding, extra_padding, padding_rule),
        _ => panic!(),
    };
    assert_eq!(stem(&imported), (0, 1, PaddingRule::Same));
    assert_eq!(stem(&imported.at_resolution(65).unwrap()), (1, 0, PaddingRule::Same));
    let (larger, _) = import(&onnx, &Wanted { image_size: Some(75), ..given() }).unwrap();
    assert_eq!((larger.input[1], stem(&larger).1), (75, 0));
    // Other lopsided padding is refused.
    let error = refused(&onnx, |model| {
        let graph = model.graph.as_mut().unwrap();
        let conv = graph.node.iter_mut().find(|node| node.op_type == "Conv").unwrap();
        let pads = conv.attribute.iter_mut().find(|attribute| attribute.name == "pads").unwrap();
        pads.ints = vec![0, 0, 2, 2];
    });
    assert!(error.contains("neither symmetric nor TensorFlow's SAME"), "{error}");
}

fn refused(onnx: &[u8], change: impl FnOnce(&mut ModelProto)) -> String {
    let mut model = ModelProto::parse_from_bytes(onnx).unwrap();
    change(&mut model);
    import(&model.write_to_bytes().unwrap(), &given()).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_read_is_named() {
    let (net, weights) = of_space("tiny-28");
    let onnx = export_net(&net, &weights, &BTreeMap::new()).unwrap();
    let error = import(&onnx, &Wanted::default()).unwrap_err();
    assert!(matches!(error, ExportError::NormalisationNeeded { .. }), "{error}");
    let error = refused(&onnx, |model| {
        for op in ["Elu", "Softmax", "Elu"] {
            let graph = model.graph.as_mut().unwrap();
            graph.node.push(NodeProto { op_type: op.to_owned(), ..NodeProto::default() });
        }
    });
    assert!(error.contains("operations that cannot be imported: `Elu` (2), `Softmax` (1)"), "{error}");
    let error = refused(&onnx, |model| {
        let conv = model.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == "Conv").unwrap();
        let dilations = conv.attribute.iter_mut().find(|attribute| attribute.name == "dilations").unwrap();
        dilations.ints = vec![2, 2];
    });
    assert!(error.contains("`Conv` with a kernel or stride that is not square, or dilation (1)"), "{error}");
    let error = refused(&onnx, |model| {
        let weight = &mut model.graph.as_mut().unwrap().initializer[0];
        weight.raw_data.truncate(4);
    });
    assert!(error.contains("has 1 values, its shape needs"), "{error}");
    let damaged = import(&onnx[..onnx.len() / 2], &given()).unwrap_err().to_string();
    assert!(damaged.contains("not a readable ONNX file"), "{damaged}");
    // Any damage is an error, never a panic.
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..300 {
        let mut bytes = onnx.clone();
        for _ in 0..3 {
            let at = rng.random_range(0..bytes.len().min(4000));
            bytes[at] = rng.random();
        }
        let _ = import(&bytes, &given());
    }
}
