//! What a network expects of its input, where its description leaves that open.

use super::Failure;
use clap::Args;
use ofa_export::importing::net_config::{Layout, NetConfig, read_run_config};
use ofa_export::importing::supernet::imagenet_input;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a description may leave open about a network's input.
#[derive(Args, Debug)]
pub struct NetInputArgs {
    /// The run.config that belongs to the description and contains the image size.
    #[arg(long)]
    pub run_config: Option<PathBuf>,
    /// Height and width of the input in pixels.
    #[arg(long)]
    pub image_size: Option<u32>,
    /// Mean of the pixels in 0..1: one number for all channels, or one for each.
    #[arg(long, value_delimiter = ',')]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of the pixels in 0..1: one number for all channels, or one for each.
    #[arg(long, value_delimiter = ',')]
    pub std: Option<Vec<f32>>,
}

/// Values chosen for a network's input, and where each came from.
#[derive(Clone, Debug, Serialize)]
pub struct NetInput {
    /// Mean per channel.
    pub mean: Vec<f32>,
    /// Standard deviation per channel.
    pub std: Vec<f32>,
    /// Height and width in pixels.
    pub image_size: u32,
    /// Where the three came from.
    pub from: NetInputOrigins,
}

/// Where values came from: an option, a file, or a rule.
#[derive(Clone, Debug, Serialize)]
pub struct NetInputOrigins {
    mean: String,
    std: String,
    image_size: String,
}

impl NetInput {
    /// Three lines for a person.
    pub fn describe(&self) -> String {
        let Self { mean, std, image_size, from } = self;
        format!(
            "image size {image_size} (from {})\nmean {mean:?} (from {})\nstd {std:?} (from {})",
            from.image_size, from.mean, from.std
        )
    }
}

impl NetInputArgs {
    /// Chooses what the options leave open, from the files alone.
    pub fn resolve(&self, config: &NetConfig, path: &Path) -> Result<NetInput, Failure> {
        let (image_size, size_from) = match (self.image_size, &self.run_config, config.image_size) {
            (Some(size), ..) => (size, "--image-size".to_owned()),
            (None, Some(run), _) => (read_run_config(run)?, format!("image_size in {}", run.display())),
            (None, None, Some(size)) => (size, format!("resolution in {}", path.display())),
            (None, None, None) => {
                return Err(Failure::Input(format!(
                    "{} does not contain the size of the network's images: give --run-config FILE (the run.config \
                     beside it) or --image-size PIXELS",
                    path.display()
                )));
            }
        };
        let published = imagenet_input();
        let (mean, std, rule) = match config.layout() {
            Layout::OnceForAll => {
                (published.mean, published.std, "ImageNet's, as all networks in this layout were trained with")
            }
            Layout::McuNet => {
                (vec![0.5; 3], vec![0.5; 3], "0.5, as all networks in MCUNet's layout (with `resolution`) were trained")
            }
        };
        let net = config.net(image_size).map_err(|problem| Failure::Input(format!("{}: {problem}", path.display())))?;
        let channels = net.input[0];
        let choose = |option: &str, given: &Option<Vec<f32>>, rule_values: Vec<f32>, least: f32| match given {
            None if rule_values.len() == channels => {
                Ok((rule_values, format!("the layout of {}: {rule}", path.display())))
            }
            None => Err(Failure::Input(format!("give {option}: the network's images have {channels} channels"))),
            Some(values) => Ok((of_channels(option, values, channels, least)?, option.to_owned())),
        };
        let (mean, mean_from) = choose(MEAN, &self.mean, mean, LEAST_MEAN)?;
        let (std, std_from) = choose(STD, &self.std, std, LEAST_STD)?;
        let from = NetInputOrigins { mean: mean_from, std: std_from, image_size: size_from };
        Ok(NetInput { mean, std, image_size, from })
    }
}

/// The option for the mean of images.
pub const MEAN: &str = "--mean";
/// The option for the standard deviation of images.
pub const STD: &str = "--std";
/// The smallest mean.
pub const LEAST_MEAN: f32 = 0.0;
/// The smallest standard deviation.
pub const LEAST_STD: f32 = 1e-6;

/// The values of an option, one for each channel; a single number applies to all.
pub fn of_channels(option: &str, values: &[f32], channels: usize, least: f32) -> Result<Vec<f32>, Failure> {
    if values.iter().any(|value| !(least..=255.0).contains(value)) {
        return Err(Failure::Input(format!("{option} {values:?}: expected pixels in 0..1, such as 0.5")));
    }
    match values.len() {
        1 => Ok(vec![values[0]; channels]),
        n if n == channels => Ok(values.to_vec()),
        n => Err(Failure::Input(format!("{option} has {n} numbers, expected 1 or {channels}"))),
    }
}
