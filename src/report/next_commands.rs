//! The commands that come after a run, ready for a shell.

use super::RunResults;

/// Commands that come next, with what each does. `run` is the run's folder.
pub fn next_commands(results: &RunResults, run: &str) -> Vec<(String, &'static str)> {
    let Some(case) = results.cases.iter().find(|case| case.recommended) else { return Vec::new() };
    let weights = quoted(&format!("{}/nets/{}.safetensors", run.trim_end_matches('/'), case.name()));
    let run = quoted(run);
    let device = case.device.as_ref().map_or_else(String::new, |device| format!(" --device {}", quoted(device)));
    let mut commands = vec![
        (format!("ofa classify {run} photo.jpg"), "try it on a photo"),
        (
            format!("ofa search {run} --device {} --max-latency-ms 50%,80%", another(results)),
            "networks for another device",
        ),
        (format!("ofa measure --model {weights}"), "its time on this machine"),
    ];
    if case.file_precision() != "int8" {
        commands.push((format!("ofa export {run}{device} --int8"), "an int8 file beside it"));
    }
    commands
}

/// A device that the run has no networks for.
fn another(results: &RunResults) -> &'static str {
    let is_new = |name: &&&str| results.cases.iter().all(|case| case.device.as_deref() != Some(**name));
    DEVICES.iter().find(is_new).unwrap_or(&DEVICES[0])
}

/// Devices to suggest.
const DEVICES: [&str; 3] = ["pixel4-cpu", "stm32f746", "raspberry-pi-4"];

/// An argument as a shell reads it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%".contains(c);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn arguments_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("my-run/1"), "my-run/1");
        assert_eq!(quoted("my run's"), "'my run'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
