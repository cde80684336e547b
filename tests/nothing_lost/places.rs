//! Files go where their names lead: through links, into devices and pipes, with the permissions that the user grants.

use crate::program::program;
use crate::workplace::{Workplace, ended};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

const EXTRACT: &str = "extract --model supernet.safetensors --arch min --output";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_device_stays_a_device() {
    let place = Workplace::new();
    let null = place.at("null");
    // A copy of /dev/null: the real one is needed if this fails.
    let made = Command::new("mknod").arg(&null).args(["c", "1", "3"]).stderr(Stdio::null()).status();
    let usable = made.is_ok_and(|status| status.success()) && std::fs::write(&null, "").is_ok();
    if !usable {
        eprintln!("skipped: no device can be made here");
        return;
    }
    for line in [format!("{EXTRACT} null"), "export --model net.safetensors --output null".to_owned()] {
        place.line(&line).ok();
        assert!(std::fs::metadata(&null).unwrap().file_type().is_char_device(), "{line} replaced the device");
    }
}

#[test]
fn a_pipe_gets_the_file() {
    let place = Workplace::new();
    place.line(&format!("{EXTRACT} small.safetensors")).ok();
    let pipe = place.at("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A reader that does not wait for ever.
    let reader = Command::new("timeout").args(["60", "cat"]).arg(&pipe).stdout(Stdio::piped()).spawn().unwrap();
    let outcome = place.line(&format!("{EXTRACT} pipe"));
    let is_pipe = std::fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo();
    // Lets the reader end if nothing was written.
    if !is_pipe {
        let _ = Command::new("kill").arg(reader.id().to_string()).status();
    }
    let read = reader.wait_with_output().unwrap().stdout;
    assert!(is_pipe, "the pipe was replaced");
    outcome.ok();
    assert!(read == std::fs::read(place.at("small.safetensors")).unwrap());
}

#[test]
fn stdout_gets_the_file_and_nothing_else() {
    let place = Workplace::new();
    place.line(&format!("{EXTRACT} small.safetensors")).ok();
    let expected = std::fs::read(place.at("small.safetensors")).unwrap();
    let words: Vec<&str> = EXTRACT.split(' ').chain(["/proc/self/fd/1", "--json"]).collect();
    // A pipe, and a file that the shell appends to.
    let child =
        program(&words).current_dir(place.root()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == expected, "{} bytes, expected {}", output.stdout.len(), expected.len());
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"params\""), "the report goes to stderr");
    std::fs::write(place.at("collected"), "before\n").unwrap();
    let file = std::fs::File::options().append(true).open(place.at("collected")).unwrap();
    let child = program(&words).current_dir(place.root()).stdout(file).stderr(Stdio::piped()).spawn().unwrap();
    ended(child).ok();
    let mut collected = Vec::new();
    std::fs::File::open(place.at("collected")).unwrap().read_to_end(&mut collected).unwrap();
    assert!(collected == [b"before\n", expected.as_slice()].concat());
}

#[test]
fn links_are_followed() {
    let place = Workplace::new();
    std::fs::create_dir(place.at("elsewhere")).unwrap();
    std::fs::write(place.at("elsewhere/target"), "old").unwrap();
    symlink("elsewhere/target", place.at("link")).unwrap();
    symlink("elsewhere/new", place.at("link to nothing")).unwrap();
    place.line(&format!("{EXTRACT} link")).ok();
    assert!(place.at("link").is_symlink());
    assert_ne!(std::fs::read(place.at("elsewhere/target")).unwrap(), b"old");
    let words: Vec<&str> = EXTRACT.split(' ').chain(["link to nothing"]).collect();
    crate::workplace::run_in(place.root(), &words).ok();
    assert!(place.at("link to nothing").is_symlink());
    assert!(place.at("elsewhere/new").is_file());
    // The pairs of a collection are renamed at its end.
    symlink("elsewhere/pairs", place.at("collected.jsonl")).unwrap();
    let collect = "collect --model supernet.safetensors --data bundled --count 2 --output collected.jsonl \
                   --calibration-images 20 --validation-images 20";
    place.line(collect).ok();
    assert!(place.at("collected.jsonl").is_symlink() && place.at("elsewhere/pairs").is_file());
}

#[test]
fn permissions_are_the_user_s() {
    let place = Workplace::new();
    let script = "umask \"$1\"; shift; exec \"$@\"";
    let with_umask = |umask: &str, file: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", umask]).arg(program::<&str>(&[]).get_program());
        command.args(EXTRACT.split(' ')).arg(file).current_dir(place.root());
        assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        mode(&place.at(file))
    };
    assert_eq!(with_umask("077", "private"), 0o600);
    assert_eq!(with_umask("022", "usual"), 0o644);
    assert_eq!(with_umask("002", "of a group"), 0o664);
    // A file that is replaced keeps its own.
    std::fs::set_permissions(place.at("usual"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(with_umask("022", "usual"), 0o600);
    std::fs::set_permissions(place.at("private"), std::fs::Permissions::from_mode(0o664)).unwrap();
    assert_eq!(with_umask("077", "private"), 0o664);
}
