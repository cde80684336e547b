//! Reading PyTorch checkpoints and safetensors files as named tensors.
//!
//! The pickle reader builds tensors only; any other object in a file is an error, never executed.

use crate::error::ExportError;
use ofa_space::{Tensor, digest, first_not_finite, input_file};
use pytorch_reader::{DType, PickleValue, PytorchReader};
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The f32 tensors of a state dict under today's names.
#[derive(Debug, Default)]
pub struct StateDict {
    tensors: BTreeMap<String, Tensor>,
    is_module: bool,
}

/// The largest expansion of a file in memory: views may share storage, but not without bound.
const LARGEST_EXPANSION: u64 = 4;
const SMALL_FILE_BYTES: u64 = 1 << 20;
/// Keys that a state dict may lie under, in the order in which they are looked for. Averaged weights go before those of the
/// last step.
pub const WRAPPERS: [&str; 3] = ["state_dict", "model_ema", "model"];
/// What wrappers of modules put before keys.
pub const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// Last parts of the names of counters.
const COUNTERS: [&str; 2] = ["num_batches_tracked", "n_averaged"];

impl StateDict {
    /// Reads a PyTorch checkpoint or a safetensors file. A state dict may be bare or under one of [`WRAPPERS`], and its keys
    /// may begin with any of [`PREFIXES`]. Counters of steps are left out, and `mobile_inverted_conv` of the published files
    /// is read as today's `conv`.
    ///
    /// # Errors
    /// [`ExportError::Checkpoint`] naming the file, and the entry that is wrong or no tensor.
    pub fn read(path: &Path) -> Result<Self, ExportError> {
        let bad = |problem: String| ExportError::Checkpoint { path: path.to_owned(), problem };
        let (entries, is_module) = match is_safetensors(path).map_err(|e| bad(format!("cannot be read: {e}")))? {
            true => safetensors_entries(path).map(|entries| (entries, false)),
            false => pickled_entries(path),
        }
        .map_err(bad)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in entries {
            if let Some((at, value)) = first_not_finite(&tensor.data) {
                return Err(bad(format!("tensor `{name}` holds {value} at element {at}, expected finite numbers")));
            }
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(bad(format!("holds `{name}` twice, under different spellings")));
            }
        }
        match tensors.is_empty() {
            true => Err(bad("holds no tensors".into())),
            false => Ok(Self { tensors, is_module }),
        }
    }

    /// Renames entries that are not `wanted` to a spelling that is: the layers of a supernet and of a static network
    /// hold the same tensors at another depth (`bn.bn.weight` and `bn.weight`). The rules are those of
    /// `load_state_dict` in the authors' networks.
    pub fn spell_as(&mut self, wanted: &BTreeSet<String>) {
        const RULES: [(&str, &str); 6] = [
            (".bn.bn.", ".bn."),
            (".conv.conv.weight", ".conv.weight"),
            (".linear.linear.", ".linear."),
            (".linear.", ".linear.linear."),
            ("bn.", "bn.bn."),
            ("conv.weight", "conv.conv.weight"),
        ];
        let others: Vec<String> = self.tensors.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in others {
            let mut spellings = RULES.iter().map(|(from, to)| name.replace(from, to));
            let found = spellings.find(|new| wanted.contains(new) && !self.tensors.contains_key(new));
            let Some(new) = found else { continue };
            if let Some(tensor) = self.tensors.remove(&name) {
                self.tensors.insert(new, tensor);
            }
        }
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// A tensor.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Whether the file holds a whole module, pickled, instead of a state dict.
    pub fn is_module(&self) -> bool {
        self.is_module
    }

    /// Names of its tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names of the tensors still in it, in order.
    pub fn into_names(self) -> Vec<String> {
        self.tensors.into_keys().collect()
    }
}

/// Whether a file begins as safetensors do: with the length of a header, and the header's brace.
fn is_safetensors(path: &Path) -> std::io::Result<bool> {
    let mut head = [0; 9];
    let mut file = input_file::open(path)?;
    let length = file.metadata()?.len();
    if length < head.len() as u64 {
        return Ok(false);
    }
    file.read_exact(&mut head)?;
    let header = u64::from_le_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
    Ok(head[8] == b'{' && header < length)
}

