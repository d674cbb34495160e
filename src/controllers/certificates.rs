//! Self-managed certificates: one loop that reads, renews the leaf of this replica and, in the leader, takes the next step
//! of rotation.
//!
//! ```text
//! bell: watches, a timer ─► read all bundles, then the Secret ─┬► renewal ─► the leaf that is served
//!                                                              └► leader: rotation::step ─► one write ─► read again
//! ```
//!
//! A replica that has a leaf goes on without the API server: nothing here takes a leaf away, and the condition says when
//! it ends.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::leader::Leading;
use crate::certs::rotation::{Cause, Look, Step, step};
use crate::certs::{
    Authorities, Authority, Certificate, CertsError, Leaf, LeafDates, Metrics, Periods, Renewal, renewal,
};
use crate::cluster::{
    Cluster, ClusterError, Entries, Event, EventReason, EventRecorder, ObjectRef, Registered, Secret,
    Severity, Stored, Validators, Webhook, Written,
};
use crate::domain::error_chain::error_chain;

/// The longest time between two rounds: the watches may miss a change.
const LOOK: Duration = Duration::from_secs(30);

/// The time until the next round after a round that failed or a write that came too late.
const AGAIN: Duration = Duration::from_secs(2);

/// The names of the objects that self-managed certificates need. The chart renders all of them.
#[derive(Debug, Clone)]
pub struct Names {
    /// Our namespace.
    pub namespace: String,
    /// The Service that the API server calls.
    pub service: String,
    /// The Secret that holds the authorities.
    pub secret: String,
    /// The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration whose `caBundle` we fill.
    pub webhook: String,
}

/// What this replica serves, and why it has nothing better.
#[derive(Debug, Default)]
pub struct Served {
    /// The newest leaf, and a moment before which it was not made.
    pub leaf: Option<(Leaf, Instant)>,
    /// What was wrong in the last round.
    pub problem: Option<String>,
    /// The authorities that are published: those of the leaves that any replica may serve.
    pub authorities: Vec<Certificate>,
}

/// Keeps the certificates of one replica.
#[derive(Debug)]
pub struct Certificates {
    names: Names,
    periods: Periods,
    secret: Secret,
    webhook: Webhook,
    validators: Validators,
    leading: Leading,
    events: EventRecorder,
    metrics: Metrics,
    clock: fn() -> Timestamp,
    /// A part of the life of a leaf, in thousandths, that differs from replica to replica: no two renew in step.
    jitter: u16,
}

/// What one round has read.
struct Seen {
    entries: Entries,
    /// `None`: there is no ValidatingWebhookConfiguration. Nobody is called by one then, and none of its bundles counts.
    registered: Option<Registered>,
    bundles: Vec<Vec<u8>>,
    published: Vec<Vec<Certificate>>,
    stored: Stored,
    authorities: Authorities,
}

/// What this replica remembers from round to round.
#[derive(Default)]
struct Memory {
    /// The leaf that is served, and a moment before which it was not made.
    leaf: Option<(LeafDates, Instant)>,
    /// What the leader has read last, and since when it reads the same.
    unchanged: Option<(Authorities, Vec<Vec<u8>>, Instant)>,
}

