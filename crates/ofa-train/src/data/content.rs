//! A split by its content: two are the same if the same images come in the same order with the same labels, wherever they
//! are kept and whatever the folder is called.

use crate::data::{DataError, Split};
use ofa_space::digest::Digest;
use ofa_space::file_digest::FileDigest;

impl Split {
    /// SHA-256 over label and content of every image, in order, hexadecimal: the bytes of its file, or its pixels where the
    /// images of a split share a file.
    ///
    /// # Errors
    /// [`DataError::Io`] if a file cannot be read.
    pub fn digest(&self) -> Result<String, DataError> {
        let mut digest = Digest::default();
        // The files were read with the data set.
        let of_files: Vec<&FileDigest> = (0..self.len()).filter_map(|index| self.file_digest(index)).collect();
        if of_files.len() == self.len() {
            for (label, file) in self.labels.iter().zip(&of_files) {
                digest.add(format!("{label} {}\n", file.sha256));
            }
            return Ok(digest.hex());
        }
        for (label, position) in self.labels.iter().zip(&self.positions) {
            let image = self.pixels.image(*position)?;
            digest.add(format!("{label} {}x{}x{}\n", image.width, image.height, image.channels));
            digest.add(&image.data);
        }
        Ok(digest.hex())
    }

    /// How many images there are, and their [`digest`](Self::digest): what a result depends on, in words.
    ///
    /// # Errors
    /// As [`digest`](Self::digest).
    pub fn content(&self) -> Result<String, DataError> {
        Ok(format!("{} images, sha256 {}", self.len(), self.digest()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::data::{LoadOptions, load};
    use std::path::Path;

    fn photo(path: &Path, shade: u8) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(12, 12, |x, y| image::Rgb([shade, x as u8, y as u8])).save(path).unwrap();
    }

    #[test]
    fn the_place_of_a_folder_does_not_count_but_every_image_does() {
        let folder = tempfile::tempdir().unwrap();
        let digests = |data: &Path| {
            let set = load(data.to_str().unwrap(), &LoadOptions::default()).unwrap();
            [&set.train, &set.validation, &set.test].map(|split| split.digest().unwrap())
        };
        let write = |data: &Path| {
            for (split, shift) in [("train", 0), ("val", 40), ("test", 80)] {
                for (class, shade) in [("a", 100), ("b", 10)] {
                    (0..3).for_each(|i| photo(&data.join(format!("{split}/{class}/{i}.png")), shade + shift + i));
                }
            }
        };
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        write(&one);
        write(&other);
        let before = digests(&one);
        assert_eq!(digests(&other), before);
        photo(&other.join("test/b/1.png"), 200);
        let after = digests(&other);
        assert_eq!(after[..2], before[..2]);
        assert_ne!(after[2], before[2]);
        // Of equal images, one has changed its class.
        std::fs::rename(other.join("train/a/2.png"), other.join("train/b/9.png")).unwrap();
        assert_ne!(digests(&other)[0], before[0]);
    }

    #[test]
    fn images_that_share_a_file_count_by_their_pixels() {
        let of = |validation| {
            let options = LoadOptions { validation, ..LoadOptions::default() };
            load("bundled", &options).unwrap()
        };
        let (some, more) = (of(100), of(200));
        assert_eq!(some.test.content().unwrap(), more.test.content().unwrap());
        assert_ne!(some.validation.digest().unwrap(), more.validation.digest().unwrap());
        assert!(some.test.content().unwrap().starts_with("10000 images, sha256 "));
    }
}
