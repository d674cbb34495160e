//! A browser without a window.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Opens a page with these further arguments. Returns what it prints. `None`: there is no browser here, which is said as a part
/// of `suite` that is skipped.
///
/// # Panics
/// Where the browser fails, or has something to complain of on its console.
pub fn browse(suite: &str, url: &str, more: &[&str]) -> Option<String> {
    let home = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]);
    // It looks for nothing elsewhere, and may take its time on a busy machine.
    browser.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
    browser.arg(format!("--user-data-dir={}", home.path().display())).args(more).arg(url);
    let Ok(done) = browser.stdin(Stdio::null()).output() else {
        // On the real standard error, which the harness does not capture: `tests/run` looks for it.
        let _ = writeln!(std::io::stderr(), "skipped: {suite} in a browser: no chromium here");
        return None;
    };
    let [out, said] = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(done.status.success(), "{said}");
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    Some(out)
}
