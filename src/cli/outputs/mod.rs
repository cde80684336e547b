//! What a command may write over, for all commands: checked on the command line, before anything is read.
//!
//! A file that the command reads, a trained supernet, and an existing file whose name was not given but follows from another are
//! replaced only by force. A file that the user names is otherwise replaced. [`OUTPUTS`] lists the options that write; any other
//! text on the command line that names a file or folder counts as what the command reads.

mod identity;
mod table;
mod work_folder;

use super::Failure;
use crate::folder_lock::FolderLock;
use crate::pipeline::PLAN;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use identity::Identity;
use ofa_space::{Model, atomic_file};
use ofa_train::checkpoint::Checkpoint;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
pub use table::{OUTPUTS, OneFile, OutputOption, Writes, netspec_weights};
use work_folder::NoFile;

/// The argument that lets a command write over what it reads.
const FORCE: &str = "force";
/// Arguments that name the folder of a run: what is in it is the program's own.
const RUNS: [(&str, &str); 5] =
    [("run", "config"), ("search", "run"), ("export", "run"), ("eval", "run"), ("report", "folder")];
/// Results of a run that commands read.
const READ_IN_A_RUN: [&str; 2] = [PLAN, "results.json"];
/// Endings of the files in a folder that are read as data.
const DATA: [&str; 14] =
    ["jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "csv", "tsv", "gz", "bin", "yaml", "yml"];

/// How a command may write.
#[derive(Clone, Copy, Default, Debug)]
pub struct Outputs {
    /// Whether it may write over what it reads.
    pub force: bool,
    /// Whether a file goes to stdout, so that reports go elsewhere.
    pub on_stdout: bool,
}

/// The command line with `--force` for every command that writes files of its own choice.
pub fn with_force(command: Command) -> Command {
    with_force_below(command, "")
}

fn with_force_below(mut command: Command, parents: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{parents} {name}").trim_start().to_owned();
        command = command.mut_subcommand(&name, |below| with_force_below(below, &path));
    }
    let writes = |output: &&OutputOption| matches!(output.writes, Writes::File(_) | Writes::Folder { .. });
    let is_one = of_command(parents).filter(writes).any(|output| has(&command, output.option));
    match is_one {
        true => command.arg(
            Arg::new(FORCE)
                .long(FORCE)
                .action(ArgAction::SetTrue)
                .help("Replace files that the command reads, a trained supernet, or a file whose name was not given"),
        ),
        false => command,
    }
}

/// The options of a command that write. Those of `devices` are the same in each of its subcommands.
fn of_command(path: &str) -> impl Iterator<Item = &'static OutputOption> {
    OUTPUTS.iter().filter(move |output| {
        path == output.command || path.strip_prefix(output.command).is_some_and(|rest| rest.starts_with(' '))
    })
}

fn has(command: &Command, argument: &str) -> bool {
    command.get_arguments().any(|known| known.get_id() == argument)
}

/// Checks the files that a command line writes.
///
/// # Errors
/// [`Failure::Input`] for an output that would replace what it should not, [`Failure::Running`] for one that cannot be written.
pub fn check(command: &Command, matches: &ArgMatches) -> Result<Outputs, Failure> {
    let line = Line::of(command, matches);
    let flag = |name: &str| line.matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or_default();
    let mut outputs = Outputs { force: flag(FORCE), on_stdout: false };
    if flag("dry_run") {
        return Ok(outputs);
    }
    for run in line.runs() {
        refuse("RUN", work_folder::first_in(&run))?;
        atomic_file::sweep_all(&run);
    }
    let (inputs, mut written) = (line.inputs(), Vec::new());
    for output in of_command(&line.path) {
        let Some(path) = line.values(output.option).next().map(PathBuf::from) else { continue };
        let option = line.name(output.option);
        match output.writes {
            Writes::File(file) => {
                let given = Output { option: &option, path: &path, is_implied: false, file };
                outputs.on_stdout |= given.is_stdout();
                given.check(&inputs, &mut written, outputs.force)?;
                for beside in (file.beside)(&path, line.matches) {
                    let implied =
                        Output { path: &beside, is_implied: true, file: OneFile { working: &[], ..file }, ..given };
                    implied.check(&inputs, &mut written, outputs.force)?;
                }
            }
            Writes::Folder { models, others } => {
                let names = models.iter().chain(others).map(Path::new);
                refuse(&option, work_folder::first_of(&path, names))?;
                atomic_file::sweep_all(&path);
                let goes_on = flag("resume") || outputs.force || !Checkpoint::files(&path).is_empty();
                // Where a command has worked before, its files are its own, but a model is the end of much work.
                let others = if FolderLock::was_taken(&path) { &[] } else { others };
                let mut names = models.iter().chain(others).filter(|_| !goes_on);
                if let Some(name) = names.find(|name| path.join(name).exists()) {
                    return Err(Failure::Input(format!(
                        "{option} {}: {name} is there already and would be replaced; choose another folder, or add --{FORCE}",
                        path.display()
                    )));
                }
            }
            Writes::Run => {
                refuse(&option, work_folder::first_in(&path))?;
                atomic_file::sweep_all(&path);
            }
            Writes::Cache => atomic_file::sweep(&path),
        }
    }
    Ok(outputs)
}

