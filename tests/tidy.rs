//! The law book: what the house rules say of the source, as a test. Each broken rule is named with its place.
//!
//! `tidy/source.rs` reads the source, this file holds the tables and the rules. A rule that cannot fail proves
//! nothing: `planted` gives every rule something to find.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a law book that cannot read its house must fail"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/source.rs"]
mod source;

use circles::circles;
use source::{Source, Spelled};

/// Folder → what it may import, from the centre outwards. The demo doubles are open to every folder's tests.
const IMPORTS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("pod", &["domain"]),
    ("registry", &["domain"]),
    ("harbor", &["domain", "registry"]),
    ("evidence", &["domain", "registry", "harbor"]),
    ("cluster", &["domain"]),
    ("certs", &["domain", "cluster"]),
    ("ledger", &["domain", "harbor", "evidence", "cluster"]),
    ("admission", &["domain", "pod", "evidence", "ledger"]),
    ("controllers", UP_TO_ADMISSION),
    ("report", &["domain", "pod", "registry", "harbor", "evidence", "cluster", "ledger"]),
    ("server", UP_TO_REPORT),
    // Not under `admission`, `controllers` or `server`: the webhook never copies.
    ("copy", &["domain", "registry"]),
    ("demo", UP_TO_DEMO),
    ("cli", &UP_TO_CLI),
];
const UP_TO_CLI: [&str; 15] = [
    "domain",
    "config",
    "pod",
    "registry",
    "harbor",
    "evidence",
    "cluster",
    "certs",
    "ledger",
    "admission",
    "controllers",
    "report",
    "server",
    "copy",
    "demo",
];
const UP_TO_ADMISSION: &[&str] = UP_TO_CLI.split_at(10).0;
const UP_TO_REPORT: &[&str] = UP_TO_CLI.split_at(12).0;
const UP_TO_DEMO: &[&str] = UP_TO_CLI.split_at(14).0;

/// The module that shows tests, benches and examples what they use of the rooms.
const FACADE: &str = "facade";

/// Crate → the only folders that may name it outside tests.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("reqwest", &["registry", "harbor", "demo"]),
    ("kube", &["cluster", "controllers", "cli"]),
    ("k8s_openapi", &["cluster", "controllers", "cli"]),
    ("axum", &["admission", "server", "demo"]),
    ("hyper", &["registry", "harbor", "server", "demo"]),
    ("hyper_util", &["server", "demo"]),
    ("rcgen", &["certs", "demo"]),
    ("anyhow", &["cli"]),
];

/// Folders that neither wait nor log nor look at a clock, and what they must not name.
const PURE: &[&str] = &["domain", "pod"];
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["tokio_util"],
    &["futures"],
    &["tracing"],
    &["prometheus_client"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "process"],
    &["std", "thread"],
];

/// Where something may be spawned outside `cli/`, and why.
/// (`spawn_blocking` is not meant: its caller waits for it.)
const SPAWN_SITES: &[(&str, &str)] = &[
    ("src/evidence", "a look-up in the background has no caller: later ones find its answer"),
    (
        "src/registry/tasks",
        "the tasks that look-ups share: `Observatory::close` cancels them and waits for them",
    ),
    ("src/registry/single_flight", "a look-up outlives the caller that gave up on it: the next one joins it"),
    (
        "src/registry/plugin",
        "the program of a credential provider: it is killed with the future that waits for it",
    ),
    ("src/server", "one task for each connection, drained at the end"),
    (
        "src/admission/observe",
        "what an observing policy would say keeps no Pod waiting: so many are worked out later, the rest is counted",
    ),
    ("src/demo", "a world serves its registries for as long as its handle lives"),
];

/// Where lines are printed for people. Everything else answers or logs.
const PRINTS: &[&str] = &["src/cli", "src/main.rs", "src/demo/story"];

/// Folders that compare names of hosts, repositories and paths: a prefix must end at a boundary.
const NAMES: &[&str] = &["domain", "registry", "evidence", "admission"];

