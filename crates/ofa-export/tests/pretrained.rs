//! Checkpoints of the table's families: which family is found, and the errors for others.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::ExportError;
use ofa_export::importing::pretrained::families::{Families, Family};
use ofa_export::importing::pretrained::layers::{Named, Variant};
use ofa_export::importing::pretrained::{NewHead, PretrainedImport, Wanted, import_pretrained};
use ofa_space::{OpKind, PaddingRule};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

const CLASSES: usize = 5;
const SQUEEZED: usize = 3;

/// Names and shapes of a family's checkpoint under its set of names `naming`.
fn tensors(family: &str, naming: usize) -> BTreeMap<String, Vec<usize>> {
    let all = Families::all();
    let family = all.named(family).unwrap();
    let naming = all.namings(family).nth(naming).unwrap();
    let variant = Variant { image_size: 64, classes: CLASSES, outputs_of: &|_| Some(SQUEEZED) };
    let named = Named::new(family, all.architecture(family), naming, variant).unwrap();
    let shapes = named.net.tensors().map(|tensor| tensor.full.clone());
    named.tensors.iter().map(|(_, theirs)| theirs.clone()).zip(shapes).collect()
}

/// Writes them, with values of 1 in float16.
fn write(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    const ONE: [u8; 2] = [0x00, 0x3c];
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> =
        tensors.iter().map(|(name, shape)| (name.clone(), shape.clone(), ONE.repeat(shape.iter().product()))).collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| (name, TensorView::new(Dtype::F16, shape.clone(), data).unwrap()))
        .collect::<Vec<_>>();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn import(tensors: &BTreeMap<String, Vec<usize>>, wanted: &Wanted) -> Result<PretrainedImport, ExportError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.safetensors");
    write(&file, tensors);
    import_pretrained(&file, wanted)
}

fn wanted(family: &str) -> Wanted {
    Wanted { family: Some(family.to_owned()), ..Wanted::default() }
}

#[test]
fn families_that_only_their_names_tell_apart_must_be_chosen() {
    let tensors = tensors("efficientnet_lite0", 0);
    let error = import(&tensors, &Wanted::default()).unwrap_err();
    let ExportError::Family { families, .. } = &error else { panic!("{error}") };
    assert_eq!(families.len(), 2, "{error}");
    for words in ["symmetric padding, batch norm eps 0.00001", "SAME padding, batch norm eps 0.001", "[0.5, 0.5, 0.5]"]
    {
        assert!(error.to_string().contains(words), "`{words}` is missing: {error}");
    }
    for (family, rule, extra) in
        [("efficientnet_lite0", PaddingRule::Symmetric, 0), ("tf_efficientnet_lite0", PaddingRule::Same, 1)]
    {
        let made = import(&tensors, &wanted(family)).unwrap();
        assert_eq!((made.family.as_str(), made.import.unused.len()), (family, 0));
        let net = made.import.model.net(None).unwrap();
        assert_eq!((net.classes, net.input), (CLASSES, [3, 224, 224]));
        let OpKind::Conv { padding, extra_padding, padding_rule, .. } = net.blocks[0].ops[0].kind else { panic!() };
        assert_eq!((padding + extra_padding, extra_padding, padding_rule), (1, extra, rule));
    }
}

#[test]
fn names_alone_choose_a_family_where_one_has_them() {
    for (family, naming) in
        [("tf_efficientnet_lite0", 1), ("mobilenet_v2", 0), ("mobilenet_v2", 1), ("mobilenet_v3_small", 0)]
    {
        let made = import(&tensors(family, naming), &Wanted::default()).unwrap();
        assert_eq!(made.family, family);
        let weights = made.import.model.weights;
        assert!(weights.iter().all(|(_, tensor)| tensor.data.iter().all(|value| *value == 1.0)), "{family}");
    }
}

