//! Which images are read, as what, and into which part of the data they go. Every test here fails with the program of
//! commit 5257198, which `OFA_BIN` can name.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
mod program;

#[path = "data/pictures.rs"]
mod pictures;

#[path = "data/duplicates.rs"]
mod duplicates;
#[path = "data/few_images.rs"]
mod few_images;
#[path = "data/layouts.rs"]
mod layouts;
#[path = "data/orientation.rs"]
mod orientation;
#[path = "data/overview.rs"]
mod overview;
#[path = "data/splits.rs"]
mod splits;
#[path = "data/unread.rs"]
mod unread;
