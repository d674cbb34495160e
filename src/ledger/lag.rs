//! How late a copy came: its push time here, and at the primary.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::keeper::LagOf;
use super::recheck::at_registry;
use crate::domain::case::{Exemption, PodContext, Pull, Subject};
use crate::domain::facts::lag;
use crate::domain::gap::{GapKey, GapSubject, Version};
use crate::domain::policy::Labels;
use crate::domain::settings::Settings;
use crate::evidence::{CopyFacts, Observatory};

/// How long it may take: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks both Harbors when they got the image. Where only a tag is known, or one of them is a plain registry, there is no lag.
#[must_use]
pub fn lag_of(
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    clock: fn() -> Timestamp,
) -> LagOf {
    Arc::new(move |key: &GapKey| {
        let (key, settings, observatory) = (key.clone(), settings.load_full(), observatory.clone());
        async move { lag_between(&key, &settings, &observatory, clock()).await }.boxed()
    })
}

async fn lag_between(
    key: &GapKey,
    settings: &Settings,
    observatory: &Observatory,
    now: Timestamp,
) -> Option<Duration> {
    let GapSubject::Image { version: Version::Digest(digest), .. } = &key.subject else { return None };
    let regime = settings.regime(&Labels::new(), now);
    let (platforms, exemption) = (settings.platforms.clone(), Exemption::None);
    let context = PodContext { regime, platforms, exemption, now };
    let case = settings.case_for(&key.subject.to_string(), Pull::Registry, &context);
    let (here, case) = at_registry(&case, key).ok()?;
    let Subject::Routed(routed) = &case.subject else { return None };
    let (_, primary) = routed.primary()?;
    let deadline = Instant::now() + PATIENCE;
    let asked = futures::join!(
        observatory.facts(&here, digest, deadline),
        observatory.facts(primary, digest, deadline)
    );
    match asked {
        (Ok(CopyFacts::Known(here)), Ok(CopyFacts::Known(primary))) => lag(&primary, &here),
        _ => None,
    }
}
