//! TensorBoard event files, written by hand: a record is a length, a protocol buffer and their checksums.
//!
//! Format: `tensorflow/core/lib/io/record_writer.h` (framing, masked CRC-32C) and `tensorflow/core/util/event.proto`
//! (`Event`: 1 wall time, 2 step, 3 file version, 5 summary; `Summary.Value`: 1 tag, 2 simple value).

use crate::shrinking::history::{StepRecord, SubnetRecord};
use crc::{CRC_32_ISCSI, Crc};

/// Castagnoli's polynomial, as in iSCSI.
static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Name of the event file in a run's folder; TensorBoard looks for `tfevents` in it.
pub(crate) const FILE: &str = "events.out.tfevents.0.ofa";

/// The record that every event file begins with.
pub(crate) fn header(seconds: f64) -> Vec<u8> {
    let mut event = Vec::new();
    double(&mut event, 1, seconds);
    bytes(&mut event, 3, b"brain.Event:2");
    record(&event)
}

/// The records of a logged step.
pub(crate) fn step(seconds: f64, of: &StepRecord) -> Vec<u8> {
    let values =
        [("train/loss", of.loss), ("train/top1", of.train_top1), ("train/learning_rate", of.learning_rate as f32)];
    scalars(seconds, of.step, values.iter().map(|(tag, value)| ((*tag).to_owned(), *value)))
}

/// The record of a validation.
pub(crate) fn validation(seconds: f64, step: usize, subnets: &[SubnetRecord]) -> Vec<u8> {
    scalars(seconds, step, subnets.iter().map(|s| (format!("validation/{}", s.label), s.top1 as f32)))
}

fn scalars(seconds: f64, step: usize, values: impl Iterator<Item = (String, f32)>) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in values {
        let mut value = Vec::new();
        bytes(&mut value, 1, tag.as_bytes());
        value.push((2 << 3) | 5);
        value.extend_from_slice(&number.to_le_bytes());
        bytes(&mut summary, 1, &value);
    }
    let mut event = Vec::new();
    double(&mut event, 1, seconds);
    event.push(2 << 3);
    varint(&mut event, step as u64);
    bytes(&mut event, 5, &summary);
    record(&event)
}

/// A protocol-buffer field of type `double`.
fn double(into: &mut Vec<u8>, field: u8, value: f64) {
    into.push((field << 3) | 1);
    into.extend_from_slice(&value.to_le_bytes());
}

/// A protocol-buffer field of a length and bytes: text, or a message.
fn bytes(into: &mut Vec<u8>, field: u8, value: &[u8]) {
    into.push((field << 3) | 2);
    varint(into, value.len() as u64);
    into.extend_from_slice(value);
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Length, its checksum, the event, its checksum.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut framed = length.to_vec();
    framed.extend_from_slice(&masked(CRC_32C.checksum(&length)).to_le_bytes());
    framed.extend_from_slice(event);
    framed.extend_from_slice(&masked(CRC_32C.checksum(event)).to_le_bytes());
    framed
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnoli_s() {
        // RFC 3720, appendix B.4.
        assert_eq!(CRC_32C.checksum(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_record_holds_tag_step_and_value() {
        let step_300 = StepRecord { phase: "p".into(), step: 300, loss: 1.5, train_top1: 0.25, learning_rate: 0.1 };
        let framed = step(2.0, &step_300);
        let length = u64::from_le_bytes(framed[..8].try_into().unwrap_or_default()) as usize;
        assert_eq!(framed.len(), 8 + 4 + length + 4);
        let event = &framed[12..12 + length];
        assert_eq!(event[..9], [&[0x09][..], &2f64.to_le_bytes()].concat());
        // Field 2, varint 300.
        assert_eq!(event[9..12], [0x10, 0xac, 0x02]);
        let loss = [&[0x0a, 17, 0x0a, 10][..], b"train/loss", &[0x15], &1.5f32.to_le_bytes()].concat();
        assert!(event.windows(loss.len()).any(|part| part == loss));
    }
}
