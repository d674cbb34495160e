//! How a settled verdict comes to its end, and that its room is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::platform::PlatformDemand;
use crate::domain::policy::{
    Actions, Enforcement, LabelRequirement, LabelTest, Labels, Policy, PolicyName, Rules, Selector,
};
use crate::domain::registry::Site;
use crate::domain::route::RouteIndex;
use crate::domain::scan::{Allowlist, Required, Requirement};
use crate::domain::settings::{Budget, CacheLife, Exclude};

const IMAGE: &str = "fra.example.com/shop/web:1";

fn settings(entries: u64) -> Arc<Settings> {
    let hour = Duration::from_secs(3600);
    let scan = Requirement {
        required: Required::Auto,
        max_severity: None,
        max_age: None,
        ignore: Arc::default(),
        allowlist: Allowlist::Honoured,
    };
    let rules = Rules { actions: Actions::default(), scan };
    let test = LabelTest::In(vec!["strict".into()]);
    let policy = Policy {
        name: PolicyName::new("strict"),
        selector: Selector { requirements: vec![LabelRequirement { key: "tier".into(), test }] },
        enforcement: Enforcement::Enforce,
        rules: rules.clone(),
        exceptions: vec![],
    };
    Arc::new(Settings {
        site: Site::new("ams"),
        near: vec![],
        registries: BTreeMap::new(),
        routes: vec![],
        index: RouteIndex::default(),
        platforms: vec!["linux/amd64".parse().unwrap()].into(),
        defaults: Arc::new(rules),
        policies: vec![Arc::new(policy)],
        exclude: Exclude::default(),
        cache: CacheLife { present: hour, remember: hour, tag: hour, absent: hour, scan: hour, entries },
        budget: Budget { request: hour, attempt: hour, in_flight: 1 },
    })
}

fn common(settings: &Settings, tier: Option<&str>) -> Circumstances {
    let labels: Labels = tier.into_iter().map(|tier| ("tier".to_owned(), tier.to_owned())).collect();
    Circumstances {
        regime: settings.regime(&labels),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now: moment().date,
    }
}

fn moment() -> Moment {
    Moment { now: Instant::now(), date: "2026-11-21T12:00:00Z".parse().unwrap(), changes: 7 }
}

fn keep(settled: &Settled<u32>, docket: Docket, image: &str, life: Life, what: u32, settings: &Settings) {
    let key = settled.key(docket, Pull::Registry, image);
    settled.keep((key, docket, Pull::Registry, image), life, (Arc::new(what), 0), settings);
}

fn get(settled: &Settled<u32>, docket: Docket, image: &str, at: &Moment) -> Option<u32> {
    let key = settled.key(docket, Pull::Registry, image);
    settled.get(key, docket, Pull::Registry, image, at).map(|what| *what)
}

#[tokio::test]
async fn it_is_told_while_it_holds_and_each_end_ends_it() {
    let (settings, settled) = (settings(1000), Settled::<u32>::default());
    let docket = settled.docket(&settings, &common(&settings, None));
    let since = moment();
    let hour = Duration::from_secs(3600);
    let life = Life { since, until: Some(since.now + hour), date: Some(since.date + hour) };
    keep(&settled, docket, IMAGE, life, 1, &settings);

    let second = Duration::from_secs(1);
    let last = Moment { now: since.now + hour - second, date: since.date + hour - second, ..since };
    for at in [since, last] {
        assert_eq!(get(&settled, docket, IMAGE, &at), Some(1));
    }
    for (at, why) in [
        (Moment { now: since.now + hour, ..since }, "an observation expired"),
        (Moment { date: since.date + hour, ..since }, "an exception ended, a scan is too old"),
        (Moment { date: since.date - second, ..since }, "the clock was set back"),
        (Moment { changes: 8, ..since }, "something changed"),
    ] {
        assert_eq!(get(&settled, docket, IMAGE, &at), None, "{why}");
    }
    let never = settled.key(docket, Pull::Never, IMAGE);
    assert_eq!(settled.get(never, docket, Pull::Never, IMAGE, &since), None, "another Case");
    assert_eq!(get(&settled, docket, "fra.example.com/shop/web:2", &since), None, "another image");
    let other = settled.get(settled.key(docket, Pull::Registry, IMAGE), docket, Pull::Registry, "x", &since);
    assert_eq!(other, None, "another image of the same hash");
}

