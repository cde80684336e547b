//! Changes inside of containers, which stay valid around them: lengths and checksums fit, so that the change is read.

use super::mutation::{self, NUMBERS, one_of};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::io::{Cursor, Read, Write};

/// Changes one value of a JSON text, or its text.
pub fn json(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let parsed = if rng.random_bool(0.75) { serde_json::from_slice::<Value>(input).ok() } else { None };
    let Some(mut value) = parsed else { return mutation::text(input, rng) };
    for _ in 0..rng.random_range(1..3) {
        change(&mut value, rng);
    }
    value.to_string().into_bytes()
}

/// The same for every line of its own.
pub fn json_lines(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = rng.random_range(0..lines.len());
    lines[at] = json(&lines[at], rng);
    lines.join(&b'\n')
}

/// Changes a value somewhere below.
fn change(value: &mut Value, rng: &mut ChaCha8Rng) {
    // Text that is JSON itself is a level like any other.
    if let Value::String(text) = value
        && text.starts_with('{')
        && rng.random_bool(0.95)
        && let Ok(mut inner) = serde_json::from_str::<Value>(text)
    {
        change(&mut inner, rng);
        *text = inner.to_string();
        return;
    }
    let goes_down = rng.random_bool(0.93);
    match value {
        Value::Array(values) if !values.is_empty() && goes_down => {
            let at = rng.random_range(0..values.len());
            match rng.random_range(0..24) {
                0 => drop(values.remove(at)),
                1 => values.insert(at, values[at].clone()),
                2 => values.clear(),
                _ => change(&mut values[at], rng),
            }
        }
        Value::Object(fields) if !fields.is_empty() && goes_down => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = one_of(rng, &names);
            match rng.random_range(0..24) {
                0 => drop(fields.remove(name)),
                1 => drop(fields.insert(format!("{name}\u{1b}[31m"), fields[name].clone())),
                2 => {
                    let other = fields[one_of(rng, &names)].clone();
                    fields.insert(name.clone(), other);
                }
                _ => {
                    if let Some(field) = fields.get_mut(name) {
                        change(field, rng);
                    }
                }
            }
        }
        _ => *value = other(value, rng),
    }
}

/// A number at which readers go wrong.
fn number(rng: &mut ChaCha8Rng) -> Value {
    let text: &&str = one_of(rng, &NUMBERS);
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// Another value in place of this one.
fn other(value: &Value, rng: &mut ChaCha8Rng) -> Value {
    match (value, rng.random_range(0..8)) {
        (Value::Number(number), 0) => number.as_f64().map_or(Value::Null, |n| (n + 1.0).into()),
        (Value::Number(number), 1) => number.as_f64().map_or(Value::Null, |n| (-n).into()),
        (Value::Number(number), 2) if number.is_u64() => {
            number.as_u64().map_or(Value::Null, |n| (n.wrapping_mul(2)).into())
        }
        (Value::Number(number), 3) if number.is_u64() => {
            number.as_u64().map_or(Value::Null, |n| (n.wrapping_sub(1)).into())
        }
        (Value::Number(_), _) => number(rng),
        (Value::String(text), 0) => Value::String(format!("{text}\u{1b}[2J\n")),
        (Value::String(_), 1) => "javascript:alert(1)".into(),
        (Value::String(_), 2) => "../../x".into(),
        (Value::Bool(is), 0..4) => (!is).into(),
        (_, 3) => Value::Null,
        (_, 4) => Value::Array(Vec::new()),
        (_, 5) => "x".repeat(300).into(),
        _ => number(rng),
    }
}

/// Changes the header of a safetensors file, or its data.
pub fn safetensors(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let length = input.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes) as usize);
    let (Some(header), true) = (input.get(8..8 + length), rng.random_bool(0.9)) else {
        return mutation::bytes(input, rng);
    };
    let mut data = input[8 + length..].to_vec();
    let mut header = header.to_vec();
    match rng.random_bool(0.12) && data.len() >= 4 {
        true => {
            let at = rng.random_range(0..data.len() / 4) * 4;
            let value = *one_of(rng, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1e30, 1e-40]);
            data[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        false => header = json(&header, rng),
    }
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), &data].concat()
}

/// Changes a field of a protocol buffer, at any depth.
pub fn protobuf(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    if rng.random_bool(0.1) {
        return mutation::bytes(input, rng);
    }
    changed_message(input, rng, 6).unwrap_or_else(|| mutation::bytes(input, rng))
}

