//! The `ofa` binary.

fn main() -> std::process::ExitCode {
    ofa::cli::main()
}