/// The tensors of a safetensors file under today's names.
fn safetensors_entries(path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let bytes = input_file::read(path, input_file::LARGEST_MODEL).map_err(|e| format!("cannot be read: {e}"))?;
    let unreadable = |e| format!("is not a readable safetensors file, or damaged ({e})");
    let file = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unreadable)?;
    if header.metadata().as_ref().is_some_and(|entries| entries.contains_key("ofa")) {
        return Err("is a model file of this program already".to_owned());
    }
    let mut entries = Vec::new();
    let in_order: BTreeMap<String, _> = file.tensors().into_iter().collect();
    for (key, tensor) in in_order {
        let name = current_name(&key);
        if is_counter(&name) {
            continue;
        }
        let element = match tensor.dtype() {
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            other => return Err(format!("`{key}` holds {other:?}, expected float32, float16 or bfloat16")),
        };
        entries.push((name, Tensor { shape: tensor.shape().to_vec(), data: element.read(tensor.data()) }));
    }
    Ok(entries)
}

/// The tensors of a PyTorch checkpoint under today's names, and whether it is a whole module.
fn pickled_entries(path: &Path) -> Result<(Vec<(String, Tensor)>, bool), String> {
    let unreadable = |error| format!("is not a readable PyTorch checkpoint: {error}");
    let copy = without_zip64_records(path).map_err(|e| format!("cannot be read: {e}"))?;
    let source = copy.as_ref().map_or(path, |copy| copy.path());
    let objects = PytorchReader::read_pickle_data(source, None).map_err(unreadable)?;
    refuse_objects(&objects, &mut Vec::new())?;
    let nested = match &objects {
        PickleValue::Dict(entries) => {
            WRAPPERS.into_iter().find(|key| matches!(entries.get(*key), Some(PickleValue::Dict(_))))
        }
        _ => None,
    };
    // A state dict is flat; a module has a dictionary for each of its children.
    let is_module = match (&objects, nested) {
        (PickleValue::Dict(entries), None) => holds_dictionaries(entries),
        (PickleValue::Dict(entries), Some(key)) => {
            matches!(entries.get(key), Some(PickleValue::Dict(inner)) if holds_dictionaries(inner))
        }
        _ => false,
    };
    let reader = match nested {
        Some(key) => PytorchReader::with_top_level_key(source, key),
        None => PytorchReader::new(source),
    }
    .map_err(unreadable)?;
    let file_bytes = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    let limit = file_bytes.saturating_mul(LARGEST_EXPANSION).saturating_add(SMALL_FILE_BYTES);
    let mut total: u64 = 0;
    let mut entries = Vec::new();
    let in_order: BTreeMap<_, _> = reader.into_tensors().into_iter().collect();
    for (key, tensor) in in_order {
        let name = current_name(&key);
        if is_counter(&name) {
            continue;
        }
        let element = match tensor.dtype() {
            DType::F32 => Element::F32,
            DType::F16 => Element::F16,
            DType::BF16 => Element::Bf16,
            other => return Err(format!("`{key}` holds {other:?}, expected float32, float16 or bfloat16")),
        };
        let shape = tensor.shape().to_vec();
        let bytes = shape.iter().try_fold(4u64, |total, size| total.checked_mul(*size as u64));
        total = total.saturating_add(bytes.unwrap_or(u64::MAX));
        if total > limit {
            return Err(format!("`{key}` of shape {shape:?} is larger than the file can hold"));
        }
        let bytes = tensor.read().map_err(|e| format!("`{key}`: {e}"))?;
        entries.push((name, Tensor { shape, data: element.read(&bytes) }));
    }
    Ok((entries, is_module))
}

/// Whether there are dictionaries in it, besides the one of versions that PyTorch adds to a state dict.
fn holds_dictionaries(entries: &HashMap<String, PickleValue>) -> bool {
    entries.iter().any(|(key, value)| key != "_metadata" && matches!(value, PickleValue::Dict(_)))
}

/// Types of numbers that weights are stored in.
#[derive(Clone, Copy)]
enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    /// Little-endian numbers as f32.
    fn read(self, bytes: &[u8]) -> Vec<f32> {
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match self {
            Element::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Element::F16 => pairs().map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
            Element::Bf16 => pairs().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        }
    }
}

fn is_counter(name: &str) -> bool {
    COUNTERS.contains(&name.rsplit('.').next().unwrap_or(name))
}

