//! Lists of names in messages.

/// The names with commas between them, the first `most` of them if there are more.
///
/// ```
/// use ofa_space::listing::beginning;
///
/// assert_eq!(beginning(&["a", "b"], 2), "a, b");
/// assert_eq!(beginning(&["a", "b", "c"], 2), "a, b, …");
/// ```
pub fn beginning(names: &[impl AsRef<str>], most: usize) -> String {
    let mut shown: Vec<&str> = names.iter().take(most).map(AsRef::as_ref).collect();
    if names.len() > most {
        shown.push("…");
    }
    shown.join(", ")
}
