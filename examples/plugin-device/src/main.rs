//! The `ofa` program with these devices.

// Naming the crate is what links it, and linking it is what registers its devices.
use example_device as _;

fn main() -> std::process::ExitCode {
    ofa::cli::main()
}
