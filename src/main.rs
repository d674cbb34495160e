//! The `landfall` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    landfall::cli::main()
}