#[tokio::test]
async fn what_does_not_hold_now_is_not_kept() {
    let (settings, settled) = (settings(1000), Settled::<u32>::default());
    let docket = settled.docket(&settings, &common(&settings, None));
    let since = moment();
    let life = Life { since, until: Some(since.now), date: None };
    keep(&settled, docket, IMAGE, life, 1, &settings);
    let before = Moment { now: since.now - Duration::from_secs(1), ..since };
    assert_eq!(get(&settled, docket, IMAGE, &before), None);
}

#[test]
fn other_policies_platforms_exemptions_and_settings_are_other_dockets() {
    let (settings, settled) = (settings(1000), Settled::<u32>::default());
    let plain = common(&settings, None);
    let docket = settled.docket(&settings, &plain);
    assert_eq!(settled.docket(&settings, &common(&settings, None)), docket);
    assert_eq!(settled.docket(&settings, &common(&settings, Some("lax"))), docket, "no policy of that tier");

    let windows = PlatformDemand { os: Some("windows".into()), architecture: None };
    for other in [
        common(&settings, Some("strict")),
        Circumstances { platforms: settings.platforms(&windows), ..plain.clone() },
        Circumstances { exemption: Exemption::Skip, ..plain.clone() },
    ] {
        let first = settled.docket(&settings, &other);
        assert_ne!(first, docket);
        assert_eq!(settled.docket(&settings, &other), first);
    }
    let anew = Arc::new(Settings::clone(&settings));
    assert_ne!(settled.docket(&anew, &plain), docket, "another snapshot, whatever it says");
    assert_ne!(settled.docket(&settings, &plain), docket, "a number is never given twice");
}

#[test]
fn dockets_are_bounded() {
    let (settings, settled) = (settings(1000), Settled::<u32>::default());
    let plain = common(&settings, None);
    for n in 0..10 * DOCKETS {
        let os = Some(format!("os{n}").into());
        let platforms = settings.platforms(&PlatformDemand { os, architecture: None });
        settled.docket(&settings, &Circumstances { platforms, ..plain.clone() });
    }
    assert_eq!(settled.dockets.read().unwrap().open.len(), DOCKETS);
}

#[tokio::test]
async fn room_is_bounded_and_what_is_asked_for_stays() {
    let (settings, settled) = (settings(10_000), Settled::<u32>::default());
    let docket = settled.docket(&settings, &common(&settings, None));
    let life = Life { since: moment(), until: None, date: None };
    let kept = |settled: &Settled<u32>| -> usize {
        let shards = settled.shards.iter().map(|shard| shard.lock().unwrap());
        shards
            .map(|shard| shard.young.values().chain(shard.old.values()).map(|kept| kept.size).sum::<usize>())
            .sum()
    };
    for n in 0..100_000 {
        keep(&settled, docket, &format!("fra.example.com/shop/web:{n}"), life, n, &settings);
        if n == 0 {
            keep(&settled, docket, IMAGE, life, 1, &settings);
        }
        if n % 100 == 0 {
            assert_eq!(get(&settled, docket, IMAGE, &life.since), Some(1));
        }
    }
    let size = kept(&settled);
    assert!((10_000 * ROOM / 4..=10_000 * ROOM).contains(&size), "{size} bytes");
    assert_eq!(get(&settled, docket, "fra.example.com/shop/web:99999", &life.since), Some(99_999));
    assert_eq!(get(&settled, docket, "fra.example.com/shop/web:0", &life.since), None);
}