/// One of each in the lock file: two of them would meet in one process and not know each other's types.
const ONE_VERSION: &[&str] = &["rustls", "hyper", "axum", "tokio", "json-patch", "reqwest"];
/// HTTP clients beside reqwest, and TLS beside rustls.
const NOT_LOCKED: &[&str] =
    &["ureq", "isahc", "curl", "surf", "attohttpc", "minreq", "native-tls", "openssl", "openssl-sys"];

const HARD_CEILING: usize = 450;
const SOFT_CEILING: usize = 300;

#[test]
fn the_source_keeps_the_house_rules() {
    let files: Vec<(String, String)> = tracked()
        .into_iter()
        .filter(|path| path.ends_with(".rs") && (under(path, "src") || under(path, "tests")))
        .map(|path| {
            (path.clone(), fs::read_to_string(root().join(&path)).expect("a tracked source file is UTF-8"))
        })
        .collect();
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "the source was not found");
    let sources = read(files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    for source in sources.iter().filter(|source| source.code_lines() > SOFT_CEILING) {
        // Past the capture of a passing test's output: a note is there to be read.
        let _ = writeln!(std::io::stderr(), "note: {}: {} code lines", source.path, source.code_lines());
    }
    none(check(&sources));
    none(circles(&sources));
}

#[test]
fn no_machine_is_named() {
    let mut broken = Vec::new();
    for path in tracked() {
        // A recording is as it was; in an image's recipe the paths are the image's.
        if under(&path, "tests/vectors") || path.ends_with("Dockerfile") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        broken.extend(machine_paths(&path, &text));
    }
    none(broken);
}

