//! The prober: looks at every registry that a route names, off the request path and beside the queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::domain::evidence::{Cause, Unknown};
use crate::domain::registry::{CredentialSource, RegistryName};
use crate::harbor::{Harbor, Look, Standing};
use crate::registry::{Answer, Client, Endpoint, Head, Sent};

use super::state::{FAST, Found, PATIENCE};
use super::report::{Health, Report};
use crate::evidence::observatory::Observatory;
use crate::evidence::question::UpstreamId;
use crate::evidence::upstream::{Source, Upstream};

/// How often credentials are proved that nobody has changed: every wrong attempt costs 1.5 s, and keeps a user's
/// account locked.
const PROVE_AGAIN: Duration = Duration::from_secs(600);

/// A probe that failed after more than this would have cost a Pod as much: it counts as silence.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Observatory {
    /// Probes the registries that the settings' routes name, one task of work for them all, in step with
    /// [`adopt`](Self::adopt): a new registry is probed at once, one that is gone no longer. `changed` is called
    /// whenever [`health`](Self::health) may have another answer. It never ends.
    pub async fn watch(&self, changed: impl Fn()) {
        let mut probers = FuturesUnordered::new();
        let mut tended: HashMap<UpstreamId, Arc<Upstream>> = HashMap::new();
        loop {
            let upstreams = self.upstreams.load_full();
            for upstream in upstreams.upstreams.values().filter(|upstream| upstreams.is_routed(upstream)) {
                if tended.insert(upstream.id, upstream.clone()).is_none() {
                    probers.push(self.tend(upstream.id, upstream.registry.name.clone(), &changed));
                }
            }
            for upstream in tended.values().filter(|upstream| !upstreams.is_current(upstream)) {
                // It may be resting for minutes.
                upstream.request_probe();
            }
            changed();
            tokio::select! {
                () = self.adopted.notified() => {}
                Some(ended) = probers.next(), if !probers.is_empty() => {
                    tended.remove(&ended);
                }
            }
        }
    }

    /// How the registries are that the settings' routes name, by name.
    #[must_use]
    pub fn health(&self) -> Vec<Report> {
        let upstreams = self.upstreams.load();
        let named = upstreams.upstreams.values().filter(|upstream| upstreams.is_routed(upstream));
        let mut reports: Vec<Report> = named
            .map(|upstream| {
                let probed = upstream.health().probed().clone();
                Report {
                    registry: upstream.registry.name.clone(),
                    health: probed.health,
                    detail: probed.detail,
                    cause: probed.cause,
                }
            })
            .collect();
        reports.sort_by(|a, b| a.registry.cmp(&b.registry));
        reports
    }

    /// Probes one registry, one probe after the other, until it is gone from the settings.
    async fn tend(&self, id: UpstreamId, name: RegistryName, changed: &impl Fn()) -> UpstreamId {
        let mut proving = Proving::default();
        loop {
            let upstreams = self.upstreams.load_full();
            // With a new budget a upstream is another object, and still the same registry.
            let upstream =
                upstreams.upstreams.get(&name).filter(|upstream| upstreams.is_routed(upstream)).cloned();
            let Some(upstream) = upstream.as_ref().filter(|upstream| upstream.id == id) else {
                if upstream.is_none() {
                    self.lookups.metrics.forget(&name);
                }
                return id;
            };
            let before = upstream.health().probed().clone();
            let credentials = upstream.check_credentials().await;
            look_at(upstream, &mut proving, upstreams.terms.attempt).await;
            let probed = upstream.health().probed().clone();
            self.lookups.metrics.probed(upstream, &probed);
            if probed.health != before.health || probed.detail != before.detail {
                changed();
            }
            let ended = Instant::now();
            let budget = upstream.registry.requests_per_hour;
            let rest = upstream.health().rest(budget, ended.into_std(), fastrand::f64());
            tokio::select! {
                () = sleep_until(ended + rest) => {}
                // They are proved at once, for as long as nobody asks nobody else would notice.
                () = rotated(upstream, credentials) => {}
                () = upstream.probe_requested() => {
                    // From here on somebody looks after it: no Pod need try.
                    upstream.health().hold(Instant::now().into_std());
                    self.lookups.metrics.phase(upstream);
                    sleep_until(ended + FAST.min(rest)).await;
                }
            }
        }
    }
}

/// Waits until the files of a upstream's credentials have another content than this.
async fn rotated(upstream: &Upstream, credentials: u64) {
    while upstream.check_credentials().await == credentials {
        sleep(FAST).await;
    }
}

