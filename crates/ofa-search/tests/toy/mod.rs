//! Genes few enough to enumerate.

use ofa_space::{Gene, Genes};

/// Two stages of up to two blocks at two resolutions: 288 archs, with inactive genes.
pub struct Toy {
    genes: Vec<Gene>,
}

impl Genes for Toy {
    fn genes(&self) -> &[Gene] {
        &self.genes
    }
    fn resolutions(&self) -> &[u32] {
        &[16, 32]
    }
    fn name(&self) -> &str {
        "toy"
    }
}

pub fn space() -> Toy {
    let depth = |stage: usize| Gene::depth(stage, &[1, 2]);
    let kernel = |block: usize| Gene::kernel_size(block, &[3, 5, 7]).only_if(block / 2, (block % 2 + 1) as f64);
    Toy { genes: (0..2).map(depth).chain((0..4).map(kernel)).collect() }
}
