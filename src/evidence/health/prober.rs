//! The prober: checks each registry that a route names, apart from requests and their queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{OptionFuture, join_all};
use futures::stream::FuturesUnordered;
use http::StatusCode;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::domain::name::RegistryName;
use crate::domain::registry::CredentialSource;
use crate::domain::unknown::{Cause, Unknown};
use crate::harbor::{Check, Harbor, SelfTestResult};
use crate::registry::{Answer, Client, Endpoint, Head, Sent};

use super::projects::{Doubts, Served};
use super::report::{Health, Report};
use super::state::{FAST, Found, PATIENCE, Unserved, Whose};
use crate::evidence::observatory::Observatory;
use crate::evidence::question::{Question, UpstreamId};
use crate::evidence::upstream::{Source, Upstream};

/// How often credentials that did not change are proved again. Each wrong attempt takes 1.5 s and may lock a user's
/// account. A robot is never locked out, so wrong credentials of a robot are tried by each probe.
const PROVE_AGAIN: Duration = Duration::from_secs(600);

/// A probe that fails after more than this counts as unresponsive: a Pod would have waited as long.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Observatory {
    /// Probes the registries that the settings' routes name, all in this one future. It follows
    /// [`adopt`](Self::adopt): a new registry is probed at once, one that was removed no longer. `changed` is called
    /// whenever [`health`](Self::health) may have changed. It never ends.
    pub async fn watch(&self, changed: impl Fn()) {
        let mut probers = FuturesUnordered::new();
        let mut probed: HashMap<UpstreamId, Arc<Upstream>> = HashMap::new();
        loop {
            let upstreams = self.upstreams.load_full();
            for upstream in upstreams.upstreams.values().filter(|upstream| upstreams.is_routed(upstream)) {
                if probed.insert(upstream.id, upstream.clone()).is_none() {
                    probers.push(self.probe_until_removed(
                        upstream.id,
                        upstream.registry.name.clone(),
                        &changed,
                    ));
                }
            }
            for upstream in probed.values().filter(|upstream| !upstreams.is_current(upstream)) {
                // Its prober may be asleep for minutes.
                upstream.request_probe();
            }
            changed();
            tokio::select! {
                () = self.adopted.notified() => {}
                Some(ended) = probers.next(), if !probers.is_empty() => {
                    probed.remove(&ended);
                }
            }
        }
    }

    /// The health of the registries that the settings' routes name, sorted by name.
    #[must_use]
    pub fn health(&self) -> Vec<Report> {
        let upstreams = self.upstreams.load();
        let routed = upstreams.upstreams.values().filter(|upstream| upstreams.is_routed(upstream));
        let mut reports: Vec<Report> = routed
            .map(|upstream| {
                let probed = upstream.health().probed().clone();
                Report {
                    registry: upstream.registry.name.clone(),
                    health: probed.health,
                    detail: probed.detail,
                    cause: probed.cause,
                    proxy: upstream.proxy(),
                }
            })
            .collect();
        reports.sort_by(|a, b| a.registry.cmp(&b.registry));
        reports
    }

    /// Probes one registry again and again, until it is removed from the settings.
    async fn probe_until_removed(
        &self,
        id: UpstreamId,
        name: RegistryName,
        changed: &impl Fn(),
    ) -> UpstreamId {
        let mut credential_check = CredentialCheck::default();
        loop {
            let upstreams = self.upstreams.load_full();
            // With a new budget the upstream is another object with the same id.
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
            probe_once(upstream, &mut credential_check, upstreams.terms.attempt).await;
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
                // Probe new credentials at once: without traffic nothing else would find out whether they work.
                () = rotated(upstream, credentials) => {}
                () = upstream.probe_requested() => {
                    // A probe follows, so no Pod needs to try.
                    upstream.health().hold(Instant::now().into_std());
                    self.lookups.metrics.phase(upstream);
                    sleep_until(ended + FAST.min(rest)).await;
                }
            }
        }
    }
}

/// Waits until the credentials' files have another version than this.
async fn rotated(upstream: &Upstream, credentials: u64) {
    while upstream.check_credentials().await == credentials {
        sleep(FAST).await;
    }
}

/// One probe, or the reason why there is none now.
async fn probe_once(upstream: &Upstream, credential_check: &mut CredentialCheck, attempt: Duration) {
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
    let mut found = probe(upstream, credential_check, attempt).await;
    if found.health == Health::Unresponsive
        && upstream.last_response().is_some_and(|heard| heard.into_std() >= began)
    {
        // It answered something, to this probe or to another request: it is slow, not unresponsive.
        found.health = Health::Slow;
    }
    if matches!(found.health, Health::Up | Health::Slow) {
        found = probe_storage(upstream, found).await;
    }
    if found.unknown.as_ref().is_some_and(|unknown| unknown.cause == Cause::Internal) {
        // Our own task ended: that says nothing of the registry.
        return;
    }
    upstream.health().learn(found, Instant::now().into_std(), fastrand::f64());
}

