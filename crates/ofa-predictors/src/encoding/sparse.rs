//! Rows of mostly zeros: the features of archs under one-hot encodings.

/// Rows of `width` features, of which only the entries listed are not zero.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SparseRows {
    width: usize,
    /// Where each row ends among the entries.
    ends: Vec<usize>,
    /// Feature and value, features ascending within a row.
    entries: Vec<(u32, f32)>,
}

impl SparseRows {
    /// No rows yet.
    pub fn new(width: usize) -> Self {
        Self { width, ends: Vec::new(), entries: Vec::new() }
    }

    /// Number of features of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds an entry to the row being written.
    pub fn add(&mut self, feature: u32, value: f32) {
        self.entries.push((feature, value));
    }

    /// Ends the row being written.
    pub fn end_row(&mut self) {
        self.ends.push(self.entries.len());
    }

    /// Entries of a row.
    pub fn row(&self, row: usize) -> &[(u32, f32)] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.entries[start..self.ends[row]]
    }

    /// The rows written out.
    pub fn dense(&self) -> Vec<Vec<f32>> {
        (0..self.len())
            .map(|row| {
                let mut features = vec![0.0; self.width];
                for (feature, value) in self.row(row) {
                    features[*feature as usize] = *value;
                }
                features
            })
            .collect()
    }

    /// Rows of all features.
    pub fn of(rows: &[Vec<f32>]) -> Self {
        let mut sparse = Self::new(rows.first().map_or(0, Vec::len));
        for row in rows {
            for (feature, value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                sparse.add(feature as u32, *value);
            }
            sparse.end_row();
        }
        sparse
    }
}