impl Certificates {
    /// For this replica, which rotates the authorities whenever it is `leading`.
    pub fn new(
        cluster: &Cluster,
        names: Names,
        periods: Periods,
        leading: Leading,
        events: EventRecorder,
        metrics: Metrics,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            secret: cluster.secret(&names.namespace, &names.secret),
            webhook: cluster.webhook(&names.webhook),
            validators: cluster.validators(&names.webhook),
            leading,
            events,
            periods,
            metrics,
            clock,
            jitter: fastrand::u16(..=100),
            names,
        }
    }

    /// Keeps them until `leaving`. Each new leaf goes to `served`.
    pub async fn run(self, served: &watch::Sender<Served>, leaving: impl Future<Output = ()>) {
        let bell = Notify::new();
        let (secret, webhook) = (self.secret.changes(), self.webhook.changes());
        let validators = self.validators.changes();
        tokio::select! {
            () = secret.ring(&bell) => {}
            () = webhook.ring(&bell) => {}
            () = validators.ring(&bell) => {}
            () = self.keep(served, &bell) => {}
            () = leaving => {}
        }
    }

    async fn keep(&self, served: &watch::Sender<Served>, bell: &Notify) {
        let (mut memory, mut leading) = (Memory::default(), self.leading.clone());
        loop {
            let leads = leading.now();
            let pause = match self.round(served, &mut memory, leads).await {
                Ok(pause) => pause,
                Err(problem) => {
                    tracing::warn!(problem, "the certificates cannot be maintained");
                    served.send_modify(|served| served.problem = Some(problem));
                    AGAIN
                }
            };
            // Rotation and renewal rely on the timer; the other two only make it faster.
            let _ = timeout(pause.min(LOOK).min(self.periods.leaf / 10), async {
                tokio::select! {
                    () = bell.notified() => {}
                    () = leading.changed() => {}
                }
            })
            .await;
        }
    }

    /// Reads once and does what follows from it. Returns the time until the next round.
    async fn round(
        &self,
        served: &watch::Sender<Served>,
        memory: &mut Memory,
        leads: bool,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        let seen = self.look().await.map_err(|error| error_chain(&error))?;
        self.metrics.saw(&seen.authorities);
        let problem = self.renew(served, memory, &seen, began).map_err(|error| error_chain(&error))?;
        let authorities: Vec<Certificate> = seen.authorities.published().cloned().collect();
        served.send_if_modified(|served| {
            let changed = served.problem != problem || served.authorities != authorities;
            (served.problem, served.authorities) = (problem, authorities);
            changed
        });
        if !leads {
            memory.unchanged = None;
            self.metrics.rotation(None);
            return Ok(LOOK);
        }
        let now = (self.clock)();
        let live = memory.leaf.as_ref().filter(|(dates, since)| !dates.is_over(now, since.elapsed()));
        let serving = live.map(|(dates, _)| dates.issuer.clone());
        let as_before = memory.unchanged.as_ref().is_some_and(|(authorities, bundles, _)| {
            *authorities == seen.authorities && *bundles == seen.bundles
        });
        if !as_before {
            // The end of the look: what it read was there before.
            memory.unchanged = Some((seen.authorities.clone(), seen.bundles.clone(), Instant::now()));
        }
        let since = memory.unchanged.as_ref().map_or(began, |(_, _, since)| *since);
        let look = Look {
            authorities: &seen.authorities,
            bundles: &seen.bundles,
            published: &seen.published,
            serving: serving.as_ref(),
            seen: began.saturating_duration_since(since),
            now,
        };
        let step = step(&look, &self.periods);
        self.metrics.rotation(Some(&step));
        self.take(&step, &seen).await.map_err(|error| error_chain(&*error))
    }

    /// Reads the bundles before the Secret: [`Look`] says why.
    async fn look(&self) -> Result<Seen, ClusterError> {
        let entries = self.webhook.read().await?;
        let registered = self.validators.read().await?;
        let stored = self.secret.read().await?;
        let (authorities, damage) = Authorities::read(&stored.data);
        for damage in damage {
            tracing::warn!(error = error_chain(&damage), secret = %self.secret, "the Secret is damaged; rotation repairs it");
        }
        let bundles = entries.bundles.values().cloned();
        let bundles: Vec<_> = bundles.chain(registered.iter().flat_map(Registered::bundles)).collect();
        let published = bundles.iter().map(|bundle| Certificate::all_in(bundle)).collect();
        Ok(Seen { entries, registered, bundles, published, stored, authorities })
    }

    /// Renews the leaf if it is time to. Returns why it cannot be renewed, if it should be.
    fn renew(
        &self,
        served: &watch::Sender<Served>,
        memory: &mut Memory,
        seen: &Seen,
        began: Instant,
    ) -> Result<Option<String>, CertsError> {
        let now = (self.clock)();
        let leaf = memory.leaf.as_ref().map(|(dates, since)| (dates, since.elapsed()));
        match renewal(leaf, &seen.authorities, &seen.published, now, self.jitter) {
            Renewal::Keep => Ok(None),
            Renewal::Wait(why) => Ok(Some(why.to_owned())),
            Renewal::Issue(authority) => {
                let Names { service, namespace, .. } = &self.names;
                let name = format!("{service}.{namespace}.svc");
                let leaf =
                    authority.issue(&[name.clone(), format!("{name}.cluster.local")], now, &self.periods)?;
                tracing::info!(not_after = %leaf.dates.not_after, "issued a new certificate");
                memory.leaf = Some((leaf.dates.clone(), began));
                served.send_modify(|served| (served.leaf, served.problem) = (Some((leaf, began)), None));
                Ok(None)
            }
        }
    }

    /// Takes one step of rotation. Returns the time until the next round.
    async fn take(
        &self,
        step: &Step,
        seen: &Seen,
    ) -> Result<Duration, Box<dyn std::error::Error + Send + Sync>> {
        let now = (self.clock)();
        let written = match step {
            Step::Rest => return Ok(LOOK),
            Step::Settle(left) | Step::Linger(left) => return Ok(*left),
            Step::Publish => self.publish(seen).await?,
            Step::Adopt(_) | Step::Demote | Step::Introduce(_) | Step::Promote | Step::Retire(_) => {
                let fresh = match step {
                    Step::Introduce(_) => Some(Authority::new(now, &self.periods)?),
                    _ => None,
                };
                let after = seen.authorities.after(step, fresh);
                self.secret.write(&seen.stored, &after.data()).await?
            }
        };
        tracing::info!(rotation.step = step.as_str(), ?written, "took a step of rotation");
        if written == Written::Outdated {
            return Ok(AGAIN);
        }
        if let Some((reason, message)) = news(step, &seen.authorities) {
            self.events.record(Event { about: self.about(), severity: Severity::Normal, reason, message });
        }
        // Read again at once: the write has changed something.
        Ok(Duration::ZERO)
    }

    /// Publishes the bundle of the Secret where another one stands: in one configuration, and in the next round in the other.
    async fn publish(&self, seen: &Seen) -> Result<Written, ClusterError> {
        let bundle = seen.authorities.bundle();
        let stale = |published: &Vec<u8>| *published != bundle.as_bytes();
        match &seen.registered {
            Some(registered) if !seen.entries.bundles.values().any(stale) => {
                self.validators.publish(registered, &bundle).await
            }
            _ => self.webhook.publish(&seen.entries, &bundle).await,
        }
    }

    /// The object that events are about.
    fn about(&self) -> ObjectRef {
        let Names { namespace, secret, .. } = &self.names;
        ObjectRef {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: Some(namespace.clone()),
            name: secret.clone(),
            uid: None,
        }
    }
}

/// What the event about a step says.
fn news(step: &Step, before: &Authorities) -> Option<(EventReason, String)> {
    Some(match step {
        Step::Introduce(Cause::Lacking) => {
            (EventReason::AuthorityMade, "made an authority: there was none that could sign".to_owned())
        }
        Step::Introduce(Cause::Due) => (
            EventReason::AuthorityMade,
            "made the next authority: half of the life of the current one is over".to_owned(),
        ),
        Step::Promote => {
            let end = before.next.as_ref().map(|next| next.certificate().not_after())?;
            (EventReason::AuthorityPromoted, format!("the next authority signs from now on, until {end}"))
        }
        Step::Retire(gone) => (
            EventReason::AuthorityRetired,
            format!("{} previous authorities are no longer published", gone.len()),
        ),
        Step::Adopt(strays) => {
            let many = strays.len();
            (
                EventReason::AuthorityAdopted,
                format!("{many} authorities that the Secret had lost stay published"),
            )
        }
        Step::Demote => (
            EventReason::AuthorityDemoted,
            "the authority that should sign is not published; none signs until the next one is".to_owned(),
        ),
        Step::Publish | Step::Settle(_) | Step::Linger(_) | Step::Rest => return None,
    })
}