/// One look, of whatever kind is possible now.
async fn look_at(upstream: &Upstream, proving: &mut Proving, attempt: Duration) {
    let began = Instant::now().into_std();
    if upstream.unavailable().is_some() {
        return;
    }
    let paused = upstream.health().paused(began);
    if let Some(unknown) = paused {
        let sent_away = matches!(unknown.cause, Cause::Unavailable { .. });
        let health = if sent_away { Health::Down } else { Health::RateLimited };
        return upstream.health().skip(health, unknown.detail);
    }
    upstream.health().hold(began);
    let mut found = probe(upstream, proving, attempt).await;
    if found.health == Health::Unresponsive
        && upstream.last_response().is_some_and(|heard| heard.into_std() >= began)
    {
        // There was not time for the whole answer, or it was for somebody else: slow, and no more.
        found.health = Health::Slow;
    }
    if matches!(found.health, Health::Up | Health::Slow)
        && let Some(silence) = ask_storage(upstream).await
    {
        found = silence;
    }
    if found.unknown.as_ref().is_some_and(|unknown| unknown.cause == Cause::Internal) {
        // Our own task ended: that says nothing of the registry.
        return;
    }
    upstream.health().learn(found, Instant::now().into_std(), fastrand::f64());
}

/// Its front answers; where Pods got no manifests, asks for one, too. What it found, where that is worse.
async fn ask_storage(upstream: &Upstream) -> Option<Found> {
    let question = upstream.health().storage.doubted()?;
    let began = Instant::now();
    upstream.health().hold(began.into_std());
    let answer = upstream.head(&question, began + PATIENCE).await;
    let took = began.elapsed();
    let mut state = upstream.health();
    match answer {
        Ok(Head::NotFound) => state.storage.gone(),
        Ok(_) => state.storage.answered(),
        Err(unknown) => match of_failure(&unknown, took) {
            Health::NotARegistry => state.storage.answered(),
            // A Pod may have got one in the meantime.
            health => {
                state.storage.doubted()?;
                let detail = format!("answers, but gives no manifests: {}", unknown.detail).into();
                return Some(Found { health, detail, took, unknown: Some(unknown) });
            }
        },
    }
    None
}

async fn probe(upstream: &Upstream, proving: &mut Proving, attempt: Duration) -> Found {
    let began = Instant::now();
    let deadline = began + PATIENCE;
    let anonymous = upstream.registry.credentials == CredentialSource::Anonymous;
    let probed = async {
        match &*upstream.source {
            Source::Harbor(harbor) => probe_harbor(harbor, proving, anonymous, deadline).await,
            Source::Distribution(client) => probe_distribution(client, proving, anonymous, deadline).await,
            Source::Unusable(error) => Ok((Health::Unusable, error.to_string())),
        }
    };
    let probed = timeout_at(deadline, probed).await.unwrap_or_else(|_| {
        Err(Unknown::new(Cause::Deadline, format!("it gave no answer within {PATIENCE:?}")))
    });
    let took = began.elapsed();
    match probed {
        Ok((Health::Up, detail)) if took > attempt / 2 => {
            Found { health: Health::Slow, detail: format!("{detail}, slowly").into(), took, unknown: None }
        }
        Ok((health, detail)) => Found { health, detail: detail.into(), took, unknown: None },
        Err(unknown) => {
            let health = of_failure(&unknown, took);
            Found { health, detail: unknown.detail.clone(), took, unknown: Some(unknown) }
        }
    }
}

/// What a probe without an answer, or with a wrong one, says.
fn of_failure(unknown: &Unknown, took: Duration) -> Health {
    match unknown.cause {
        Cause::Connect | Cause::Tls | Cause::Broken if took >= AT_ONCE => Health::Unresponsive,
        Cause::Deadline => Health::Unresponsive,
        Cause::Connect | Cause::Tls | Cause::Broken | Cause::ServerError | Cause::Unavailable { .. } => {
            Health::Down
        }
        Cause::RateLimited { .. } | Cause::Spent { .. } => Health::RateLimited,
        Cause::Unauthorized
        | Cause::Forbidden
        | Cause::NotRegistry
        | Cause::WrongDigest
        | Cause::TooLarge
        | Cause::Redirect
        | Cause::BreakerOpen
        | Cause::Drained
        | Cause::Overloaded
        | Cause::Internal => Health::NotARegistry,
    }
}

/// What was seen, or why nothing was.
type Seen = Result<(Health, String), Unknown>;