fn refuse(option: &str, found: Option<NoFile>) -> Result<(), Failure> {
    let refused = |NoFile { path, problem }| Failure::Input(format!("{option}: {} {problem}", path.display()));
    found.map_or(Ok(()), |found| Err(refused(found)))
}

/// Refuses an output whose name the command chose itself, and that is there but was not written by this program; or that is the
/// file of an input.
///
/// # Errors
/// As [`check`].
pub fn check_chosen(path: &Path, inputs: &[&Path], is_own: bool, outputs: Outputs) -> Result<(), Failure> {
    let inputs = Inputs {
        files: inputs.iter().map(|path| Input { option: "RUN".to_owned(), path: path.to_path_buf() }).collect(),
        ..Inputs::default()
    };
    let file = OneFile { beside: |_, _| Vec::new(), working: &[], grows_from: &[], makes_folder: false };
    let output = Output { option: "the output", path, is_implied: !is_own, file };
    output.check(&inputs, &mut Vec::new(), outputs.force)
}

/// The command that was given, with its arguments.
struct Line<'a> {
    /// Names of command and subcommand.
    path: String,
    command: &'a Command,
    matches: &'a ArgMatches,
}

impl<'a> Line<'a> {
    fn of(mut command: &'a Command, mut matches: &'a ArgMatches) -> Self {
        let mut path = Vec::new();
        while let Some((name, below)) = matches.subcommand() {
            let Some(found) = command.find_subcommand(name) else { break };
            path.push(name);
            (command, matches) = (found, below);
        }
        Self { path: path.join(" "), command, matches }
    }

    /// What was given for an argument.
    fn values(&self, argument: &str) -> impl Iterator<Item = &'a OsStr> {
        self.matches.try_get_raw(argument).ok().flatten().into_iter().flatten()
    }

    /// An argument as users write it.
    fn name(&self, argument: &str) -> String {
        let known = self.command.get_arguments().find(|known| known.get_id() == argument);
        known.and_then(Arg::get_long).map_or_else(|| argument.to_uppercase(), |long| format!("--{long}"))
    }

    fn runs(&self) -> impl Iterator<Item = PathBuf> {
        let argument = RUNS.iter().find(|(command, _)| *command == self.path).map(|(_, argument)| *argument);
        let values = argument.into_iter().flat_map(|argument| self.values(argument));
        values.map(PathBuf::from).filter(|path| path.is_dir())
    }

    fn inputs(&self) -> Inputs {
        let mut inputs = Inputs::default();
        let profiles = ofa_hw::registry::dropped_in();
        let runs: Vec<PathBuf> = self.runs().collect();
        for argument in self.command.get_arguments() {
            let id = argument.get_id().as_str();
            if of_command(&self.path).any(|output| output.option == id) {
                continue;
            }
            // A default names no file of the user's.
            let given = self.matches.value_source(id) == Some(ValueSource::CommandLine);
            for value in self.values(id).filter(|_| given) {
                for path in named(value, &profiles) {
                    let input = Input { option: self.name(id), path };
                    match std::fs::metadata(&input.path) {
                        Ok(found) if found.is_file() => inputs.files.push(input),
                        Ok(found) if found.is_dir() && !runs.contains(&input.path) => inputs.folders.push(input),
                        _ => {}
                    }
                }
            }
        }
        for (run, name) in runs.iter().flat_map(|run| READ_IN_A_RUN.map(|name| (run, name))) {
            inputs.files.push(Input { option: "RUN".to_owned(), path: run.join(name) });
        }
        inputs
    }
}

