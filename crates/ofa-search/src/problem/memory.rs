//! Values of every arch evaluated so far, in flat arrays: a million fit into about a hundred megabytes.

use ofa_space::{Arch, Population};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Values of evaluated archs, shared between the cases of a grid.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    rows: Option<Population>,
    /// Score and constraint values, row after row.
    values: Vec<f64>,
    stride: usize,
    /// From the hash of an arch to its row; a row whose hash is taken moves on to the next number.
    index: HashMap<u64, u32, BuildHasherDefault<Ready>>,
}

/// Passes a number that is a hash already through.
#[derive(Clone, Copy, Debug, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mixed(self.0, u64::from(*byte)));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// One step of a multiplicative hash, its high half folded into the low (as wyhash does, by Wang Yi).
fn mixed(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The hash of an arch; archs come from our own strategies, so nobody can choose them to collide.
fn hash(arch: &Arch) -> u64 {
    let mut hash = mixed(0x243F_6A88_85A3_08D3, u64::from(arch.resolution().unwrap_or(0)));
    for chunk in arch.choices().chunks(8) {
        let word = chunk.iter().fold(0u64, |word, choice| word << 8 | u64::from(*choice));
        hash = mixed(hash, word);
    }
    mixed(hash, arch.choices().len() as u64)
}

impl Memory {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of archs known.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(0, Population::len)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of an arch, if it is known: score, then one value per constraint.
    pub fn get(&self, arch: &Arch) -> Option<&[f64]> {
        let rows = self.rows.as_ref()?;
        let mut key = hash(arch);
        loop {
            let row = *self.index.get(&key)? as usize;
            if rows.choices(row) == arch.choices() && rows.resolution(row) == arch.resolution() {
                return Some(&self.values[row * self.stride..(row + 1) * self.stride]);
            }
            key = key.wrapping_add(1);
        }
    }

    /// Remembers an arch that is not known yet.
    pub fn insert(&mut self, arch: &Arch, values: &[f64]) {
        self.stride = values.len();
        let rows = self.rows.get_or_insert_with(|| Population::new(arch.choices().len()));
        let mut key = hash(arch);
        while self.index.contains_key(&key) {
            key = key.wrapping_add(1);
        }
        self.index.insert(key, rows.len() as u32);
        rows.push(arch);
        self.values.extend_from_slice(values);
    }
}
