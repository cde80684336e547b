//! Names from files as text that shows what it is: without control characters, which move a terminal's cursor or begin a line
//! of their own, and without the marks that reverse the order of writing.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;

/// The name with such characters written as `\n` or `\u{1b}`.
pub fn plain(name: &str) -> Cow<'_, str> {
    escaped(name, is_shown_otherwise)
}

/// Several lines, made plain line by line: tabs and ends of lines stay.
pub fn plain_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_shown_otherwise(c) && !matches!(c, '\n' | '\t'))
}

/// The name of a file or folder; bytes that are not UTF-8 as `\xff`, so that different names stay different.
pub fn of_file(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(&plain(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' if is_escaped(c) => plain.push_str("\\n"),
            '\r' if is_escaped(c) => plain.push_str("\\r"),
            '\t' if is_escaped(c) => plain.push_str("\\t"),
            c if is_escaped(c) => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

fn is_shown_otherwise(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(plain("Großes Bild 犬"), "Großes Bild 犬");
        assert_eq!(plain("\u{1b}[31mred\n"), "\\u{1b}[31mred\\n");
        assert_eq!(plain("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
        assert_eq!(plain_lines("a\tb\nc\u{7}\r"), "a\tb\nc\\u{7}\\r");
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_unicode_stay_different() {
        use std::os::unix::ffi::OsStrExt;
        let of = |bytes: &[u8]| of_file(OsStr::from_bytes(bytes));
        assert_eq!([of(b"a\xff"), of(b"a\xfe"), of("ü\n".as_bytes())], ["a\\xff", "a\\xfe", "ü\\n"]);
    }
}