#[test]
fn the_lock_file_holds_one_of_each() {
    none(locked(&fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is there")));
}

#[test]
fn one_tls_provider_is_built() {
    // Asked of the resolved graph: the lock file names optional dependencies that nothing switches on.
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--all-features", "--prefix=none", "--format={p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(
        text.lines().any(|line| line.starts_with("aws-lc-rs ")),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    assert!(
        !text.lines().any(|line| line.starts_with("ring ")),
        "a second TLS provider: `cargo tree -i ring`"
    );
}

/// The root of the package.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that git has or would take, deleted ones left out.
fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs: the rules are about the files of a checkout");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8_lossy(&listed.stdout);
    names.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect()
}

/// Is `path` the file `at.rs`, or `at` itself, or below it?
fn under(path: &str, at: &str) -> bool {
    path.strip_prefix(at).is_some_and(|rest| matches!(rest, "" | ".rs") || rest.starts_with('/'))
}

fn none(broken: Vec<String>) {
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}

/// Reads the files together: a parent says which of them are test code.
fn read<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Source> {
    let mut sources: Vec<Source> = files.map(|(path, text)| Source::read(path, text)).collect();
    let tests: Vec<Vec<String>> = sources.iter().flat_map(Source::test_children).collect();
    for source in &mut sources {
        let module = source.module();
        source.all_test = !under(&source.path, "src") || tests.iter().any(|test| module.starts_with(test));
    }
    sources
}

fn check(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let mut at = |line: usize, rule: String| broken.push(format!("{}:{line}: {rule}", source.path));
        form(source, &mut at);
        if under(&source.path, "src") {
            imports(source, &mut at);
            words(source, &mut at);
        }
    }
    broken
}

/// What every Rust file keeps, tests too.
fn form(source: &Source, at: &mut impl FnMut(usize, String)) {
    if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
        at(1, "a file begins with `//!`: what it is for".into());
    }
    if source.path.ends_with("/mod.rs") {
        at(1, "`foo.rs` beside `foo/`, never `mod.rs`".into());
    }
    if source.code_lines() > HARD_CEILING {
        at(
            1,
            format!("{} code lines, more than {HARD_CEILING}: two thoughts in one file", source.code_lines()),
        );
    }
    for (i, token) in source.tokens.iter().enumerate() {
        let opens = source.word(i + 1) == "(";
        if token.attribute && token.text == "allow" && opens {
            at(token.line, "`#[expect(lint, reason = …)]`, never `#[allow]`".into());
        }
        let attribute = || source.tokens.iter().skip(i).take_while(|t| t.attribute && t.text != "]");
        if token.attribute && token.text == "expect" && opens && !attribute().any(|t| t.text == "reason") {
            at(token.line, "an `#[expect]` gives its reason".into());
        }
        if token.text == "mod" && source.word(i + 1) == "tests" && source.word(i + 2) == "{" {
            let within = || source.tokens.iter().skip(i);
            if !within().any(|t| {
                (t.attribute && t.text == "test") || matches!(t.text.as_str(), "proptest" | "rstest")
            }) {
                at(token.line, "a module `tests` without a test".into());
            }
        }
    }
}

/// The rooms are private to the crate, so that the compiler sees code that nobody uses.
fn rooms(source: &Source, at: &mut impl FnMut(usize, String)) {
    for (i, token) in source.tokens.iter().enumerate() {
        if token.text == "mod"
            && source.before(i, 1) == "pub"
            && !["cli", FACADE].contains(&source.word(i + 1))
        {
            at(token.line, "a room is private; what tests need of it stands in the facade".into());
        }
    }
}

/// The import tables.
fn imports(source: &Source, at: &mut impl FnMut(usize, String)) {
    let Some(folder) = source.folder() else {
        rooms(source, at);
        for path in source.paths() {
            let first = path.segments.first().map_or("", String::as_str);
            if path.reexport {
                at(
                    path.line,
                    "the crate root re-exports nothing: a path says which folder it leads to".into(),
                );
            } else if first == "landfall" && path.segments.get(1).is_none_or(|folder| folder != "cli") {
                at(path.line, "the binary is `cli/`: it names no other folder".into());
            }
        }
        return;
    };
    if folder == FACADE {
        // It may name every room, and does nothing else.
        for path in source.paths().iter().filter(|path| !path.reexport) {
            at(path.line, "the facade only re-exports".into());
        }
        return;
    }
    let Some((_, row)) = IMPORTS.iter().find(|(name, _)| *name == folder) else {
        return at(1, format!("the folder `{folder}` has no row in the import table"));
    };
    for path in source.paths() {
        let Spelled { segments, line, test, reexport } = &path;
        let spelled = segments.join("::");
        let names: Vec<&str> = segments.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["crate"] | ["crate", "*", ..] => {
                at(*line, format!("`{spelled}`: import a folder by name, not the crate"))
            }
            ["crate", to, ..] if *to == folder => {}
            ["crate", to, ..] => {
                if !(row.contains(to) || *test && *to == "demo") {
                    at(*line, format!("`{spelled}`: {folder}/ may import [{}]", row.join(", ")));
                } else if *reexport && *to != "domain" {
                    at(
                        *line,
                        format!(
                            "`{spelled}`: a folder re-exports its own; another's would go round the table"
                        ),
                    );
                }
            }
            ["landfall", ..] => at(*line, format!("`{spelled}`: inside, say `crate::`")),
            [name, ..] if !test => {
                let only = ONLY_IN.iter().find(|(known, _)| known == name);
                if let Some((_, folders)) = only.filter(|(_, folders)| !folders.contains(&folder)) {
                    at(*line, format!("`{spelled}`: {name} belongs to [{}]", folders.join(", ")));
                }
                if PURE.contains(&folder) && IMPURE.iter().any(|impure| names.starts_with(impure)) {
                    at(*line, format!("`{spelled}`: {folder}/ is pure: no waiting, no I/O, no log"));
                }
            }
            _ => {}
        }
    }
}

