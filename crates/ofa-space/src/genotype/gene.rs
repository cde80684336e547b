//! Genes: the elastic dimensions of a space, position by position.

use serde::{Deserialize, Serialize};

/// What an elastic gene varies. (Resolution is elastic too, but belongs to the input, not to a block.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Size of a depthwise kernel.
    KernelSize,
    /// Number of blocks in a stage.
    Depth,
    /// Ratio of middle to input channels in a block.
    Expansion,
    /// Width multiplier of a stage.
    Width,
}

/// A gene is active only where its stage is deep enough.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct ActiveWhen {
    /// Index of the depth gene that governs this one, in the space's list of genes.
    pub depth_gene: usize,
    /// The gene is active if the depth gene's value is at least this.
    pub at_least: f64,
}

/// One elastic dimension of one position.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Gene {
    /// Key of its list in the arch's JSON (`ks`, `e`, `d`, `w`).
    pub group: String,
    /// Position in that list.
    pub index: usize,
    /// What it varies.
    pub dimension: Dimension,
    /// Its values, ascending. Inactive genes take the first.
    pub choices: Vec<f64>,
    /// For every choice, the phase of progressive shrinking of this dimension that opens it; 0 = open from the
    /// start (official schedule: depth 4 → 0, 3 → 1, 2 → 2).
    pub phases: Vec<u8>,
    /// When the gene matters at all; always, if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_when: Option<ActiveWhen>,
}

/// How far each dimension has been opened by progressive shrinking: the highest phase whose choices may be sampled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Opened {
    /// Phase of elastic kernel size.
    pub kernel_size: u8,
    /// Phase of elastic depth.
    pub depth: u8,
    /// Phase of elastic expansion.
    pub expansion: u8,
    /// Phase of elastic width.
    pub width: u8,
}

impl Default for Opened {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl Opened {
    /// Only the choices that are open from the start: the max subnet.
    pub const NOTHING: Self = Self { kernel_size: 0, depth: 0, expansion: 0, width: 0 };
    /// Every choice of every gene.
    pub const EVERYTHING: Self = Self { kernel_size: u8::MAX, depth: u8::MAX, expansion: u8::MAX, width: u8::MAX };

    /// Highest open phase of a dimension.
    pub fn phase(&self, dimension: Dimension) -> u8 {
        match dimension {
            Dimension::KernelSize => self.kernel_size,
            Dimension::Depth => self.depth,
            Dimension::Expansion => self.expansion,
            Dimension::Width => self.width,
        }
    }

    /// The same with one dimension opened up to `phase`.
    pub fn with(mut self, dimension: Dimension, phase: u8) -> Self {
        match dimension {
            Dimension::KernelSize => self.kernel_size = phase,
            Dimension::Depth => self.depth = phase,
            Dimension::Expansion => self.expansion = phase,
            Dimension::Width => self.width = phase,
        }
        self
    }
}

impl Gene {
    /// Indices of the choices that `opened` allows, ascending.
    pub fn open_choices<'a>(&'a self, opened: &'a Opened) -> impl Iterator<Item = u8> + 'a {
        let limit = opened.phase(self.dimension);
        (0..self.choices.len() as u8).filter(move |i| self.phases[*i as usize] <= limit)
    }

    /// Index of a value among the choices.
    pub fn choice_of(&self, value: f64) -> Option<u8> {
        self.choices.iter().position(|c| (c - value).abs() < 1e-9).map(|i| i as u8)
    }

    /// Whether the gene matters under these choices.
    pub fn is_active(&self, genes: &[Gene], choices: &[u8]) -> bool {
        self.active_when
            .is_none_or(|rule| genes[rule.depth_gene].choices[choices[rule.depth_gene] as usize] >= rule.at_least)
    }
}
