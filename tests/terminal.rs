//! What people see: each command at 60, 80 and 200 columns and without a terminal, in colour where one is, and what to do at the
//! end of each error.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use landfall::facade::demo::world::seed::{Demo, demo};

#[path = "support/site.rs"]
#[expect(dead_code, reason = "no reviews come here")]
mod site;

/// A folder to run in, in which the world's configuration and some other files have plain names.
struct Desk {
    _world: Demo,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn lay() -> Self {
        let world = demo().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("landfall.yaml", &site::configuration(&world));
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        for (name, file) in [("bad.yaml", "bad/ten.yaml"), ("example.yaml", "example.yaml")] {
            std::fs::copy(root.join("tests/vectors/config").join(file), folder.path().join(name)).unwrap();
        }
        write("config.json", "{}");
        write("kubeconfig", "apiVersion: v1\nkind: Config\ncurrent-context: nowhere\n");
        Self { _world: world, folder }
    }

    fn command(&self, program: &str, columns: Option<usize>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        if let Some(columns) = columns {
            command.env("COLUMNS", columns.to_string());
        }
        command
    }

    /// What `landfall` says to this line. The world answers on this runtime meanwhile.
    async fn says(&self, line: &str, columns: Option<usize>) -> String {
        let mut command = self.command(env!("CARGO_BIN_EXE_landfall"), columns);
        command.args(line.split_whitespace());
        let Output { stdout, stderr, .. } =
            tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat()
    }
}

const CHECKOUT: &str = "harbor.fra.example.com/production/shop/checkout:5.0.0";

/// Whether a line is longer than the width although it could have been broken: behind its indent and its first column, one word is
/// all there is.
fn could_be_broken(line: &str, width: usize) -> bool {
    let words: Vec<&str> =
        line.split("  ").flat_map(|part| part.split(' ')).filter(|word| !word.is_empty()).collect();
    line.chars().count() > width && words.iter().all(|word| word.chars().count() < width / 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_fits_the_terminal() {
    let desk = Desk::lay().await;
    let explain =
        format!("explain {CHECKOUT} --offline --config landfall.yaml -n bank --label tier=regulated");
    let copy = format!(
        "copy {CHECKOUT} --to ams --config landfall.yaml --dry-run --parallel 1 --credentials config.json"
    );
    for (name, line) in [
        ("check", "check --no-files bad.yaml example.yaml"),
        ("doctor", "doctor --no-files --config example.yaml"),
        ("explain", &*explain),
        ("copy", &copy),
        ("break-glass", "break-glass --help"),
        ("gaps", "gaps --help"),
        ("generate", "generate hosts-toml --help"),
    ] {
        let mut page = String::new();
        for columns in [Some(60), Some(80), Some(200), None] {
            let said = desk.says(line, columns).await;
            assert!(!said.contains('\u{1b}'), "colours in a pipe: {said}");
            let width =
                columns.map_or_else(|| "no terminal".to_owned(), |columns| format!("{columns} columns"));
            for long in said.lines().filter(|line| columns.is_some_and(|width| could_be_broken(line, width)))
            {
                // What is there to be copied stays whole.
                let whole = ["  landfall ", "  kubectl ", "Usage: "];
                assert!(whole.iter().any(|start| long.starts_with(start)), "{name}, {width}: {long}");
            }
            let _ = writeln!(page, "── {width}\n{said}");
        }
        insta::assert_snapshot!(name, page);
    }
}

/// A terminal of its own, by `script`, which every Debian has.
#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_unless_somebody_says_otherwise() {
    let desk = Desk::lay().await;
    let line = "doctor --no-files --config example.yaml";
    let always = desk.says(&format!("{line} --color always"), None).await;
    assert!(always.contains("\u{1b}[32mok"), "{always}");
    let program = env!("CARGO_BIN_EXE_landfall");
    let at_terminal = |more: &str, environment: &[(&str, &str)]| {
        let mut command = desk.command("script", None);
        command.env("TERM", "xterm").envs(environment.iter().copied());
        command.args(["-qec", &format!("stty rows 24 cols 72; {program} {line} {more}"), "/dev/null"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let said = at_terminal("", &[]);
    assert!(said.contains("\u{1b}[32mok"), "{said}");
    assert!(said.contains("skipped"), "{said}");
    let plain = at_terminal("--color never", &[]);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert!(plain.lines().all(|line| line.trim_end().chars().count() <= 72), "{plain}");
    assert!(!at_terminal("", &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(at_terminal("--color always", &[("NO_COLOR", "1")]).contains("\u{1b}[32mok"));
}

/// Whoever meets an error reads next what to do.
#[tokio::test(flavor = "multi_thread")]
async fn each_error_ends_with_what_to_do() {
    let desk = Desk::lay().await;
    let mut page = String::new();
    for line in [
        "break-glass --for 1h --reason x",
        "break-glass --for 25h --reason x",
        "break-glass --close --kubeconfig kubeconfig",
        "break-glass --close --kubeconfig nothing.yaml",
        "check nothing.yaml",
        "copy --missing --config landfall.yaml",
        "copy x.example.com/y:1 --to ams --config landfall.yaml",
        "copy --missing --config nothing.yaml",
        "doctor --config nothing.yaml",
        "explain nginx:1",
        "explain nginx:1 --offline",
        "explain nginx:1 --config bad.yaml",
        "explain nginx:1 --offline --config landfall.yaml --policy nothing.yaml",
        "explain --pod shop/web --offline --config landfall.yaml",
        "explain --pod web --config landfall.yaml",
        "gaps",
        "gaps --context nowhere --kubeconfig kubeconfig",
        "gaps --finding Lost",
        "generate harbor-webhook --config landfall.yaml --registry nowhere --address https://x/hooks/harbor",
        "generate harbor-webhook --config landfall.yaml --registry edge --address https://x/hooks/harbor",
        "generate harbor-webhook --config landfall.yaml --registry ams --address https://x/hooks/harbor",
        "generate hosts-toml --config nothing.yaml",
        "generate hosts-toml --config landfall.yaml --out landfall.yaml",
        "generate policy --name A",
        "generate policy --name a --require-scan soon",
        "generate policy --name a --namespace-label tier",
        "generate guard-rails",
        "generate routes --from-harbor harbor.example.com",
        "generate routes --from-harbor mailto:harbor@example.com",
        "generate routes --from-harbor https://127.0.0.1:1 --credentials nothing",
        "generate completions tcsh",
        "serve --config landfall.yaml",
        "nonsense",
    ] {
        let said = desk.says(line, None).await;
        let last = said.trim_end().lines().last().unwrap_or_default().to_owned();
        // Of the command line, clap's own last line; of everything else an arrow, or the hint of a checked file before its count.
        let ends = last.contains('→') || last.starts_with("For more information, try '--help'.");
        let checked = said.contains("hint: ") || said.contains("→ ");
        assert!(ends || checked, "{line}: {said}");
        let _ = writeln!(page, "$ landfall {line}\n{said}");
    }
    insta::assert_snapshot!("errors", page);
}
