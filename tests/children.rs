//! Which children of an index are asked for and scanned: all that a node may start.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use landfall::facade::config::{self, Files};
use landfall::facade::domain::case::{Exemption, PodContext, Pull};
use landfall::facade::domain::decide::{Step, decide};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::evidence::{
    Child, Children, Evidence, Observation, Presence, Query, Reachability, Shape, Wanted,
};
use landfall::facade::domain::finding::FindingKind;
use landfall::facade::domain::platform::Platform;
use landfall::facade::domain::policy::Labels;
use landfall::facade::domain::scan::{ScanAnswer, ScanState, Scanner};
use landfall::facade::domain::verdict::Verdict;

/// Indexes by number; what is not listed here is a plain manifest. The image is index 1.
type World = BTreeMap<u8, Vec<(u8, &'static str)>>;

fn digest(number: u8) -> Digest {
    Digest::Sha256([number; 32])
}

fn number(digest: Digest) -> u8 {
    (0..=u8::MAX).find(|number| self::digest(*number) == digest).unwrap()
}

/// `os/architecture[/variant]`, or `-` for no platform.
fn child((number, platform): &(u8, &str)) -> Child {
    let mut parts = platform.split('/');
    let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap_or_default());
    let platform = (*platform != "-").then(|| Platform::normalised(os, architecture, parts.next()));
    Child { digest: digest(*number), platform }
}

/// The children that are asked for and those whose scan is asked for, in order, and the verdict.
fn judge(platforms: &str, world: &World) -> (Vec<u8>, Vec<u8>, Verdict) {
    let text = format!(
        "site: ams
registries:
  fra: {{host: fra.example.com, site: fra, kind: harbor}}
  ams: {{host: ams.example.com, site: ams, kind: harbor}}
routes:
- name: shop
  primary: {{registry: fra, repositories: 'shop/**'}}
  replicas: [{{registry: ams, namespace: ''}}]
platforms: [{platforms}]
defaults: {{scan: {{required: Always}}}}
"
    );
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let settings = config::parse(&text, "site.yaml", Files::Skip, now).unwrap().settings;
    let (regime, platforms) = (settings.regime(&Labels::new(), now), settings.platforms.clone());
    let context = PodContext { regime, platforms, exemption: Exemption::None, now };
    let case =
        settings.case_for(&format!("fra.example.com/shop/web@{}", digest(1)), Pull::Registry, &context);
    let (mut evidence, mut asked, mut scanned) = (Evidence::default(), Vec::new(), Vec::new());
    loop {
        let queries = match decide(&case, &evidence) {
            Step::Settle(verdict) => return (asked, scanned, verdict),
            Step::Ask(queries) => queries,
        };
        for query in queries {
            let observation = match query {
                Query::Presence(_, Wanted::Digest(wanted)) => {
                    asked.push(number(wanted));
                    let is_index = world.contains_key(&number(wanted));
                    let shape = if is_index { Shape::Index } else { Shape::Manifest };
                    Observation::Presence(Presence::Present { digest: wanted, shape })
                }
                Query::Children(_, index) => {
                    Observation::Children(Children::Listed(world[&number(index)].iter().map(child).collect()))
                }
                Query::Scan(_, digest, _) => {
                    scanned.push(number(digest));
                    let state = ScanState::NotScanned;
                    Observation::Scan(ScanAnswer { scanner: Scanner::Present, state, last: None })
                }
                Query::Reachable(_) => Observation::Reachable(Reachability::Up),
                other => panic!("{other:?}"),
            };
            evidence.learn(query, observation, Duration::ZERO);
        }
    }
}

#[test]
fn what_a_node_may_start_is_asked_for_and_scanned() {
    for (platforms, children, needed) in [
        ("linux/amd64", vec![(2, "linux/amd64"), (3, "linux/arm64")], vec![2]),
        // Other spellings of the same platform.
        ("linux/amd64", vec![(2, "linux/arm64"), (3, "linux/x86_64")], vec![3]),
        ("linux/amd64", vec![(2, "linux/amd64"), (3, "Linux/AMD64"), (4, "linux/x86-64")], vec![2, 3, 4]),
        ("linux/amd64", vec![(2, "linux/arm64"), (3, "/amd64")], vec![3]),
        ("linux/amd64", vec![(2, "linux/arm64"), (3, "linux/amd64/v1")], vec![3]),
        ("linux/arm64", vec![(2, "linux/amd64"), (3, "linux/aarch64"), (4, "linux/arm64/v8")], vec![3, 4]),
        ("linux/arm/v7", vec![(2, "linux/armhf"), (3, "linux/armel"), (4, "linux/arm")], vec![2, 4]),
        // Without a platform a child may be for any.
        ("linux/amd64", vec![(2, "linux/amd64"), (3, "-")], vec![2, 3]),
        // What a node takes where nothing fits better, and a decoy that only some CPUs take.
        ("linux/amd64", vec![(2, "linux/386"), (3, "linux/arm64")], vec![2]),
        ("linux/amd64", vec![(2, "linux/386"), (3, "linux/amd64")], vec![3]),
        ("linux/amd64", vec![(2, "linux/386"), (3, "linux/amd64/v4")], vec![2, 3]),
        ("linux/arm64", vec![(2, "linux/arm/v6"), (3, "linux/arm/v7"), (4, "linux/arm64/v9")], vec![3, 4]),
        ("linux/amd64, linux/arm64", vec![(2, "linux/i386"), (3, "linux/arm64")], vec![2, 3]),
    ] {
        let world = World::from([(1, children.clone())]);
        let (asked, scanned, _) = judge(platforms, &world);
        // The image itself is asked for first; the last question is another site's.
        assert_eq!(asked[1..=needed.len()], needed, "{platforms} {children:?}");
        assert_eq!(scanned, needed, "{platforms} {children:?}");
    }
}

