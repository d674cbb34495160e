//! A handful of faults through `/mutate`: what the Pod becomes, and what people are told.

use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed::{self, Demo};
use landfall::facade::demo::world::{Embedded, Reachable};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::support::door::Door;
use super::support::wait::{HELD, ends};

/// A fault of both local registries, and the finding at Amsterdam.
type Line = (&'static str, fn(&Embedded), &'static str);

fn way(at: &Embedded, fault: Fault) {
    at.faults().add(Scope::Everything, fault);
}

#[rustfmt::skip]
const LINES: [Line; 8] = [
    ("HTML instead of a registry", |at| way(at, Fault::Html(StatusCode::OK)), "Unreachable"),
    ("another digest", |at| way(at, Fault::WrongDigest), "Unreachable"),
    ("503", |at| way(at, Fault::Html(StatusCode::SERVICE_UNAVAILABLE)), "Unreachable"),
    ("429", |at| way(at, Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 7)), "RateLimited"),
    ("403", |at| way(at, Fault::Status(StatusCode::FORBIDDEN)), "Unauthorized"),
    ("no database", without_database, "Unreachable"),
    ("slow", |at| way(at, Fault::Delay(HELD)), "Deadline"),
    ("gone", |at| at.store().delete_repository(seed::PRESENT.repository), "Missing"),
];

/// Only a Harbor has one.
fn without_database(at: &Embedded) {
    match at.name() {
        "ams" => at.store().database = Reachable::Down,
        _ => way(at, Fault::HangUp),
    }
}

fn pinned(demo: &Demo) -> String {
    let digest = demo.fra.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    format!("harbor.fra.example.com/{}@{digest}", seed::PRESENT.repository)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_told_what_was_wrong_in_time() {
    let lines = LINES.map(|line| async move {
        let (name, fault, finding) = line;
        let door = Door::open().await;
        fault(&door.demo.ams);
        fault(&door.demo.edge);
        let image = pinned(&door.demo);
        let free = ends(name, door.pod("shop", &[&image])).await;
        let strict = ends(name, door.pod("bank", &[&image])).await;

        assert_eq!(free["allowed"], true, "{name}");
        let told = &free["auditAnnotations"];
        assert_eq!(told["images"], "containers/c0: Fallback at fra", "{name}: {told}");
        let findings = told["findings"].as_str().unwrap();
        assert!(findings.contains(&format!("{finding} at ams")), "{name}: {findings}");

        assert_eq!((&strict["allowed"], &strict["patch"]), (&json!(false), &Value::Null), "{name}");
        let message = strict["status"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("{finding} at ams")), "{name}: {message}");
        assert!(message.contains("policy regulated"), "{name}: {message}");
    });
    futures::future::join_all(lines).await;
}
