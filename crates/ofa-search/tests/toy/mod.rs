//! A space small enough to enumerate.

use ofa_space::{ActiveWhen, Dimension, Gene};
use ofa_space::{Arch, NetSpec, SearchSpace, SpaceError, SpaceInfo};

/// Two stages of up to two blocks: small enough to enumerate, with inactive genes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Toy {
    #[serde(skip, default = "toy_info")]
    info: SpaceInfo,
}

fn toy_info() -> SpaceInfo {
    let gene = |group: &str, index, dimension, choices: &[f64], active_when| Gene {
        group: group.into(),
        index,
        dimension,
        choices: choices.to_vec(),
        phases: vec![0; choices.len()],
        active_when,
    };
    let mut genes =
        vec![gene("d", 0, Dimension::Depth, &[1.0, 2.0], None), gene("d", 1, Dimension::Depth, &[1.0, 2.0], None)];
    for block in 0..4usize {
        let when = ActiveWhen { depth_gene: block / 2, at_least: (block % 2 + 1) as f64 };
        genes.push(gene("ks", block, Dimension::KernelSize, &[3.0, 5.0, 7.0], Some(when)));
    }
    SpaceInfo { name: "toy".into(), input_channels: 3, classes: 2, resolutions: vec![16, 32], genes }
}

#[typetag::serde(name = "toy")]
impl SearchSpace for Toy {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }
    fn resolve(&self, _arch: &Arch) -> Result<NetSpec, SpaceError> {
        Err(SpaceError::MissingResolution { example: 16 })
    }
}

pub fn space() -> Toy {
    Toy { info: toy_info() }
}
