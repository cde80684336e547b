//! The strategy trait and its registry.

use crate::error::SearchError;
use crate::problem::Problem;
use ofa_space::Settings;
use ofa_space::plugin::{self, Entry};
use rand_chacha::ChaCha8Rng;
use std::fmt::Debug;

/// A way to search. Selected by `kind` in TOML or JSON; plugins submit a [`StrategyEntry`]. Its settings are checked
/// before every search.
#[typetag::serde(tag = "kind")]
pub trait Strategy: Settings + Debug + Send + Sync {
    /// Evaluates archs through `problem` until its budget is used up or there is nothing more to try. The problem
    /// itself remembers the best.
    ///
    /// # Errors
    /// [`SearchError`] of an objective.
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError>;

    /// Whether a case of a grid gains from what the cases before it left. If not, cases run side by side, each as if it
    /// were alone.
    fn learns_from_cases(&self) -> bool {
        true
    }

    /// A sensible budget of evaluations per case, where the user names none. The paper's: 50,100.
    fn default_evaluations(&self) -> usize {
        50_100
    }

    /// The same for a grid of several targets (devices, say), `cases` together.
    fn default_evaluations_of(&self, _targets: usize, _cases: usize) -> usize {
        self.default_evaluations()
    }

    /// Times that every case of a grid has its turn, with an equal part of its budget each time.
    fn turns(&self, _targets: usize) -> usize {
        1
    }
}

/// A registered strategy.
pub struct StrategyEntry {
    /// Value of `kind`.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    /// The strategy with its default settings.
    pub build: fn() -> Box<dyn Strategy>,
}

inventory::collect!(StrategyEntry);

impl Entry for StrategyEntry {
    const WHAT: &'static str = "search strategy";

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// The strategy used where none is named.
pub const DEFAULT: &str = "memetic";

/// Every registered strategy, by name.
pub fn entries() -> Vec<&'static StrategyEntry> {
    plugin::entries()
}

/// The strategy registered under `name`, with its defaults.
///
/// # Errors
/// [`SearchError::Unknown`] with the nearest name and all names.
pub fn named(name: &str) -> Result<Box<dyn Strategy>, SearchError> {
    Ok((plugin::find::<StrategyEntry>(name)?.build)())
}