#[test]
fn an_index_inside_an_index_is_followed_three_levels() {
    let mut world = World::from([
        (1, vec![(2, "linux/amd64"), (9, "linux/arm64")]),
        (2, vec![(3, "-"), (4, "linux/amd64")]),
        (3, vec![(5, "linux/amd64"), (6, "linux/arm64")]),
        (9, vec![(8, "linux/amd64")]),
    ]);
    let (asked, scanned, _) = judge("linux/amd64", &world);
    assert_eq!(asked[..5], [1, 2, 3, 4, 5]);
    // Scans are asked at the same time as presence, so before it is known what is an index.
    assert_eq!(scanned, [2, 3, 4, 5]);
    world.insert(5, vec![(7, "linux/amd64")]);
    let (_, scanned, verdict) = judge("linux/amd64", &world);
    assert_eq!(scanned, [2, 3, 4, 5], "nothing below is asked for");
    let finding = &verdict.findings[0];
    assert_eq!(finding.kind, FindingKind::Unreachable);
    assert!(finding.detail.contains("nested more than 3 deep"), "{}", finding.detail);
}

#[test]
fn no_more_than_64_children_are_asked_for_in_all() {
    let amd64 = |from: u8, count: u8| (from..from + count).map(|number| (number, "linux/amd64")).collect();
    let mut world = World::from([(1, vec![(2, "-"), (3, "-")]), (2, amd64(10, 31)), (3, amd64(60, 31))]);
    let (_, scanned, _) = judge("linux/amd64", &world);
    assert_eq!(scanned.len(), 2 + 62);
    world.insert(3, amd64(60, 32));
    let (_, scanned, verdict) = judge("linux/amd64", &world);
    assert!(scanned.len() <= 2, "{scanned:?}");
    assert!(verdict.findings[0].detail.contains("no more than 64"), "{}", verdict.findings[0].detail);
}

/// A node reads keys in any case, and what stands there twice as one. We cannot tell what it would start, and say so.
#[cfg(feature = "demo")]
#[tokio::test]
async fn an_index_whose_keys_a_node_reads_otherwise_is_no_registrys_answer() {
    use std::sync::Arc;

    use landfall::facade::demo::world::content::{Content, Flavour, sha256};
    use landfall::facade::demo::world::{Login, World};
    use landfall::facade::domain::image::Repository;
    use landfall::facade::domain::unknown::Cause;
    use landfall::facade::registry::{Client, Metrics, Tasks};
    use tokio::time::Instant;

    let world = World::new().unwrap();
    let registry = world.plain("plain", Login::Open).await.unwrap();
    let index = Content::index("web", Flavour::Oci, &["linux/arm64", "linux/amd64"]);
    let hidden =
        format!(r#"{{"digest":"{}","platform":{{"os":"linux","architecture":"amd64"}}}}"#, sha256(b"x"));
    let written = |from: &str, to: &str| {
        let text = String::from_utf8(index.bytes.to_vec()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1)
    };
    let of = |registry| {
        Client::new(&registry, Metrics::register(&mut Default::default()), Tasks::default()).unwrap()
    };
    let client = of(Arc::new(registry.registry("ams", "plain.example")));
    let repository = Repository::new("shop/web");
    for (body, told) in [
        (written("{", "{"), None),
        (written("{", r#"{"Unread":[],"unread":[],"#), None),
        (written(r#""manifests""#, r#""Manifests""#), Some("nodes read the key `Manifests` as `manifests`")),
        (
            written("{", &format!(r#"{{"MANIFESTS":[{hidden}],"#)),
            Some("nodes read the key `MANIFESTS` as `manifests`"),
        ),
        (
            written("{", &format!(r#"{{"manife\u017fts":[{hidden}],"#)),
            Some("nodes read the key `manifeſts` as `manifests`"),
        ),
        (
            written("{", &format!(r#"{{"manifests":[{hidden}],"#)),
            Some("the key `manifests` stands there twice"),
        ),
        (written(r#""digest""#, r#""Digest""#), Some("nodes read the key `Digest` as `digest`")),
        (
            written(r#""platform":{"#, r#""platform":{"Architecture":"amd64","#),
            Some("nodes read the key `Architecture` as `architecture`"),
        ),
        (
            written(r#""os":"linux""#, r#""os":"windows","o\u017f":"linux""#),
            Some("nodes read the key `oſ` as `os`"),
        ),
    ] {
        let bytes = body.clone().into_bytes();
        let content = Content { digest: sha256(&bytes), bytes: bytes.into(), ..index.clone() };
        let digest = registry.store().push("shop/web", "1", &content);
        let deadline = Instant::now() + Duration::from_secs(60);
        match (client.children(&repository, &digest, deadline).await, told) {
            (Children::Listed(children), None) => assert_eq!(children.len(), 2, "{body}"),
            (Children::Unknown(unknown), Some(told)) => {
                assert_eq!(unknown.cause, Cause::NotRegistry, "{body}");
                assert!(unknown.detail.contains(told), "{}", unknown.detail);
            }
            (read, _) => panic!("{body}: {read:?}"),
        }
    }
}
