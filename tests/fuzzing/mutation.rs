//! Changes of bytes and of text that turn a valid file into a damaged or hostile one.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Numbers at which readers go wrong.
pub const NUMBERS: [&str; 22] = [
    "0",
    "-1",
    "1",
    "2",
    "7",
    "-0.0",
    "0.5",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "-1e308",
    "1e39",
    "1e-320",
];
/// Words at which readers go wrong.
const WORDS: [&str; 10] =
    ["null", "true", "nan", "inf", "\"\"", "[]", "{}", "\"\\u001b[31m\\n\"", "\"javascript:x\"", "..\\/..\\/"];

/// Bytes that mark the ends of ranges.
const BYTES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// One of these.
pub fn one_of<'a, T>(rng: &mut ChaCha8Rng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}

/// Changes a few bytes, or cuts, doubles or removes a part. Small files stay small.
pub fn bytes(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    if bytes.is_empty() {
        return vec![0; rng.random_range(0..9)];
    }
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        // Heads of files hold sizes, so half of the changes are there.
        let reach = if rng.random_bool(0.5) { bytes.len().min(64) } else { bytes.len() };
        let at = rng.random_range(0..reach);
        match rng.random_range(0..8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = *one_of(rng, &BYTES),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes.truncate(at),
            4 => {
                let end = bytes.len().min(at + rng.random_range(1..64));
                bytes.drain(at..end);
            }
            5 => {
                let end = bytes.len().min(at + rng.random_range(1..64));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            6 => {
                let value =
                    *one_of(rng, &[0u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xffff, 0x7f80_0000, 0x7fc0_0000]);
                let value = if rng.random_bool(0.5) { value.to_le_bytes() } else { value.to_be_bytes() };
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            _ => {
                let value = *one_of(rng, &[0u64, 1 << 31, 1 << 32, 1 << 62, u64::MAX, u64::MAX - 7]);
                let end = bytes.len().min(at + 8);
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
        }
    }
    bytes
}

/// Changes words of a text: a number or a string becomes another, a line or an element comes twice or not at all.
pub fn text(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut text = input.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if text.is_empty() || rng.random_bool(0.1) {
            text = bytes(&text, rng);
            continue;
        }
        let start = rng.random_range(0..text.len());
        match rng.random_range(0..6) {
            // The next number becomes another.
            0..3 => {
                let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
                let Some(from) = text[start..].iter().position(is_number).map(|at| at + start) else { continue };
                let length = text[from..].iter().take_while(|byte| is_number(byte)).count();
                let new = if rng.random_bool(0.8) { one_of(rng, &NUMBERS) } else { one_of(rng, &WORDS) };
                text.splice(from..from + length, new.bytes());
            }
            // The next element of a list, or the next line, comes twice or not at all.
            3 | 4 => {
                let ends = |byte: &u8| matches!(byte, b',' | b'\n');
                let Some(from) = text[start..].iter().position(ends).map(|at| at + start + 1) else { continue };
                let Some(length) = text[from..].iter().position(ends).map(|at| at + 1) else { continue };
                let part = text[from..from + length].to_vec();
                match rng.random_bool(0.5) {
                    true => drop(text.splice(from..from, part)),
                    false => drop(text.drain(from..from + length)),
                }
            }
            // The next string becomes another word.
            _ => {
                let Some(from) = text[start..].iter().position(|b| *b == b'"').map(|at| at + start) else { continue };
                let Some(length) = text[from + 1..].iter().position(|b| *b == b'"').map(|at| at + 2) else { continue };
                let new = one_of(rng, &WORDS).bytes();
                text.splice(from..from + length, new);
            }
        }
    }
    text
}
