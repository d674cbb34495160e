//! The documentation, held against the repository and the program: links lead somewhere, commands and their options exist,
//! metrics are on the metrics page.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders with pages.
const FOLDERS: [&str; 9] = [
    "",
    ".github",
    "helm/landfall",
    "manifests",
    "manifests/policies",
    "certs",
    "src",
    "tests",
    "tests/cluster",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages, by their paths.
fn pages() -> BTreeMap<PathBuf, String> {
    let of = |folder: &str| {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|is| is == "md")).collect::<Vec<_>>()
    };
    let pages = FOLDERS.iter().flat_map(|folder| of(folder));
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The text outside of blocks of code.
fn prose(page: &str) -> String {
    let mut code = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// The targets of links and pictures.
fn links(page: &str) -> Vec<String> {
    let found = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = found.map(|(target, _)| target.to_owned());
    let of_tags = page.split("src=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    targets.chain(of_tags.map(|(target, _)| target.to_owned())).collect()
}

/// The anchors of a page, as GitHub and GitLab make them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let of_tags = page.split("id=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    headings.map(anchor).chain(of_tags.map(|(id, _)| id.to_owned())).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let (mut broken, mut seen) = (Vec::new(), 0);
    for (path, page) in &pages {
        for link in links(&prose(page)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let there = fs::canonicalize(&target).is_ok();
            let known = || {
                let page = pages.get(&fs::canonicalize(&target).unwrap());
                page.is_none_or(|page| anchor.is_empty() || anchors(page).contains(anchor))
            };
            if !there || !known() {
                broken.push(format!("{}: {link}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(seen > 50, "{seen}");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_metric_is_on_the_metrics_page() {
    let known = fs::read_to_string(root().join("helm/landfall/METRICS.md")).unwrap();
    let known: BTreeSet<&str> = known.split('`').filter(|word| word.starts_with("landfall_")).collect();
    let mut wrong = Vec::new();
    // The changelog also names what is gone.
    for (path, page) in pages().into_iter().filter(|(path, _)| !path.ends_with("CHANGELOG.md")) {
        // What stands in quotes, or in an expression.
        let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '…');
        for word in words.filter(|word| word.starts_with("landfall_") && !word.contains('…')) {
            let of =
                ["_bucket", "_count", "_sum"].iter().find_map(|of| word.strip_suffix(of)).unwrap_or(word);
            let is_known =
                known.contains(word) || known.contains(of) || known.iter().any(|one| one.starts_with(word));
            if !is_known {
                wrong.push(format!("{}: {word}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What `landfall WORDS --help` says; `None`: there is no such subcommand.
fn help(words: &[&str]) -> Option<String> {
    let said = Command::new(env!("CARGO_BIN_EXE_landfall")).args(words).arg("--help").output().unwrap();
    said.status.success().then(|| String::from_utf8(said.stdout).unwrap())
}

#[test]
fn every_command_and_its_options_exist() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, page) in pages() {
        let mut code = false;
        let page = page.replace("\\\n", " ");
        for line in page.lines() {
            if line.trim_start().starts_with("```") {
                code = !code && line.contains("console");
                continue;
            }
            // In a block of commands; in the runbooks also between backticks. (Other pages name there what is planned.)
            let line = line.trim_start();
            let spans = if path.ends_with("RUNBOOKS.md") {
                line.split('`').skip(1).step_by(2).collect()
            } else {
                vec![]
            };
            let commands: Vec<&str> = if code { vec![line] } else { spans };
            for line in commands {
                let in_a_pod = || line.split_once(" -- /landfall ").map(|(_, rest)| rest);
                let Some(rest) = line.strip_prefix("landfall ").or_else(in_a_pod) else { continue };
                if !rest.starts_with(|c: char| c.is_ascii_lowercase()) {
                    continue;
                }
                seen += 1;
                // Up to a pipe or whatever the shell does next.
                let words: Vec<&str> = rest
                    .split_whitespace()
                    .take_while(|word| !matches!(*word, "|" | "||" | "&&" | ">" | "#" | ";"))
                    .collect();
                let two = words.first() == Some(&"generate");
                let named = if two { words.get(..2).unwrap_or_default() } else { &words[..1] };
                let Some(help) = help(named) else {
                    wrong.push(format!("{}: {line}: no such command", path.display()));
                    continue;
                };
                for word in words.iter().filter(|word| word.starts_with("--")) {
                    let option = word.split('=').next().unwrap();
                    if !help.contains(option) {
                        wrong.push(format!("{}: {line}: no option {option}", path.display()));
                    }
                }
            }
        }
    }
    assert!(seen > 5, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