async fn probe_harbor(harbor: &Harbor, proving: &mut Proving, anonymous: bool, deadline: Instant) -> Seen {
    let version = harbor.client().credentials_version().await;
    let look = proving.look(version, Instant::now());
    let mut test = harbor.self_test(look, deadline).await;
    let mut why = "answers, but does not know us: see its credentials".to_owned();
    if let (Standing::Unreachable(unknown), true) = (&test.standing, look != Look::Nobody)
        && unknown.cause == Cause::Unauthorized
    {
        // Our own files are unreadable: nothing was sent.
        why = unknown.detail.to_string();
        test = harbor.self_test(Look::Nobody, deadline).await;
    }
    let known = match &test.standing {
        Standing::Proved => Some(true),
        Standing::Rejected => Some(false),
        Standing::DatabaseDown(_) | Standing::Unreachable(_) => None,
    };
    proving.learn(look, version, known, Instant::now());
    match test.standing {
        Standing::Proved => {
            let version = test.version.unwrap_or_default();
            Ok((Health::Up, format!("answers and knows us ({version})")))
        }
        Standing::Rejected if anonymous => Ok((Health::Up, "answers; we have no credentials".to_owned())),
        Standing::Rejected => Ok((Health::BadCredentials, why)),
        Standing::DatabaseDown(unknown) => Ok((Health::DatabaseDown, unknown.detail.to_string())),
        Standing::Unreachable(unknown) if of_failure(&unknown, Duration::ZERO) == Health::NotARegistry => {
            // Nodes need its registry only, and an ingress may hide its API.
            let base = harbor.client().base(Endpoint::Anonymous, deadline).await?;
            if base.status.is_server_error() {
                return Err(base.unexpected());
            }
            let what = if is_registry(&base) { "its registry answers" } else { "something answers" };
            Ok((Health::NotARegistry, format!("{what}, but Harbor's API does not: {unknown}")))
        }
        Standing::Unreachable(unknown) => Err(unknown),
    }
}

async fn probe_distribution(
    client: &Client,
    proving: &mut Proving,
    anonymous: bool,
    deadline: Instant,
) -> Seen {
    let version = client.credentials_version().await;
    let look = proving.look(version, Instant::now());
    let mut why = "answers, but does not know us: see its credentials".to_owned();
    let mut known = None;
    let answer = match look {
        Look::Nobody => client.base(Endpoint::Anonymous, deadline).await?,
        Look::Prove | Look::Glance => match client.base(Endpoint::Base, deadline).await {
            Ok(answer) => {
                known = Some(answer.status != StatusCode::UNAUTHORIZED || answer.sent == Sent::Nothing);
                answer
            }
            // No token for us, or our own files are unreadable.
            Err(unknown) if unknown.cause == Cause::Unauthorized => {
                (known, why) = (Some(anonymous), unknown.detail.to_string());
                client.base(Endpoint::Anonymous, deadline).await?
            }
            Err(unknown) => return Err(unknown),
        },
    };
    proving.learn(look, version, known, Instant::now());
    match answer.status.as_u16() {
        429 | 500.. => Err(answer.unexpected()),
        status if !is_registry(&answer) => {
            Ok((Health::NotARegistry, format!("answers ({status}), but not as a registry does")))
        }
        _ if proving.wrong => Ok((Health::BadCredentials, why)),
        401 => Ok((Health::Up, "answers; we have no credentials for it as a whole".to_owned())),
        status => Ok((Health::Up, format!("answers ({status})"))),
    }
}

/// Is this how a registry answers `/v2/`? Not every registry sends its version header, but a web page has neither a
/// challenge nor JSON.
fn is_registry(base: &Answer) -> bool {
    base.content_type().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        || !base.challenges.is_empty()
        || base.headers.contains_key("docker-distribution-api-version")
}

/// When credentials are shown: at the start, when their files have changed, and then rarely, unless they are right.
#[derive(Debug, Default)]
struct Proving {
    version: Option<u64>,
    proved: Option<Instant>,
    wrong: bool,
}

impl Proving {
    fn look(&self, version: u64, now: Instant) -> Look {
        let due = self.proved.is_none_or(|proved| now.duration_since(proved) >= PROVE_AGAIN);
        if due || self.version != Some(version) {
            Look::Prove
        } else if self.wrong {
            Look::Nobody
        } else {
            Look::Glance
        }
    }

    /// `known`: whether it knows us; `None`: that could not be learned, and is tried again.
    fn learn(&mut self, look: Look, version: u64, known: Option<bool>, now: Instant) {
        let Some(known) = known.filter(|_| look != Look::Nobody) else { return };
        if look == Look::Prove {
            (self.version, self.proved) = (Some(version), Some(now));
        }
        self.wrong = !known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_shown_when_they_are_new_and_rarely_while_they_are_wrong() {
        let (mut proving, start) = (Proving::default(), Instant::now());
        let mut look = |version, known: Option<bool>, after: Duration| {
            let look = proving.look(version, start + after);
            proving.learn(look, version, known, start + after);
            look
        };
        let second = Duration::from_secs(1);
        assert_eq!(look(0, None, second), Look::Prove);
        assert_eq!(look(0, Some(false), second * 2), Look::Prove, "it could not be learned");
        for after in 3..100 {
            // What a look without credentials sees says nothing of them.
            assert_eq!(look(0, Some(true), second * after), Look::Nobody);
        }
        assert_eq!(look(1, Some(true), second * 101), Look::Prove, "other files");
        assert_eq!(look(1, Some(true), second * 102), Look::Glance);
        assert_eq!(look(1, Some(false), second * 103), Look::Glance);
        assert_eq!(look(1, Some(true), second * 104), Look::Nobody, "they turned wrong");
        assert_eq!(look(1, Some(true), second * 101 + PROVE_AGAIN), Look::Prove, "they may be right again");
        assert_eq!(look(1, Some(true), second * 102 + PROVE_AGAIN), Look::Glance);
    }
}
