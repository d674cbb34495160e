//! `landfall copy` as a process, between registries of the embedded world, and to a real one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use http::Method;
use landfall::facade::demo::world::content::{Content, Flavour, sha256};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{
    Account, Certificate, Descriptors, Embedded, ImmutableTags, Login, Namespace, PartialIndexes, PathClass,
    Permission, ReferrersApi, World, Writes, entry,
};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::scan::Severity;
use serde_json::Value;
use tokio::process::{Child, Command};

#[path = "support/api_server.rs"]
#[expect(dead_code, reason = "the bench uses more of it")]
mod api_server;
#[path = "copy/real.rs"]
mod real;
#[path = "support/wait.rs"]
#[expect(dead_code, reason = "the suites use more of it")]
mod wait;

use wait::{HELD, until};

const IMAGE: &str = "harbor.fra.example.com/production/shop/web";
const SOURCE: &str = "production/shop/web";
const TARGET: &str = "mirror/shop/web";

/// A primary, a Harbor and a plain registry that lack its images, and who may write there.
struct Ground {
    world: World,
    fra: Embedded,
    ams: Embedded,
    edge: Embedded,
    config: PathBuf,
}

/// What a copy printed and how it ended.
struct Ended {
    code: Option<i32>,
    lines: Vec<Value>,
    error: String,
}

impl Ended {
    fn last(&self) -> &Value {
        self.lines.last().unwrap_or(&Value::Null)
    }

