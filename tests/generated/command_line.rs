//! `helm/landfall/CLI.md`: the help of each command; and the man pages, which are made at a release.

#[cfg(feature = "demo")]
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::Command;

/// The page. Without the demo there is a command less, and nobody asks.
#[cfg(feature = "demo")]
pub fn reference() -> String {
    let mut page = String::from(
        "# The command line\n\n\
         Made from the code: `LANDFALL_GENERATE=1 cargo test --test generated`. Each command says the same with `--help`. As a plug-in \
         of kubectl it is called `kubectl landfall`.\n\n",
    );
    let mut root = without_environment(landfall::cli::command()).term_width(100);
    root.build();
    each(&root, &mut |command, name| {
        let mut command = command.clone().bin_name(name);
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = writeln!(page, "## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    });
    page
}

/// The help says which variables there are, not what they are on this machine.
fn without_environment(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(without_environment)
}

/// Calls `see` with each command and what is typed for it.
fn each(command: &Command, see: &mut impl FnMut(&Command, &str)) {
    fn below(command: &Command, name: &str, see: &mut impl FnMut(&Command, &str)) {
        see(command, name);
        for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
            below(one, &format!("{name} {}", one.get_name()), see);
        }
    }
    below(command, command.get_name(), see);
}

/// Commands whose help has no example.
pub fn without_examples() -> Vec<String> {
    let mut lacking = Vec::new();
    each(&landfall::cli::command(), &mut |command, name| {
        let examples = command.get_after_help().is_some_and(|text| {
            let text = text.to_string();
            text.starts_with("Examples:\n  ") && text.contains("landfall ")
        });
        if !examples && name != "landfall" {
            lacking.push(name.to_owned());
        }
    });
    lacking
}

/// Writes a man page for each command into the folder, and returns their names.
pub fn man(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut root = without_environment(landfall::cli::command());
    root.build();
    each(&root, &mut |command, name| {
        let file = format!("{}.1", name.replace(' ', "-"));
        let page = clap_mangen::Man::new(command.clone().bin_name(name)).title(name.replace(' ', "-"));
        let mut text = Vec::new();
        page.render(&mut text).unwrap();
        fs::write(folder.join(&file), text).unwrap();
        names.push(file);
    });
    names
}
