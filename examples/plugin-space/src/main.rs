//! The `ofa` binary with our search space in it.

// Naming the crate is what links it, and linking it is what registers its spaces.
use example_space as _;

fn main() -> std::process::ExitCode {
    ofa::cli::main()
}
