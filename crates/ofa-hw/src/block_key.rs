//! A name for what a block computes: two blocks of the same name take the same time on any device.
//!
//! The name is a readable part and 16 hexadecimal digits: a hash of every shape and attribute of every operation, but of no
//! weight's name. So blocks of any family, a plugin's too, are distinguished.

use ofa_space::{Activation, Block, BlockKind, Gate, OpKind};

/// Raised when names change, so that a table of another version is refused rather than lacking every block.
pub const KEY_VERSION: u32 = 1;

/// The digits of a block's name as a number.
pub fn hash(block: &Block) -> u64 {
    let mut mixer = Mixer(u64::from(KEY_VERSION));
    mixer.add_all(&block.input);
    for op in &block.ops {
        mixer.add_all(&op.inputs);
        mixer.add_all(&op.output);
        match &op.kind {
            OpKind::Conv { bias, kernel, stride, padding, extra_padding, groups, .. } => {
                mixer.add_all(&[1, *kernel, *stride, *padding, *groups, usize::from(bias.is_some())]);
                if *extra_padding > 0 {
                    mixer.add_all(&[10, *extra_padding]);
                }
            }
            OpKind::BatchNorm { .. } => mixer.add(2),
            OpKind::Activation { function } => mixer.add_all(&[3, *function as usize]),
            OpKind::SqueezeExcite { reduce_weight, inner, gate, .. } => {
                mixer.add_all(&[4, reduce_weight.take[0]]);
                if (*inner, *gate) != (Activation::Relu, Gate::HardSigmoid) {
                    mixer.add_all(&[11, *inner as usize, *gate as usize]);
                }
            }
            OpKind::GlobalAveragePool => mixer.add(5),
            OpKind::AveragePool { kernel, stride, padding, rounding } => {
                mixer.add_all(&[6, *kernel, *stride, *padding, *rounding as usize]);
            }
            OpKind::MaxPool { kernel, stride, padding } => mixer.add_all(&[7, *kernel, *stride, *padding]),
            OpKind::Add => mixer.add(8),
            OpKind::Linear { bias, .. } => mixer.add_all(&[9, usize::from(bias.is_some())]),
        }
    }
    mixer.0
}

/// The name of a block, such as `inverted_residual 8x28x28 to 12x14x14 k5 s2 m24 #00c9…`.
pub fn key(block: &Block) -> String {
    let [a, b, c] = block.input;
    let [d, e, f] = block.output;
    let detail = match &block.kind {
        BlockKind::Stem { kernel, stride } => format!(" k{kernel} s{stride}"),
        BlockKind::InvertedResidual { kernel, stride, middle, .. }
        | BlockKind::Bottleneck { kernel, stride, middle, .. }
        | BlockKind::BasicBlock { kernel, stride, middle, .. } => format!(" k{kernel} s{stride} m{middle}"),
        _ => String::new(),
    };
    format!("{} {a}x{b}x{c} to {d}x{e}x{f}{detail} #{:016x}", block.kind.name(), hash(block))
}

/// The number in a name; `None` if it ends in no digits.
pub fn parse(key: &str) -> Option<u64> {
    let (_, digits) = key.rsplit_once('#')?;
    u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)
}

/// SplitMix64's finaliser over a running state: the same number on every machine, and cheap enough for a search.
struct Mixer(u64);

impl Mixer {
    fn add(&mut self, value: usize) {
        let mut z = (self.0 ^ value as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = z ^ (z >> 31);
    }

    fn add_all(&mut self, values: &[usize]) {
        self.add(values.len());
        for value in values {
            self.add(*value);
        }
    }
}
