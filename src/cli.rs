//! The command line: one file for each subcommand.

mod audit;
mod break_glass;
mod check;
mod complete;
mod copy;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod drill;
mod explain;
mod gaps;
mod generate;
mod manifests;
mod open;
mod plugin;
mod progress;
mod report;
pub mod serve;
mod sources;
mod terminal;

use std::process::ExitCode;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::cluster::ClusterError;
use crate::domain::text::hanging;

use plugin::Called;
use terminal::Color;

/// Every image comes ashore at the nearest harbor that can prove it holds it.
///
/// Each command says with `--help` what it does, what it needs, and how it is used.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    role: Role,
    /// When to print colours.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Role {
    Audit(Box<audit::Args>),
    BreakGlass(break_glass::Args),
    Check(check::Args),
    Copy(Box<copy::Args>),
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    Doctor(doctor::Args),
    Drill(Box<drill::Args>),
    Explain(explain::Args),
    Gaps(gaps::Args),
    Generate(generate::Args),
    Open(open::Args),
    Report(report::Args),
    Serve(Box<serve::Args>),
}

/// How a subcommand prints what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[value(alias = "table")]
    Text,
    /// One JSON object, for scripts.
    Json,
}

/// Returns the command line with all commands: for completions, man pages and the reference.
#[must_use]
pub fn command() -> Command {
    Cli::command()
}

/// The words of the command: `generate routes`.
fn typed(matches: &ArgMatches) -> String {
    let mut words = Vec::new();
    let mut next = matches.subcommand();
    while let Some((word, matches)) = next {
        words.push(word);
        next = matches.subcommand();
    }
    words.join(" ")
}

/// The same as kubectl's users type it.
fn command_of_kubectl(command: Command) -> Command {
    let examples =
        command.get_after_help().map(|text| text.to_string().replace("  landfall ", "  kubectl landfall "));
    let command = examples.into_iter().fold(command, Command::after_help);
    command.mut_subcommands(command_of_kubectl)
}

/// Parses the command line and runs the subcommand that it names.
///
/// Exit codes: 0, all is well; 1, the subcommand found something wrong in its input; 2, it could not do its work, or the
/// command line is wrong.
pub fn main() -> ExitCode {
    let called = Called::now();
    let command = match called {
        Called::Landfall => command(),
        Called::Kubectl => command_of_kubectl(command()).bin_name("kubectl landfall"),
        Called::Completion => {
            let words: Vec<String> = std::env::args().skip(1).collect();
            let _the_shell_has_gone = complete::run(command(), &words, &mut std::io::stdout().lock());
            return ExitCode::SUCCESS;
        }
    };
    let matches = command.get_matches();
    let name = typed(&matches);
    let Cli { role, color } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    color.apply();
    let outcome = match role {
        Role::Audit(args) => audit::run(&args, &mut anstream::stdout().lock()),
        Role::BreakGlass(args) => break_glass::run(&args, &mut anstream::stdout().lock()),
        Role::Check(args) => check::run(&args, &mut anstream::stdout().lock()),
        Role::Copy(args) => copy::run(&args, &mut anstream::stdout().lock()),
        #[cfg(feature = "demo")]
        Role::Demo(args) => demo::run(&args, &mut anstream::stdout().lock()),
        Role::Doctor(args) => doctor::run(&args, &mut anstream::stdout().lock()),
        Role::Drill(args) => drill::run(&args, &mut anstream::stdout().lock()),
        Role::Explain(args) => explain::run(&args, &mut anstream::stdout().lock()),
        Role::Gaps(args) => gaps::run(&args, &mut anstream::stdout().lock()),
        Role::Generate(args) => generate::run(&args, &mut anstream::stdout().lock()),
        Role::Open(args) => open::run(&args, &mut anstream::stdout().lock()),
        Role::Report(args) => report::run(&args, &mut anstream::stdout().lock()),
        Role::Serve(args) => serve::run(*args),
    };
    outcome.unwrap_or_else(|error| {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
            // `landfall check … | head`: the reader has read enough.
            return ExitCode::SUCCESS;
        }
        let advice = match error.chain().find_map(|cause| cause.downcast_ref::<ClusterError>()) {
            Some(cause) => cause.advice().to_owned(),
            None => format!("`{called} {name} --help` says what it needs, with examples"),
        };
        let width = terminal::width_of_errors();
        let said = format!("{called}: {error:#}");
        for line in said.lines() {
            anstream::eprintln!("{}", hanging(line, 2, width));
        }
        anstream::eprintln!("{}", hanging(&format!("  → {advice}"), 4, width));
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_belong_together_are_asked_for() {
        Cli::command().debug_assert();
        let says = |flags: &str| {
            let line = format!("landfall serve --config=site.yaml {flags}");
            Cli::try_parse_from(line.split_whitespace()).map(drop).map_err(|error| error.to_string())
        };
        let own = "--certificate-secret=ca --service=s --webhook=w --lease=l --namespace=n --pod-name=p";
        let files = "--tls-cert=tls.crt --tls-key=tls.key";
        let known = format!("{files} --client-ca=ca.crt --client-name=kube-apiserver");
        let led = format!("{files} --lease=l --namespace=n --pod-name=p");
        for good in [own, files, &known, &led, &format!("{led} --service=s --webhook=w")] {
            assert_eq!(says(good), Ok(()), "{good}");
        }
        for (wrong, expected) in [
            ("", "<--tls-cert <FILE>|--certificate-secret <NAME>>"),
            ("--tls-cert=tls.crt", "--tls-key <FILE>"),
            ("--certificate-secret=ca --service=s", "--webhook <NAME>"),
            (&format!("{led} --service=s"), "--webhook <NAME>"),
            (&format!("{files} --service=s --webhook=w"), "--lease <NAME>"),
            (&format!("{files} --lease=l --namespace=n"), "--pod-name <NAME>"),
            (&format!("{files} --lease=l --pod-name=p"), "--namespace <NAME>"),
            (&own.replace("--lease=l", ""), "--lease <NAME>"),
            (&format!("{files} {own}"), "cannot be used with"),
            (&format!("{files} --client-name=kube-apiserver"), "--client-ca <FILE>"),
            (&format!("{files} --client-ca=ca.crt"), "--client-name <NAME>"),
        ] {
            let said = says(wrong).unwrap_err();
            assert!(said.contains(expected), "{wrong}: {said}");
        }
    }
}
