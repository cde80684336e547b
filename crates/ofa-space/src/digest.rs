//! SHA-256 digests as hexadecimal text: names for files, configurations, and everything that a result depends on.
//!
//! ```
//! use ofa_space::digest::{self, Digest};
//!
//! let mut parts = Digest::default();
//! parts.add("ab");
//! parts.add("c");
//! assert_eq!(parts.hex(), digest::sha256("abc"));
//! assert_eq!(digest::sha256("abc")[..8], *"ba7816bf");
//! ```

use crate::input_file;
use crc::{CRC_32_ISCSI, Crc, Table};
use sha2::Digest as _;
use std::io::{self, Read};
use std::path::Path;

/// Length of a digest in bytes.
pub const BYTES: usize = 32;

/// A digest of parts that come one after another; the same as that of all parts joined.
#[derive(Clone, Default, Debug)]
pub struct Digest(sha2::Sha256);

impl Digest {
    /// Adds a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) {
        self.0.update(part.as_ref());
    }

    /// The digest, 64 lower-case hexadecimal digits.
    pub fn hex(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest as bytes.
    pub fn bytes(self) -> [u8; BYTES] {
        self.0.finalize().into()
    }
}

/// The digest of `bytes`, 64 lower-case hexadecimal digits.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    let mut digest = Digest::default();
    digest.add(bytes);
    digest.hex()
}

/// CRC-32C (Castagnoli) of parts that come one after another, eight lower-case hexadecimal digits: finds damage, not forgery.
pub fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    const CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
    let mut digest = CRC32C.digest();
    parts.into_iter().for_each(|part| digest.update(part));
    format!("{:08x}", digest.finalize())
}

/// [`sha256`] of a file's content.
///
/// # Errors
/// What the system reports if the file cannot be read.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    const CHUNK: usize = 1 << 20;
    let (mut file, mut digest, mut chunk) = (input_file::open(path)?, Digest::default(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(digest.hex()),
            read => digest.add(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(sha256_of_file(&path).unwrap(), sha256(&bytes));
        // FIPS 180-2, appendix B.
        assert_eq!(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(sha256_of_file(folder.path()).is_err());
    }
}