/// Files that a value may name: itself, one of a list, one with limits behind a colon, or a profile by its name.
fn named(value: &OsStr, profiles: &[(String, PathBuf)]) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from(value)];
    for part in value.to_str().into_iter().flat_map(|text| text.split(',')) {
        let name = part.rsplit_once(':').map_or(part, |(name, _)| name);
        paths.extend([part, name].map(PathBuf::from));
        paths.extend(profiles.iter().filter(|(known, _)| known == name).map(|(_, path)| path.clone()));
    }
    paths
}

/// What a command reads.
#[derive(Default)]
struct Inputs {
    files: Vec<Input>,
    folders: Vec<Input>,
}

struct Input {
    /// The option that names it.
    option: String,
    path: PathBuf,
}

/// A file that a command writes.
#[derive(Clone, Copy)]
struct Output<'a> {
    option: &'a str,
    path: &'a Path,
    /// Whether the name follows from another.
    is_implied: bool,
    file: OneFile,
}

impl Output<'_> {
    fn is_stdout(&self) -> bool {
        ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|stdout| self.path == Path::new(stdout))
    }

    fn refused(&self, problem: &str) -> Failure {
        let Self { option, path, .. } = self;
        Failure::Input(format!("{option} {}: {problem}", path.display()))
    }

    fn check(self, inputs: &Inputs, written: &mut Vec<Identity>, force: bool) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| Failure::writing(self.path, error);
        let Some(place) = atomic_file::place(self.path).map_err(cannot)? else {
            return match self.file.working {
                [] => Ok(()),
                _ => Err(self.refused("is no regular file, and the command keeps its work beside it: choose a file")),
            };
        };
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        atomic_file::sweep(folder);
        if let Some(problem) = self.is_not_replaced(&place, inputs).filter(|_| !force) {
            return Err(self.refused(&format!("{problem}; choose another file, or add --{FORCE}")));
        }
        let identity = Identity::of(&place);
        if written.contains(&identity) {
            return Err(self.refused("is written by two options: choose a file for each"));
        }
        written.push(identity);
        self.check_working()?;
        match atomic_file::check(self.path) {
            Err(error) if !(self.file.makes_folder && error.kind() == ErrorKind::NotFound) => Err(cannot(error)),
            _ => Ok(()),
        }
    }

    /// Why the file that is there should stay.
    fn is_not_replaced(&self, place: &Path, inputs: &Inputs) -> Option<String> {
        if !place.is_file() {
            return None;
        }
        let identity = Identity::of(place);
        let grows =
            |input: &&Input| self.file.grows_from.iter().any(|option| input.option.trim_start_matches('-') == *option);
        let others = inputs.files.iter().filter(|input| !grows(input));
        if let Some(Input { option, path }) = others.into_iter().find(|input| Identity::of(&input.path) == identity) {
            return Some(format!("is the file that {option} {} reads, and would be written over", path.display()));
        }
        let is_data = place
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|ending| DATA.iter().any(|known| known.eq_ignore_ascii_case(ending)));
        let above = inputs.folders.iter().find(|folder| is_data && identity::is_below(place, &folder.path));
        if let Some(Input { option, path }) = above {
            return Some(format!("is in the folder that {option} {} reads, and would be written over", path.display()));
        }
        if Model::is_supernet_file(place) {
            return Some("holds a supernet, which would be lost".to_owned());
        }
        self.is_implied.then(|| "is there already, and its name was not given".to_owned())
    }

    /// Refuses names beside the output that cannot be, or that lead elsewhere.
    fn check_working(&self) -> Result<(), Failure> {
        for ending in self.file.working {
            let mut name = self.path.as_os_str().to_owned();
            name.push(ending);
            let path = PathBuf::from(name);
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    let path = path.display();
                    return Err(
                        self.refused(&format!("{path}, where the command keeps its work, is a link: remove it"))
                    );
                }
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(self.refused(&format!("cannot keep work in {} ({error})", path.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
