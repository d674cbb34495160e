//! The `landfall` binary.

use std::process::ExitCode;

// musl's own allocator costs twice the CPU for what a review allocates.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    landfall::cli::main()
}
