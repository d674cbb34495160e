//! Asks a registry once everything that Landfall asks about an image.

use std::sync::Arc;

use prometheus_client::registry::Registry as Page;
use tokio::time::Instant;

use super::{Mistake, NOWHERE, Sample};
use crate::domain::case::{Locality, Place};
use crate::domain::evidence::Presence;
use crate::domain::image::Tag;
use crate::domain::registry::{Kind, Registry, SharedRegistry};
use crate::domain::scan::{Detail, Required, ScanState, Scanner};
use crate::domain::settings::Settings;
use crate::domain::unknown::{Cause, Unknown};
use crate::harbor::Harbor;
use crate::registry::{Client, Metrics, Target, Tasks};

/// What was answered.
pub(super) struct Asked {
    /// Whether the Place holds the image.
    pub presence: Presence,
    /// What could not be learned, and what to do about it.
    pub wrong: Vec<Mistake>,
}

/// A client like that of the prober.
pub(super) async fn client(registry: &SharedRegistry) -> Option<Client> {
    let (shared, metrics) = (registry.clone(), Metrics::register(&mut Page::default()));
    let made = tokio::task::spawn_blocking(move || Client::new(&shared, metrics, Tasks::default())).await;
    made.ok()?.ok()
}

/// Asks for the image, and for its scan where one may be required.
pub(super) async fn ask(settings: &Settings, Sample { routed, place }: Sample<'_>) -> Asked {
    let Place { registry, repository, .. } = place;
    let Some(client) = client(registry).await else {
        // The prober made the same client a moment ago.
        let unknown = Unknown::new(Cause::Internal, "no client could be made");
        return Asked { presence: Presence::Unknown(unknown), wrong: Vec::new() };
    };
    let deadline = || Instant::now() + settings.budget.request;
    let tag = routed.tag.clone().unwrap_or_else(|| Tag::new("latest"));
    let target = routed.digest.as_ref().map_or(Target::Tag(&tag), Target::Digest);
    let harbor = match registry.kind {
        Kind::Distribution => {
            let presence = client.presence(repository, target, deadline()).await;
            return Asked { wrong: unserved(place, &presence).into_iter().collect(), presence };
        }
        Kind::Harbor => Harbor::new(Arc::new(client)),
    };
    let presence = harbor.presence(repository, target, deadline()).await;
    let mut wrong: Vec<_> = unserved(place, &presence).into_iter().collect();
    if wrong.is_empty() && place.locality == Locality::Local && wants_scans(settings) {
        // What we may see does not depend on the image. Of one that is scanned, the project's scanner would not be asked for.
        let scan = harbor.scan(repository, &NOWHERE, Detail::Summary, deadline()).await;
        wrong.extend(hidden(project(place), &scan.state, scan.scanner));
    }
    Asked { presence, wrong }
}

/// Why the registry did not say whether it holds the image.
fn unserved(place: &Place, presence: &Presence) -> Option<Mistake> {
    let Presence::Unknown(Unknown { cause, detail }) = presence else { return None };
    let (Place { repository, .. }, project) = (place, project(place));
    let Registry { name, url, kind, .. } = &*place.registry;
    let said = format!("answers `/v2/`, but serves no manifests of `{project}/`: {detail}");
    Some(match cause {
        Cause::Unauthorized | Cause::Forbidden => (
            detail.to_string(),
            format!("let our credentials pull from `{repository}` (Harbor: `repository:pull` of its project)"),
        ),
        Cause::RateLimited { .. } | Cause::Spent { .. } => (
            said,
            format!("set a lower `registries.{name}.requestsPerHour`, or let its administrators raise the limit"),
        ),
        // Our own fault, or our own choice.
        Cause::BreakerOpen | Cause::Drained | Cause::Overloaded | Cause::Internal => return None,
        _ => match kind {
            Kind::Harbor => (
                said,
                "check Harbor's `registry` and its storage, and the logs of both `registry` and `core`; nodes cannot pull either"
                    .to_owned(),
            ),
            Kind::Distribution => {
                (said, format!("see the log of the server at {url}, and check its storage; nodes cannot pull either"))
            }
        },
    })
}

fn project(place: &Place) -> &str {
    place.repository.as_str().split('/').next().unwrap_or_default()
}

/// What of scans we may not see, or cannot.
fn hidden(project: &str, state: &ScanState, scanner: Scanner) -> Option<Mistake> {
    let permission = |right: &str, what: &str| {
        let said = format!("accepts our credentials, but {what}: no scan can be required there");
        (said, format!("give the robot the permission `{right}` of the project `{project}`"))
    };
    match (state, scanner) {
        (ScanState::Hidden, _) => Some(permission("artifact:read", "our robot may not see its scans")),
        (_, Scanner::Hidden) => {
            Some(permission("scanner:read", "our robot may not see whether it has a scanner"))
        }
        (ScanState::Unknown(unknown), _) => Some((
            format!("does not tell about scans of `{project}/`: {unknown}"),
            "see the log of harbor-core; until then, `onUnscanned` or `onUnknown` decides".to_owned(),
        )),
        _ => None,
    }
}

/// Whether any policy or `defaults` may require scans.
fn wants_scans(settings: &Settings) -> bool {
    let rules = settings.policies.iter().map(|policy| &policy.rules).chain([&*settings.defaults]);
    rules.into_iter().any(|rules| rules.scan.required != Required::Never)
}
