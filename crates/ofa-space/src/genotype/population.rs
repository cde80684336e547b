//! Many archs of one space in flat arrays: what search and batch evaluation work on.

use crate::genotype::arch::Arch;

/// Archs of one space, row after row, without a box each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Population {
    genes: usize,
    choices: Vec<u8>,
    /// 0 stands for no resolution.
    resolutions: Vec<u32>,
}

impl Population {
    /// An empty population of a space with this many genes.
    pub fn new(genes: usize) -> Self {
        Self { genes, choices: Vec::new(), resolutions: Vec::new() }
    }

    /// The same archs as rows.
    pub fn of(archs: &[Arch]) -> Self {
        let mut rows = Self::new(archs.first().map_or(0, |arch| arch.choices.len()));
        for arch in archs {
            rows.push(arch);
        }
        rows
    }

    /// Number of archs.
    pub fn len(&self) -> usize {
        self.resolutions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resolutions.is_empty()
    }

    /// Removes every row and keeps the memory.
    pub fn clear(&mut self) {
        self.choices.clear();
        self.resolutions.clear();
    }

    /// Appends an arch.
    ///
    /// # Panics
    /// If it has another number of genes.
    pub fn push(&mut self, arch: &Arch) {
        self.push_row(&arch.choices, arch.resolution);
    }

    /// Appends a row that is already in canonical form (inactive genes at choice 0).
    ///
    /// # Panics
    /// If it has another number of genes.
    pub fn push_row(&mut self, choices: &[u8], resolution: Option<u32>) {
        assert_eq!(choices.len(), self.genes, "a row of another space");
        self.choices.extend_from_slice(choices);
        self.resolutions.push(resolution.unwrap_or(0));
    }

    /// Choices of a row.
    pub fn choices(&self, row: usize) -> &[u8] {
        &self.choices[row * self.genes..(row + 1) * self.genes]
    }

    /// Resolution of a row.
    pub fn resolution(&self, row: usize) -> Option<u32> {
        match self.resolutions[row] {
            0 => None,
            resolution => Some(resolution),
        }
    }

    /// A row as an arch.
    pub fn arch(&self, row: usize) -> Arch {
        Arch { choices: self.choices(row).into(), resolution: self.resolution(row) }
    }

    /// Every row as an arch.
    pub fn archs(&self) -> Vec<Arch> {
        (0..self.len()).map(|row| self.arch(row)).collect()
    }
}
