//! Weights in the file format of `torch.save`, which `torch.load(…, weights_only=True)` reads.
//!
//! A zip archive of stored (not compressed) entries: `data.pkl` is a pickled dictionary from names to tensors, and `data/0`,
//! `data/1`, … are the little-endian bytes of their values. The pickle calls nothing but
//! `torch._utils._rebuild_tensor_v2`, as that of `torch.save` does.
//! Source: `torch/serialization.py` (`_save`) and `torch/_tensor.py` (`__reduce_ex__`) of PyTorch, and the opcodes of
//! CPython's `Lib/pickletools.py`.

use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// The folder of all entries. PyTorch accepts any name; by this one, files of ours are recognised.
const FOLDER: &str = "ofa-export";
/// Version of the archive's layout, as current versions of PyTorch write it.
const VERSION: &str = "3\n";
/// Where the values of a tensor begin: a multiple of as many bytes, which memory mapping needs.
const ALIGNMENT: u16 = 64;
/// Bytes of a zip entry before its name.
const NAME_AT: usize = 30;

/// A named tensor of f32.
pub(crate) struct Entry {
    /// Its name in the state dictionary.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
}

/// The file's bytes. The same tensors give the same bytes.
pub(crate) fn write(tensors: &[Entry]) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .with_alignment(ALIGNMENT);
    let mut entry = |name: &str, bytes: &[u8]| {
        archive.start_file(format!("{FOLDER}/{name}"), options)?;
        archive.write_all(bytes)?;
        zip::result::ZipResult::Ok(())
    };
    entry("data.pkl", &dictionary(tensors))?;
    entry("byteorder", b"little")?;
    for (index, tensor) in tensors.iter().enumerate() {
        let bytes: Vec<u8> = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        entry(&format!("data/{index}"), &bytes)?;
    }
    entry("version", VERSION.as_bytes())?;
    Ok(archive.finish()?.into_inner())
}

/// Whether a file begins as those of [`write`] do.
pub(crate) fn is_ours(beginning: &[u8]) -> bool {
    beginning.get(NAME_AT..).is_some_and(|rest| rest.starts_with(format!("{FOLDER}/").as_bytes()))
}

/// Bytes of a file that [`is_ours`] looks at.
pub(crate) const BEGINNING: usize = NAME_AT + FOLDER.len() + 1;

/// The pickle of `{name: tensor, …}`.
fn dictionary(tensors: &[Entry]) -> Vec<u8> {
    let mut pickle = Pickle(b"\x80\x02}(".to_vec()); // protocol 2, empty dictionary, mark
    for (index, tensor) in tensors.iter().enumerate() {
        pickle.text(&tensor.name);
        pickle.global("torch._utils", "_rebuild_tensor_v2");
        pickle.tuple(|arguments| {
            arguments.tuple(|storage| {
                storage.text("storage");
                storage.global("torch", "FloatStorage");
                storage.text(&index.to_string());
                storage.text("cpu");
                storage.integer(tensor.values.len());
            });
            arguments.0.push(b'Q'); // the value of this persistent id
            arguments.integer(0);
            arguments.tuple(|shape| tensor.shape.iter().for_each(|size| shape.integer(*size)));
            arguments.tuple(|strides| self::strides(&tensor.shape).into_iter().for_each(|by| strides.integer(by)));
            arguments.0.push(0x89); // requires_grad: False
            arguments.global("collections", "OrderedDict"); // hooks: none
            arguments.0.extend(b")R"); // call without arguments
        });
        pickle.0.push(b'R'); // call
    }
    pickle.0.extend(b"u."); // set the items, stop
    pickle.0
}

/// Steps along each axis, in elements, of values in row-major order.
fn strides(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect()
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn integer(&mut self, value: usize) {
        match i32::try_from(value) {
            Ok(value) => {
                self.0.push(b'J');
                self.0.extend(value.to_le_bytes());
            }
            Err(_) => {
                self.0.extend([0x8a, 9]); // nine bytes, so that the sign is that of a positive number
                self.0.extend((value as u64).to_le_bytes());
                self.0.push(0);
            }
        }
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.0.push(b'(');
        items(self);
        self.0.push(b't');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::importing::state_dict::StateDict;

    fn entry(name: &str, shape: &[usize]) -> Entry {
        let values = (0..shape.iter().product()).map(|i: usize| i as f32 - 2.5).collect();
        Entry { name: name.to_owned(), shape: shape.to_vec(), values }
    }

    #[test]
    fn a_file_is_read_back_value_for_value() {
        let tensors = [entry("stem.0.weight", &[2, 3, 1, 1]), entry("größe", &[4]), entry("scalar", &[])];
        let bytes = write(&tensors).unwrap();
        assert_eq!(bytes, write(&tensors).unwrap());
        assert!(is_ours(&bytes) && is_ours(&bytes[..BEGINNING]) && !is_ours(&bytes[1..]) && !is_ours(b"PK"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.pth");
        std::fs::write(&path, &bytes).unwrap();
        let read = StateDict::read(&path).unwrap();
        for tensor in &tensors {
            let found = read.get(&tensor.name).unwrap();
            assert_eq!((&found.shape, &found.data), (&tensor.shape, &tensor.values), "{}", tensor.name);
        }
    }

    #[test]
    fn values_begin_where_memory_can_be_mapped() {
        let bytes = write(&[entry("a", &[3]), entry("b", &[5])]).unwrap();
        for tensor in [entry("a", &[3]), entry("b", &[5])] {
            let values: Vec<u8> = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let at = bytes.windows(values.len()).position(|window| window == values).unwrap();
            assert_eq!(at % usize::from(ALIGNMENT), 0, "{}", tensor.name);
        }
    }

    #[test]
    fn strides_are_those_of_rows() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[]), [0usize; 0]);
    }

    #[test]
    fn integers_of_any_size_are_positive() {
        let mut pickle = Pickle(Vec::new());
        pickle.integer(7);
        pickle.integer(0x8000_0000);
        assert_eq!(pickle.0, b"J\x07\0\0\0\x8a\x09\0\0\0\x80\0\0\0\0\0");
    }
}
