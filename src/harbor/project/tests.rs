//! All projects and allowlists of the recordings.

use super::*;
use crate::harbor::recordings::{all, named};

/// Only `proxya` was created with a registry (facts §9, proxy-cache project), and no project chose a list of its own.
#[test]
fn every_project_that_was_recorded() {
    let mut seen = 0;
    for recording in all() {
        let Some(answer) = recording.response.as_ref().filter(|answer| answer.status == 200) else {
            continue;
        };
        if answer.json().get("owner_id").is_none() {
            continue;
        }
        let serves =
            if &*recording.name == "s02-get-proxy-project" { Serves::ProxyCache } else { Serves::Copies };
        let expected = Project { serves, allowlist: AllowlistOf::System };
        assert_eq!(project(&answer.body()).unwrap(), expected, "{}", recording.name);
        seen += 1;
    }
    assert_eq!(seen, 17);
    assert_eq!(named("j06-project-gate").response().json()["metadata"]["reuse_sys_cve_allowlist"], "true");
}

#[test]
fn allowlists() {
    let check = |metadata: &str, list: &str, expected: AllowlistOf| {
        let body = format!(r#"{{"name":"p","metadata":{metadata},"cve_allowlist":{list}}}"#);
        assert_eq!(project(body.as_bytes()).unwrap().allowlist, expected, "{body}");
    };
    let own = |items: &[&str], expires_at| {
        AllowlistOf::Own(CveAllowlist {
            items: items.iter().map(|item| (*item).into()).collect(),
            expires_at,
        })
    };
    let list = r#"{"items":[{"cve_id":"CVE-1"},{"cve_id":"CVE-2"},{}],"expires_at":1800000000,"id":6}"#;
    // As Harbor reads the metadata: missing means yes, and so do "true" in any case and "1".
    for reuses in [
        "null",
        "{}",
        r#"{"reuse_sys_cve_allowlist":"true"}"#,
        r#"{"reuse_sys_cve_allowlist":"True"}"#,
        r#"{"reuse_sys_cve_allowlist":"1"}"#,
    ] {
        check(reuses, list, AllowlistOf::System);
    }
    let no = r#"{"reuse_sys_cve_allowlist":"false"}"#;
    check(no, list, own(&["CVE-1", "CVE-2"], Some(1_800_000_000)));
    check(no, r#"{"items":null}"#, own(&[], None));
    check(no, "null", own(&[], None));

    let system = system_allowlist(list.as_bytes()).unwrap();
    assert_eq!(AllowlistOf::Own(system), own(&["CVE-1", "CVE-2"], Some(1_800_000_000)));
    assert!(system_allowlist(b"<html>").is_err());
    assert!(project(b"{}").is_err(), "somebody else's JSON is no project");
}

/// As at Harbor, it is expired from that second on.
#[test]
fn an_expired_allowlist_forgives_nothing() {
    let list = |expires_at| CveAllowlist { items: vec!["CVE-1".into()], expires_at };
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for (expires_at, left) in [(None, 1), (Some(1_800_000_001), 1), (Some(1_800_000_000), 0), (Some(0), 0)] {
        assert_eq!(list(expires_at).in_force(now).len(), left, "{expires_at:?}");
    }
}
