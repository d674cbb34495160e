//! The registries: are they well, do they know us, and may we ask what Landfall asks?

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry as Page;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{Line, Sample, Specimen};
use crate::domain::case::{Locality, Place};
use crate::domain::error_chain::error_chain;
use crate::domain::evidence::{Cause, Presence};
use crate::domain::image::Tag;
use crate::domain::registry::{CredentialSource, Registry};
use crate::domain::scan::{Detail, Required, ScanState, Scanner};
use crate::domain::settings::Settings;
use crate::evidence::{Health, Observatory, Report};
use crate::harbor::Harbor;
use crate::registry::{Client, Metrics, Target, Tasks};

/// How long a registry has to become well: the prober looks again every second.
const PATIENCE: Duration = Duration::from_secs(4);

/// How much longer one that is only slow has: this machine may be busy, and a first look takes longer than others.
const SLOWNESS: Duration = Duration::from_secs(8);

/// How long we wait for the first look at all of them: longer than a look may take.
const SILENCE: Duration = Duration::from_secs(15);

pub(super) async fn look(settings: &Settings, specimen: Option<&Specimen>) -> Vec<Line> {
    let reports = match probe(settings).await {
        Ok(reports) => reports,
        Err(error) => return vec![Line::skipped("registries", error)],
    };
    let mut lines = Vec::new();
    for report in &reports {
        let Some(registry) = settings.registries.get(&report.registry) else { continue };
        let about = format!("registry {}", registry.name);
        let said = &*report.detail;
        if report.health == Health::Drained {
            lines.push(Line::ok(about, said));
        } else if report.health != Health::Up {
            lines.push(Line::wrong(about, said, remedy(registry, report, settings.budget.attempt)));
        } else {
            let mut samples = specimen.into_iter().flat_map(Specimen::samples);
            let refused = match samples.find(|sample| sample.place.registry.name == report.registry) {
                Some(sample) => rights(settings, sample).await,
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

/// Looks until all are well, or patience is over.
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
        let _ = timeout(PATIENCE, good.notified()).await;
        let _ = timeout(SILENCE, asked.notified()).await;
        if observatory.health().iter().any(|report| report.health == Health::Slow) {
            let _ = timeout(SLOWNESS, good.notified()).await;
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

/// What to do about a registry that is not well.
fn remedy(registry: &Registry, report: &Report, attempt: Duration) -> String {
    let Registry { name, url, .. } = registry;
    let path = format!("registries.{name}");
    match report.health {
        Health::BadCredentials => match &registry.credentials {
            CredentialSource::Dir(folder) => format!(
                "see `{folder}/username` and `password`: is this the robot's whole name (`robot$…`) and its present secret, is it neither disabled nor expired?",
                folder = folder.display()
            ),
            CredentialSource::DockerConfig(file) => {
                format!("see `{}`: it must hold good credentials for `{}`", file.display(), registry.host)
            }
            CredentialSource::TokenFile(file) => {
                format!("see `{}`: its token is not accepted", file.display())
            }
            CredentialSource::Anonymous => format!("give it credentials: `{path}.credentials`"),
        },
        Health::NotARegistry => {
            format!("see where `{path}.url` ({url}) leads: something else answers there, or stands before it")
        }
        Health::DatabaseDown => {
            "see Harbor's database and the log of harbor-core; nodes cannot pull either".to_owned()
        }
        Health::RateLimited => {
            format!("it asks for rest: ask it less (`{path}.requestsPerHour`), or have its limit raised")
        }
        Health::Slow => {
            format!("see what keeps it busy, or give it more time (`budget.attempt`, now {attempt:?})")
        }
        Health::Unresponsive => {
            format!("a firewall or NetworkPolicy that swallows the way to `{url}`, or a registry that hangs")
        }
        Health::Unusable => format!("mend `{path}.caFile`"),
        Health::Down if report.cause == Some(Cause::Tls) => match &registry.ca_file {
            Some(file) => format!(
                "`{}` must hold the authority that signed its certificate (`openssl s_client -showcerts -connect {}`), and the certificate must be valid for the host of `{path}.url`",
                file.display(),
                at(url)
            ),
            None => format!(
                "is its certificate of an authority of your own? Name the bundle: `{path}.caFile`. It must be valid for the host of `{path}.url` ({url})"
            ),
        },
        Health::Down if report.cause == Some(Cause::Connect) => {
            format!(
                "is `{path}.url` ({url}) right and does its name resolve here? Is it up, and does no firewall refuse?"
            )
        }
        Health::Down => format!("see the log of what answers at {url}"),
        Health::Unprobed | Health::Up | Health::Drained => format!("see whether {url} answers at all"),
    }
}

/// `host:port` of a URL.
fn at(url: &url::Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// What Landfall asks of an image, asked once: what we may not learn, and what to do about it.
async fn rights(settings: &Settings, Sample { routed, place }: Sample<'_>) -> Vec<(String, String)> {
    let Place { registry, repository, .. } = place;
    let shared = registry.clone();
    let metrics = Metrics::register(&mut Page::default());
    let made = tokio::task::spawn_blocking(move || Client::new(&shared, metrics, Tasks::default())).await;
    // A client was made a moment ago: it is up.
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
    if !registry.kind.scans() {
        return match client.presence(repository, target, deadline).await {
            Presence::Unknown(unknown) if is_refusal(unknown.cause) => vec![pull(&unknown.detail)],
            _ => Vec::new(),
        };
    }
    let harbor = Harbor::new(Arc::new(client));
    let digest = match harbor.presence(repository, target, deadline).await {
        Presence::Unknown(unknown) if is_refusal(unknown.cause) => return vec![pull(&unknown.detail)],
        Presence::Present { digest, .. } => digest,
        // What we may see of an image does not depend on whether it is there.
        _ => routed.digest.unwrap_or(super::NOWHERE),
    };
    if place.locality != Locality::Local || !wants_scans(settings) {
        return Vec::new();
    }
    let scan = harbor.scan(repository, &digest, Detail::Summary, deadline).await;
    let project = repository.as_str().split('/').next().unwrap_or_default();
    let hidden = |right: &str, what: &str| {
        let said = format!("knows us, but {what}: no scan can be required there");
        (said, format!("give the robot `{right}` of the project `{project}`"))
    };
    match (scan.state, scan.scanner) {
        (ScanState::Hidden, _) => vec![hidden("artifact:read", "we may not see its scans")],
        (_, Scanner::Hidden) => vec![hidden("scanner:read", "we may not see whether it has a scanner")],
        _ => Vec::new(),
    }
}

fn is_refusal(cause: Cause) -> bool {
    matches!(cause, Cause::Unauthorized | Cause::Forbidden)
}

/// Does anybody ask for scans?
fn wants_scans(settings: &Settings) -> bool {
    let rules = settings.policies.iter().map(|policy| &policy.rules).chain([&*settings.defaults]);
    rules.into_iter().any(|rules| rules.scan.required != Required::Never)
}
