//! Rules about the sources themselves: which crate may hold what, and what may refer to what.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files under `folder`, in order; paths are relative to the workspace.
fn sources(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} holds no Rust files");
    found.sort();
    found.iter().map(|path| path.strip_prefix(root()).unwrap().to_owned()).collect()
}

fn read(relative: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(relative)).unwrap()
}

/// Names of the folders in `crates`.
fn crates() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("crates")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What to keep of a source besides its code.
#[derive(Clone, Copy, PartialEq)]
enum Strings {
    Kept,
    Blanked,
}

/// A source without its comments; lines keep their numbers.
fn without_comments(source: &str, strings: Strings) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    let starts = |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| text.get(at + i) == Some(&c));
    while at < text.len() {
        if starts(at, "//") {
            while at < text.len() && text[at] != '\n' {
                at += 1;
            }
            continue;
        }
        if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    (depth, at) = (depth + 1, at + 2);
                } else if starts(at, "*/") {
                    (depth, at) = (depth - 1, at + 2);
                } else {
                    if text.get(at) == Some(&'\n') {
                        code.push('\n');
                    }
                    at += 1;
                }
                if depth == 0 || at >= text.len() {
                    break;
                }
            }
            continue;
        }
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let in_a_name = at > 0 && is_name(text[at - 1]) && text[at - 1] != 'b';
        let hashes = |from: usize| text[from..].iter().take_while(|c| **c == '#').count();
        let end = if text[at] == 'r' && !in_a_name && text.get(at + 1 + hashes(at + 1)) == Some(&'"') {
            let close = format!("\"{}", "#".repeat(hashes(at + 1)));
            let mut end = at + 2 + hashes(at + 1);
            while end < text.len() && !starts(end, &close) {
                end += 1;
            }
            end + close.len()
        } else if text[at] == '"' {
            let mut end = at + 1;
            while end < text.len() && text[end] != '"' {
                end += if text[end] == '\\' { 2 } else { 1 };
            }
            end + 1
        } else if text[at] == '\'' && text.get(at + 1) == Some(&'\\') {
            // An escaped character.
            at + 3 + text[at + 3..].iter().take_while(|c| **c != '\'').count() + 1
        } else if text[at] == '\'' && text.get(at + 2) == Some(&'\'') {
            at + 3
        } else {
            code.push(text[at]);
            at += 1;
            continue;
        };
        let literal = &text[at..end.min(text.len())];
        match strings {
            Strings::Kept => code.extend(literal),
            Strings::Blanked => code.extend(literal.iter().map(|c| if *c == '\n' { '\n' } else { ' ' })),
        }
        at = end;
    }
    code
}

/// Places of `word` in `code` that no letter, digit, `_` or `-` continues, as `file:line`.
fn places(file: &Path, code: &str, word: &str) -> Vec<String> {
    let continues = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let alone = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let after = line[at + word.len()..].chars().next();
            let before = line[..at].chars().next_back();
            !after.is_some_and(continues) && !before.is_some_and(continues)
        })
    };
    let lines = code.lines().enumerate().filter(|(_, line)| alone(line));
    lines.map(|(index, line)| format!("{}:{}: {}", file.display(), index + 1, line.trim())).collect()
}

#[test]
fn comments_are_told_from_code() {
    let source = "let a = \"// --kept\"; // --dropped\nlet b = r#\"\"--kept\"\"#; /* --dropped /* nested */\n --dropped */ c('\"', '\\'', 'x'); // '\n/// --dropped\nfn f<'a>(x: &'a str) {}\n";
    let code = without_comments(source, Strings::Kept);
    assert_eq!(code.matches("--kept").count(), 2, "{code}");
    assert!(!code.contains("--dropped"), "{code}");
    assert!(code.contains("fn f<'a>(x: &'a str) {}"), "{code}");
    assert_eq!(code.lines().count(), source.lines().count());
    assert!(!without_comments(source, Strings::Blanked).contains("--kept"));
    let file = Path::new("f.rs");
    assert_eq!(places(file, "x\ngive --out, or --output", "--out"), ["f.rs:2: give --out, or --output"]);
    assert!(places(file, "--output --no-out unsafe_code", "--out").is_empty());
    assert!(places(file, "forbid(unsafe_code)", "unsafe").is_empty());
}

