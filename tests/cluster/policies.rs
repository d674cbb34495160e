//! What a security team does, as README says: a policy is applied, an image is refused and scanned, an exception is granted
//! and ends, and the glass is broken. The commands are README's own.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::seed::{self, Demo, Named};

use crate::plane::{Apart, Plane, until};
use crate::release::Release;
use crate::webhook::WEB;

/// README's chapter, read from its beginning to its end.
struct Chapter {
    plane: &'static Plane,
    rest: String,
}

impl Chapter {
    fn open(plane: &'static Plane) -> Self {
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let (_, chapter) = readme.split_once("\n## Policies: what a security team says\n").unwrap();
        Self { plane, rest: chapter.split("\n## ").next().unwrap().to_owned() }
    }

    /// The next block of code of this kind.
    fn next(&mut self, kind: &str) -> String {
        let (prose, rest) = self.rest.split_once(&format!("\n```{kind}\n")).unwrap();
        assert!(!prose.contains("```"), "a block is passed over: {prose}");
        let (block, rest) = rest.split_once("\n```\n").unwrap();
        let block = block.to_owned();
        self.rest = format!("\n{rest}");
        block
    }

    /// Runs the next commands, and returns them with what they said.
    fn follow(&mut self) -> (String, String) {
        let commands = self.next("console");
        let said = self.run(&commands);
        (commands, said)
    }

    fn run(&self, commands: &str) -> String {
        self.plane.shell(root(), commands)
    }

    /// What this command says when it fails; nothing where it does not.
    fn refusal(&self, command: &str) -> String {
        let said = self.run(&format!("{command} && echo ADMITTED || true"));
        if said.contains("ADMITTED") { String::new() } else { said }
    }

    /// Waits until this command, as a dry run, succeeds or not.
    fn until(&self, what: &str, command: &str, admitted: bool) -> String {
        until(what, || {
            let said = self.refusal(&format!("{command} --dry-run=server"));
            (said.is_empty() == admitted).then_some(said)
        })
    }

    /// Waits until the row of the policy that the chapter applies begins so, after its name. (What is not known yet is blank.)
    fn until_row(&self, expected: &[&str]) {
        until(&format!("{expected:?}"), || {
            row(&self.run("kubectl get lpol")).starts_with(expected).then_some(())
        });
    }
}

/// What `kubectl get lpol` says of the policy that the chapter applies, after its name.
fn row(table: &str) -> Vec<&str> {
    let row = table.lines().find_map(|line| line.strip_prefix("block-unscanned "));
    row.unwrap_or_default().split_whitespace().collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The scanner of this site is done, and has found nothing.
fn scanned(demo: &Demo, Named { repository, tag }: Named) {
    let mut store = demo.ams.store();
    let digest = store.digest(repository, tag).unwrap();
    store.set_scan(&digest, Scan::clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_readme_says_of_policies_is_what_happens() {
    let apart = Apart::start();
    let plane = apart.0;
    // All namespaces come to it, as README installs it.
    let all = ["--set-json=namespaces.matchExpressions=[]", &format!("--set=doctor.image={WEB}")];
    let release = Release::install(plane, "landfall", &all).await;
    let mut chapter = Chapter::open(plane);

    // The definition; who may write policies.
    chapter.follow();
    let may = |what: &str| {
        let asked = plane.kubectl(&["auth", "can-i", "create", what, "--as=ann", "--as-group=security"]);
        asked.status.success()
    };
    until("they may write policies", || may("landingpolicies.landfall.dev").then_some(()));
    assert!(!may("configmaps") && !may("pods") && !may("validatingwebhookconfigurations"));

    // Observed first.
    let (_, said) = chapter.follow();
    assert!(said.contains("observe-everything   Observe"), "{said}");

    // Enforced.
    let (_, said) = chapter.follow();
    let conditions = ["landingpolicy.landfall.dev/block-unscanned condition met", "Enforced"];
    assert!(conditions.iter().all(|condition| said.contains(condition)), "{said}");
    let header = |text: &str| text.lines().find(|line| line.starts_with("NAME ")).unwrap().to_owned();
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let shown = chapter.next("text");
    assert_eq!(words(header(&shown)), words(header(&said)));
    chapter.until_row(&["Enforce", "1", "Enforced"]);
    assert!(row(&shown).starts_with(&["Enforce", "1", "Enforced"]), "{shown}");

    // Refused, with the message that README shows.
    let create = chapter.next("console");
    let message = chapter.next("text");
    assert_eq!(chapter.refusal(&create).trim_end(), message);
    chapter.until_row(&["Enforce", "1", "1", "Enforced"]);

    // Scanned, and admitted.
    scanned(&release.demo, seed::UNSCANNED);
    chapter.until("it is admitted after its scan", &create, true);
    assert!(chapter.run(&create).contains("pod/search created"));
    let image = "kubectl -n shop get pod search -o jsonpath='{.spec.containers[0].image}'";
    let image = chapter.run(image);
    assert!(image.starts_with("harbor.ams.example.com/production/shop/search:0.9.0@sha256:"), "{image}");

    // An exception, for an image whose scan has failed.
    let (create, grant) = (chapter.next("console"), chapter.next("console"));
    assert!(chapter.refusal(&create).contains("ScanFailed at ams"));
    // README's time is over some day: this test's own are not.
    let (before, rest) = grant.split_once("\"until\": \"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    let until = |seconds: i64| Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap();
    let granted = |end: Timestamp| format!("{before}\"until\": \"{end}\"{after}");
    chapter.run(&granted(until(3600)));
    chapter.until("the exception is in force", &create, true);
    assert!(chapter.run(&create).contains("created"));
    chapter.run("kubectl -n shop delete pod report --force --grace-period=0");
    // It ends by itself.
    let end = until(5);
    chapter.run(&granted(end));
    let said = chapter.until("the exception is over", &create, false);
    assert!(Timestamp::now() >= end && said.contains("ScanFailed at ams"), "{said}");
    chapter.until_row(&["Enforce", "1", "2", "Enforced"]);

    // The glass is broken, and closed again.
    chapter.follow();
    chapter.until("the policy is open", &create, true);
    chapter.until_row(&["Enforce", "1", "2", "BreakGlass"]);
    chapter.follow();
    chapter.until("the policy is closed", &create, false);

    // Whether anyone may ask the second door.
    let (_, said) = chapter.follow();
    assert!(said.contains("whoever reaches the port gets an answer; `clientCA` of the chart"), "{said}");
    assert!(!chapter.rest.contains("```"), "all of it was followed");
}
