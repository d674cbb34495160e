//! `landfall demo` as people end it: with a signal, at any time.
#![cfg(feature = "demo")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_signal_leaves_nothing_behind() {
    for (args, until, code) in [
        (["demo", "--output=text"], "1. A quiet day", 130),
        (["demo", "--serve"], "Everything is up until Ctrl-C.", 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(args)
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(until)), "{until}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "the world's folder");

        let sent = Command::new("kill").args(["-TERM", &demo.id().to_string()]).status().unwrap();
        assert!(sent.success());
        lines.for_each(drop);
        assert_eq!(demo.wait().unwrap().code(), Some(code), "{args:?}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{args:?}");
    }
}
