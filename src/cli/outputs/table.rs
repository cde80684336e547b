//! Every option that writes, with what it writes.

use clap::ArgMatches;
use ofa_train::data::SPLIT_TABLE;
use ofa_train::shrinking::BEST_MODEL;
use std::path::{Path, PathBuf};

/// An option that writes.
#[derive(Clone, Copy, Debug)]
pub struct OutputOption {
    /// The command, with its subcommand: `devices fit`.
    pub command: &'static str,
    /// The option as the command's arguments call it.
    pub option: &'static str,
    /// What it writes.
    pub writes: Writes,
}

/// What an option writes.
#[derive(Clone, Copy, Debug)]
pub enum Writes {
    /// One file.
    File(OneFile),
    /// Files in a folder, which only work that goes on there replaces.
    Folder {
        /// Names of models.
        models: &'static [&'static str],
        /// Names of other files.
        others: &'static [&'static str],
    },
    /// The folder of a run: [`crate::pipeline`] works in an empty one, or goes on with its own.
    Run,
    /// A folder of files that are named by a digest of what they hold.
    Cache,
}

/// A file that an option names.
#[derive(Clone, Copy, Debug)]
pub struct OneFile {
    /// Further files, whose names follow from the file's.
    pub beside: fn(&Path, &ArgMatches) -> Vec<PathBuf>,
    /// Endings of what the command keeps beside the file while it works.
    pub working: &'static [&'static str],
    /// Options that may name the same file, which then grows.
    pub grows_from: &'static [&'static str],
    /// Whether the command makes the file's folder.
    pub makes_folder: bool,
}

/// A file and nothing else.
const ONE: OneFile = OneFile { beside: |_, _| Vec::new(), working: &[], grows_from: &[], makes_folder: false };
const FILE: Writes = Writes::File(ONE);

/// What keeps these beside it while the command works.
const fn slow(working: &'static [&'static str]) -> Writes {
    Writes::File(OneFile { working, ..ONE })
}

const fn option(command: &'static str, option: &'static str, writes: Writes) -> OutputOption {
    OutputOption { command, option, writes }
}

/// A training's folder.
const TRAINING: Writes = Writes::Folder {
    models: &["supernet.safetensors", BEST_MODEL],
    others: &["metrics.jsonl", "training.json", SPLIT_TABLE],
};

/// Every option that writes.
pub const OUTPUTS: [OutputOption; 22] = [
    option("run", "out", Writes::Run),
    option("train", "out", TRAINING),
    option("forward", "output", FILE),
    option("collect", "output", slow(&[".part", ".part.key"])),
    option("fit", "output", FILE),
    option("search", "output", Writes::Run),
    option("search", "plot", FILE),
    option("refine", "output", Writes::File(OneFile { makes_folder: true, ..ONE })),
    option("refine", "out_pairs", Writes::File(OneFile { makes_folder: true, grows_from: &["pairs"], ..ONE })),
    option("extract", "output", FILE),
    option("finetune", "output", slow(&[".checkpoint"])),
    option("export", "output", FILE),
    option("export", "labels", FILE),
    option("export", "netspec", Writes::File(OneFile { beside: |json, _| vec![netspec_weights(json)], ..ONE })),
    option("measure", "cache", Writes::Cache),
    option("profile", "output", slow(&[".partial"])),
    option("profile", "check_output", FILE),
    option("profile", "check_plot", FILE),
    option("import supernet", "output", FILE),
    option("import net", "output", FILE),
    option("import pretrained", "output", FILE),
    option("devices", "output", FILE),
];

/// The tensors of the network that a JSON file describes.
pub fn netspec_weights(json: &Path) -> PathBuf {
    json.with_extension("safetensors")
}
