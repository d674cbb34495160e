//! The command line: one file per role.

mod check;
#[cfg(feature = "demo")]
mod demo;
mod generate;
pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every image comes ashore at the nearest harbor that can prove it holds it.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Check(check::Args),
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    Generate(generate::Args),
    Serve(serve::Args),
}

/// Parses the command line and plays the role it names.
///
/// Exit codes: 0, all is well; 1, the role found something wrong with what it was given; 2, it could not
/// do its work (so does clap, for a command line that makes no sense).
pub fn main() -> ExitCode {
    let Cli { role } = Cli::parse();
    let outcome = match role {
        Role::Check(args) => check::run(&args, &mut anstream::stdout().lock()),
        #[cfg(feature = "demo")]
        Role::Demo(args) => demo::run(&args, &mut anstream::stdout().lock()),
        Role::Generate(args) => generate::run(&args, &mut anstream::stdout().lock()),
        Role::Serve(args) => serve::run(args),
    };
    outcome.unwrap_or_else(|error| {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
            // `landfall check … | head`: whoever read us has read enough.
            return ExitCode::SUCCESS;
        }
        anstream::eprintln!("landfall: {error:#}");
        ExitCode::from(2)
    })
}
