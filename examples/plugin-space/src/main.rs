//! The `ofa` program with this search space.

// Naming the crate is what links it, and linking it is what registers its spaces.
use example_space as _;

fn main() -> std::process::ExitCode {
    ofa::cli::main()
}