/// Asks for manifests, if look-ups got none lately though the registry answers probes. Returns what that adds to `found`.
async fn probe_storage(upstream: &Upstream, found: Found) -> Found {
    let Doubts { doubted, witness } = upstream.health().doubts();
    if doubted.is_empty() {
        return found;
    }
    let began = Instant::now();
    upstream.health().hold(began.into_std());
    let (doubted, witness) = tokio::join!(
        join_all(doubted.into_iter().map(|question| async {
            let served = serves(upstream, &question, began).await;
            (question, served)
        })),
        OptionFuture::from(witness.map(|question| async move { serves(upstream, &question, began).await })),
    );
    let took = began.elapsed();
    let tested =
        upstream.health().tested(&doubted, witness.as_ref(), Instant::now().into_std(), fastrand::f64());
    let Some(Unserved { unknown, whose }) = tested else { return found };
    let detail = match &whose {
        Whose::Registry => format!("answers `/v2/`, but no manifests: {}", unknown.detail),
        Whose::OneOfSome(project) => {
            let detail = format!("{}, but no manifests of `{project}/`: {}", found.detail, unknown.detail);
            return Found { detail: detail.into(), ..found };
        }
        Whose::OnlyKnown(project) => {
            format!("answers `/v2/`, but no manifests of `{project}/`: {}", unknown.detail)
        }
    };
    Found { health: of_failure(&unknown, took), detail: detail.into(), took, unknown: Some(unknown), whose }
}

/// Does the registry serve this manifest?
async fn serves(upstream: &Upstream, question: &Question, began: Instant) -> Served {
    match upstream.head(question, began + PATIENCE).await {
        Ok(Head::NotFound) => Served::Gone,
        Ok(_) => Served::Yes,
        Err(unknown) if of_failure(&unknown, began.elapsed()) == Health::NotARegistry => Served::Yes,
        Err(unknown) => Served::No(unknown),
    }
}

async fn probe(upstream: &Upstream, credential_check: &mut CredentialCheck, attempt: Duration) -> Found {
    let began = Instant::now();
    let deadline = began + PATIENCE;
    let anonymous = upstream.registry.credentials == CredentialSource::Anonymous;
    let probed = async {
        match &*upstream.source {
            Source::Harbor(harbor) => probe_harbor(harbor, credential_check, anonymous, deadline).await,
            Source::Distribution(client) => {
                probe_distribution(client, credential_check, anonymous, deadline).await
            }
            Source::Unusable(error) => Ok((Health::Unusable, error.to_string())),
        }
    };
    let probed = timeout_at(deadline, probed).await.unwrap_or_else(|_| {
        Err(Unknown::new(Cause::Deadline, format!("it gave no answer within {PATIENCE:?}")))
    });
    let took = began.elapsed();
    match probed {
        Ok((Health::Up, detail)) if took > attempt / 2 => Found {
            health: Health::Slow,
            detail: format!("{detail}, slowly").into(),
            took,
            unknown: None,
            whose: Whose::Registry,
        },
        Ok((health, detail)) => {
            Found { health, detail: detail.into(), took, unknown: None, whose: Whose::Registry }
        }
        Err(unknown) => {
            let health = of_failure(&unknown, took);
            Found {
                health,
                detail: unknown.detail.clone(),
                took,
                unknown: Some(unknown),
                whose: Whose::Registry,
            }
        }
    }
}

/// The health that a failed probe shows.
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

/// The health with a description, or why there was no answer.
type Seen = Result<(Health, String), Unknown>;

async fn probe_harbor(
    harbor: &Harbor,
    credential_check: &mut CredentialCheck,
    anonymous: bool,
    deadline: Instant,
) -> Seen {
    let version = harbor.client().credentials_version().await;
    let check = match credential_check.next(version, Instant::now()) {
        // An admin may have enabled the robot again, or given it the secret that we have.
        Check::Anonymous if harbor.client().is_robot().await => Check::Credentials,
        check => check,
    };
    let mut test = harbor.self_test(check, deadline).await;
    let mut why = "answers, but rejects our credentials".to_owned();
    if let (SelfTestResult::Unreachable(unknown), true) = (&test.result, check != Check::Anonymous)
        && unknown.cause == Cause::Unauthorized
    {
        // Our own files cannot be read, so no credentials were sent.
        why = unknown.detail.to_string();
        test = harbor.self_test(Check::Anonymous, deadline).await;
    }
    if test.result == SelfTestResult::Rejected && check != Check::Anonymous && !credential_check.wrong {
        // Its database may have come back between two requests of the test. Credentials that were right a moment ago
        // are wrong only if a second test says so.
        test = harbor.self_test(Check::Credentials, deadline).await;
    }
    let known = match &test.result {
        SelfTestResult::Proved => Some(true),
        SelfTestResult::Rejected => Some(false),
        SelfTestResult::DatabaseDown(_) | SelfTestResult::Unreachable(_) => None,
    };
    credential_check.learn(check, version, known, Instant::now());
    match test.result {
        SelfTestResult::Proved => {
            let version = test.version.unwrap_or_default();
            Ok((Health::Up, format!("answers and accepts our credentials ({version})")))
        }
        SelfTestResult::Rejected if anonymous => {
            Ok((Health::Up, "answers; no credentials are configured".to_owned()))
        }
        SelfTestResult::Rejected => Ok((Health::BadCredentials, why)),
        SelfTestResult::DatabaseDown(unknown) => Ok((Health::DatabaseDown, unknown.detail.to_string())),
        SelfTestResult::Unreachable(unknown)
            if of_failure(&unknown, Duration::ZERO) == Health::NotARegistry =>
        {
            // Nodes need only the registry. An ingress may hide the API.
            let base = harbor.client().base(Endpoint::Anonymous, deadline).await?;
            if base.status.is_server_error() {
                return Err(base.unexpected());
            }
            let what = if is_registry(&base) { "its registry answers" } else { "something answers" };
            Ok((Health::NotARegistry, format!("{what}, but Harbor's API does not: {unknown}")))
        }
        SelfTestResult::Unreachable(unknown) => Err(unknown),
    }
}

