//! When a cached verdict ends, and that the memory is bounded.

use std::time::Duration;

use super::*;
use crate::domain::platform::PlatformDemand;
use crate::domain::policy::{LabelRequirement, LabelTest, Labels, Selector};
use crate::domain::settings::sample;

const IMAGE: &str = "fra.example.com/shop/web:1";

fn settings(entries: u64) -> Arc<Settings> {
    let test = LabelTest::In(vec!["strict".into()]);
    let policy = sample::policy("strict", Selector::new(vec![LabelRequirement { key: "tier".into(), test }]));
    let mut settings = sample::settings(Duration::from_secs(3600));
    settings.policies = vec![Arc::new(policy)];
    settings.cache.entries = entries;
    Arc::new(settings)
}

fn common(settings: &Settings, tier: Option<&str>) -> PodContext {
    let labels: Labels = tier.into_iter().map(|tier| ("tier".to_owned(), tier.to_owned())).collect();
    PodContext {
        regime: settings.regime(&labels, observed_at().date),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now: observed_at().date,
    }
}

fn observed_at() -> ObservedAt {
    ObservedAt { now: Instant::now(), date: "2026-11-21T12:00:00Z".parse().unwrap(), generation: 7 }
}

fn keep(
    verdicts: &VerdictCache<u32>,
    context_id: ContextId,
    image: &str,
    validity: Validity,
    what: u32,
    settings: &Settings,
) {
    let key = verdicts.key(context_id, Pull::Registry, image);
    verdicts.keep((key, context_id, Pull::Registry, image), validity, (Arc::new(what), 0), settings);
}

fn get(verdicts: &VerdictCache<u32>, context_id: ContextId, image: &str, at: &ObservedAt) -> Option<u32> {
    let key = verdicts.key(context_id, Pull::Registry, image);
    verdicts.get(key, context_id, Pull::Registry, image, at).map(|what| *what)
}

#[tokio::test]
async fn it_is_told_while_it_holds_and_each_end_ends_it() {
    let (settings, verdicts) = (settings(1000), VerdictCache::<u32>::default());
    let context_id = verdicts.context_id(&settings, &common(&settings, None));
    let since = observed_at();
    let hour = Duration::from_secs(3600);
    let validity = Validity { since, until: Some(since.now + hour), date: Some(since.date + hour) };
    keep(&verdicts, context_id, IMAGE, validity, 1, &settings);

    let second = Duration::from_secs(1);
    let last = ObservedAt { now: since.now + hour - second, date: since.date + hour - second, ..since };
    for at in [since, last] {
        assert_eq!(get(&verdicts, context_id, IMAGE, &at), Some(1));
    }
    for (at, why) in [
        (ObservedAt { now: since.now + hour, ..since }, "an observation expired"),
        (ObservedAt { date: since.date + hour, ..since }, "an exception ended, a scan is too old"),
        (ObservedAt { date: since.date - second, ..since }, "the clock was set back"),
        (ObservedAt { generation: 8, ..since }, "something changed"),
    ] {
        assert_eq!(get(&verdicts, context_id, IMAGE, &at), None, "{why}");
    }
    let never = verdicts.key(context_id, Pull::Never, IMAGE);
    assert_eq!(verdicts.get(never, context_id, Pull::Never, IMAGE, &since), None, "another Case");
    assert_eq!(get(&verdicts, context_id, "fra.example.com/shop/web:2", &since), None, "another image");
    let other = verdicts.get(
        verdicts.key(context_id, Pull::Registry, IMAGE),
        context_id,
        Pull::Registry,
        "x",
        &since,
    );
    assert_eq!(other, None, "another image of the same hash");
}

#[tokio::test]
async fn what_does_not_hold_now_is_not_kept() {
    let (settings, verdicts) = (settings(1000), VerdictCache::<u32>::default());
    let context_id = verdicts.context_id(&settings, &common(&settings, None));
    let since = observed_at();
    let validity = Validity { since, until: Some(since.now), date: None };
    keep(&verdicts, context_id, IMAGE, validity, 1, &settings);
    let before = ObservedAt { now: since.now - Duration::from_secs(1), ..since };
    assert_eq!(get(&verdicts, context_id, IMAGE, &before), None);
}

#[test]
fn other_policies_platforms_exemptions_and_settings_are_other_dockets() {
    let (settings, verdicts) = (settings(1000), VerdictCache::<u32>::default());
    let plain = common(&settings, None);
    let context_id = verdicts.context_id(&settings, &plain);
    assert_eq!(verdicts.context_id(&settings, &common(&settings, None)), context_id);
    assert_eq!(
        verdicts.context_id(&settings, &common(&settings, Some("lax"))),
        context_id,
        "no policy of that tier"
    );

    let windows = PlatformDemand { os: Some("windows".into()), architecture: None };
    for other in [
        common(&settings, Some("strict")),
        PodContext { platforms: settings.platforms(&windows), ..plain.clone() },
        PodContext { exemption: Exemption::Skip, ..plain.clone() },
    ] {
        let first = verdicts.context_id(&settings, &other);
        assert_ne!(first, context_id);
        assert_eq!(verdicts.context_id(&settings, &other), first);
    }
    let anew = Arc::new(Settings::clone(&settings));
    assert_ne!(verdicts.context_id(&anew, &plain), context_id, "another snapshot, whatever it says");
    assert_ne!(verdicts.context_id(&settings, &plain), context_id, "a number is never given twice");
}

#[test]
fn dockets_are_bounded() {
    let (settings, verdicts) = (settings(1000), VerdictCache::<u32>::default());
    let plain = common(&settings, None);
    for n in 0..10 * CONTEXTS {
        let os = Some(format!("os{n}").into());
        let platforms = settings.platforms(&PlatformDemand { os, architecture: None });
        verdicts.context_id(&settings, &PodContext { platforms, ..plain.clone() });
    }
    assert_eq!(verdicts.contexts.read().unwrap().open.len(), CONTEXTS);
}

#[tokio::test]
async fn room_is_bounded_and_what_is_asked_for_stays() {
    let (settings, verdicts) = (settings(10_000), VerdictCache::<u32>::default());
    let context_id = verdicts.context_id(&settings, &common(&settings, None));
    let validity = Validity { since: observed_at(), until: None, date: None };
    let kept = |verdicts: &VerdictCache<u32>| -> usize {
        let shards = verdicts.shards.iter().map(|shard| shard.lock().unwrap());
        shards
            .map(|shard| shard.young.values().chain(shard.old.values()).map(|kept| kept.size).sum::<usize>())
            .sum()
    };
    for n in 0..100_000 {
        keep(&verdicts, context_id, &format!("fra.example.com/shop/web:{n}"), validity, n, &settings);
        if n == 0 {
            keep(&verdicts, context_id, IMAGE, validity, 1, &settings);
        }
        if n % 100 == 0 {
            assert_eq!(get(&verdicts, context_id, IMAGE, &validity.since), Some(1));
        }
    }
    let size = kept(&verdicts);
    assert!((10_000 * ROOM / 4..=10_000 * ROOM).contains(&size), "{size} bytes");
    assert_eq!(get(&verdicts, context_id, "fra.example.com/shop/web:99999", &validity.since), Some(99_999));
    assert_eq!(get(&verdicts, context_id, "fra.example.com/shop/web:0", &validity.since), None);
}