/// What is said in code, and where.
fn words(source: &Source, at: &mut impl FnMut(usize, String)) {
    let folder = source.folder().unwrap_or_default();
    let named = |word: &str| source.tokens.iter().any(|token| token.text == word);
    // A JoinSet ends its tasks with itself: nothing it spawns is long-lived.
    let structured = named("JoinSet") && !named("TaskTracker");
    for (i, token) in source.tokens.iter().enumerate() {
        let (before, after) = (source.before(i, 1), source.word(i + 1));
        match token.text.as_str() {
            "include" if after == "!" => at(token.line, "`include!` goes round every rule here".into()),
            "path" if token.attribute && after == "=" && before == "[" => {
                at(token.line, "a module stands where its name says: no `#[path]`".into());
            }
            "crate" if before == "extern" => at(token.line, "no `extern crate`".into()),
            _ if source.is_test(i) => {}
            "print" | "println" | "eprint" | "eprintln"
                if after == "!" && !PRINTS.iter().any(|place| under(&source.path, place)) =>
            {
                at(token.line, format!("`{}!`: only cli/ and the demo's story print", token.text));
            }
            "spawn" | "spawn_local" if after == "(" && before != "fn" => {
                let site = folder == "cli" || SPAWN_SITES.iter().any(|(site, _)| under(&source.path, site));
                if !(site || before == "." && structured) {
                    at(
                        token.line,
                        "only cli/ spawns; the exceptions stand in SPAWN_SITES with their reason".into(),
                    );
                }
            }
            "now" if before == "::" && after == "(" && PURE.contains(&folder) => {
                at(token.line, format!("{folder}/ has no clock: the time is an argument"));
            }
            "starts_with"
                if NAMES.contains(&folder)
                    && matches!(before, "." | "::")
                    && !justified(source, token.line) =>
            {
                at(token.line, "`starts_with` knows no boundary of names: compare whole segments, or say why with `// boundary:` on the line above".into());
            }
            _ => {}
        }
    }
}

/// Does the comment right above the line begin with `// boundary:`?
fn justified(source: &Source, line: usize) -> bool {
    let above = source.lines.iter().take(line - 1).rev().map(|line| line.trim_start());
    above.take_while(|line| line.starts_with("//")).any(|line| line.starts_with("// boundary:"))
}

/// Absolute paths of somebody's machine. The needles are put together here, or this file would be found.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let needles = ["work", "root", "home", "Users"].map(|folder| format!("/{folder}/"));
    let outside = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "._-})]".contains(c));
    let mut broken = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let mut hits = needles.iter().filter_map(|needle| {
            line.match_indices(needle).find(|(at, _)| line.get(..*at).is_some_and(outside))
        });
        if let Some((_, needle)) = hits.next() {
            broken.push(format!("{path}:{}: `{needle}…` is a path of one machine", i + 1));
        }
    }
    broken
}

fn locked(lock: &str) -> Vec<String> {
    let names: Vec<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    let count = |wanted: &str| names.iter().filter(|name| **name == wanted).count();
    let twice = ONE_VERSION
        .iter()
        .filter(|name| count(name) != 1)
        .map(|name| format!("Cargo.lock: {} versions of {name}, where one is meant to be", count(name)));
    let foreign = NOT_LOCKED
        .iter()
        .filter(|name| count(name) > 0)
        .map(|name| format!("Cargo.lock: {name}: one HTTP client (reqwest), one TLS (rustls)"));
    twice.chain(foreign).collect()
}

/// Every rule, given something to find.
mod planted {
    use super::*;

    /// The lines broken in `text`, were it the file `path`.
    fn lines(path: &str, text: &str) -> Vec<usize> {
        let body = format!("//! x\n{text}");
        let broken = check(&read([(path, body.as_str())].into_iter()));
        let number = |found: &String| found.split(':').nth(1)?.parse().ok();
        let mut lines: Vec<usize> = broken.iter().filter_map(number).collect();
        lines.dedup();
        lines
    }

