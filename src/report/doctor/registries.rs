//! Checks the registries: their health, our credentials, and whether they answer what Landfall asks.

use std::time::Duration;

use prometheus_client::registry::Registry as Page;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Line, Mistake, TestImage, address, questions};
use crate::domain::case::{Locality, Place};
use crate::domain::error_chain::error_chain;
use crate::domain::evidence::Presence;
use crate::domain::keyring::Keyring;
use crate::domain::registry::{CredentialSource, Registry, SharedRegistry};
use crate::domain::route::Serves;
use crate::domain::settings::Settings;
use crate::domain::unknown::Cause;
use crate::evidence::{Health, Observatory, Report};

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
    let (mut lines, mut copies) = (Vec::new(), Vec::new());
    for report in &reports {
        let Some(registry) = settings.registries.get(&report.registry) else { continue };
        let about = format!("registry {}", registry.name);
        let said = &*report.said();
        if report.health == Health::Drained {
            lines.push(Line::ok(about, said));
            continue;
        }
        let mut wrong = mistakes(registry, report).await;
        if wrong.is_empty() && report.health != Health::Up {
            wrong.push((said.to_owned(), remedy(registry, report, settings.budget.attempt)));
        } else if wrong.is_empty() {
            let mut samples = image.into_iter().flat_map(TestImage::samples);
            if let Some(sample) = samples.find(|sample| sample.place.registry.name == report.registry) {
                let asked = questions::ask(settings, sample).await;
                wrong.extend(asked.wrong);
                copies.push((sample.place, asked.presence));
            }
        }
        if wrong.is_empty() {
            lines.push(Line::ok(&about, said));
        }
        lines.extend(wrong.into_iter().map(|(said, todo)| Line::wrong(&about, said, todo)));
    }
    lines.extend(image.filter(|image| image.real).map(|image| copy(image, &copies)));
    lines
}

/// Mistakes in the configuration, here or at the registry, that its health does not show or takes for something else.
async fn mistakes(registry: &SharedRegistry, report: &Report) -> Vec<Mistake> {
    // What is asked through a proxy may not be reached without it.
    if report.proxy.is_none()
        && matches!(report.health, Health::Down | Health::NotARegistry | Health::Unresponsive)
        && let Some(mistake) = address::scheme(registry).await
    {
        return vec![mistake];
    }
    if report.health != Health::Unresponsive
        && let Some(mistake) = address::realm(registry).await
    {
        return vec![mistake];
    }
    match report.health {
        Health::Up | Health::BadCredentials => lacking_credentials(registry).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether the docker configuration holds credentials for this registry at all.
fn lacking_credentials(registry: &Registry) -> Option<Mistake> {
    let CredentialSource::DockerConfig(path) = &registry.credentials else { return None };
    // A file that is not usable is told by the probe.
    let keyring = Keyring::parse(&std::fs::read(path).ok()?).ok()?;
    Some(keyring.lack(&registry.host)?.words(path, &registry.host))
}

/// Whether this site has a copy of the image that the user named, as its registries answered.
fn copy(image: &TestImage, copies: &[(&Place, Presence)]) -> Line {
    let (about, name) = ("image", &image.image);
    let local = || image.routed.places.iter().filter(|place| place.locality == Locality::Local);
    let (mut there, mut absent, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for place in local() {
        let registry = &place.registry.name;
        let answer =
            copies.iter().find(|(asked, _)| std::ptr::eq(*asked, place)).map(|(_, presence)| presence);
        match answer {
            Some(Presence::Present { .. }) => there.push(format!("`{registry}`")),
            Some(Presence::Absent) => {
                absent.push(format!("`{registry}` does not hold `{}`", place.repository))
            }
            // Declared as one, it is used as it is, and a test Pod shows that.
            Some(Presence::ProxyCache { .. }) if place.serves == Serves::ProxyCache => {
                there.push(format!("`{registry}` (through its proxy cache)"));
            }
            Some(Presence::ProxyCache { .. }) => absent
                .push(format!("`{registry}` is a proxy cache, and its replica does not say `proxy: true`")),
            Some(Presence::Refused(why)) => absent.push(format!("`{registry}` refuses to serve it: {why}")),
            Some(Presence::LayerMissing { layer, .. }) => {
                absent.push(format!("its layer {layer} is lost at `{registry}`"));
            }
            Some(Presence::PullFailed { .. }) => {
                absent.push(format!("nodes cannot pull it from `{registry}`"))
            }
            Some(Presence::Unknown(unknown_here)) => unknown.push(format!("`{registry}`: {unknown_here}")),
            None => unknown.push(format!("`{registry}` could not be asked")),
        }
    }
    if !there.is_empty() {
        return Line::ok(about, format!("`{name}` has a copy at this site: {}", there.join(", ")));
    }
    if !unknown.is_empty() {
        let said = format!("whether `{name}` has a copy at this site is not known: {}", unknown.join("; "));
        return Line::skipped(about, said);
    }
    if absent.is_empty() {
        absent.push("no replica of this site holds images of this name and tag".to_owned());
    }
    let said = format!("`{name}` has no copy at this site: {}", absent.join("; "));
    let todo = "replicate it to this site, or name an image that has a copy with --image (`doctor.image` of the chart)";
    Line::wrong(about, said, todo)
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

/// The `host:port` of a URL, always with its port.
fn host_port(url: &url::Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}
