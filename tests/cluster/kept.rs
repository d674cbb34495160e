//! Processes that live as long as the test binary, and not a moment longer.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// Starts a program, its output in `log`. However the test binary ends, the kernel ends the program with it.
///
/// The kernel watches the *thread* that started it, and a test's own thread ends with its test: so one starts it that
/// never ends.
pub fn keep(program: &Path, arguments: &[String], log: &Path) -> Child {
    // One that starts again goes on with its log.
    let output = File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let (send, started) = mpsc::channel();
    thread::spawn(move || {
        send.send(command.spawn()).unwrap();
        loop {
            thread::park();
        }
    });
    started.recv().unwrap().unwrap()
}
