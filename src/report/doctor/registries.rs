//! Checks the registries: their health, our credentials, and our permissions for the questions that Landfall asks.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry as Page;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{Line, Sample, TestImage};
use crate::domain::case::{Locality, Place};
use crate::domain::error_chain::error_chain;
use crate::domain::evidence::Presence;
use crate::domain::image::Tag;
use crate::domain::registry::{CredentialSource, Kind, Registry};
use crate::domain::scan::{Detail, Required, ScanState, Scanner};
use crate::domain::settings::Settings;
use crate::domain::unknown::Cause;
use crate::evidence::{Health, Observatory, Report};
use crate::harbor::Harbor;
use crate::registry::{Client, Metrics, Target, Tasks};

/// How long a registry has to become healthy. The prober tries again every second.
const HEALTHY_WITHIN: Duration = Duration::from_secs(4);

/// How much longer a slow registry has: this machine may be busy, and the first probe takes longer than later ones.
const SLOW_EXTRA: Duration = Duration::from_secs(8);

/// How long we wait for the first probe of all registries: longer than a probe may take.
const FIRST_PROBE_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn check(settings: &Settings, image: Option<&TestImage>) -> Vec<Line> {
    let reports = match probe(settings).await {
        Ok(reports) => reports,
        Err(error) => return vec![Line::skipped("registries", error)],
    };
    let mut lines = Vec::new();
    for report in &reports {
        let Some(registry) = settings.registries.get(&report.registry) else { continue };
        let about = format!("registry {}", registry.name);
        let said = &*report.said();
        if report.health == Health::Drained {
            lines.push(Line::ok(about, said));
        } else if report.health != Health::Up {
            lines.push(Line::wrong(about, said, remedy(registry, report, settings.budget.attempt)));
        } else {
            let mut samples = image.into_iter().flat_map(TestImage::samples);
            let refused = match samples.find(|sample| sample.place.registry.name == report.registry) {
                Some(sample) => missing_permissions(settings, sample).await,
                None => Vec::new(),
            };
            if refused.is_empty() {
                lines.push(Line::ok(&about, said));
            }
            lines.extend(refused.into_iter().map(|(said, todo)| Line::wrong(&about, said, todo)));
        }
    }
    lines
}

/// Probes the registries until all are healthy, or the time is over.
async fn probe(settings: &Settings) -> Result<Vec<Report>, String> {
    let copy = settings.clone();
    let made = tokio::task::spawn_blocking(move || Observatory::new(&copy, &mut Page::default())).await;
    let observatory = made.map_err(|error| error_chain(&error))?;
    let (good, asked) = (Notify::new(), Notify::new());
    let changed = || {
        let reports = observatory.health();
        if reports.iter().all(|report| report.health.is_good()) {
            good.notify_one();
        }
        if reports.iter().all(|report| report.health != Health::Unprobed) {
            asked.notify_one();
        }
    };
    let patience = async {
        let _ = timeout(HEALTHY_WITHIN, good.notified()).await;
        let _ = timeout(FIRST_PROBE_WITHIN, asked.notified()).await;
        if observatory.health().iter().any(|report| report.health == Health::Slow) {
            let _ = timeout(SLOW_EXTRA, good.notified()).await;
        }
    };
    tokio::select! {
        () = observatory.watch(changed) => {}
        () = patience => {}
    }
    let reports = observatory.health();
    observatory.close().await;
    Ok(reports)
}

