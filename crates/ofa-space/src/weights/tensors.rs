//! Named f32 tensors in a safetensors file.

use crate::atomic_file;
use crate::digest::{self, Digest};
use crate::error::WeightsError;
use crate::{input_file, json};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

/// A dense f32 tensor, row-major.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements, last axis fastest.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` filled with `value`.
    pub fn full(shape: &[usize], value: f32) -> Self {
        Self { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
    }

    /// The identity matrix of `size` rows.
    pub fn identity(size: usize) -> Self {
        let mut tensor = Self::full(&[size, size], 0.0);
        (0..size).for_each(|index| tensor.data[index * size + index] = 1.0);
        tensor
    }
}

/// The entry of a file's metadata that is ours: JSON of texts by name.
const OURS: &str = "ofa";
/// The text with the CRC-32C of everything behind the header.
const CHECKSUM: &str = "crc32c";
/// Bytes before the header, which hold its length.
const HEADER_LENGTH: usize = 8;
/// As long as the library lets a header be.
const LONGEST_HEADER: u64 = 100_000_000;

/// Named tensors, ordered by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

/// Place and value of the first NaN or infinity.
pub fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    values.iter().copied().enumerate().find(|(_, value)| !value.is_finite())
}

impl Weights {
    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor called `name`, for writing.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.tensors.get_mut(name)
    }

    /// The tensor called `name`, which must have this shape.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] or [`WeightsError::Shape`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&Tensor, WeightsError> {
        let tensor =
            self.get(name).ok_or_else(|| WeightsError::Missing { name: name.to_owned(), shape: shape.to_vec() })?;
        if tensor.shape != shape {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                found: tensor.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok(tensor)
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: String, tensor: Tensor) {
        debug_assert_eq!(tensor.data.len(), tensor.shape.iter().product::<usize>(), "{name}");
        self.tensors.insert(name, tensor);
    }

    /// Every tensor, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.tensors.iter()
    }

    /// Adds every name and value to a digest, in order.
    pub fn add_to(&self, digest: &mut Digest) {
        for (name, tensor) in self.iter() {
            digest.add(name);
            tensor.data.iter().for_each(|value| digest.add(value.to_le_bytes()));
        }
    }

    /// What is wrong with the first tensor that holds NaN or infinity.
    ///
    /// # Errors
    /// The name of the tensor, the number and its place, in words.
    pub fn check_finite(&self) -> Result<(), String> {
        for (name, tensor) in self.iter() {
            if let Some((at, value)) = first_not_finite(&tensor.data) {
                let shape = &tensor.shape;
                return Err(format!(
                    "tensor `{name}` {shape:?} holds {value} at element {at}, expected finite numbers"
                ));
            }
        }
        Ok(())
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Whether `path` is meant as a safetensors file: by its ending, or because it begins like one.
    pub fn is_file(path: &Path) -> bool {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors")) {
            return true;
        }
        // The length of the header in eight bytes, the highest of them 0, then its JSON.
        let mut beginning = [0; 9];
        let read = input_file::open(path).and_then(|mut file| file.read_exact(&mut beginning));
        read.is_ok() && beginning[7] == 0 && beginning[8] == b'{'
    }

    /// Writes a safetensors file with this metadata, whole or not at all.
    ///
    /// # Errors
    /// [`WeightsError::Io`] if the file cannot be written.
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<(), WeightsError> {
        let file = self
            .to_bytes(metadata)
            .map_err(|problem| WeightsError::Format { path: path.to_owned(), problem: problem.to_string() })?;
        atomic_file::write(path, &file).map_err(|source| WeightsError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// The bytes of a safetensors file with this metadata and a checksum of the tensors.
    ///
    /// # Errors
    /// What the format does not allow.
    pub(crate) fn to_bytes(
        &self,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let bytes: Vec<(&String, Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, t)| (name, t.shape.clone(), t.data.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let mut views = Vec::with_capacity(bytes.len());
        for (name, shape, data) in &bytes {
            views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?));
        }
        let mut metadata = metadata.clone();
        // Tensors of one type lie in the file by name, as they do here.
        metadata.insert(CHECKSUM.to_owned(), digest::crc32c(bytes.iter().map(|(_, _, data)| data.as_slice())));
        // The library writes metadata in hash order; one key keeps the file the same for the same content.
        let json = serde_json::Value::from_iter(metadata).to_string();
        safetensors::serialize(views, Some(HashMap::from([(OURS.to_owned(), json)])))
    }

    /// Reads a safetensors file and its metadata. Tensors of other types than f32 are skipped (official state dicts
    /// carry integer counters).
    ///
    /// # Errors
    /// [`WeightsError::Io`] or [`WeightsError::Format`] naming the file.
    pub fn load(path: &Path) -> Result<(Self, BTreeMap<String, String>), WeightsError> {
        let bytes = input_file::read(path, input_file::LARGEST_MODEL).map_err(|source| WeightsError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes, path)
    }

    /// The metadata of a safetensors file, from its header alone; `None` for a file of anything else.
    pub(crate) fn metadata_of(path: &Path) -> Option<BTreeMap<String, String>> {
        #[derive(Deserialize)]
        struct Header {
            #[serde(rename = "__metadata__")]
            metadata: HashMap<String, String>,
        }
        let mut file = std::fs::File::open(path).ok()?;
        let mut length = [0; HEADER_LENGTH];
        file.read_exact(&mut length).ok()?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return None;
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header).ok()?;
        let header: Header = serde_json::from_slice(&header).ok()?;
        serde_json::from_str(header.metadata.get(OURS)?).ok()
    }

    /// Reads the bytes of a safetensors file, as [`load`](Self::load) does; `path` is for messages.
    ///
    /// # Errors
    /// [`WeightsError::Format`] naming the path.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<(Self, BTreeMap<String, String>), WeightsError> {
        let problem = |problem: String| WeightsError::Format { path: path.to_owned(), problem };
        let explain =
            |e: safetensors::SafeTensorError| problem(format!("not a readable safetensors file, or damaged ({e})"));
        let file = SafeTensors::deserialize(bytes).map_err(explain)?;
        let (header_length, header) = SafeTensors::read_metadata(bytes).map_err(explain)?;
        let (beginning, tensors) = bytes.split_at_checked(HEADER_LENGTH + header_length).unwrap_or_default();
        // The library takes the last of two fields with the same name.
        json::from_slice::<serde::de::IgnoredAny>(beginning.get(HEADER_LENGTH..).unwrap_or_default())
            .map_err(|e| problem(format!("bad header: {e}")))?;
        let mut metadata: BTreeMap<String, String> = match header.metadata().as_ref().and_then(|map| map.get(OURS)) {
            Some(text) => json::from_str(text).map_err(|e| problem(format!("bad metadata `{OURS}`: {e}")))?,
            None => BTreeMap::new(),
        };
        // Files of earlier versions and of others have none.
        if let Some(checksum) = metadata.remove(CHECKSUM) {
            let found = digest::crc32c([tensors]);
            if found != checksum {
                return Err(problem(format!(
                    "is damaged: its tensors have the checksum {found}, {checksum} when they were written; take a copy, or \
                     make the file again"
                )));
            }
        }
        let mut weights = Weights::default();
        for (name, view) in file.tensors() {
            if view.dtype() == Dtype::F32 {
                let data = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                weights.insert(name, Tensor { shape: view.shape().to_vec(), data });
            }
        }
        Ok((weights, metadata))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_flipped_bit_of_the_tensors_is_found_and_files_without_a_checksum_are_read() {
        let mut weights = Weights::default();
        weights.insert("b".to_owned(), Tensor { shape: vec![2, 3], data: vec![0.5, -1.0, 2.0, 3.5, 0.0, 1e-20] });
        weights.insert("a".to_owned(), Tensor { shape: vec![1], data: vec![7.0] });
        weights.insert("c".to_owned(), Tensor { shape: vec![], data: vec![-7.0] });
        let metadata = BTreeMap::from([("model".to_owned(), "{}".to_owned())]);
        let bytes = weights.to_bytes(&metadata).unwrap();
        let path = Path::new("some.safetensors");
        assert_eq!(Weights::from_bytes(&bytes, path).unwrap(), (weights.clone(), metadata.clone()));
        let tensors = bytes.len() - 4 * 8;
        for bit in 0..8 * 4 * 8 {
            let mut flipped = bytes.clone();
            flipped[tensors + bit / 8] ^= 1 << (bit % 8);
            let error = Weights::from_bytes(&flipped, path).unwrap_err().to_string();
            assert!(error.contains("some.safetensors") && error.contains("damaged"), "{error}");
        }
        let at = bytes.windows(6).position(|name| name == b"crc32c").unwrap();
        let mut without = bytes.clone();
        without[at..at + 6].copy_from_slice(b"xrc32c");
        without[tensors] ^= 1;
        assert_ne!(Weights::from_bytes(&without, path).unwrap().0, weights);
    }
}
