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
    /// Anything else. Progressive shrinking does not open it step by step: all its choices are open from the start.
    Other,
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
            Dimension::Other => u8::MAX,
        }
    }

    /// The same with one dimension opened up to `phase`; nothing changes for [`Dimension::Other`], which is always open.
    pub fn with(mut self, dimension: Dimension, phase: u8) -> Self {
        match dimension {
            Dimension::KernelSize => self.kernel_size = phase,
            Dimension::Depth => self.depth = phase,
            Dimension::Expansion => self.expansion = phase,
            Dimension::Width => self.width = phase,
            Dimension::Other => {}
        }
        self
    }
}

impl Gene {
    /// A gene of one's own, at index 0 of its group: any ascending choices, all open from the start, always active.
    pub fn new<C: Into<f64>>(group: impl Into<String>, choices: impl IntoIterator<Item = C>) -> Self {
        let choices: Vec<f64> = choices.into_iter().map(Into::into).collect();
        let phases = vec![0; choices.len()];
        Self { group: group.into(), index: 0, dimension: Dimension::Other, choices, phases, active_when: None }
    }

    /// An elastic kernel size in group `ks`: all sizes below the largest open together, in phase 1 (the official schedule).
    pub fn kernel_size(index: usize, sizes: &[usize]) -> Self {
        let phases = (0..sizes.len()).map(|i| u8::from(i + 1 < sizes.len())).collect();
        Self { dimension: Dimension::KernelSize, phases, ..Self::new("ks", as_numbers(sizes)).at(index) }
    }

    /// An elastic expansion ratio in group `e`; the ratios open one by one, from the largest (the official schedule).
    pub fn expansion(index: usize, ratios: &[f64]) -> Self {
        Self::one_by_one("e", index, Dimension::Expansion, ratios.to_vec())
    }

    /// An elastic depth in group `d`; the depths open one by one, from the largest (the official schedule).
    pub fn depth(index: usize, depths: &[usize]) -> Self {
        Self::one_by_one("d", index, Dimension::Depth, as_numbers(depths))
    }

    /// An elastic width in group `w`; the widths open one by one, from the largest (the official schedule).
    pub fn width(index: usize, widths: &[f64]) -> Self {
        Self::one_by_one("w", index, Dimension::Width, widths.to_vec())
    }

    fn one_by_one(group: &str, index: usize, dimension: Dimension, choices: Vec<f64>) -> Self {
        let phases = (0..choices.len()).rev().map(|phase| phase as u8).collect();
        Self { dimension, phases, ..Self::new(group, choices).at(index) }
    }

    /// The same gene at another index of its group.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }

    /// The same gene, active only where the gene at position `depth_gene` of the list has a value of `at_least` or more.
    #[must_use]
    pub fn only_if(self, depth_gene: usize, at_least: f64) -> Self {
        Self { active_when: Some(ActiveWhen { depth_gene, at_least }), ..self }
    }

    /// Group and index, such as `ks[3]`.
    pub fn place(&self) -> String {
        format!("{}[{}]", self.group, self.index)
    }

    /// Index of the last choice.
    pub(crate) fn largest(&self) -> u8 {
        self.choices.len().saturating_sub(1) as u8
    }

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

/// Counts as the numbers that genes hold.
fn as_numbers(counts: &[usize]) -> Vec<f64> {
    counts.iter().map(|count| *count as f64).collect()
}
