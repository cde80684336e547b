//! Damage to what is kept is found, and names the file.

use crate::workplace::Workplace;

#[test]
fn a_flipped_bit_among_the_tensors_is_found_by_every_command() {
    let place = Workplace::new();
    let whole = std::fs::read(place.at("net.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in [header, (header + whole.len()) / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x04;
        std::fs::write(place.at("flipped.safetensors"), flipped).unwrap();
        for line in [
            "info --model flipped.safetensors",
            "export --model flipped.safetensors --output new.onnx",
            "forward --model flipped.safetensors --input batch.npy --output new.npy",
        ] {
            place.assert_refused(line, &["flipped.safetensors", "damaged"]);
        }
    }
}

#[test]
fn a_pair_that_was_changed_is_found_and_a_line_of_one_s_own_is_read() {
    let place = Workplace::new();
    let text = std::fs::read_to_string(place.at("pairs.jsonl")).unwrap();
    assert!(text.lines().all(|line| line.contains("\"crc32c\":\"")), "{text}");
    let fit = "fit --pairs changed.jsonl --space tiny-28 --predictor ridge --output new.json";
    let third = text.lines().nth(2).unwrap();
    for (from, to) in [("\"top1\":0.", "\"top1\":0.9"), ("\"r\":2", "\"r\":2")] {
        let changed = match from == to {
            // Another resolution.
            true => ["20", "24", "28"].iter().find_map(|size| {
                let other = if *size == "20" { "24" } else { "20" };
                let changed = third.replace(&format!("\"r\":{size}"), &format!("\"r\":{other}"));
                (changed != third).then_some(changed)
            }),
            false => Some(third.replace(from, to)),
        };
        std::fs::write(place.at("changed.jsonl"), text.replace(third, &changed.unwrap())).unwrap();
        place.assert_refused(fit, &["changed.jsonl:3", "crc32c"]);
    }
    // A line of an earlier version, or of the user's own.
    let bare = |line: &str| line.split(",\"crc32c\"").next().unwrap().to_owned() + "}\n";
    std::fs::write(place.at("changed.jsonl"), text.lines().map(bare).collect::<String>()).unwrap();
    place.line(fit).ok();
    let plain = std::fs::read(place.at("new.json")).unwrap();
    place.line(&fit.replace("changed.jsonl", "pairs.jsonl")).ok();
    assert!(std::fs::read(place.at("new.json")).unwrap() == plain, "the checksum changed the predictor");
}
