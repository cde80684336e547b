//! `--class-map` and `--classes-by-position`: which class of the data is which of the network.

use super::{Context, Failure};
use clap::Args;
use ofa_train::data::{ClassMap, ClassMatching, MatchedClasses};
use std::path::PathBuf;

/// How the classes of the data are found among the network's; by name, if left out.
#[derive(Args, Debug)]
pub struct ClassArgs {
    /// CSV file for classes that have another name in the network: lines `theirs,ours` (data, network).
    #[arg(long, value_name = "FILE", conflicts_with = "classes_by_position")]
    pub class_map: Option<PathBuf>,
    /// Match classes by their order, regardless of their names.
    #[arg(long)]
    pub classes_by_position: bool,
}

impl ClassArgs {
    /// The choice, with the map read.
    pub fn matching(&self) -> Result<ClassMatching, Failure> {
        Ok(match &self.class_map {
            Some(path) => ClassMatching::Map(ClassMap::read(path)?),
            None if self.classes_by_position => ClassMatching::Position,
            None => ClassMatching::Names,
        })
    }
}

/// Prints what is missing or goes by another name.
pub fn report(matched: &MatchedClasses, context: &Context) {
    for note in matched.notes() {
        context.output.note(&note);
    }
}