/// Every long option of the command line.
fn options() -> BTreeSet<String> {
    fn walk(command: &clap::Command, into: &mut BTreeSet<String>) {
        into.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|command| walk(command, into));
    }
    let mut command = ofa::cli::command();
    command.build();
    let mut found = BTreeSet::new();
    walk(&command, &mut found);
    found
}

#[test]
fn libraries_name_no_option_of_the_command_line() {
    let options = options();
    for known in ["seed", "resume", "max-latency-ms", "fp16-tolerance", "help"] {
        assert!(options.contains(known), "{known} is missing: {options:?}");
    }
    let mut found = Vec::new();
    for name in crates() {
        for file in sources(&format!("crates/{name}/src")) {
            let code = without_comments(&read(&file), Strings::Kept);
            found.extend(options.iter().flat_map(|option| places(&file, &code, &format!("--{option}"))));
        }
    }
    assert!(found.is_empty(), "the command line adds the option to an error, not a library:\n{}", found.join("\n"));
}

#[test]
fn only_the_kernels_are_unsafe() {
    let mut found = Vec::new();
    let mut folders: Vec<String> = crates().into_iter().filter(|name| name != "ofa-kernels").collect();
    folders.iter_mut().for_each(|name| *name = format!("crates/{name}"));
    folders.extend(["examples/plugin-device", "examples/plugin-space", "tests/reference-data"].map(str::to_owned));
    for folder in &folders {
        assert!(
            read(format!("{folder}/src/lib.rs")).contains("#![forbid(unsafe_code)]"),
            "{folder} does not forbid it"
        );
    }
    assert!(read("src/lib.rs").contains("#![forbid(unsafe_code)]"));
    folders.extend(["src", "tests", "benches", "examples"].map(str::to_owned));
    for file in folders.iter().flat_map(|folder| sources(folder)) {
        found.extend(places(&file, &without_comments(&read(&file), Strings::Blanked), "unsafe"));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn spaces_kernels_search_and_export_need_no_burn() {
    for package in ["ofa-space", "ofa-kernels", "ofa-search", "ofa-export"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments = ["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--package", package];
        let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        assert!(tree.starts_with(package), "{tree}");
        let burn: Vec<&str> = tree.lines().filter(|line| line.starts_with("burn")).collect();
        assert!(burn.is_empty(), "{package} needs {burn:?}");
    }
}

#[test]
fn no_command_uses_another() {
    for file in sources("src/cli/commands") {
        let relative = file.strip_prefix("src/cli/commands").unwrap();
        if relative == Path::new("mod.rs") {
            continue;
        }
        let code = without_comments(&read(&file), Strings::Blanked);
        assert!(!code.contains("commands::"), "{} refers to a command by its path", file.display());
        // In `eval.rs` and `eval/mod.rs`, `super` is the room of all commands; in `eval/onnx.rs` it is `eval`.
        let of_the_room = relative.components().count() == 1 || relative.ends_with("mod.rs");
        let (own, _tests) = code.split_once("#[cfg(test)]").unwrap_or((&code, ""));
        let forbidden = if of_the_room { "super::" } else { "super::super" };
        assert!(!own.contains(forbidden), "{} refers to a command through `super`", file.display());
    }
}

/// The architecture's table of where things are.
#[test]
fn everything_that_the_architecture_points_at_exists() {
    let text = read("docs/architecture.md");
    let (_, table) = text.split_once("## Where is …?").expect("a section `Where is …?`");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in rows {
        let paths: Vec<&str> = row.split('`').skip(1).step_by(2).filter(|path| path.contains('/')).collect();
        assert!(!paths.is_empty(), "no path in {row}");
        for path in paths {
            assert!(root().join(path).exists(), "{path} does not exist: {row}");
        }
    }
}
