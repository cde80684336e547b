//! Exported files of random subnets load and run in an independent runtime, and damaged inputs are refused.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::importing::state_dict::StateDict;
use ofa_export::{SessionOptions, export_net, runtime};
use ofa_space::{Opened, extraction, initialisation, registry, supernet};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[test]
fn supernet_slices_and_extracted_subnets_export_to_the_same_function() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for name in ["tiny-28", "cifar-32"] {
        let space = registry::named(name).unwrap();
        let weights = initialisation::initialise(&supernet::tensors(space.as_ref()).unwrap(), &mut rng);
        for _ in 0..4 {
            let arch = space.sample(&Opened::EVERYTHING, &mut rng);
            let net = space.resolve(&arch).unwrap();
            let (standalone, own) = extraction::extract(&net, &weights).unwrap();
            let [c, h, w] = net.input;
            let input: Vec<f32> = (0..3 * c * h * w).map(|i| (i as f32 * 0.37).sin()).collect();
            let run = |onnx: &[u8]| {
                let mut session = runtime::load(onnx, &SessionOptions { threads: Some(1) }).unwrap();
                session.run(&input, [3, c, h, w]).unwrap()
            };
            let sliced = export_net(&net, &weights, &Default::default()).unwrap();
            assert_eq!(sliced, export_net(&net, &weights, &Default::default()).unwrap());
            let logits = run(&sliced);
            assert_eq!(logits.len(), 3 * net.classes);
            assert_eq!(logits, run(&export_net(&standalone, &own, &Default::default()).unwrap()));
        }
    }
}

#[test]
fn wrong_inputs_are_refused() {
    let space = registry::named("tiny-28").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let weights = initialisation::initialise(&supernet::tensors(space.as_ref()).unwrap(), &mut rng);
    let net = space.resolve(&space.min_arch()).unwrap();
    let onnx = export_net(&net, &weights, &Default::default()).unwrap();
    let mut session = runtime::load(&onnx, &SessionOptions::default()).unwrap();
    assert!(session.run(&[0.0; 10], [1, 1, 20, 20]).is_err());
    assert!(runtime::load(&onnx[..onnx.len() / 2], &SessionOptions::default()).is_err());
    let error = export_net(&net, &Default::default(), &Default::default()).unwrap_err().to_string();
    assert!(error.contains("first_conv"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nonsense.pth");
    std::fs::write(&path, b"not a pickle").unwrap();
    assert!(StateDict::read(&path).unwrap_err().to_string().contains("nonsense.pth"));
}