    #[test]
    fn an_outward_import_is_found_in_every_spelling() {
        for text in [
            "use crate::harbor::X;",
            "pub use crate::harbor::X;",
            "pub(crate) use crate::harbor;",
            "use crate::{harbor::X, domain::Y};",
            "use crate::{harbor::{self, X}};",
            "use crate::{domain::Y, harbor as h};",
            "use super::super::harbor::X;",
            "use super::super::{harbor::X};",
            "use self::super::super::harbor;",
            "fn f() -> crate::harbor::X {}",
            "fn f(x: &dyn crate :: harbor :: X) {}",
            "fn f() { super::super::harbor::f() }",
            "mod inner { use super::super::super::harbor::X; }",
            "mod inner { fn f() {} } use super::super::harbor::X;",
            "macro_rules! m { () => { $crate::harbor::X } }",
            "use crate::*;",
            "use super::super::*;",
            "use crate as all;",
            "use super::super as all;",
            "use landfall::domain::X;",
            "use ::landfall::domain::X;",
            "/* \" */ use crate::harbor::X; // \"",
            "const C: char = '\"'; use crate::harbor::X;",
            "const C: &str = r#\"\"\"#; use crate::harbor::X;",
            "#[cfg(test)] mod tests { #[test] fn f() { crate::harbor::f() } }",
        ] {
            assert_eq!(lines("src/registry/token.rs", text), [2], "{text}");
        }
        assert_eq!(
            lines("src/registry.rs", "use crate::{\n    domain::X,\n    harbor::Y,\n    pod,\n};"),
            [4, 5]
        );
        assert_eq!(lines("src/nowhere/x.rs", ""), [1]);
        assert_eq!(lines("src/lib.rs", "pub use domain::image::X;"), [2]);
        assert_eq!(lines("src/lib.rs", "pub mod domain;\npub mod cli;\nmod pod;"), [2]);
        assert_eq!(lines("src/facade.rs", "pub use crate::domain::X;\nuse crate::pod::Y;"), [3]);
        assert_eq!(lines("src/main.rs", "use landfall::domain::X;"), [2]);
        assert_eq!(lines("src/admission.rs", "pub use crate::evidence::X;"), [2]);
    }