/// A field: its key, and what follows it.
struct Field<'a> {
    key: u64,
    content: Content<'a>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Number(u64),
    Fixed(&'a [u8]),
    Bytes(&'a [u8]),
}

fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn fields(mut input: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    while !input.is_empty() {
        let key = varint(&mut input)?;
        let content = match key & 7 {
            0 => Content::Number(varint(&mut input)?),
            1 | 5 => {
                let (value, rest) = input.split_at_checked(if key & 7 == 1 { 8 } else { 4 })?;
                input = rest;
                Content::Fixed(value)
            }
            2 => {
                let length = usize::try_from(varint(&mut input)?).ok()?;
                let (value, rest) = input.split_at_checked(length)?;
                input = rest;
                Content::Bytes(value)
            }
            _ => return None,
        };
        if key >> 3 == 0 {
            return None;
        }
        found.push(Field { key, content });
    }
    Some(found)
}

fn changed_message(input: &[u8], rng: &mut ChaCha8Rng, depth: usize) -> Option<Vec<u8>> {
    const NUMBERS: [u64; 10] = [0, 1, 2, 7, 1 << 16, 1 << 31, u32::MAX as u64, 1 << 40, u64::MAX, 1 << 63];
    let fields = fields(input)?;
    if fields.is_empty() {
        return None;
    }
    let chosen = rng.random_range(0..fields.len());
    let mut output = Vec::with_capacity(input.len() + 16);
    for (index, field) in fields.iter().enumerate() {
        let mut key = field.key;
        let mut times = 1;
        let mut content = field.content;
        let inner;
        if index == chosen {
            match rng.random_range(0..16) {
                0 => times = 0,
                1 => times = 2,
                2 => key = (rng.random_range(1..20) << 3) | (key & 7),
                _ => match content {
                    Content::Number(value) => {
                        let near = [value.wrapping_add(1), value.wrapping_sub(1)];
                        content = Content::Number(*one_of(rng, &[&NUMBERS[..], &near].concat()));
                    }
                    Content::Fixed(value) => {
                        inner =
                            mutation::bytes(value, rng).into_iter().chain([0; 8]).take(value.len()).collect::<Vec<_>>();
                        content = Content::Fixed(&inner);
                    }
                    Content::Bytes(value) => {
                        let deeper = if depth > 0 { changed_message(value, rng, depth - 1) } else { None };
                        inner = deeper.unwrap_or_else(|| mutation::bytes(value, rng));
                        content = Content::Bytes(&inner);
                    }
                },
            }
        }
        for _ in 0..times {
            put_varint(key, &mut output);
            match content {
                Content::Number(value) => put_varint(value, &mut output),
                Content::Fixed(value) => output.extend(value),
                Content::Bytes(value) => {
                    put_varint(value.len() as u64, &mut output);
                    output.extend(value);
                }
            }
        }
    }
    Some(output)
}

/// Changes a member of an archive, mostly the pickle, whose checksum is computed anew.
pub fn archive(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    match rng.random_bool(0.85) {
        true => changed_member(input, rng).unwrap_or_else(|| mutation::bytes(input, rng)),
        false => mutation::bytes(input, rng),
    }
}

fn changed_member(input: &[u8], rng: &mut ChaCha8Rng) -> Option<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(input)).ok()?;
    let mut output = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let any = rng.random_range(0..archive.len().max(1));
    let in_pickle = rng.random_bool(0.9);
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).ok()?;
        let name = member.name().ok()?.into_owned();
        let mut content = Vec::new();
        member.read_to_end(&mut content).ok()?;
        let is_pickle = name.ends_with("data.pkl");
        if (in_pickle && is_pickle) || (!in_pickle && index == any) {
            content = if is_pickle { pickle(&content, rng) } else { mutation::bytes(&content, rng) };
        }
        output.start_file(name, plain).ok()?;
        output.write_all(&content).ok()?;
    }
    Some(output.finish().ok()?.into_inner())
}

/// Changes a number or a name of a pickle, or any byte of it.
pub fn pickle(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    // Opcodes with a number of one, two or four bytes after them.
    const WITH_NUMBER: [(u8, usize); 3] = [(b'K', 1), (b'M', 2), (b'J', 4)];
    if rng.random_bool(0.5) {
        return mutation::bytes(input, rng);
    }
    let mut output = input.to_vec();
    let start = rng.random_range(0..output.len().max(1));
    let place = (start..output.len()).find_map(|at| {
        let (_, size) = WITH_NUMBER.iter().find(|(code, _)| *code == output[at])?;
        (at + size < output.len()).then_some((at, *size))
    });
    let Some((at, size)) = place else { return mutation::bytes(input, rng) };
    let value = *one_of(rng, &[0i32, 1, -1, 255, 65_536, i32::MAX, i32::MIN]);
    let new: Vec<u8> = [b'J'].into_iter().chain(value.to_le_bytes()).collect();
    output.splice(at..=at + size, new);
    output
}

/// Changes a chunk of a PNG, whose checksum is computed anew; of any other picture, bytes.
pub fn picture(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    const HEAD: usize = 8;
    if !input.starts_with(b"\x89PNG") || rng.random_bool(0.2) {
        return mutation::bytes(input, rng);
    }
    let mut output = input[..HEAD].to_vec();
    let mut rest = &input[HEAD..];
    while let Some((length, kind)) = rest.split_at_checked(8).map(|(head, _)| (&head[..4], &head[4..])) {
        let size = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(content) = rest.get(8..8 + size) else { break };
        let content = if rng.random_bool(0.4) { mutation::bytes(content, rng) } else { content.to_vec() };
        let mut checked = kind.to_vec();
        checked.extend(&content);
        output.extend((content.len() as u32).to_be_bytes());
        output.extend(&checked);
        output.extend(flate2::Crc::new().tap(&checked).to_be_bytes());
        rest = rest.get(12 + size..).unwrap_or_default();
    }
    output
}

/// The checksum of some bytes.
trait Tap {
    fn tap(self, bytes: &[u8]) -> u32;
}

impl Tap for flate2::Crc {
    fn tap(mut self, bytes: &[u8]) -> u32 {
        self.update(bytes);
        self.sum()
    }
}

/// Changes what is inside of a gzip file, or the file.
pub fn gzip(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut content = Vec::new();
    let whole = flate2::read::GzDecoder::new(input).take(1 << 20).read_to_end(&mut content);
    if whole.is_err() || rng.random_bool(0.3) {
        return mutation::bytes(input, rng);
    }
    let mut output = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    match output.write_all(&mutation::bytes(&content, rng)).and_then(|()| output.finish()) {
        Ok(bytes) => bytes,
        Err(_) => input.to_vec(),
    }
}