/// What to do about a registry that is not healthy.
fn remedy(registry: &Registry, report: &Report, attempt: Duration) -> String {
    let Registry { name, url, .. } = registry;
    let path = format!("registries.{name}");
    match report.health {
        Health::BadCredentials => match &registry.credentials {
            CredentialSource::Dir(folder) => format!(
                "check `{folder}/username` and `password`: they must be the robot's full name (`robot$…`) and its present secret, and the robot must be neither disabled nor expired",
                folder = folder.display()
            ),
            CredentialSource::DockerConfig(file) => {
                format!(
                    "check `{}`: it must contain valid credentials for `{}`",
                    file.display(),
                    registry.host
                )
            }
            CredentialSource::TokenFile(file) => {
                format!("check `{}`: the registry does not accept its token", file.display())
            }
            CredentialSource::Provider(plugin) => format!(
                "run `{}` as Landfall does, in its Pod: what it answers must be accepted by `{}`; check the rights of Landfall's ServiceAccount at the cloud",
                plugin.command.display(),
                registry.host
            ),
            CredentialSource::Anonymous => {
                format!("the registry requires credentials: set `{path}.credentials`")
            }
        },
        Health::NotARegistry => {
            format!(
                "check `{path}.url` ({url}): something else answers there, perhaps a proxy in front of the registry"
            )
        }
        Health::DatabaseDown => {
            "check Harbor's database and the log of harbor-core; nodes cannot pull either".to_owned()
        }
        Health::RateLimited => {
            format!(
                "the registry limits our requests: set a lower `{path}.requestsPerHour`, or let its administrators raise the limit"
            )
        }
        Health::Slow => {
            format!("check why it is slow, or give it more time (`budget.attempt`, now {attempt:?})")
        }
        Health::Unresponsive => {
            format!(
                "check for a firewall or NetworkPolicy that drops connections to `{url}`, and whether the registry hangs"
            )
        }
        Health::Unusable => format!("correct `{path}.caFile`"),
        Health::Down if report.cause == Some(Cause::Tls) => match &registry.ca_file {
            Some(file) => format!(
                "`{}` must hold the authority that signed its certificate (`openssl s_client -showcerts -connect {}`), and the certificate must be valid for the host of `{path}.url`",
                file.display(),
                host_port(url)
            ),
            None => format!(
                "if your own authority signed its certificate, name the bundle in `{path}.caFile`. The certificate must be valid for the host of `{path}.url` ({url})"
            ),
        },
        Health::Down if report.cause == Some(Cause::Connect) => {
            format!(
                "check `{path}.url` ({url}): its name must resolve here, the registry must be up, and no firewall may refuse the connection"
            )
        }
        Health::Down => format!("see the log of the server at {url}"),
        Health::Unprobed | Health::Up | Health::Drained => format!("check whether {url} answers at all"),
    }
}

/// The `host:port` of a URL.
fn host_port(url: &url::Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// Asks once everything that Landfall asks about an image. Returns what our credentials may not see, and what to do about
/// it.
async fn missing_permissions(
    settings: &Settings,
    Sample { routed, place }: Sample<'_>,
) -> Vec<(String, String)> {
    let Place { registry, repository, .. } = place;
    let shared = registry.clone();
    let metrics = Metrics::register(&mut Page::default());
    let made = tokio::task::spawn_blocking(move || Client::new(&shared, metrics, Tasks::default())).await;
    // The prober made the same client a moment ago, so this cannot fail.
    let Ok(Ok(client)) = made else { return Vec::new() };
    let deadline = Instant::now() + settings.budget.request;
    let tag = routed.tag.clone().unwrap_or_else(|| Tag::new("latest"));
    let target = routed.digest.as_ref().map_or(Target::Tag(&tag), Target::Digest);
    let pull = |detail: &str| {
        (
            detail.to_owned(),
            format!(
                "let our credentials pull from `{repository}` (Harbor: `repository:pull` of its project)"
            ),
        )
    };
    let harbor = match registry.kind {
        Kind::Distribution => {
            return match client.presence(repository, target, deadline).await {
                Presence::Unknown(unknown) if is_refusal(unknown.cause) => vec![pull(&unknown.detail)],
                _ => Vec::new(),
            };
        }
        Kind::Harbor => Harbor::new(Arc::new(client)),
    };
    let digest = match harbor.presence(repository, target, deadline).await {
        Presence::Unknown(unknown) if is_refusal(unknown.cause) => return vec![pull(&unknown.detail)],
        Presence::Present { digest, .. } => digest,
        // What we may see of an image does not depend on whether it exists.
        _ => routed.digest.unwrap_or(super::NOWHERE),
    };
    if place.locality != Locality::Local || !wants_scans(settings) {
        return Vec::new();
    }
    let scan = harbor.scan(repository, &digest, Detail::Summary, deadline).await;
    let project = repository.as_str().split('/').next().unwrap_or_default();
    let hidden = |right: &str, what: &str| {
        let said = format!("accepts our credentials, but {what}: no scan can be required there");
        (said, format!("give the robot the permission `{right}` of the project `{project}`"))
    };
    match (scan.state, scan.scanner) {
        (ScanState::Hidden, _) => vec![hidden("artifact:read", "our robot may not see its scans")],
        (_, Scanner::Hidden) => {
            vec![hidden("scanner:read", "our robot may not see whether it has a scanner")]
        }
        _ => Vec::new(),
    }
}

fn is_refusal(cause: Cause) -> bool {
    matches!(cause, Cause::Unauthorized | Cause::Forbidden)
}

/// Whether any policy or `defaults` may require scans.
fn wants_scans(settings: &Settings) -> bool {
    let rules = settings.policies.iter().map(|policy| &policy.rules).chain([&*settings.defaults]);
    rules.into_iter().any(|rules| rules.scan.required != Required::Never)
}
