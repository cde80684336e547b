//! File names made of what users name: no longer than file systems allow.

use ofa_space::digest;

/// Bytes of a name: file systems allow 255, with the endings that come after it.
const LONGEST: usize = 200;
/// Digits of the digest that replaces what is left out.
const DIGITS: usize = 12;

/// The name, cut and ended with a digest of all of it if it is too long.
pub fn shortened(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let kept = (0..LONGEST - DIGITS).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    format!("{}-{}", &name[..kept], &digest::sha256(&name)[..DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_apart_and_short_ones_as_they_are() {
        assert_eq!(shortened("pixel4-cpu-3.2ms".into()), "pixel4-cpu-3.2ms");
        let [one, other] = ["a", "b"].map(|end| shortened("é".repeat(150) + end));
        assert!(one.len() <= LONGEST && one != other, "{one} {other}");
    }
}
