//! The Harbor of the recordings, rebuilt: what it held and who might read it.

use std::collections::HashMap;

use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::{
    Account, Allowlist, Cve, Namespace, Permission, Reachable, Report, Scan, ScannerState, Signatures,
    Standing, Store, Visibility,
};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::scan::Severity::{self, Critical, High, Low, Medium, Negligible, Unknown};

pub const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

pub fn image(seed: &str) -> Content {
    Content::image(seed)
}

/// A success as the recorded scanner gave it: CVE-2024-1000 and on, every other one with a fix.
fn found(severities: &[Severity]) -> Scan {
    let cve = |(at, severity): (usize, &Severity)| Cve {
        id: format!("CVE-2024-{}", 1000 + at),
        severity: *severity,
        fix_version: (at % 2 == 0).then(|| "1.1".into()),
    };
    let vulnerabilities = severities.iter().enumerate().map(cve).collect();
    Scan::Success(Report { end_time: jiff::Timestamp::now(), vulnerabilities })
}

pub fn low_and_medium() -> Scan {
    found(&[Low, Medium])
}

/// Everything the recorded Harbor held. `digests` gets ours for the first six digits of each recorded one.
pub fn seed(store: &mut Store, digests: &mut HashMap<String, Digest>) {
    use Permission::{ArtifactRead, Pull};
    let robot = |name: &str, project: &str, may: &[Permission]| {
        Account::robot(name, Namespace::Project(project.into()), may)
    };
    let of_system = [Permission::ReplicationPolicyList, Permission::ReplicationList];
    let in_projects: Vec<_> = Permission::ALL.into_iter().filter(|one| !of_system.contains(one)).collect();
    for account in [
        Account::admin("Admin-Secret1"),
        Account::user("bob", "Bob-Secret1"),
        robot("min", "priv", &[Pull, ArtifactRead]),
        robot("pullonly", "priv", &[Pull]),
        robot("full", "gate", &Permission::ALL),
        robot("dis", "priv", &Permission::ALL).standing(Standing::Disabled),
        robot("exp", "priv", &Permission::ALL).standing(Standing::Expired),
        Account::robot("sysr", Namespace::All, &Permission::ALL),
        Account::robot("star", Namespace::All, &in_projects),
    ] {
        store.add_account(account);
    }
    for public in ["pub", "lib"] {
        store.project(public).visibility = Visibility::Public;
    }
    for (prefix, repository, tag) in [
        ("67ba31", "priv/app", "v1"),
        ("67ba31", "other/app", "v1"),
        ("9f787e", "priv/app", "unscanned"),
        ("3e4aff", "priv/app", "slow"),
        ("8bf3bd", "priv/app", "err"),
        ("c9878b", "priv/app", "err2"),
        ("8c715b", "priv/app", "err3"),
        ("c314fa", "priv/app", "clean"),
        ("b45f0d", "priv/app", "unk"),
        ("4d9d76", "priv/team/app", "v1"),
        ("cdd55e", "pub/app", "v1"),
        ("38c67f", "gate/app", "clean"),
        ("e77ee0", "gate/app", "high"),
        ("268495", "gate/app", "uns"),
        ("49849d", "gate/app", "err"),
        ("65ab68", "gate/app", "slow"),
    ] {
        digests.insert(prefix.into(), store.push(repository, tag, &image(prefix)));
    }
    digests.insert("28d55b".into(), store.push("priv/dapp", "v1", &Content::docker_image("28d55b")));
    for (index, repository, tag, flavour, amd64, arm64) in [
        ("aeca26", "priv/multi", "v1", Flavour::Oci, "336052", "1372dd"),
        ("dd75d6", "priv/dmulti", "v1", Flavour::Docker, "4ab6a0", "0e3ae0"),
        ("f3905a", "priv/fmulti", "v1", Flavour::Oci, "43cc6a", "815ac4"),
        ("c900af", "priv/rmulti", "v1", Flavour::Oci, "bf23c8", "6e03d7"),
        ("e5f5f6", "priv/emulti", "v1", Flavour::Oci, "9b2089", "d6365d"),
        ("d4b2e7", "priv/vmulti", "v2", Flavour::Oci, "91ebc5", "e29b6b"),
        ("bd7184", "gate/multi", "v1", Flavour::Oci, "a3af00", "709ac6"),
        ("0de85f", "gate/multi", "v2", Flavour::Oci, "5c5878", "3a8db6"),
        ("701910", "gate/multi", "v3", Flavour::Oci, "013bd5", "000001"),
    ] {
        let content = Content::index(index, flavour, &PLATFORMS);
        digests.insert(index.into(), store.push(repository, tag, &content));
        digests.insert(amd64.into(), content.child("linux/amd64").unwrap().digest);
        digests.insert(arm64.into(), content.child("linux/arm64").unwrap().digest);
    }
    let attested = Content::index_with_attestation("d48cc2", &PLATFORMS[..1]);
    digests.insert("d48cc2".into(), store.push("priv/attmulti", "v1", &attested));
    digests.insert("73cc8b".into(), attested.child("linux/amd64").unwrap().digest);
    digests.insert("93a8fa".into(), attested.child("unknown/unknown").unwrap().digest);
    hold_lost(store, digests);
}