async fn probe_distribution(
    client: &Client,
    credential_check: &mut CredentialCheck,
    anonymous: bool,
    deadline: Instant,
) -> Seen {
    let version = client.credentials_version().await;
    let check = credential_check.next(version, Instant::now());
    let mut why = "answers, but rejects our credentials".to_owned();
    let mut known = None;
    let answer = match check {
        Check::Anonymous => client.base(Endpoint::Anonymous, deadline).await?,
        Check::Credentials | Check::Quick => match client.base(Endpoint::Base, deadline).await {
            Ok(answer) => {
                known = Some(answer.status != StatusCode::UNAUTHORIZED || answer.sent == Sent::Nothing);
                answer
            }
            // The token server rejected us, or our own files cannot be read.
            Err(unknown) if unknown.cause == Cause::Unauthorized => {
                (known, why) = (Some(anonymous), unknown.detail.to_string());
                client.base(Endpoint::Anonymous, deadline).await?
            }
            Err(unknown) => return Err(unknown),
        },
    };
    credential_check.learn(check, version, known, Instant::now());
    match answer.status.as_u16() {
        429 | 500.. => Err(answer.unexpected()),
        status if !is_registry(&answer) => {
            Ok((Health::NotARegistry, format!("answers ({status}), but not as a registry does")))
        }
        _ if credential_check.wrong => Ok((Health::BadCredentials, why)),
        401 => Ok((Health::Up, "answers; no credentials apply to the registry as a whole".to_owned())),
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

/// Decides when a probe sends credentials: at the start, when their files changed, and while they are right. Wrong
/// ones are tried again rarely.
#[derive(Debug, Default)]
struct CredentialCheck {
    version: Option<u64>,
    checked: Option<Instant>,
    wrong: bool,
}

impl CredentialCheck {
    fn next(&self, version: u64, now: Instant) -> Check {
        let due = self.checked.is_none_or(|proved| now.duration_since(proved) >= PROVE_AGAIN);
        if due || self.version != Some(version) {
            Check::Credentials
        } else if self.wrong {
            Check::Anonymous
        } else {
            Check::Quick
        }
    }

    /// `known`: whether the credentials were accepted. `None`: that could not be learned, and is tried again.
    fn learn(&mut self, check: Check, version: u64, known: Option<bool>, now: Instant) {
        let Some(known) = known.filter(|_| check != Check::Anonymous) else { return };
        if check == Check::Credentials {
            (self.version, self.checked) = (Some(version), Some(now));
        }
        self.wrong = !known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_shown_when_they_are_new_and_rarely_while_they_are_wrong() {
        let (mut credential_check, start) = (CredentialCheck::default(), Instant::now());
        let mut check = |version, known: Option<bool>, after: Duration| {
            let check = credential_check.next(version, start + after);
            credential_check.learn(check, version, known, start + after);
            check
        };
        let second = Duration::from_secs(1);
        assert_eq!(check(0, None, second), Check::Credentials);
        assert_eq!(check(0, Some(false), second * 2), Check::Credentials, "it could not be learned");
        for after in 3..100 {
            // A probe without credentials tells nothing about them.
            assert_eq!(check(0, Some(true), second * after), Check::Anonymous);
        }
        assert_eq!(check(1, Some(true), second * 101), Check::Credentials, "other files");
        assert_eq!(check(1, Some(true), second * 102), Check::Quick);
        assert_eq!(check(1, Some(false), second * 103), Check::Quick);
        assert_eq!(check(1, Some(true), second * 104), Check::Anonymous, "they turned wrong");
        assert_eq!(
            check(1, Some(true), second * 101 + PROVE_AGAIN),
            Check::Credentials,
            "they may be right again"
        );
        assert_eq!(check(1, Some(true), second * 102 + PROVE_AGAIN), Check::Quick);
    }
}
