//! Presence, children and the self-test against replayed recordings.

use super::*;
use crate::domain::evidence::Shape;
use crate::domain::image::Tag;
use crate::harbor::recordings::{Response, named};
use crate::harbor::replay::{Replay, Script, at_once, image_of, soon};

/// The expected presence.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Want {
    Present(Shape),
    ProxyCache(Shape),
    Absent,
    Refused(&'static str),
    Unknown(Cause),
}
use Want::{Absent, ProxyCache, Refused};
const IMAGE: Want = Want::Present(Shape::Manifest);
const INDEX: Want = Want::Present(Shape::Index);

async fn presence(harbor: &Harbor, about: &str, deadline: Instant) -> Presence {
    let (repository, digest) = image_of(about);
    harbor.presence(&repository, Target::Digest(&digest), deadline).await
}

fn check(about: &str, found: &Presence, want: Want, replay: &Replay) {
    let (_, digest) = image_of(about);
    let ok = match (found, want) {
        (Presence::Present { digest: named, shape }, Want::Present(wanted)) => {
            *named == digest && *shape == wanted
        }
        (Presence::ProxyCache { digest: named, shape }, ProxyCache(wanted)) => {
            *named == digest && *shape == wanted
        }
        (Presence::Absent, Absent) => true,
        (Presence::Refused(message), Refused(words)) => message.contains(words),
        (Presence::Unknown(unknown), Want::Unknown(cause)) => unknown.cause == cause,
        _ => false,
    };
    assert!(ok, "{about}: {found:?}, wanted {want:?}, after {:#?}", replay.requests());
}

/// The first recording is of the question, the others are of the requests that follow it.
async fn row(caller: &'static str, names: &[&str], want: Want) {
    let replay = Script::of(caller, names).play().await;
    let found = presence(&replay.harbor, names[0], soon()).await;
    check(names[0], &found, want, &replay);
    assert_eq!(
        replay.requests().len(),
        names.len(),
        "each recording is needed, once: {:#?}",
        replay.requests()
    );
}

#[tokio::test]
async fn present_and_absent() {
    row("projrobot", &["h02-v2head-priv-present-projrobot", "o01-project-priv-projrobot"], IMAGE).await;
    row("projrobot", &["l01-oci-index-accept-all-head", "o01-project-priv-projrobot"], INDEX).await;
    // A public project accepts any password, so a 200 proves nothing about ours.
    row("wrongpw", &["h02-v2head-pub-present-wrongpw", "o01-project-pub-wrongpw"], IMAGE).await;
    // The project exists, the digest or repository does not: 404.
    row("projrobot", &["h02-v2head-priv-absent-digest-projrobot"], Absent).await;
    row("pullonly", &["h02-v2head-priv-absent-digest-pullonly"], Absent).await;
    row("projrobot", &["h02-v2head-priv-absent-repo-projrobot"], Absent).await;
}

/// A robot that may only pull can read neither the project nor its artifacts. The project is taken for an ordinary one.
#[tokio::test]
async fn a_project_that_may_not_be_read_is_an_ordinary_one() {
    let head = "h02-v2head-priv-present-pullonly";
    // Facts §9: "pull-only robot 403 everywhere"; the very 403 was recorded of another robot without `project:read`.
    let names = [head, "h01-api-priv-present-pullonly"];
    let replay = Script::of("pullonly", &names).borrow("o01-project-priv-minrobot").play().await;
    check(head, &presence(&replay.harbor, head, soon()).await, IMAGE, &replay);
}

/// An absent project is a 401 without challenge on `/v2`; API 403 and `HEAD /projects` 404 tell (facts §9).
#[tokio::test]
async fn an_absent_project() {
    for (caller, names) in [
        (
            "projrobot",
            [
                "h02-v2head-absent-project-projrobot",
                "h01-api-absent-project-projrobot",
                "r40-head-project-nosuchproject-projrobot",
            ],
        ),
        (
            "pullonly",
            [
                "h02-v2head-absent-project-pullonly",
                "h01-api-absent-project-pullonly",
                "r40-head-project-nosuchproject-pullonly",
            ],
        ),
    ] {
        row(caller, &names, Absent).await;
    }
    // An admin is told 404 by the API at once.
    row("admin", &["h02-v2head-absent-project-admin", "h01-api-absent-project-admin"], Absent).await;
    // With a wrong password nothing can be learned.
    let names =
        ["h02-v2head-absent-project-wrongpw", "h01-api-absent-project-wrongpw", "o01-systeminfo-wrongpw"];
    row("wrongpw", &names, Want::Unknown(Cause::Unauthorized)).await;
}