/// The images that a real storage was made to lose.
pub fn hold_lost(store: &mut Store, digests: &mut HashMap<String, Digest>) {
    for (prefix, repository) in LOST {
        digests.insert(prefix.into(), store.push(repository, "v1", &image(prefix)));
    }
    let index = Content::index("4da434", Flavour::Oci, &PLATFORMS);
    digests.insert("4da434".into(), store.push("pub/gone5", "v1", &index));
    digests.insert("842fd6".into(), index.child("linux/amd64").unwrap().digest);
    digests.insert("5b4cc0".into(), index.child("linux/arm64").unwrap().digest);
    for (repository, lost) in
        [("pub/gone1", "540e25"), ("pub/gone2", "505df4"), ("pub/gone4", "f68ab4"), ("pub/gone5", "842fd6")]
    {
        store.lose(repository, &digests[lost]);
    }
    let layer = image("1bf86d").blobs.pop().unwrap().digest;
    store.lose_layer("pub/gone3", &layer);
    digests.insert("091a6e".into(), layer);
}

const LOST: [(&str, &str); 4] =
    [("540e25", "pub/gone1"), ("505df4", "pub/gone2"), ("1bf86d", "pub/gone3"), ("f68ab4", "pub/gone4")];

pub fn seed_upstream(store: &mut Store, digests: &mut HashMap<String, Digest>) {
    digests.insert("052305".into(), store.push("lib/pcimg", "v1", &image("052305")));
    digests.insert("8c79b4".into(), store.push("lib/pcimg", "v2", &image("8c79b4")));
    let index = Content::index("eba7e0", Flavour::Oci, &PLATFORMS);
    digests.insert("eba7e0".into(), store.push("lib/pc", "v1", &index));
    digests.insert("8a10d9".into(), index.child("linux/amd64").unwrap().digest);
    digests.insert("353849".into(), index.child("linux/arm64").unwrap().digest);
}

/// The state in which most rows were recorded.
pub fn default_state(store: &mut Store, digests: &HashMap<String, Digest>) {
    let now = jiff::Timestamp::now();
    store.scanner = ScannerState::Healthy;
    store.database = Reachable::Up;
    store.storage = Reachable::Up;
    store.allowlist = Allowlist::default();
    let gate = store.project("gate");
    (gate.prevent_vul, gate.signatures) = (Some(High), Signatures::Optional);
    store.add_account(Account::robot("full", Namespace::Project("priv".into()), &Permission::ALL));
    for repository in
        ["proxya/lib/pcimg", "proxya/lib/pc", "pub/gone1", "pub/gone2", "pub/gone3", "pub/gone4", "pub/gone5"]
    {
        store.delete_repository(repository);
    }
    for (prefix, scan) in [
        ("67ba31", low_and_medium()),
        ("aeca26", low_and_medium()),
        ("dd75d6", low_and_medium()),
        ("28d55b", low_and_medium()),
        ("4d9d76", low_and_medium()),
        ("3e4aff", low_and_medium()),
        ("8bf3bd", Scan::Error(now)),
        ("c9878b", Scan::Error(now)),
        ("8c715b", Scan::Error(now)),
        ("43cc6a", found(&[High, Low, Unknown])),
        ("815ac4", Scan::Error(now)),
        ("bf23c8", low_and_medium()),
        ("6e03d7", Scan::Running(now)),
        ("9b2089", Scan::Error(now)),
        ("d6365d", Scan::Error(now)),
        ("91ebc5", found(&[Low])),
        ("e29b6b", found(&[Critical, Unknown, Negligible])),
        ("c314fa", found(&[])),
        ("b45f0d", found(&[Unknown, Unknown])),
        ("d48cc2", low_and_medium()),
        ("38c67f", found(&[Low])),
        ("e77ee0", found(&[High, Low])),
        ("49849d", Scan::Error(now)),
        ("65ab68", Scan::Running(now)),
        ("a3af00", found(&[Low])),
        ("709ac6", found(&[Critical])),
        ("5c5878", Scan::Error(now)),
        ("3a8db6", found(&[Low])),
    ] {
        store.set_scan(&digests[prefix], scan);
    }
}
