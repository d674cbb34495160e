//! What the doors tell the ledger, and what a later look at a gap finds.

use std::sync::Arc;

use jiff::Timestamp;
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::domain::finding::FindingKind;
use landfall::facade::domain::gap::{Axis, GapKey, GapKind};
use landfall::facade::ledger::{Book, Record, Standing, State, recheck};
use serde_json::json;

use super::support::door::{Door, became};
use super::support::site::review;

fn fra(name: Named) -> String {
    format!("harbor.fra.example.com/{}:{}", name.repository, name.tag)
}

/// What the doors have told since this was asked last.
fn told(door: &Door) -> Vec<(GapKey, Record)> {
    let book = Book::default();
    book.fold(&door.recorder);
    book.entries()
}

fn finding(kind: FindingKind) -> Option<GapKind> {
    Some(GapKind::Finding(kind))
}

fn counts(record: &Record) -> [i64; 3] {
    [record.used, record.fell_back, record.denied]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_door_tells_of_gaps_and_what_became_of_the_image() {
    let door = Door::open().await;
    // A copy that is in order has no gap.
    door.pod("shop", &[&fra(seed::PRESENT), "busybox"]).await;
    assert_eq!(told(&door), []);
    // Another site's copy is used; the image twice in one Pod is one.
    let missing = fra(seed::MISSING);
    let mut pod = review("shop", &[&missing, &missing, &fra(seed::PRESENT)]);
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-1", "uid": "u-7", "controller": true});
    pod["request"]["object"]["metadata"]["ownerReferences"] = json!([owner]);
    door.review(&pod).await;
    let [(key, record)] = &told(&door)[..] else { panic!() };
    assert_eq!((key.subject.to_string(), key.registry.as_str()), (missing.clone(), "ams"));
    assert_eq!(record.lacking(Axis::Presence), finding(FindingKind::Missing));
    assert_eq!((counts(record), &*record.namespaces), ([0, 1, 0], &["shop".to_owned()][..]));
    let [owner] = &record.owners[..] else { panic!("{record:?}") };
    assert_eq!(
        (&*owner.kind, &*owner.name, owner.namespace.as_deref()),
        ("ReplicaSet", "checkout-1", Some("shop"))
    );
    // From the verdict cache, too: the Pod has no owner, so it is named itself.
    door.pod("shop", &[&missing]).await;
    let [(_, record)] = &told(&door)[..] else { panic!() };
    assert_eq!((counts(record), &*record.owners[0].kind), ([0, 1, 0], "Pod"));
    // A scan.
    door.pod("shop", &[&fra(seed::UNSCANNED)]).await;
    let [(key, record)] = &told(&door)[..] else { panic!() };
    assert_eq!(record.lacking(Axis::Scan), finding(FindingKind::Unscanned));
    assert!(key.subject.to_string().contains("@sha256:"), "the digest is known: {key:?}");
    assert_eq!(record.tag.as_deref(), Some(seed::UNSCANNED.tag));
    // Of a Pod that is denied, the images that deny it. A policy has them looked at where filters leave them out, too: nothing is
    // lacking there.
    door.pod("bank", &[&missing, &fra(seed::PRESENT)]).await;
    let denied = told(&door);
    let [(_, record)] = &denied[..] else { panic!("{denied:?}") };
    assert_eq!(counts(record), [0, 0, 1]);
    // A dry run creates no Pod, and what is excluded is not judged.
    let mut dry = review("shop", &[&missing]);
    dry["request"]["dryRun"] = true.into();
    door.review(&dry).await;
    door.pod("harbor", &[&missing]).await;
    assert_eq!(told(&door), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_door_tells_only_of_what_it_denies() {
    let door = Door::open().await;
    let digest = door.demo.fra.store().digest(seed::MISSING.repository, seed::MISSING.tag).unwrap();
    let missing = format!("{}@{digest}", fra(seed::MISSING));
    let mut pod = review("bank", &[&missing]);
    door.validate("regulated", &pod).await;
    let denied = told(&door);
    let at_ams: Vec<_> = denied.iter().filter(|(key, _)| key.registry.as_str() == "ams").collect();
    let [(key, record)] = &at_ams[..] else { panic!("{denied:?}") };
    assert_eq!(
        key.subject.to_string(),
        format!("harbor.fra.example.com/{}@{digest}", seed::MISSING.repository)
    );
    assert_eq!(counts(record), [0, 0, 1]);
    pod["request"]["dryRun"] = true.into();
    door.validate("regulated", &pod).await;
    let pod = review("bank", &[&fra(seed::PRESENT)]);
    let first = door.review(&pod).await;
    door.validate("regulated", &became(&pod, &first)).await;
    assert_eq!(told(&door), []);
}

/// What a look at the gap of this Pod's image finds now.
struct Looks<'a>(&'a Door);

impl Looks<'_> {
    async fn at(&self, gap: &(GapKey, Record)) -> Standing {
        let labels = Arc::new(|_: &str| -> futures::future::BoxFuture<'static, _> {
            Box::pin(std::future::ready(Arc::default()))
        });
        let (settings, observatory) = (self.0.settings.clone(), self.0.observatory.clone());
        recheck(settings, observatory, labels, Timestamp::now)(&gap.0, &gap.1).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_finds_what_is_lacking_what_is_mended_and_what_nobody_expects_any_more() {
    let door = Door::open().await;
    let looks = Looks(&door);
    let gap = async |name| {
        door.pod("shop", &[&fra(name)]).await;
        told(&door).into_iter().find(|(key, _)| key.registry.as_str() == "ams").unwrap()
    };
    let is =
        |state: &State, kind| matches!(state, State::Lacking(GapKind::Finding(found), _) if *found == kind);
    let (missing, unscanned) = (gap(seed::MISSING).await, gap(seed::UNSCANNED).await);
    let (failed, child) = (gap(seed::SCAN_FAILED).await, gap(seed::CHILD_LOST).await);
    let stands = looks.at(&missing).await;
    assert!(is(&stands.presence, FindingKind::Missing) && stands.scan == State::Unknown, "{stands:?}");
    let stands = looks.at(&unscanned).await;
    assert!(is(&stands.scan, FindingKind::Unscanned) && stands.presence == State::Good, "{stands:?}");
    assert!(is(&looks.at(&failed).await.scan, FindingKind::ScanFailed));
    assert!(is(&looks.at(&child).await.presence, FindingKind::Missing), "the child itself");

    // Of what its primary does not have either no copy is expected, unless something runs with it.
    let typo = "harbor.fra.example.com/production/shop/checkout:no-such-tag";
    door.pod("shop", &[typo]).await;
    let mut never = told(&door).remove(0);
    assert_eq!(
        looks.at(&never).await.presence,
        State::NotExpected("its primary does not have it either".into())
    );
    never.1.pods = Some(1);
    assert!(is(&looks.at(&never).await.presence, FindingKind::Missing));

    // Mended, and known at once although doors still rest on the older answer.
    let name = seed::MISSING;
    let content = Content::image(&format!("{} {}", name.repository, name.tag));
    let digest = door.demo.ams.store().push(name.repository, name.tag, &content);
    door.demo.ams.store().set_scan(&digest, Scan::clean());
    let digest = door.demo.ams.store().digest(seed::UNSCANNED.repository, seed::UNSCANNED.tag).unwrap();
    door.demo.ams.store().set_scan(&digest, Scan::clean());
    assert_eq!(looks.at(&missing).await.presence, State::Good);
    let good = Standing { presence: State::Good, scan: State::Good, risk: State::Unknown };
    assert_eq!(looks.at(&unscanned).await, good);

    // What cannot be learned is unknown.
    door.demo.ams.down().await;
    assert_eq!(looks.at(&failed).await, Standing::UNKNOWN);
    assert_eq!(looks.at(&missing).await.presence, State::Unknown);

    // No route has copies there any more.
    let mut settings = (*door.settings.load_full()).clone();
    (settings.routes, settings.index) = (Arc::default(), Arc::default());
    door.settings.store(Arc::new(settings));
    assert_eq!(looks.at(&missing).await, Standing::not_expected("no route covers the image any more"));
}