/// `Basic realm="harbor"`: the project exists. Whether it is the credentials, `systeminfo` and `users/current` tell.
#[tokio::test]
async fn forbidden_or_unauthorized() {
    let names =
        ["h02-v2head-otherpriv-present-projrobot", "o01-systeminfo-projrobot", "o01-users-current-projrobot"];
    row("projrobot", &names, Want::Unknown(Cause::Forbidden)).await;
    for (caller, names) in [
        ("wrongpw", ["h02-v2head-priv-present-wrongpw", "o01-systeminfo-wrongpw"]),
        ("disabled-robot", ["r22-disabled-robot-head-private", "r23-disabled-robot-systeminfo"]),
        ("expired-robot", ["r22-expired-robot-head-private", "r23-expired-robot-systeminfo"]),
        ("deleted-robot", ["r22-deleted-robot-head-private", "r23-deleted-robot-systeminfo"]),
    ] {
        row(caller, &names, Want::Unknown(Cause::Unauthorized)).await;
    }
}

/// After a 412 the image exists but is refused. The message comes with the GET.
#[tokio::test]
async fn refused_by_policy() {
    let gate = "project robot pull+artifact:read";
    let prefix = "j01-prevent-vul-high-";
    for (image, words) in [
        ("high", "with 2 vulnerabilities cannot be pulled"),
        ("uns", "without vulnerability scanning cannot be pulled"),
        ("err", "\"Error\" status"),
        ("slow", "\"Running\" status"),
    ] {
        let (head, get) = (format!("{prefix}{image}-head"), format!("{prefix}{image}-get"));
        row(gate, &[&head, &get], Refused(words)).await;
    }
    for (name, words) in [
        ("j03-prevent-vul-index-child-critical", "with 1 vulnerability cannot be pulled"),
        ("j03-prevent-vul-index-unscanned", "without vulnerability scanning"),
        ("j10-cosign-unsigned", "not signed by cosign"),
        // The child of a signed index is not signed itself.
        ("j14-cosign-signed-index-child", "not signed by cosign"),
    ] {
        let (head, get) = (format!("{name}-head"), format!("{name}-get"));
        row("projrobot", &[&head, &get], Refused(words)).await;
    }
}

/// PostgreSQL down looks like an absent project on `/v2`; only the API's 500 tells the truth (facts §9).
#[tokio::test]
async fn the_database_is_down() {
    let names = ["q04-pg-stopped-head-robot", "q01-pg-stopped-api-robot"];
    row("projrobot", &names, Want::Unknown(Cause::ServerError)).await;
    // It is back before the second request: what the API lists is not absent.
    let names = ["q04-pg-stopped-head-robot", "a03-image-scanned-by-digest"];
    row("projrobot", &names, Want::Unknown(Cause::ServerError)).await;
    // `GET /v2/` asks for Basic in this state (q17), and a manifest might: the self-test is not misled.
    let asked_for_basic = named("q17-pg-stopped-v2root").response().clone();
    let about = "q04-pg-stopped-head-robot";
    let (repository, digest) = image_of(about);
    let replay = Script::of("projrobot", &["q08-pg-stopped-systeminfo-robot"])
        .at("HEAD", &format!("/v2/{repository}/manifests/{digest}"), asked_for_basic)
        .play()
        .await;
    check(about, &presence(&replay.harbor, about, soon()).await, Want::Unknown(Cause::ServerError), &replay);
}