    /// The kinds of the failures, and of each what to do.
    fn failures(&self) -> Vec<String> {
        let failures = self.last()["failures"].as_array().cloned().unwrap_or_default();
        failures.iter().map(|failure| failure["kind"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn good(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{} {:#?}", self.error, self.lines);
        self
    }

    fn count(&self, key: &str) -> u64 {
        self.last()[key].as_u64().unwrap_or_else(|| panic!("{key}: {:#?}", self.lines))
    }
}

impl Ground {
    async fn new() -> Self {
        let world = World::new().unwrap();
        let (fra, ams) = (world.harbor("fra").await.unwrap(), world.harbor("ams").await.unwrap());
        let edge = world.plain("edge", Login::bearer("pusher", "secret")).await.unwrap();
        ams.store().project("mirror");
        let mut ground = Self { world, fra, ams, edge, config: PathBuf::new() };
        ground.configure();
        ground
    }

    fn configure(&mut self) {
        let Self { world, fra, ams, edge, .. } = self;
        let robot = Account::robot(
            "pusher",
            Namespace::Project("mirror".into()),
            &[Permission::Pull, Permission::Push],
        );
        world.credentials("writer", &robot.name, &robot.secret).unwrap();
        world.credentials("edge-writer", "pusher", "secret").unwrap();
        ams.store().add_account(robot);
        let folder = world.ca_file().parent().unwrap().join("credentials");
        let writer = |name: &str| {
            format!("copy: {{credentials: {{dir: {:?}}}}}", folder.join(name).display().to_string())
        };
        let text = format!(
            "site: ams\nregistries:\n  fra: {}\n  ams: {}\n  edge: {}\nroutes:\n- name: all\n  primary: {{registry: fra, repositories: \"production/**\"}}\n  replicas:\n  - {{registry: ams, namespace: mirror, flatten: 1, tags: \"{{1*,2*,3*,latest}}\"}}\n  - {{registry: edge}}\n",
            entry(&fra.registry("fra", "harbor.fra.example.com"), ""),
            entry(&ams.registry("ams", "harbor.ams.example.com"), &writer("writer")),
            entry(&edge.registry("ams", "edge.example.com"), &writer("edge-writer")),
        );
        self.config = world.write("landfall.yaml", &text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(["copy", "-o=json", "--config"]).arg(&self.config).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    async fn copy(&self, arguments: &[&str]) -> Ended {
        ended(self.start(arguments)).await
    }
}

async fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    Ended { code: output.status.code(), lines, error: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// The writes that a registry was asked for, by method and path without its query.
fn writes(at: &Embedded) -> Vec<String> {
    let writes = at.log().into_iter().filter(|ask| ask.method != Method::GET && ask.method != Method::HEAD);
    writes.map(|ask| format!("{} {}", ask.method, ask.path.split('?').next().unwrap_or_default())).collect()
}

fn uploads(at: &Embedded) -> usize {
    writes(at).iter().filter(|write| write.starts_with("PATCH")).count()
}

fn by_digest(digest: &Digest) -> String {
    format!("{IMAGE}@{digest}")
}

fn anchor(digest: &Digest) -> String {
    format!("landfall-{}", &digest.to_string()[7..19])
}

fn fallback(digest: &Digest) -> String {
    digest.to_string().replacen(':', "-", 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_arrives_with_its_children_and_is_not_copied_twice() {
    let ground = Ground::new().await;
    let index = Content::index_with_attestation("web", &["linux/amd64", "linux/arm64"]);
    let digest = ground.fra.store().push(SOURCE, "1.4.2", &index);
    for (to, registry, repository) in [("ams", &ground.ams, TARGET), ("edge", &ground.edge, SOURCE)] {
        let ended = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to", to]).await;
        ended.good();
        assert_eq!((ended.count("manifests"), ended.count("copied")), (4, 6), "{to}");
        assert_eq!(registry.store().digest(repository, "1.4.2"), Some(digest));
        assert!(ended.lines.iter().any(|line| line["event"] == "verified" && line["blobs"] == 6));
        // Children before their index, and no child by a tag.
        let pushed: Vec<String> = writes(registry)
            .into_iter()
            .filter(|write| write.starts_with("PUT") && write.contains("/manifests/"))
            .collect();
        assert!(pushed.len() == 4 && pushed[3].ends_with("/manifests/1.4.2"), "{pushed:?}");
        registry.clear_log();
        let again = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to", to]).await;
        assert_eq!((again.good().count("copied"), again.count("there")), (0, 6));
        assert_eq!(writes(registry), Vec::<String>::new(), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_digest_names_is_held_by_an_anchor() {
    let ground = Ground::new().await;
    let digest = ground.fra.store().push_untagged(SOURCE, &Content::docker_image("web"));
    let dry = ground.copy(&[&by_digest(&digest), "--to=ams", "--dry-run"]).await;
    assert_eq!((dry.good().count("lacking"), writes(&ground.ams).len()), (2, 0));
    ground.copy(&[&by_digest(&digest), "--to=ams"]).await.good();
    assert_eq!(ground.ams.store().digest(TARGET, &anchor(&digest)), Some(digest));
    // The tag is for another digest meanwhile: what Pods name beside the digest is not set.
    let other = ground.fra.store().push(SOURCE, "1.4.2", &Content::image("other"));
    assert_ne!(other, digest);
    let image = format!("{IMAGE}:1.4.2@{digest}");
    ground.copy(&[&image, "--to=ams"]).await.good();
    assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_meanwhile_changes_nothing() {
    let ground = Ground::new().await;
    let old = ground.fra.store().push(SOURCE, "1.4.2", &Content::image("old"));
    ground.ams.freeze().await;
    let child = ground.start(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]);
    let resolved = || {
        let answered = |ask: &landfall::facade::demo::world::Request| {
            ask.method == Method::GET && ask.path.ends_with("/manifests/1.4.2") && ask.status.is_some()
        };
        ground.fra.log().iter().any(answered)
    };
    until("the tag is resolved", resolved).await;
    ground.fra.store().push(SOURCE, "1.4.2", &Content::image("new"));
    ground.ams.up().await;
    let ended = ended(child).await;
    assert_eq!(ended.good().last()["digest"], old.to_string());
    assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), Some(old));
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_go_along_by_either_list() {
    for (there, here) in [
        (ReferrersApi::Served, ReferrersApi::Served),
        (ReferrersApi::Served, ReferrersApi::Absent),
        (ReferrersApi::Absent, ReferrersApi::Served),
        (ReferrersApi::Absent, ReferrersApi::Absent),
    ] {
        let ground = Ground::new().await;
        let image = Content::image("web");
        let digest = ground.fra.store().push(SOURCE, "1", &image);
        let signature = Content::image("signature").referring_to(&image);
        let cosign = Content::artifact("cosign", "application/vnd.oci.image.config.v1+json");
        {
            let mut store = ground.fra.store();
            let signed = store.push_untagged(SOURCE, &signature);
            store.push(SOURCE, &format!("{}.sig", fallback(&digest)), &cosign);
            store.pushes.referrers = there;
            if there == ReferrersApi::Absent {
                let listing = listing(&[signed]);
                store.push(SOURCE, &fallback(&digest), &listing);
            }
        }
        ground.edge.store().pushes.referrers = here;
        let left_out = ground.copy(&[&format!("{IMAGE}:1"), "--to=edge", "--no-referrers"]).await;
        assert_eq!(left_out.good().count("manifests"), 1);
        let ended = ground.copy(&[&format!("{IMAGE}:1"), "--to=edge"]).await;
        assert_eq!(ended.good().count("manifests"), 3, "{there:?} {here:?}");
        let store = ground.edge.store();
        assert_eq!(store.digest(SOURCE, &format!("{}.sig", fallback(&digest))), Some(cosign.digest));
        let listed = store.manifest(SOURCE, &fallback(&digest));
        match here {
            ReferrersApi::Served => assert_eq!(listed, None, "the registry lists by itself"),
            ReferrersApi::Absent => assert!(listed.unwrap().contains(&signature.digest.to_string())),
        }
    }
}

/// The list of referrers that clients keep where the API is absent.
fn listing(digests: &[Digest]) -> Content {
    let manifests: Vec<Value> = digests
        .iter()
        .map(|digest| serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 7}))
        .collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let body = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    let bytes = bytes::Bytes::from(body.to_string());
    Content { media_type, digest: sha256(&bytes), bytes, config_type: None, blobs: vec![], children: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_layer_is_repaired() {
    let ground = Ground::new().await;
    let image = Content::image("web").with_layer("one more");
    let digest = ground.fra.store().push(SOURCE, "1.4.2", &image);
    ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]).await.good();
    let layer = ground.ams.store().layers(TARGET, &digest)[1];
    for descriptors in [Descriptors::Cache, Descriptors::Storage] {
        {
            let mut store = ground.ams.store();
            store.descriptors = descriptors;
            store.lose_layer(TARGET, &layer);
        }
        ground.ams.clear_log();
        let ended = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]).await;
        assert_eq!((ended.good().count("copied"), ended.count("there")), (1, 2), "{descriptors:?}");
        assert_eq!(ended.count("repaired"), u64::from(descriptors == Descriptors::Cache));
        assert_eq!(uploads(&ground.ams), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_told_apart_and_the_next_run_succeeds() {
    type Plant = fn(&Ground);
    let planted: [(&str, &str, Plant, Plant); 9] = [
        (
            "Quota",
            "raise the quota",
            |g| g.ams.store().pushes.quota = Some(10),
            |g| g.ams.store().pushes.quota = None,
        ),
        (
            "ReadOnly",
            "run it again later",
            |g| g.ams.store().pushes.writes = Writes::ReadOnly,
            |g| g.ams.store().pushes.writes = Writes::Accepted,
        ),
        (
            "TagTaken",
            "--move-tag",
            |g| {
                g.ams.store().push(TARGET, "1.4.2", &Content::image("other"));
            },
            |g| g.ams.store().untag(TARGET, "1.4.2"),
        ),
        (
            "WrongDigest",
            "do not trust it",
            |g| g.ams.faults().add(Scope::Only(PathClass::Uploads), Fault::WrongDigest),
            |g| g.ams.faults().clear(),
        ),
        (
            "WrongDigest",
            "do not trust it",
            |g| {
                g.fra.faults().add(
                    Scope::Only(PathClass::Blobs),
                    Fault::Instead(http::StatusCode::OK, "", "layer of wex".into()),
                )
            },
            |g| g.fra.faults().clear(),
        ),
        (
            "WrongDigest",
            "do not trust it",
            |g| g.fra.faults().add(Scope::Only(PathClass::Manifests), Fault::WrongDigest),
            |g| g.fra.faults().clear(),
        ),
        (
            "Denied",
            "copy.credentials",
            |g| g.ams.store().remove_account("robot$mirror+pusher"),
            |g| {
                g.ams.store().add_account(Account::robot(
                    "pusher",
                    Namespace::Project("mirror".into()),
                    &[Permission::Pull, Permission::Push],
                ))
            },
        ),
        (
            "Incomplete",
            "another Place",
            |g| {
                let mut store = g.fra.store();
                let digest = store.digest(SOURCE, "1.4.2").unwrap();
                store.lose_layers(SOURCE, &digest);
            },
            |g| {
                g.fra.store().push(SOURCE, "1.4.2", &Content::image("web"));
            },
        ),
        (
            "NotFound",
            "name an image that is there",
            |g| g.fra.store().untag(SOURCE, "1.4.2"),
            |g| {
                g.fra.store().push(SOURCE, "1.4.2", &Content::image("web"));
            },
        ),
    ];
    for (kind, advice, plant, cure) in planted {
        let ground = Ground::new().await;
        let digest = ground.fra.store().push(SOURCE, "1.4.2", &Content::image("web"));
        plant(&ground);
        let arguments = [&*format!("{IMAGE}:1.4.2"), "--to=ams", "--from=fra"];
        let ended = ground.copy(&arguments).await;
        assert_eq!(
            (ended.code, ended.failures()),
            (Some(1), vec![kind.to_owned()]),
            "{} {:#?}",
            ended.error,
            ended.lines
        );
        assert!(
            ended.last()["failures"][0]["advice"].as_str().unwrap().contains(advice),
            "{:#?}",
            ended.lines
        );
        if kind == "TagTaken" {
            assert_eq!(
                ground.ams.store().digest(TARGET, &anchor(&digest)),
                Some(digest),
                "it is there under its digest"
            );
        }
        cure(&ground);
        ground.copy(&arguments).await.good();
        assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), Some(digest), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_moves_only_if_told_and_only_if_it_may() {
    let ground = Ground::new().await;
    let old = ground.ams.store().push(TARGET, "1.4.2", &Content::image("old"));
    let digest = ground.fra.store().push(SOURCE, "1.4.2", &Content::image("web"));
    ground.ams.store().pushes.tags = ImmutableTags::All;
    let arguments = [&*format!("{IMAGE}:1.4.2"), "--to=ams", "--move-tag"];
    let ended = ground.copy(&arguments).await;
    assert_eq!((ended.code, ended.failures()), (Some(1), vec!["Immutable".to_owned()]));
    assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), Some(old));
    ground.ams.store().pushes.tags = ImmutableTags::None;
    ground.copy(&arguments).await.good();
    assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), Some(digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_limits_requests_or_breaks_off_is_asked_again() {
    let ground = Ground::new().await;
    ground.fra.store().push(SOURCE, "1.4.2", &Content::image("web"));
    ground.ams.faults().add(Scope::Everything, Fault::Limit(4));
    let ended = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]).await;
    ended.good();
    assert!(ended.lines.iter().any(|line| line["event"] == "retry"), "{:#?}", ended.lines);
    assert!(ground.ams.log().iter().any(|ask| ask.status == Some(http::StatusCode::TOO_MANY_REQUESTS)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_goes_on_where_it_broke() {
    let ground = Ground::new().await;
    ground.fra.store().push_large(SOURCE, "1.4.2", Content::image("web"), 8_000_000);
    ground.fra.faults().add(Scope::Only(PathClass::Blobs), Fault::Truncate);
    let child = ground.start(&[&format!("{IMAGE}:1.4.2"), "--to=ams", "--parallel=1"]);
    let cut = || ground.fra.log().iter().filter(|ask| ask.class == PathClass::Blobs).count() > 1;
    until("a blob is cut", cut).await;
    ground.fra.faults().clear();
    ended(child).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_goes_on() {
    let ground = Ground::new().await;
    let digest = ground.fra.store().push_large(SOURCE, "1.4.2", Content::image("web"), 8_000_000);
    ground.fra.faults().add(Scope::Only(PathClass::Blobs), Fault::SlowBody(HELD));
    let mut child = ground.start(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]);
    let read = || {
        ground.fra.log().iter().filter(|ask| ask.class == PathClass::Blobs && ask.status.is_some()).count()
    };
    until("all three blobs are in the middle", || read() == 3 && writes(&ground.ams).len() == 3).await;
    child.kill().await.unwrap();
    ground.fra.faults().clear();
    // What was whole is not sent again.
    let config = ground.fra.store().layers(SOURCE, &digest)[0];
    let bytes = ground.fra.store().bytes(SOURCE, &config).unwrap();
    ground.ams.store().put_blob(TARGET, &bytes);
    ground.ams.clear_log();
    let ended = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]).await;
    assert_eq!((ended.good().count("copied"), ended.count("there")), (2, 1));
    assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), Some(digest));
    // A polite request to end is kept to, too.
    ground.fra.faults().add(Scope::Only(PathClass::Manifests), Fault::Delay(HELD));
    let child = ground.start(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]);
    until("the source is asked", || ground.fra.in_flight() > 0).await;
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let stopped = self::ended(child).await;
    assert_eq!((stopped.code, stopped.last()["event"].as_str()), (Some(1), Some("stopped")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_some_platforms_is_pushed_only_where_it_is_taken() {
    for partial in [PartialIndexes::Refused, PartialIndexes::Accepted] {
        let ground = Ground::new().await;
        let index = Content::index("web", Flavour::Oci, &["linux/amd64", "linux/arm64", "linux/s390x"]);
        let child = index.child("linux/arm64").unwrap().digest;
        let digest = ground.fra.store().push(SOURCE, "1.4.2", &index);
        ground.ams.store().pushes.partial_indexes = partial;
        let ended = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=ams", "--platform=linux/arm64"]).await;
        assert_eq!(ended.count("copied"), 2);
        let store = ground.ams.store();
        match partial {
            PartialIndexes::Refused => {
                assert_eq!((ended.code, ended.failures()), (Some(1), vec!["PartialIndex".to_owned()]));
                assert_eq!(
                    (store.digest(TARGET, "1.4.2"), store.digest(TARGET, &anchor(&child))),
                    (None, Some(child))
                );
            }
            PartialIndexes::Accepted => {
                assert_eq!(ended.good().failures(), Vec::<String>::new());
                assert_eq!(store.digest(TARGET, "1.4.2"), Some(digest));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_registry_serves_to_nobody_before_a_scan_is_copied_all_the_same() {
    let ground = Ground::new().await;
    let digest = ground.fra.store().push(SOURCE, "1.4.2", &Content::image("web"));
    ground.ams.store().project("mirror").prevent_vul = Some(Severity::High);
    for times in 0..2 {
        let ended = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]).await;
        assert_eq!(ended.good().count("there"), 2 * times);
        assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), Some(digest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_two_gigabytes_needs_little_memory() {
    const SIZE: u64 = 2 << 30;
    let mut ground = Ground::new().await;
    // TLS would only cost time.
    ground.fra.present(&ground.world, Certificate::Plaintext).unwrap();
    ground.ams.present(&ground.world, Certificate::Plaintext).unwrap();
    ground.configure();
    let digest = ground.fra.store().push_large(SOURCE, "1.4.2", Content::image("web"), SIZE);
    let mut child = ground.start(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]);
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = ended(child).await;
    assert!(ended.good().count("bytes") > SIZE);
    assert_eq!(ground.ams.store().digest(TARGET, "1.4.2"), Some(digest));
    assert!(peak > 0 && peak < 64 * 1024, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_said_before_anything_is_asked() {
    let ground = Ground::new().await;
    for (arguments, said) in [
        (&["harbor.fra.example.com/other/web:1", "--to=ams"][..], "no route of the configuration"),
        (
            &["harbor.fra.example.com/production/shop/web:1", "--to=bru"],
            "no registry `bru`; it has ams, edge, fra",
        ),
        (&["harbor.fra.example.com/production/shop/web:1", "--to=fra", "--from=fra"], "no other Place"),
        (
            &["harbor.fra.example.com/production/shop/web:nightly", "--to=ams"],
            "filters of the route `all` leave",
        ),
        (&["harbor.fra.example.com/production/UPPER:1", "--to=ams"], "is no image reference"),
        (
            &["harbor.fra.example.com/production/shop/web:1", "--to=fra"],
            "no credentials to write to the registry `fra`",
        ),
        (&["harbor.fra.example.com/production/shop/web:1"], "--to <REGISTRY>"),
        (&["--missing", "--gap=x"], "cannot be used with"),
    ] {
        let ended = ground.copy(arguments).await;
        assert_eq!(
            (ended.code, ended.error.contains(said)),
            (Some(2), true),
            "{arguments:?}: {}",
            ended.error
        );
    }
    assert_eq!(ground.fra.log().len() + ground.ams.log().len() + ground.edge.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_never_writes_with_the_credentials_that_read() {
    let ground = Ground::new().await;
    ground.fra.store().push(SOURCE, "1.4.2", &Content::image("web"));
    ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=ams"]).await.good();
    let users: Vec<String> = ground.ams.log().into_iter().filter_map(|ask| ask.user).collect();
    assert!(!users.is_empty() && users.iter().all(|user| user == "robot$mirror+pusher"), "{users:?}");
    assert!(ground.fra.log().iter().all(|ask| ask.user.as_deref() == Some("robot$landfall")));
    // By name they may be given; a robot that may only read is refused.
    let folder = ground.world.ca_file().parent().unwrap().join("credentials/ams").display().to_string();
    ground.fra.store().push(SOURCE, "1.4.3", &Content::image("other"));
    let ended = ground.copy(&[&format!("{IMAGE}:1.4.3"), "--to=ams", "--credentials", &folder]).await;
    assert_eq!(ended.failures(), ["Denied"]);
}

fn gap(number: usize) -> Value {
    let object = |name: &str, image: &str, presence: Value| {
        serde_json::json!({
            "apiVersion": "landfall.dev/v1alpha1", "kind": "ReplicationGap",
            "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
            "spec": {"image": image, "registry": "ams"},
            "status": {"state": "Open", "presence": presence, "firstSeen": "2026-11-27T09:00:00Z",
                       "lastSeen": "2026-11-27T11:59:00Z", "pods": 9 - number, "message": ""},
        })
    };
    let missing = serde_json::json!({"finding": "Missing", "since": "2026-11-27T09:00:00Z", "lastSeen": "2026-11-27T11:59:00Z"});
    match number {
        0 => object("web-1", "harbor.fra.example.com/production/shop/web:1", missing),
        1 => object("api-1", "harbor.fra.example.com/production/shop/api:1", missing),
        2 => object("old-1", "harbor.fra.example.com/production/shop/old:1", Value::Null),
        _ => object("none-1", "harbor.elsewhere.example.com/none:1", missing),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_closed_by_name_or_all_of_them_and_what_they_share_is_mounted() {
    let ground = Ground::new().await;
    let api = api_server::ApiServer::start().await.unwrap();
    api.list("/apis/landfall.dev/v1alpha1/replicationgaps", 4, gap);
    api.command("copy", |name, text| Ok(ground.world.write(name, text)?)).unwrap();
    let kubeconfig = ground.world.ca_file().with_file_name("kubeconfig.yaml");
    for (repository, seed) in [("production/shop/web", "web"), ("production/shop/api", "api")] {
        ground.fra.store().push(repository, "1", &Content::image(seed).with_layer("the base of both"));
    }
    let run = async |arguments: &[&str]| {
        let mut command = ground.command(arguments);
        ended(command.env("KUBECONFIG", &kubeconfig).spawn().unwrap()).await
    };
    let one = run(&["--missing", "--limit=1", "--dry-run"]).await;
    assert_eq!(one.good().last()["gaps"], 1);
    let all = run(&["--missing"]).await;
    let sum = all.last();
    assert_eq!(
        (all.code, &sum["gaps"], &sum["failed"]),
        (Some(1), &3.into(), &1.into()),
        "{} {:#?}",
        all.error,
        all.lines
    );
    let done: Vec<&Value> = all.lines.iter().filter(|line| line["event"] == "done").collect();
    let counts = |line: &Value| (line["copied"].as_u64(), line["mounted"].as_u64());
    assert_eq!(
        done.iter().map(|line| counts(line)).collect::<Vec<_>>(),
        [(Some(3), Some(0)), (Some(2), Some(1))]
    );
    for name in ["mirror/shop/web", "mirror/shop/api"] {
        assert!(ground.ams.store().digest(name, "1").is_some());
    }
    assert_eq!(run(&["--gap=api-1"]).await.good().count("there"), 3);
    let unknown = run(&["--gap=nothing"]).await;
    assert!(
        unknown.code == Some(2) && unknown.error.contains("no ReplicationGap `nothing`"),
        "{}",
        unknown.error
    );
}