    #[test]
    fn an_inward_import_is_not() {
        for text in [
            "use crate::domain::X;",
            "pub use crate::domain::X;",
            "use super::{X, manifest::Y};",
            "use super::super::domain::{image::{self, Image}, *};",
            "mod inner { use super::super::manifest; use super::*; }",
            "// use crate::harbor::X;",
            "/// [`X`](crate::harbor::X)\nfn f() {}",
            "const C: &str = \"use crate::harbor::X;\";",
            "fn f<'a>(x: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {}",
            "#[cfg(all(test, feature = \"demo\"))] mod tests { use crate::demo::World; #[test] fn f() {} }",
        ] {
            assert!(lines("src/registry/token.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn each_row_is_inward_of_its_folder() {
        // The table itself: what a folder may import may not lead back to it.
        for (folder, row) in IMPORTS {
            for inner in *row {
                let (_, further) =
                    IMPORTS.iter().find(|(name, _)| name == inner).expect("a row for each name");
                assert!(!further.contains(folder), "{folder} and {inner} import each other");
            }
        }
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        let of = |files: &[(&str, &str)]| circles(&read(files.iter().copied()));
        let (a, b, c) = ("src/pod/a.rs", "src/pod/b.rs", "src/pod/c.rs");
        assert_eq!(of(&[(a, "use super::b::X;"), (b, "use crate::pod::a::Y;")]).len(), 1);
        assert_eq!(
            of(&[(a, "use super::b::X;"), (b, "use super::c::X;"), (c, "fn f() { super::a::f() }")]).len(),
            1
        );
        assert!(of(&[(a, "use super::b::X;"), (b, "use super::c::X;"), (c, "")]).is_empty());
        assert!(
            of(&[(a, "use super::b::X;"), (b, "#[cfg(test)] mod tests { use super::super::a::Y; }")])
                .is_empty()
        );
        // A parent's re-export is no import, and other rooms have the table above.
        assert!(of(&[("src/pod.rs", "pub use a::X;"), (a, "use super::Y;")]).is_empty());
        assert!(
            of(&[(a, "use crate::domain::x::X;"), ("src/domain/x.rs", "use crate::pod::a::Y;")]).is_empty()
        );
    }

    #[test]
    fn a_foreign_crate_in_the_wrong_folder_is_found() {
        for (path, text) in [
            ("src/domain/x.rs", "use tokio::sync::Mutex;"),
            ("src/domain.rs", "fn f() { tracing::info!(\"x\") }"),
            ("src/domain/x.rs", "use {std::fs, serde::Serialize};"),
            ("src/domain/x.rs", "fn f() { let now = jiff::Timestamp::now(); }"),
            ("src/pod/x.rs", "fn f(pod: ::kube::Api) {}"),
            ("src/evidence/x.rs", "use reqwest::Client;"),
            ("src/registry/x.rs", "use axum::Router;"),
            ("src/config.rs", "use anyhow::Context;"),
        ] {
            assert_eq!(lines(path, text), [2], "{text}");
        }
        assert!(lines("src/registry/x.rs", "use reqwest::Client;").is_empty());
        assert!(
            lines("src/pod/x.rs", "#[cfg(test)]\nmod tests { use kube::Api; #[test] fn f() {} }").is_empty()
        );
    }

    #[test]
    fn form_is_checked() {
        let long = "const A: u8 = 1;\n".repeat(HARD_CEILING + 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n#[test]\nfn f() {{}}\n{long}}}\n");
        assert_eq!(lines("src/domain/x.rs", &long), [1]);
        assert_eq!(lines("src/domain/x.rs", &"// why\n\n".repeat(HARD_CEILING)), [0; 0]);
        assert_eq!(lines("src/domain/x.rs", &tests), [0; 0]);
        assert_eq!(lines("src/domain/mod.rs", ""), [1]);
        assert_eq!(check(&read([("tests/x.rs", "fn f() {}")].into_iter())).len(), 1);
        assert_eq!(lines("tests/x.rs", "#![allow(dead_code)]"), [2]);
        assert_eq!(lines("src/domain/x.rs", "#[cfg_attr(test, allow(dead_code))]\nfn f() {}"), [2]);
        assert_eq!(lines("src/domain/x.rs", "#[expect(dead_code)]\nfn f() {}"), [2]);
        assert_eq!(lines("src/domain/x.rs", "#[expect(dead_code, reason = \"why\")]\nfn f() {}"), [0; 0]);
        assert_eq!(lines("src/domain/x.rs", "#[cfg(test)]\nmod tests {}"), [3]);
    }

    #[test]
    fn words_are_checked() {
        let prefix = "fn f(a: &str) -> bool {\n    a.starts_with(\"b\")\n}";
        assert_eq!(lines("src/domain/x.rs", prefix), [3]);
        assert_eq!(lines("src/pod/x.rs", prefix), [0; 0]);
        let boundary = prefix.replace("    a", "    // boundary: the slash is part of it\n    a");
        assert_eq!(lines("src/domain/x.rs", &boundary), [0; 0]);
        for text in ["fn f() { println!() }", "fn f() { eprint!(\"x\") }"] {
            assert_eq!(lines("src/harbor/x.rs", text), [2]);
            assert_eq!(lines("src/cli/x.rs", text), [0; 0]);
        }
        for text in [
            "fn f() { tokio::spawn(x); }",
            "fn f(h: &Handle) { h.spawn(x); }",
            "fn f() { thread::spawn(x); }",
        ] {
            assert_eq!(lines("src/harbor/x.rs", text), [2], "{text}");
            assert_eq!(lines("src/evidence/x.rs", text), [0; 0], "{text}");
        }
        assert_eq!(lines("src/harbor/x.rs", "fn f(set: &mut JoinSet<()>) { set.spawn(x); }"), [0; 0]);
        assert_eq!(lines("src/harbor/x.rs", "#[path = \"y.rs\"] mod y;"), [2]);
        assert_eq!(lines("src/harbor/x.rs", "include!(\"y.rs\");"), [2]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_is_test_code() {
        let parent = "//! x\n#[cfg(test)]\nmod tests;";
        let child = "//! x\nuse tokio::net::TcpListener;\n#[test] fn f() {}";
        assert!(
            check(&read([("src/domain.rs", parent), ("src/domain/tests.rs", child)].into_iter())).is_empty()
        );
        assert_eq!(check(&read([("src/domain/tests.rs", child)].into_iter())).len(), 1);
    }

    #[test]
    fn a_machine_and_a_second_of_its_kind_are_found() {
        let path = format!("see `/{}/me/x`", "home");
        assert_eq!(machine_paths("README.md", &path).len(), 1);
        assert!(machine_paths("README.md", &format!("api/v2.0/{0}/x and a/{0}/", "root")).is_empty());
        let one: String = ONE_VERSION.iter().map(|name| format!("name = \"{name}\"\n")).collect();
        assert!(locked(&one).is_empty());
        assert_eq!(locked(&format!("{one}name = \"hyper\"\nname = \"ureq\"\n")).len(), 2);
        assert_eq!(locked("").len(), ONE_VERSION.len());
    }
}