#[test]
fn what_differs_is_named() {
    let whole = tensors("mobilenet_v2", 0);
    let refused = |tensors: &BTreeMap<String, Vec<usize>>| import(tensors, &Wanted::default()).unwrap_err().to_string();
    let mut without = whole.clone();
    without.remove("features.3.conv.1.1.running_var");
    let error = refused(&without);
    let expected = "the nearest is `mobilenet_v2`: the checkpoint has no `features.3.conv.1.1.running_var`";
    assert!(error.contains(expected), "{error}");
    let mut another = whole.clone();
    another.insert("features.3.conv.1.0.weight".to_owned(), vec![144, 1, 5, 5]);
    let error = refused(&another);
    assert!(
        error.contains("`features.3.conv.1.0.weight` has shape [144, 1, 5, 5] instead of [144, 1, 3, 3]"),
        "{error}"
    );
    let mut more = whole.clone();
    more.insert("features.3.se.weight".to_owned(), vec![1]);
    let error = refused(&more);
    assert!(error.contains("has `features.3.se.weight`, which that family has not"), "{error}");
    let error = refused(&BTreeMap::from([("decoder.weight".to_owned(), vec![2, 2])]));
    assert!(error.contains("shares no name with a known family; its first is `decoder.weight`"), "{error}");
}

#[test]
fn prefixes_are_removed_and_classifiers_replaced() {
    let mut prefixed: BTreeMap<String, Vec<usize>> = tensors("mobilenet_v3_small", 0)
        .into_iter()
        .map(|(name, shape)| (format!("module._orig_mod.{name}"), shape))
        .filter(|(name, _)| !name.contains("classifier.3"))
        .collect();
    prefixed.insert("module._orig_mod.features.0.1.num_batches_tracked".to_owned(), vec![1]);
    let head = Some(NewHead { classes: Some(9), seed: 4 });
    let made = import(&prefixed, &Wanted { head, ..Wanted::default() }).unwrap();
    assert_eq!(made.import.fresh, ["classifier.linear.bias", "classifier.linear.weight"]);
    let model = made.import.model;
    assert_eq!((model.net(None).unwrap().classes, model.class_names.len()), (9, 9));
    let weight = model.weights.get("classifier.linear.weight").unwrap();
    assert!(weight.shape == [9, 1024] && weight.data.iter().any(|value| *value != 1.0));
    let error = import(&prefixed, &Wanted::default()).unwrap_err();
    assert!(error.to_string().contains("the checkpoint has no `classifier.3.weight`"), "{error}");
    let labels = Some(vec!["a".to_owned(); 3]);
    let error = import(&tensors("mobilenet_v3_small", 0), &Wanted { labels, ..Wanted::default() }).unwrap_err();
    assert!(error.to_string().contains("has 5 classes, but 3 labels are given"), "{error}");
}

#[test]
fn networks_that_look_like_a_family_are_mentioned_unless_it_is_chosen() {
    let tensors = tensors("resnet18", 0);
    assert_eq!(import(&tensors, &Wanted::default()).unwrap().lookalikes, ["timm's resnetblur18"]);
    assert!(import(&tensors, &wanted("resnet18")).unwrap().lookalikes.is_empty());
}

/// Every set of names leads to different tensors, and to all of them.
#[test]
fn every_family_has_names_for_all_its_tensors() {
    let all = Families::all();
    let count = |family: &Family| all.namings(family).count();
    for family in all.iter() {
        for naming in 0..count(family) {
            let named = tensors(&family.name, naming);
            let architecture = all.architecture(family);
            let blocks: usize = architecture.stages.iter().map(|stage| stage.middle.len()).sum();
            assert!(named.len() > 10 * blocks, "{}: {} names", family.name, named.len());
            assert!(named.keys().all(|name| !name.contains('{')), "{}: {named:?}", family.name);
        }
    }
}

/// A state dict as `torch.save` writes it, versions of modules and all.
#[test]
fn a_published_checkpoint_is_read() {
    const FILE: &str = "data/pretrained/efficientnet-lite0.pth";
    let Some(shared) = ofa_reference_data::folder_with(&[FILE]) else { return };
    let made = import_pretrained(&shared.join(FILE), &Wanted::default()).unwrap();
    assert_eq!(made.family, "tf_efficientnet_lite0");
    assert_eq!(made.import.model.input.mean, [0.5; 3]);
    let error = import_pretrained(&shared.join(FILE), &wanted("tf_efficientnet_lite1")).unwrap_err().to_string();
    assert!(
        error.contains("is not of the family `tf_efficientnet_lite1`: `_blocks.3._depthwise_conv.weight` has shape"),
        "{error}"
    );
}
