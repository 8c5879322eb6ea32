//! The command line's entry.

fn main() -> std::process::ExitCode {
    portcullis::cli::main()
}