/// A copy of a ZIP checkpoint without the ZIP64 records before its end, if the reader needs one.
///
/// `torch.save` always writes these two records between the directory and its end. The `zip` crate (9.8) finds the
/// directory by counting its size back from the end, and is misled where the entry so found, 76 bytes late, happens
/// to be a whole one: when the first entry is 76 bytes long, as in an archive whose name has 21 letters.
fn without_zip64_records(path: &Path) -> std::io::Result<Option<tempfile::NamedTempFile>> {
    const END: u64 = 22;
    const RECORDS: u64 = 56 + 20;
    let mut file = input_file::open(path)?;
    let length = file.metadata()?.len();
    if length < RECORDS + END {
        return Ok(None);
    }
    let mut tail = [0; (RECORDS + END) as usize];
    file.seek(SeekFrom::Start(length - RECORDS - END))?;
    file.read_exact(&mut tail)?;
    let end = &tail[RECORDS as usize..];
    let is_torch =
        tail.starts_with(b"PK\x06\x06") && tail[56..].starts_with(b"PK\x06\x07") && end.starts_with(b"PK\x05\x06");
    let number = |at: usize| u64::from(u32::from_le_bytes([end[at], end[at + 1], end[at + 2], end[at + 3]]));
    let (size, offset) = (number(12), number(16));
    let follows = size.saturating_add(offset) == length - RECORDS - END;
    let mut signature = [0; 4];
    if is_torch && follows {
        file.seek(SeekFrom::Start(length - END - size))?;
        file.read_exact(&mut signature)?;
    }
    if &signature != b"PK\x01\x02" {
        return Ok(None);
    }
    let mut copy = tempfile::NamedTempFile::new()?;
    file.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut (&mut file).take(length - RECORDS - END), &mut copy)?;
    copy.write_all(end)?;
    copy.flush()?;
    Ok(Some(copy))
}

/// Where imported weights come from: the file's name and SHA-256. (Old checkpoints have no checksum of their own.)
pub(crate) fn provenance(path: &Path) -> Result<BTreeMap<String, String>, ExportError> {
    let bad =
        |e: std::io::Error| ExportError::Checkpoint { path: path.to_owned(), problem: format!("cannot be read: {e}") };
    let digest = digest::sha256_of_file(path).map_err(bad)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(BTreeMap::from([("imported_from".to_owned(), name), ("imported_sha256".to_owned(), digest)]))
}

/// Today's spelling of a published key.
fn current_name(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name.replace(".mobile_inverted_conv.", ".conv.")
}

/// Refuses a file that holds anything but tensors, numbers and text.
fn refuse_objects(value: &PickleValue, path: &mut Vec<String>) -> Result<(), String> {
    match value {
        PickleValue::Unsupported(kind) if !kind.starts_with("torch.") || kind.starts_with("torch.nn.modules.") => {
            let place = if path.is_empty() { "the whole file".to_owned() } else { format!("`{}`", path.join(".")) };
            Err(format!(
                "{place} is an object of `{kind}`; a checkpoint may hold tensors, numbers and text only. Nothing of it \
                 was run; save the state dict alone, with `torch.save(model.state_dict(), file)`"
            ))
        }
        PickleValue::List(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            path.push(index.to_string());
            refuse_objects(item, path)?;
            path.pop();
            Ok(())
        }),
        PickleValue::Dict(entries) => {
            let in_order: BTreeMap<_, _> = entries.iter().collect();
            in_order.into_iter().try_for_each(|(key, item)| {
                path.push(key.clone());
                refuse_objects(item, path)?;
                path.pop();
                Ok(())
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_become_todays() {
        let published = "module.blocks.3.mobile_inverted_conv.depth_conv.conv.7to5_matrix";
        assert_eq!(current_name(published), "blocks.3.conv.depth_conv.conv.7to5_matrix");
        assert_eq!(current_name("first_conv.bn.weight"), "first_conv.bn.weight");
        assert_eq!(current_name("module._orig_mod.model.features.0.0.weight"), "features.0.0.weight");
    }

    #[test]
    fn static_spellings_find_their_supernet_tensors() {
        let names = ["blocks.1.conv.depth_conv.bn.weight", "blocks.1.conv.point_linear.conv.weight", "other"];
        let tensors = names.iter().map(|name| ((*name).to_owned(), Tensor::full(&[1], 0.0))).collect();
        let mut dict = StateDict { tensors, is_module: false };
        dict.spell_as(&BTreeSet::from([
            "blocks.1.conv.depth_conv.bn.bn.weight".to_owned(),
            "blocks.1.conv.point_linear.conv.conv.weight".to_owned(),
        ]));
        let expected =
            ["blocks.1.conv.depth_conv.bn.bn.weight", "blocks.1.conv.point_linear.conv.conv.weight", "other"];
        assert_eq!(dict.into_names(), expected);
    }
}
