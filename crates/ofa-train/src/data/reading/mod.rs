//! Image files as pixels: what is read, how it is decoded and turned upright, and how the images of a data set are kept.

pub(crate) mod image_file;
pub(crate) mod kinds;
pub(crate) mod pixels;
pub(crate) mod raster;
mod reduced_jpeg;
mod upright;
