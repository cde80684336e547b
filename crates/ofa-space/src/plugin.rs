//! Registries of plugins: named, documented entries of whatever crates are linked.
//!
//! Spaces, samplers, losses, estimators, strategies and devices each have an entry type of their own; looking one up,
//! listing all and suggesting the nearest name is the same for each and is written here.
//!
//! ```
//! use ofa_space::plugin::{self, Entry};
//!
//! struct Greeting {
//!     name: &'static str,
//!     text: &'static str,
//! }
//! impl Entry for Greeting {
//!     const WHAT: &'static str = "greeting";
//!     fn name(&self) -> &'static str {
//!         self.name
//!     }
//!     fn about(&self) -> &'static str {
//!         self.text
//!     }
//! }
//! ofa_space::inventory::collect!(Greeting);
//! ofa_space::inventory::submit! { Greeting { name: "hello", text: "a friendly one" } }
//!
//! assert_eq!(plugin::find::<Greeting>("hello")?.text, "a friendly one");
//! let error = plugin::find::<Greeting>("helo").err().map(|e| e.to_string());
//! assert!(error.is_some_and(|e| e.contains("did you mean `hello`?")));
//! # Ok::<(), ofa_space::plugin::UnknownName>(())
//! ```

/// A registered entry. Implementors also call [`inventory::collect!`] with the type; plugins submit values of it with
/// [`inventory::submit!`].
pub trait Entry: inventory::Collect {
    /// What the entries are, in the singular, for messages: `search space`, `device`.
    const WHAT: &'static str;

    /// The name to select it by.
    fn name(&self) -> &'static str;

    /// One line for listings.
    fn about(&self) -> &'static str;
}

/// A name that no entry has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no {what} called `{name}`{}; registered: {}", hint(.closest), .known.join(", "))]
pub struct UnknownName {
    /// What was looked for, in the singular.
    pub what: &'static str,
    /// The name asked for.
    pub name: String,
    /// The known name nearest to it, if one is near.
    pub closest: Option<String>,
    /// Every known name.
    pub known: Vec<String>,
}

impl UnknownName {
    /// The error for `name` among the `known` names.
    pub fn new(what: &'static str, name: &str, known: Vec<String>) -> Self {
        Self { what, name: name.to_owned(), closest: closest(name, &known), known }
    }
}

fn hint(closest: &Option<String>) -> String {
    closest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

/// Every registered entry, by name.
pub fn entries<E: Entry>() -> Vec<&'static E> {
    let mut all: Vec<&E> = inventory::iter::<E>.into_iter().collect();
    all.sort_by_key(|entry| entry.name());
    all
}

/// Every registered name, in alphabetical order.
pub fn names<E: Entry>() -> Vec<String> {
    entries::<E>().iter().map(|entry| entry.name().to_owned()).collect()
}

/// The entry registered under `name`.
///
/// # Errors
/// [`UnknownName`] with the nearest name and all names.
pub fn find<E: Entry>(name: &str) -> Result<&'static E, UnknownName> {
    entries::<E>()
        .into_iter()
        .find(|entry| entry.name() == name)
        .ok_or_else(|| UnknownName::new(E::WHAT, name, names::<E>()))
}

/// The known name nearest to `name`, if it is near enough to be a typing error.
pub fn closest(name: &str, known: &[String]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate.clone())
}
