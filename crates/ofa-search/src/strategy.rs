//! The strategy trait and its registry.

use crate::error::SearchError;
use crate::problem::Problem;
use rand_chacha::ChaCha8Rng;
use std::fmt::Debug;

/// A way to search. Configured by `kind` in TOML or JSON; plugins submit a [`StrategyEntry`].
#[typetag::serde(tag = "kind")]
pub trait Strategy: Debug + Send + Sync {
    /// Evaluates archs through `problem` until its budget is used up or there is nothing more to try. The problem
    /// itself remembers the best.
    ///
    /// # Errors
    /// [`SearchError`] of an objective, or of an impossible hyper-parameter.
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
    /// The strategy with its default hyper-parameters.
    pub build: fn() -> Box<dyn Strategy>,
}

inventory::collect!(StrategyEntry);

/// The strategy used where none is named.
pub const DEFAULT: &str = "memetic";

/// Every registered strategy, by name.
pub fn entries() -> Vec<&'static StrategyEntry> {
    let mut all: Vec<&StrategyEntry> = inventory::iter::<StrategyEntry>.into_iter().collect();
    all.sort_by_key(|entry| entry.name);
    all
}

/// The strategy registered under `name`, with its defaults.
///
/// # Errors
/// [`SearchError::UnknownStrategy`] with the nearest name and all names.
pub fn named(name: &str) -> Result<Box<dyn Strategy>, SearchError> {
    match entries().into_iter().find(|entry| entry.name == name) {
        Some(entry) => Ok((entry.build)()),
        None => {
            let known: Vec<String> = entries().iter().map(|entry| entry.name.to_owned()).collect();
            let closest = ofa_space::registry::closest(name, &known);
            Err(SearchError::UnknownStrategy { name: name.to_owned(), closest, known })
        }
    }
}
