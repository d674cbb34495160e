//! The embedded Harbor against recordings of a real one: every recorded request that it claims to model is sent to it,
//! and status, headers and body are compared.
//!
//! The recordings name images that were never published, so each recorded digest stands for one that the seed computes
//! ([`recorded::seed`]); the scanner's name and the address are replaced likewise. What is compared, and what not, is said in
//! [`replay::compare`]; which recordings are left out, and why, in [`NOT_MODELLED`].
#![cfg(feature = "demo")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

#[path = "world/ask.rs"]
mod ask;
#[path = "world/blobs.rs"]
mod blobs;
#[path = "world/faults.rs"]
mod faults;
#[path = "world/plain.rs"]
mod plain;
#[path = "world/recorded.rs"]
mod recorded;
#[path = "world/replay.rs"]
mod replay;
#[path = "world/replication.rs"]
mod replication;
#[path = "world/story.rs"]
mod story;
#[path = "support/support.rs"]
#[expect(dead_code, reason = "no suite needs all of it")]
mod support;

/// Recordings that the embedded Harbor does not claim to model: the file, how the row's name begins, why.
const NOT_MODELLED: &[(&str, &str, &str)] = &[
    (
        "path-encoding",
        "g01-nested-core-",
        "sent to core without its nginx; the embedded Harbor always has one",
    ),
    ("auth", "i24-", "referrers: nobody here reads them"),
    ("auth", "i30-", "a user's lock after a wrong password; robots are never locked"),
    ("robots", "r0", "robots are made by the seed, not over the API"),
    ("robots", "r1", "robots are made by the seed, not over the API"),
    ("robots", "r29-", "robots are read by the seed, not over the API"),
    ("robots", "r31b-", "robots are changed by the seed, not over the API"),
    ("robots", "r35-", "robots are made by the seed, not over the API"),
    ("robots", "r36-", "robots are made by the seed, not over the API"),
    ("robots", "r37-", "robots are made by the seed, not over the API"),
    ("resources-by-caller", "o01-permissions", "nobody here reads the catalogue of permissions"),
    ("resources-by-caller", "o01-users-current-permissions", "nobody here reads the caller's permissions"),
    ("resources-by-caller", "o01-registries", "registries: a rule shows its own"),
    ("resources-by-caller", "o01-repl-policies-admin", "rules: their form is compared in replication.rs"),
    ("resources-by-caller", "o01-repl-policies-sysrobot", "rules: their form is compared in replication.rs"),
    ("resources-by-caller", "o01-repl-executions-admin", "executions: as rules"),
    ("resources-by-caller", "o01-repl-executions-sysrobot", "executions: as rules"),
    ("resources-by-caller", "o01-scanners", "the system's list of scanners; a project's is modelled"),
    ("resources-by-caller", "o03-repl-tasks-admin", "tasks: as rules"),
    ("resources-by-caller", "o03-repl-tasks-sysrobot", "tasks: as rules"),
    ("resources-by-caller", "o04", "nobody here starts an execution"),
    ("resources-by-caller", "o05-", "registries: a rule shows its own"),
    ("scan-states", "c05-", "stopping a scan"),
    ("scan-errors", "d02-", "scan logs"),
    ("scanner-down", "e07b-", "the system's list of scanners; a project's is modelled"),
    ("scanner-down", "e10-", "a timeline: here the scanner is down at once"),
    ("scanner-down", "e2", "scans on push"),
    ("pull-refused-412", "j15-", "the manifest of a signature is not served here"),
    ("pull-refused-412", "j16-", "the manifest of a signature is not served here"),
    ("pull-refused-412", "j17-", "the manifest of a signature is not served here"),
    ("pull-refused-412", "j18-", "referrers: nobody here reads them"),
    ("pull-refused-412", "j20-", "notation"),
    ("pull-refused-412", "j21-", "the manifest of a signature is not served here"),
    ("storage-lost", "p05-", "a body that ends before its first byte: see the tests of blobs"),
    ("storage-lost", "p15-", "health is always healthy; a real Harbor notices 10 s late"),
    ("storage-lost", "p17-", "no answer: `Embedded::freeze`, see the tests of faults"),
    ("database-and-cache-down", "q18-", "health is always healthy; a real Harbor notices 10 s late"),
    ("database-and-cache-down", "q10-redis-", "health is always healthy; a real Harbor notices 10 s late"),
    ("database-and-cache-down", "q21-", "no answer: `Embedded::freeze`, see the tests of faults"),
    ("database-and-cache-down", "q22-", "no answer: `Embedded::freeze`, see the tests of faults"),
    ("database-and-cache-down", "q33-", "no answer: `Embedded::freeze`, see the tests of faults"),
    ("database-and-cache-down", "q40-", "no answer: `Embedded::freeze`, see the tests of faults"),
    ("database-and-cache-down", "q5", "the job service"),
    ("proxy-cache", "s00-", "registries are connected by the seed, not over the API"),
    ("proxy-cache", "s01-", "projects are made by the seed, not over the API"),
    ("proxy-cache", "s17-", "a timeline: what a proxy project caches, the story pushes"),
    ("proxy-cache", "s4", "the trimmed index that a proxy project stores in the end"),
];

const FILES: [&str; 16] = [
    "artifact",
    "path-encoding",
    "absent-and-forbidden",
    "auth",
    "robots",
    "resources-by-caller",
    "accept-header",
    "scan-states",
    "scan-errors",
    "index-scan",
    "scanner-down",
    "pull-refused-412",
    "storage-lost",
    "database-and-cache-down",
    "proxy-cache",
    "same-digest-elsewhere",
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_as_the_recorded_harbor() {
    let stage = replay::Stage::new().await;
    let (mut replayed, mut wrong) = (0, Vec::new());
    for file in FILES {
        for row in replay::recordings(file) {
            let name = row["name"].as_str().unwrap();
            let left_out = |(of, start, _): &&(&str, &str, &str)| *of == file && name.starts_with(start);
            if NOT_MODELLED.iter().find(left_out).is_some() {
                continue;
            }
            replayed += 1;
            if let Err(difference) = stage.replay(name, &row).await {
                wrong.push(format!("{file}/{name}: {difference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {replayed} recordings differ:\n{}", wrong.len(), wrong.join("\n"));
    // A file that is no longer found, or a rule in NOT_MODELLED that grows too wide, must not go unnoticed.
    assert_eq!(replayed, 741, "recordings replayed");
}