#[tokio::test]
async fn storage_core_and_silence() {
    // The manifest is lost: the API lists it, the storage registry does not have it.
    for name in
        ["p02-manifest-blob-deleted-head", "p02-lost-child-of-index-head", "p02-repository-dir-deleted-head"]
    {
        row("sysrobot", &[name], Absent).await;
    }
    // The registry behind Harbor is down: 502 for what Harbor lists, 404 for what it does not.
    row("sysrobot", &["p11-registry-down-head"], Want::Unknown(Cause::ServerError)).await;
    row("sysrobot", &["p13-registry-down-head-absent"], Absent).await;
    // Core is down, nginx answers for it.
    row("projrobot", &["q42-core-down-head"], Want::Unknown(Cause::ServerError)).await;
    // PostgreSQL frozen: no answer in 15 s.
    let silent = "q22-pg-frozen-head";
    let replay = Script::of("projrobot", &[silent]).play().await;
    let found = presence(&replay.harbor, silent, at_once()).await;
    check(silent, &found, Want::Unknown(Cause::Deadline), &replay);
}

/// `HEAD` in a proxy-cache project goes upstream: 200 while nothing is local (facts §5, §9).
#[tokio::test]
async fn a_proxy_cache() {
    let caller = "system robot B";
    row(caller, &["s11-head-uncached", "s02-get-proxy-project"], ProxyCache(Shape::Manifest)).await;
    row(caller, &["s11b-head-uncached-robot-pull", "s02-get-proxy-project"], ProxyCache(Shape::Index)).await;
    // Cached, and the upstream is down: still a proxy's answer.
    row(caller, &["s30-upstream-down-head-cached", "s02-get-proxy-project"], ProxyCache(Shape::Manifest))
        .await;
    row(caller, &["s11c-head-absent-upstream"], Absent).await;
    row(caller, &["s31-upstream-down-head-uncached"], Absent).await;
}

/// If the project may not be read, Harbor's list of artifacts tells: a proxy cache answers for more than it lists.
#[tokio::test]
async fn a_proxy_cache_that_may_not_be_read() {
    let (head, list) = ("s11-head-uncached", "/api/v2.0/projects/proxya");
    // Recorded of another robot without `project:read`, and of another project.
    let hidden = || named("o01-project-priv-minrobot").response().clone();
    for (listed, want) in
        [("s10-api-before", ProxyCache(Shape::Manifest)), ("s18-api-image-after-cache", IMAGE)]
    {
        let replay = Script::of("system robot B", &[head, listed]).at("GET", list, hidden()).play().await;
        check(head, &presence(&replay.harbor, head, soon()).await, want, &replay);
    }
    let (repository, digest) = image_of(head);
    let (project, name) = repository.as_str().split_once('/').unwrap();
    let name = name.replace('/', "%252F");
    let path = format!(
        "/api/v2.0/projects/{project}/repositories/{name}/artifacts/{digest}?with_scan_overview=true"
    );
    for (answer, want) in [
        (named("q08-pg-stopped-systeminfo-robot").response().clone(), Want::Unknown(Cause::ServerError)),
        // A proxy in front of Harbor hides the API.
        (Response::new(404, "text/html", "<html>"), IMAGE),
    ] {
        let script = Script::of("system robot B", &[head]).at("GET", list, hidden());
        let replay = script.at("GET", &path, answer).play().await;
        check(head, &presence(&replay.harbor, head, soon()).await, want, &replay);
    }
}

/// The project's facts are asked once; when they cannot be learned, a 200 is not yet a local copy.
#[tokio::test]
async fn the_projects_facts() {
    let head = "h02-v2head-priv-present-projrobot";
    let replay = Script::of("projrobot", &[head, "o01-project-priv-projrobot"]).play().await;
    for _ in 0..3 {
        check(head, &presence(&replay.harbor, head, soon()).await, IMAGE, &replay);
    }
    assert_eq!(replay.times("GET /api/v2.0/projects/priv"), 1);

    let broken = named("q08-pg-stopped-systeminfo-robot").response().clone();
    let replay = Script::of("projrobot", &[head]).at("GET", "/api/v2.0/projects/priv", broken).play().await;
    check(head, &presence(&replay.harbor, head, soon()).await, Want::Unknown(Cause::ServerError), &replay);
}

