//! Every option of every command is looked at: one that takes a path or a text either writes, and is then covered by the rule of
//! what may be written over, or is known to name no file that is written.

use crate::workplace::run_in;
use clap::{Arg, ArgAction};
use ofa::cli::outputs::{OUTPUTS, OutputOption, Writes};
use std::any::TypeId;
use std::path::PathBuf;

/// Options that take a path or a text and write nothing.
const READ: [&str; 45] = [
    "accuracy",
    "arch",
    "archs",
    "backend",
    "calibrate",
    "checkpoint",
    "class_map",
    "config",
    "data",
    "device",
    "distributed",
    "encoder",
    "family",
    "file",
    "folder",
    "from",
    "images",
    "input",
    "labels",
    "lengths",
    "measured",
    "merge",
    "metadata",
    "model",
    "net",
    "onnx",
    "pairs",
    "predictor",
    "run",
    "run_config",
    "runtime",
    "shell",
    "space",
    "strategy",
    "target",
    "teacher",
    "test",
    "weights",
    "max_latency_ms",
    "max_macs",
    "max_params",
    "max_sram_kb",
    "max_flash_kb",
    "max_energy_mj",
    "distillation",
];
/// `labels` of this command is a file that is written.
const AMBIGUOUS: (&str, &str) = ("export", "labels");
/// Words that begin the help of an option that writes.
const WRITING: [&str; 6] = ["Output", "Write", "Also write", "Draw", "Folder for", "Folder where"];

/// Commands with what they need besides the option that is tried; `F` is a file that is there.
const LINES: [(&str, &str); 20] = [
    ("run", "--data F"),
    ("train", "F"),
    ("forward", "--model F --input F"),
    ("collect", "--model F --data F --count 2"),
    ("fit", "--pairs F --space F"),
    ("search", "--space F --accuracy F"),
    ("refine", "--model F --data F --pairs other"),
    ("extract", "--model F --arch F"),
    ("finetune", "--model F --data F"),
    ("export", "--model F"),
    ("measure", "--model F"),
    ("profile", "--space F --check 3"),
    ("import supernet", "F --space tiny-28"),
    ("import net", "--config F --weights F"),
    ("import pretrained", "F"),
    ("devices calibrate", "--device F --space F --measured F"),
    ("devices fit", "--space F --measured F"),
    ("eval", "--model F --data F"),
    ("classify", "--model F F"),
    ("report", "F"),
];

/// Every command without subcommands, by its name with those above it.
fn commands() -> Vec<(String, clap::Command)> {
    fn below(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        found.push((path.to_owned(), command.clone()));
        for subcommand in command.get_subcommands() {
            below(subcommand, format!("{path} {}", subcommand.get_name()).trim_start(), found);
        }
    }
    let mut found = Vec::new();
    below(&ofa::cli::command(), "", &mut found);
    found
}

fn takes_a_path_or_text(argument: &Arg) -> bool {
    let kind = argument.get_value_parser().type_id();
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    takes && (kind == TypeId::of::<PathBuf>() || kind == TypeId::of::<String>())
}

/// What covers an option of a command.
fn covering(command: &str, option: &str) -> Option<&'static OutputOption> {
    let is_of = |known: &str| command == known || command.starts_with(&format!("{known} "));
    OUTPUTS.iter().find(|output| output.option == option && is_of(output.command))
}

fn is_covered(command: &str, option: &str) -> bool {
    covering(command, option).is_some()
}

#[test]
fn every_option_that_writes_is_covered() {
    for (name, command) in commands() {
        for argument in command.get_arguments() {
            let option = argument.get_id().as_str();
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let writes = WRITING.iter().any(|word| help.starts_with(word)) && takes_a_path_or_text(argument);
            let is_read = READ.contains(&option) && (name.as_str(), option) != AMBIGUOUS;
            let unknown = takes_a_path_or_text(argument) && !is_read;
            assert!(
                is_covered(&name, option) || !(writes || unknown),
                "`ofa {name}` takes --{option} ({help}): what it writes belongs into the table of outputs, else its name into READ"
            );
        }
    }
    // And the table lists nothing that is not there.
    for output in OUTPUTS {
        let is_there = commands().iter().any(|(name, command)| {
            is_covered(name, output.option) && command.get_arguments().any(|known| known.get_id() == output.option)
        });
        assert!(is_there, "{output:?}");
    }
}

#[test]
fn no_option_replaces_a_file_that_another_option_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("F");
    for (name, command) in commands() {
        for argument in command.get_arguments() {
            let option = argument.get_id().as_str();
            let Some(output) = covering(&name, option) else { continue };
            let rest = LINES.iter().find(|(known, _)| *known == name);
            let (_, rest) = rest.unwrap_or_else(|| panic!("`ofa {name}` writes with --{option} and has no line here"));
            std::fs::write(&file, "mine").unwrap();
            let mut words: Vec<String> = name.split(' ').chain(rest.split(' ')).map(str::to_owned).collect();
            let long = argument.get_long().unwrap();
            // Earlier versions know the output by its other name only.
            let long = if option == "output" { "output" } else { long };
            words.extend([format!("--{long}"), "F".to_owned()]);
            let is_file = matches!(output.writes, Writes::File(_));
            if option != "output" && command.get_arguments().any(|known| known.get_id() == "output" && name != "search")
            {
                words.extend(["--output", "new"].map(str::to_owned));
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let outcome = run_in(folder.path(), &words);
            assert_eq!(outcome.code, Some(2), "{words:?}: {outcome:#?}");
            assert!(!is_file || outcome.stderr.contains("--force"), "{words:?}: {outcome:#?}");
            assert_eq!(std::fs::read(&file).unwrap(), b"mine", "{words:?}");
        }
    }
}
