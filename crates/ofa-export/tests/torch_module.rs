//! A network as a PyTorch module: which layers are written, which tensors go where, and that both files appear together.
//! tests/ways_onto_a_device.py compares logits in PyTorch.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::importing::state_dict::StateDict;
use ofa_export::{ExportError, TorchModule};
use ofa_space::{Activation, InputFormat, Model, ModelBody, Op, OpKind, Resize, initialisation, registry, slicing};
use std::collections::BTreeMap;

fn model(space: &str) -> Model {
    let space = registry::named(space).unwrap();
    let supernet = Model {
        weights: initialisation::supernet_weights(space.as_ref(), 3).unwrap(),
        body: ModelBody::Supernet { space: space.clone() },
        class_names: (0..10).map(|class| format!("class {class}")).collect(),
        input: InputFormat { mean: vec![0.485; 3], std: vec![0.25; 3], resize: Resize::Stretch },
        provenance: BTreeMap::new(),
    };
    supernet.extract(&space.min_arch()).unwrap()
}

/// The network of a model, to change.
fn spec(model: &mut Model) -> &mut ofa_space::NetSpec {
    match &mut model.body {
        ModelBody::Net { spec, .. } => spec,
        ModelBody::Supernet { .. } => panic!("a supernet"),
    }
}

fn module(model: &Model) -> TorchModule {
    TorchModule::of(model, &BTreeMap::new()).unwrap()
}

/// The lines between two that are given.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from} in {text}"));
    rest.split_once(to).unwrap().0.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_tensor_of_the_network_is_in_the_weights_once() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny-28", "cifar-32"] {
        let model = model(name);
        assert_eq!(module(&model), module(&model));
        let net = model.net(None).unwrap();
        let path = folder.path().join("net.pth");
        std::fs::write(&path, module(&model).weights).unwrap();
        let state = StateDict::read(&path).unwrap();
        assert_eq!(state.names().count(), net.tensors().count(), "{name}");
        let sorted = |mut all: Vec<Vec<f32>>| {
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            all
        };
        let read = |tensor| slicing::read(&model.weights, tensor).unwrap().data;
        let ours = sorted(net.tensors().map(read).collect());
        let theirs = sorted(state.names().map(|name| state.get(name).unwrap().data.clone()).collect());
        assert!(ours == theirs, "{name}");
    }
}

#[test]
fn layers_are_those_of_the_blocks() {
    let source = module(&model("ofa-resnet50")).source;
    let bottleneck = between(&source, "# blocks.0: bottleneck, ", "# blocks.1");
    assert_eq!(bottleneck[0].split(' ').nth(1), Some("→"), "{bottleneck:?}");
    let shape = [
        "nn.Sequential(",
        "Residual(",
        "nn.Sequential(",
        "ConvNorm(",
        "ConvNorm(",
        "ConvNorm(",
        "),",
        "ConvNorm(",
        "),",
        "nn.ReLU(),",
        "),",
    ];
    assert_eq!(bottleneck.len(), 1 + shape.len(), "{bottleneck:#?}");
    for (line, shape) in bottleneck[1..].iter().zip(shape) {
        assert!(line.starts_with(shape), "{bottleneck:#?}");
    }
    assert!(!source.contains("class Graph") && !source.contains("class SqueezeExcite"), "{source}");
    let source = module(&model("ofa-mbv3-w1.0")).source;
    assert!(source.contains("SqueezeExcite(72, 24, nn.ReLU(), nn.Hardsigmoid()),"), "{source}");
    assert!(
        source.contains("activation=nn.Hardswish()") && source.contains("return self.head(self.blocks(self.stem(x)))")
    );
}

#[test]
fn padding_that_differs_by_side_is_a_layer() {
    let mut model = model("cifar-32");
    match &mut spec(&mut model).blocks[0].ops[0].kind {
        OpKind::Conv { padding, extra_padding, .. } => (*padding, *extra_padding) = (0, 2),
        other => panic!("{other:?}"),
    }
    let module = module(&model);
    let stem = between(&module.source, "self.stem = nn.Sequential(", "self.blocks");
    assert!(stem.contains(&"nn.ZeroPad2d((0, 2, 0, 2)),"), "{stem:#?}");
    assert!(!stem.iter().any(|line| line.contains("padding=")), "{stem:#?}");
}

#[test]
fn a_block_that_is_no_chain_is_written_operation_by_operation() {
    let mut model = model("cifar-32");
    let block = spec(&mut model).blocks.iter_mut().find(|block| block.input == block.output).unwrap();
    // The input is added a second time, to the sum.
    let (value, output) = (block.ops.len(), block.output);
    let add = |inputs| Op { name: format!("{}.again", block.name), inputs, output, kind: OpKind::Add };
    let relu = Op { inputs: vec![value], kind: OpKind::Activation { function: Activation::Relu }, ..add(Vec::new()) };
    block.ops.extend([relu.clone(), Op { inputs: vec![value + 1, 0], ..add(Vec::new()) }]);
    let source = module(&model).source;
    assert!(source.contains("class Graph(") && source.contains("class Sum("), "{source}");
    assert!(source.contains(&format!("[{value}], [{}, 0]])", value + 1)), "{source}");
}

#[test]
fn text_from_files_stays_text() {
    let mut model = model("tiny-28");
    model.class_names[3] = "it's \"so\"\n\\u".to_owned();
    model.provenance.insert("source".to_owned(), "\"\"\"\nimport os \\".to_owned());
    spec(&mut model).blocks[1].name = "one\nimport os".to_owned();
    let source = TorchModule::of(&model, &BTreeMap::from([("licence".to_owned(), "MIT".to_owned())])).unwrap().source;
    assert!(source.contains(r#""it's \"so\"\n\\u""#), "{source}");
    assert!(source.contains(r#"    source: \"\"\"\u000aimport os \\"#), "{source}");
    assert!(source.contains("    licence: MIT") && source.contains("MEAN = [0.485, 0.485, 0.485]"), "{source}");
    assert!(!source.lines().any(|line| line.starts_with("import os")), "{source}");
}

#[test]
fn both_files_are_written_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let (path, weights) = (folder.path().join("net.py"), folder.path().join("net.pth"));
    let module = module(&model("tiny-28"));
    let report = module.write(&path).unwrap();
    assert_eq!((&report.output, &report.weights, report.bytes), (&path, &weights, module.weights.len()));
    assert_eq!(std::fs::read(&weights).unwrap(), module.weights);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), module.source);
    // Its own files are replaced, another program's weights are not.
    module.write(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&weights, "a checkpoint").unwrap();
    let refused = module.write(&path).unwrap_err();
    assert!(matches!(&refused, ExportError::WeightsInTheWay { path } if *path == weights), "{refused}");
    assert!(!path.exists() && std::fs::read(&weights).unwrap() == b"a checkpoint");
    let refused = module.write(folder.path().join("net.onnx")).unwrap_err();
    assert!(matches!(refused, ExportError::ModuleName { .. }), "{refused}");
}