/// Each wrong attempt takes Harbor 1.5 s and locks a user out: one self-test serves all who ask.
#[tokio::test]
async fn wrong_credentials_are_tried_sparingly() {
    let head = "h02-v2head-priv-present-wrongpw";
    let replay = Script::of("wrongpw", &[head, "o01-systeminfo-wrongpw"]).play().await;
    for _ in 0..5 {
        let found = presence(&replay.harbor, head, soon()).await;
        check(head, &found, Want::Unknown(Cause::Unauthorized), &replay);
    }
    assert_eq!(replay.times("GET /api/v2.0/systeminfo"), 1);
}

/// Credentials that were proved a moment ago are not suddenly wrong: a 401 of the API is Harbor's fault.
#[tokio::test]
async fn proved_credentials_are_not_suddenly_wrong() {
    let empty = "h02-v2head-absent-project-projrobot";
    let unauthorized = named("h01-api-absent-project-wrongpw").response().clone();
    let (repository, digest) = image_of(empty);
    let (project, name) = repository.as_str().split_once('/').unwrap();
    let path = format!(
        "/api/v2.0/projects/{project}/repositories/{name}/artifacts/{digest}?with_scan_overview=true"
    );
    let script = Script::of("projrobot", &[empty, "o01-systeminfo-projrobot", "o01-users-current-projrobot"]);
    let replay = script.at("GET", &path, unauthorized).play().await;
    assert_eq!(replay.harbor.self_test(Check::Credentials, soon()).await.result, SelfTestResult::Proved);
    let found = presence(&replay.harbor, empty, soon()).await;
    check(empty, &found, Want::Unknown(Cause::ServerError), &replay);
    assert_eq!(replay.times("GET /api/v2.0/systeminfo"), 1, "it is remembered");
}

#[tokio::test]
async fn a_tag_is_looked_up_as_a_tag() {
    // By tag, as an admin, in a project that does not exist: the follow-up names the tag, too.
    let (repository, tag) = (Repository::new("nosuchproject/team/app"), Tag::new("v1"));
    let not_found = named("h01-api-absent-project-admin").response().clone();
    let head = named("h02-v2head-absent-project-admin").response().clone();
    let api =
        "/api/v2.0/projects/nosuchproject/repositories/team%252Fapp/artifacts/v1?with_scan_overview=true";
    let script = Script::of("admin", &[]).at("HEAD", "/v2/nosuchproject/team/app/manifests/v1", head);
    let replay = script.at("GET", api, not_found).play().await;
    let found = replay.harbor.presence(&repository, Target::Tag(&tag), soon()).await;
    assert_eq!(found, Presence::Absent, "{:#?}", replay.requests());
}

#[tokio::test]
async fn children() {
    let ask = async |caller: &'static str, names: &[&str]| {
        let replay = Script::of(caller, names).play().await;
        let (repository, digest) = image_of(names[0]);
        replay.harbor.children(&repository, &digest, soon()).await
    };
    let names = [
        "h03-v2get-absent-project-projrobot",
        "h01-api-absent-project-projrobot",
        "r40-head-project-nosuchproject-projrobot",
    ];
    assert_eq!(ask("projrobot", &names).await, Children::Absent);
    let down = ask("projrobot", &["q07-pg-stopped-get-robot", "q01-pg-stopped-api-robot"]).await;
    assert!(matches!(&down, Children::Unknown(unknown) if unknown.cause == Cause::ServerError), "{down:?}");
}

#[tokio::test]
async fn children_that_are_listed() {
    use sha2::{Digest as _, Sha256};
    let kind = "application/vnd.oci.image.index.v1+json";
    let child = format!("sha256:{}", "1".repeat(64));
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "digest":"{child}","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
    );
    let digest = Digest::Sha256(Sha256::digest(&body).into());
    let path = format!("/v2/priv/team/app/manifests/{digest}");
    let replay = Script::of("projrobot", &[]).at("GET", &path, Response::new(200, kind, &body)).play().await;
    let found = replay.harbor.children(&Repository::new("priv/team/app"), &digest, soon()).await;
    let Children::Listed(children) = found else { panic!("{found:?}") };
    assert_eq!(children.iter().map(|child| child.digest.to_string()).collect::<Vec<_>>(), [child]);
}

