//! How a command line of `kubectl landfall` goes on: kubectl asks the program `kubectl_complete-landfall` with the words so far,
//! of which the last is not complete, and reads lines of `word<TAB>meaning` and a number at the end.
//!
//! <https://github.com/kubernetes/enhancements/issues/2379>; the numbers are those of cobra (`ShellCompDirective`).

use std::io::{self, Write};

use clap::{Arg, Command};

/// A word, and what it means.
type Word = (String, String);

/// What the shell does besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    /// It completes names of files where no word fits.
    Files = 0,
    /// It does not.
    NoFiles = 4,
}

/// Writes how `words` go on.
pub(super) fn run(mut command: Command, words: &[String], out: &mut impl Write) -> io::Result<()> {
    command.build();
    let (found, directive) = complete(&command, words);
    for (word, meaning) in found {
        let meaning = meaning.lines().next().unwrap_or_default();
        writeln!(out, "{word}\t{meaning}")?;
    }
    writeln!(out, ":{}", directive as u8)
}

fn complete(root: &Command, words: &[String]) -> (Vec<Word>, Directive) {
    let (last, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let (mut command, mut pending) = (root, None);
    for word in before {
        // A word after an option that takes a value is that value.
        if pending.take().is_none() {
            if word.starts_with('-') {
                pending = option(command, word);
            } else if let Some(next) = command.find_subcommand(word) {
                command = next;
            }
        }
    }
    if let Some(arg) = pending {
        return values(arg, "", last);
    }
    if let Some((name, value)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        return match command.get_arguments().find(|arg| named(arg, name)) {
            Some(arg) => values(arg, &format!("{name}="), value),
            None => (Vec::new(), Directive::NoFiles),
        };
    }
    if last.starts_with('-') {
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let flags = shown.filter_map(|arg| Some((format!("--{}", arg.get_long()?), meaning(arg.get_help()))));
        return (flags.filter(|(flag, _)| flag.starts_with(last)).collect(), Directive::NoFiles);
    }
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
    let commands: Vec<Word> = commands
        .map(|one| (one.get_name().to_owned(), meaning(one.get_about())))
        .filter(|(name, _)| name.starts_with(last))
        .collect();
    match command.get_positionals().next() {
        Some(arg) if commands.is_empty() => values(arg, "", last),
        _ => (commands, Directive::NoFiles),
    }
}

/// The option of this word, if the next word is its value.
fn option<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let takes = |arg: &&Arg| arg.get_action().takes_values();
    command.get_arguments().filter(takes).find(|arg| named(arg, word))
}

fn named(arg: &Arg, word: &str) -> bool {
    let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
    long || arg.get_short().is_some_and(|short| word == format!("-{short}"))
}

/// The values of an argument, or files where it has no fixed ones.
fn values(arg: &Arg, prefix: &str, begun: &str) -> (Vec<Word>, Directive) {
    let possible = arg.get_possible_values();
    if possible.is_empty() {
        return (Vec::new(), Directive::Files);
    }
    let fits = possible.iter().filter(|value| !value.is_hide_set() && value.get_name().starts_with(begun));
    let words = fits.map(|value| (format!("{prefix}{}", value.get_name()), meaning(value.get_help())));
    (words.collect(), Directive::NoFiles)
}

fn meaning(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that fit, without their meaning.
    fn offered(words: &[&str]) -> (Vec<String>, Directive) {
        let mut command = crate::cli::command();
        command.build();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (found, directive) = complete(&command, &words);
        (found.into_iter().map(|(word, _)| word).collect(), directive)
    }

    #[test]
    fn words_go_on_as_the_command_line_would() {
        use Directive::{Files, NoFiles};
        for (words, expected, directive) in [
            (&["ga"][..], &["gaps"][..], NoFiles),
            (&["--co"], &["--color"], NoFiles),
            (&["gaps", "--color", ""], &["auto", "always", "never"], NoFiles),
            (&["gaps", "-o", "j"], &["json"], NoFiles),
            (&["gaps", "--output=j"], &["--output=json"], NoFiles),
            (&["gaps", "--con"], &["--context"], NoFiles),
            (&["gaps", "--kubeconfig", ""], &[], Files),
            // The name of a registry, not of a command.
            (&["gaps", "--registry", "explain", "--fin"], &["--finding"], NoFiles),
            (&["check", ""], &[], Files),
            (&["generate", "s"], &["schema"], NoFiles),
            (&["generate", "completions", "z"], &["zsh"], NoFiles),
            (&["gaps", "--nonsense="], &[], NoFiles),
        ] {
            let (found, told) = offered(words);
            assert_eq!(
                (found, told),
                (expected.iter().map(|one| (*one).to_owned()).collect(), directive),
                "{words:?}"
            );
        }
        assert!(offered(&[""]).0.len() > 8);
        assert!(offered(&[]).0.len() > 8);
    }

    #[test]
    fn kubectl_reads_words_and_a_number() {
        let mut out = Vec::new();
        run(crate::cli::command(), &["gap".to_owned()], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("gaps\tList the open gaps of a cluster"), "{text}");
        assert!(text.ends_with("\n:4\n"), "{text}");
    }
}
