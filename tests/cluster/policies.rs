//! What a security team does, as README says: a policy is applied, an image is refused and scanned, an exception is granted
//! and ends, and the glass is broken. The commands are README's own.

use jiff::Timestamp;
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::seed::{self, Demo, Named};

use crate::chapter::Chapter;
use crate::plane::{Apart, until};
use crate::release::Release;
use crate::webhook::WEB;

/// What `kubectl get lpol` says of the policy that the chapter applies, after its name.
fn row(table: &str) -> Vec<&str> {
    let row = table.lines().find_map(|line| line.strip_prefix("block-unscanned "));
    row.unwrap_or_default().split_whitespace().collect()
}

/// Waits until the row of the policy that the chapter applies begins so, after its name. (What is not known yet is blank.)
fn until_row(chapter: &Chapter, expected: &[&str]) {
    until(&format!("{expected:?}"), || {
        row(&chapter.run("kubectl get lpol")).starts_with(expected).then_some(())
    });
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
    let mut chapter = Chapter::open(plane, "Policies: what a security team says");

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
    until_row(&chapter, &["Enforce", "1", "Enforced"]);
    assert!(row(&shown).starts_with(&["Enforce", "1", "Enforced"]), "{shown}");

    // Refused, with the message that README shows.
    let create = chapter.next("console");
    let message = chapter.next("text");
    assert_eq!(chapter.refusal(&create).trim_end(), message);
    until_row(&chapter, &["Enforce", "1", "1", "Enforced"]);

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
    until_row(&chapter, &["Enforce", "1", "2", "Enforced"]);

    // The glass is broken, and closed again.
    chapter.follow();
    chapter.until("the policy is open", &create, true);
    until_row(&chapter, &["Enforce", "1", "2", "BreakGlass"]);
    chapter.follow();
    chapter.until("the policy is closed", &create, false);

    // Whether anyone may ask the second door.
    let (_, said) = chapter.follow();
    assert!(said.contains("whoever reaches the port gets an answer; `clientCA` of the chart"), "{said}");
    assert!(chapter.is_over(), "not all of it was followed");
}