/// Which recording shows what: see `self_test::self_test`.
#[tokio::test]
async fn self_tests() {
    let version = Some("v2.15.2-rig");
    let check = async |script: Script, want: fn(&SelfTestResult) -> bool, version: Option<&str>| {
        let replay = script.play().await;
        let found = replay.harbor.self_test(Check::Credentials, soon()).await;
        assert!(want(&found.result), "{found:?} after {:#?}", replay.requests());
        assert_eq!(found.version.as_deref(), version);
    };
    let of = Script::of;
    for robot in ["projrobot", "minrobot", "sysrobot", "starrobot", "user", "admin"] {
        let (info, current) = (format!("o01-systeminfo-{robot}"), format!("o01-users-current-{robot}"));
        check(of(robot, &[&info, &current]), |found| *found == SelfTestResult::Proved, version).await;
    }
    for (caller, info) in [
        ("wrongpw", "o01-systeminfo-wrongpw"),
        ("anon", "o01-systeminfo-anon"),
        ("disabled-robot", "r23-disabled-robot-systeminfo"),
        ("expired-robot", "r23-expired-robot-systeminfo"),
        ("deleted-robot", "r23-deleted-robot-systeminfo"),
    ] {
        check(of(caller, &[info]), |found| *found == SelfTestResult::Rejected, None).await;
    }
    // A Harbor that tells its version to everybody, as older ones did: `users/current` decides.
    let old = of("wrongpw", &["o01-users-current-wrongpw"]).borrow("o01-systeminfo-projrobot");
    check(old, |found| *found == SelfTestResult::Rejected, version).await;

    // A quick check trusts the version, and sends no second request.
    let glance = async |caller: &'static str, info: &str| {
        let replay = Script::of(caller, &[info]).play().await;
        let found = replay.harbor.self_test(Check::Quick, soon()).await;
        assert_eq!(replay.times("GET /api/v2.0/systeminfo"), 1, "{:#?}", replay.requests());
        assert_eq!(replay.times("GET /api/v2.0/users/current"), 0, "{:#?}", replay.requests());
        found.result
    };
    assert_eq!(glance("projrobot", "o01-systeminfo-projrobot").await, SelfTestResult::Proved);
    assert_eq!(glance("expired-robot", "r23-expired-robot-systeminfo").await, SelfTestResult::Rejected);

    let database = |found: &SelfTestResult| matches!(found, SelfTestResult::DatabaseDown(why) if why.cause == Cause::ServerError);
    // `users/current` answers 401 meanwhile; it is not asked.
    let names = ["q08-pg-stopped-systeminfo-robot", "q16-pg-stopped-users-current"];
    check(of("projrobot", &names), database, None).await;

    // For a minute `systeminfo` is answered as to wrong credentials, or without any.
    for (caller, info) in [("projrobot", "o01-systeminfo-wrongpw"), ("anon", "o01-systeminfo-anon")] {
        let broken = named("q08-pg-stopped-systeminfo-robot").response().clone();
        let script = of(caller, &[]).borrow(info).at("GET", "/api/v2.0/projects?page_size=1", broken);
        check(script, database, None).await;
    }

    let info = "/api/v2.0/systeminfo";
    let core_down = named("q41-core-down-api").response().clone();
    let unreachable = |found: &SelfTestResult| matches!(found, SelfTestResult::Unreachable(why) if why.cause == Cause::ServerError);
    check(of("projrobot", &[]).at("GET", info, core_down), unreachable, None).await;
    // What answers is not Harbor.
    let no_harbor = |found: &SelfTestResult| matches!(found, SelfTestResult::Unreachable(why) if why.cause == Cause::NotRegistry);
    for other in ["<html></html>", "{}", "[]"] {
        let answer = Response::new(200, "text/html", other);
        check(of("projrobot", &[]).at("GET", info, answer), no_harbor, None).await;
    }
}

#[tokio::test]
async fn nobody_listens() {
    let replay = Script::of("projrobot", &[]).play().await;
    let harbor = replay.harbor.clone();
    replay.stop().await;
    let found = harbor.self_test(Check::Credentials, soon()).await;
    assert!(
        matches!(&found.result, SelfTestResult::Unreachable(why) if why.cause == Cause::Connect),
        "{found:?}"
    );
}
