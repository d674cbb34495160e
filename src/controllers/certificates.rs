//! Self-managed certificates: one loop that looks, renews this replica's leaf, and, where it leads, takes the next step of
//! rotation.
//!
//! ```text
//! bell: watches, a timer ─► read the bundles, then the Secret ─┬► renewal ─► the leaf that is served
//!                                                              └► leader: rotation::step ─► one write ─► look again
//! ```
//!
//! A replica with a leaf goes on while the API server is gone: nothing here takes a leaf away, the condition says when
//! it ends.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::certs::rotation::{Cause, Look, Step, step};
use crate::certs::{
    Authorities, Authority, Certificate, CertsError, Leaf, LeafDates, Metrics, Periods, Renewal, renewal,
};
use crate::cluster::{
    Cluster, ClusterError, Entries, Event, EventRecorder, Secret, Stored, Term, Webhook, Written,
};
use crate::domain::error_chain::error_chain;

/// How often everybody looks at least without being called: a watch can be deaf.
const LOOK: Duration = Duration::from_secs(30);

/// How soon again after a look that failed, or a write that came too late.
const AGAIN: Duration = Duration::from_secs(2);

/// The names of everything that self-managed certificates need. The chart renders all of it.
#[derive(Debug, Clone)]
pub struct Names {
    /// Our namespace.
    pub namespace: String,
    /// Our Pod: who we are to the Lease.
    pub pod: String,
    /// The Service that the API server calls.
    pub service: String,
    /// The Secret that holds the authorities.
    pub secret: String,
    /// The MutatingWebhookConfiguration whose `caBundle` we fill.
    pub webhook: String,
    /// The Lease of the leader.
    pub lease: String,
}

/// What this replica serves, and what stands between it and a better one.
#[derive(Debug, Default)]
pub struct Served {
    /// The newest leaf, and since before when it can have been made.
    pub leaf: Option<(Leaf, Instant)>,
    /// What was wrong with the last look.
    pub problem: Option<String>,
}

/// Keeps certificates for one replica.
#[derive(Debug)]
pub struct Certificates {
    names: Names,
    periods: Periods,
    cluster: Cluster,
    term: Term,
    secret: Secret,
    webhook: Webhook,
    events: EventRecorder,
    metrics: Metrics,
    clock: fn() -> Timestamp,
    /// Which share of a leaf's life this replica lets pass, in thousandths: no two renew in step.
    jitter: u16,
}

/// What one look showed.
struct Seen {
    entries: Entries,
    bundles: Vec<Vec<u8>>,
    published: Vec<Vec<Certificate>>,
    stored: Stored,
    authorities: Authorities,
}

/// What this replica remembers from look to look.
#[derive(Default)]
struct Memory {
    /// The leaf that is served, and since before when it can have been made.
    leaf: Option<(LeafDates, Instant)>,
    /// What the leader saw last, and since when it has been so.
    unchanged: Option<(Authorities, Vec<Vec<u8>>, Instant)>,
}

impl Certificates {
    /// For the replica that `names` tells of.
    pub fn new(
        cluster: Cluster,
        names: Names,
        periods: Periods,
        term: Term,
        metrics: Metrics,
        clock: fn() -> Timestamp,
    ) -> Self {
        let Names { namespace, pod, secret, webhook, .. } = &names;
        Self {
            secret: cluster.secret(namespace, secret),
            webhook: cluster.webhook(webhook),
            events: cluster.events(namespace, secret, pod),
            cluster,
            term,
            periods,
            metrics,
            clock,
            jitter: jitter(),
            names,
        }
    }

    /// Keeps them until `leaving`, and gives the lead back. What is served goes to `served`.
    pub async fn run(self, served: &watch::Sender<Served>, leaving: impl Future<Output = ()>) {
        let (bell, (lead, leads)) = (Notify::new(), watch::channel(false));
        let (secret, webhook) = (self.secret.changes(), self.webhook.changes());
        let Names { namespace, lease, pod, .. } = &self.names;
        let mut lease = self.cluster.lease(namespace, lease, pod, self.term, self.clock);
        {
            let work = async {
                tokio::join!(
                    lease.run(&lead),
                    secret.ring(&bell),
                    webhook.ring(&bell),
                    self.keep(served, &bell, leads)
                );
            };
            tokio::select! {
                () = work => {}
                () = leaving => {}
            }
        }
        if *lead.borrow()
            && let Err(error) = lease.release().await
        {
            tracing::warn!(%error, "the lead was not given back; it runs out");
        }
    }

    async fn keep(&self, served: &watch::Sender<Served>, bell: &Notify, mut leads: watch::Receiver<bool>) {
        let mut memory = Memory::default();
        loop {
            let leading = *leads.borrow_and_update();
            let pause = match self.round(served, &mut memory, leading).await {
                Ok(pause) => pause,
                Err(problem) => {
                    tracing::warn!(problem, "certificates cannot be looked after");
                    served.send_modify(|served| served.problem = Some(problem));
                    AGAIN
                }
            };
            // The timer is what rotation and renewal go by; the rest only saves time.
            let _ = timeout(pause.min(LOOK).min(self.periods.leaf / 10), async {
                tokio::select! {
                    () = bell.notified() => {}
                    _ = leads.changed() => {}
                }
            })
            .await;
        }
    }

    /// One look and what follows from it. Says how long until the next one.
    async fn round(
        &self,
        served: &watch::Sender<Served>,
        memory: &mut Memory,
        leading: bool,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        let seen = self.look().await.map_err(|error| error_chain(&error))?;
        self.metrics.saw(&seen.authorities);
        let problem = self.renew(served, memory, &seen, began).map_err(|error| error_chain(&error))?;
        served.send_if_modified(|served| {
            let changed = served.problem != problem;
            served.problem = problem;
            changed
        });
        if !leading {
            memory.unchanged = None;
            self.metrics.leads(None);
            return Ok(LOOK);
        }
        let now = (self.clock)();
        let live = memory.leaf.as_ref().filter(|(dates, since)| !dates.is_over(now, since.elapsed()));
        let serving = live.map(|(dates, _)| dates.issuer.clone());
        let as_before = memory.unchanged.as_ref().is_some_and(|(authorities, bundles, _)| {
            *authorities == seen.authorities && *bundles == seen.bundles
        });
        if !as_before {
            // From the end of the look, which is later than what it saw.
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
        self.metrics.leads(Some(&step));
        self.take(&step, &seen).await.map_err(|error| error_chain(&*error))
    }

    /// The bundles before the Secret: see [`Look`].
    async fn look(&self) -> Result<Seen, ClusterError> {
        let entries = self.webhook.read().await?;
        let stored = self.secret.read().await?;
        let (authorities, damage) = Authorities::read(&stored.data);
        for damage in damage {
            tracing::warn!(error = error_chain(&damage), secret = %self.secret, "the Secret is damaged; rotation mends it");
        }
        let bundles: Vec<_> = entries.bundles.values().cloned().collect();
        let published = bundles.iter().map(|bundle| Certificate::all_in(bundle)).collect();
        Ok(Seen { entries, bundles, published, stored, authorities })
    }

    /// Renews the leaf where it is time to. Says why it cannot be, where it should.
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
                tracing::info!(not_after = %leaf.dates.not_after, "a new certificate of our own");
                memory.leaf = Some((leaf.dates.clone(), began));
                served.send_replace(Served { leaf: Some((leaf, began)), problem: None });
                Ok(None)
            }
        }
    }

    /// Takes one step of rotation. Says how long until there is something to see.
    async fn take(
        &self,
        step: &Step,
        seen: &Seen,
    ) -> Result<Duration, Box<dyn std::error::Error + Send + Sync>> {
        let now = (self.clock)();
        let written = match step {
            Step::Rest => return Ok(LOOK),
            Step::Settle(left) | Step::Linger(left) => return Ok(*left),
            Step::Publish => self.webhook.publish(&seen.entries, &seen.authorities.bundle()).await?,
            Step::Adopt(_) | Step::Demote | Step::Introduce(_) | Step::Promote | Step::Retire(_) => {
                let fresh = match step {
                    Step::Introduce(_) => Some(Authority::new(now, &self.periods)?),
                    _ => None,
                };
                let after = seen.authorities.after(step, fresh);
                self.secret.write(&seen.stored, &after.data()).await?
            }
        };
        tracing::info!(rotation.step = step.as_str(), ?written, "rotation");
        match (written, news(step, &seen.authorities)) {
            (Written::Outdated, _) => return Ok(AGAIN),
            (Written::Done, Some(news)) => self.events.publish(news, now).await,
            (Written::Done, None) => {}
        }
        // Look at once: what we wrote is there.
        Ok(Duration::ZERO)
    }
}

/// What a step that was taken is to be announced with.
fn news(step: &Step, before: &Authorities) -> Option<Event> {
    let (reason, message) = match step {
        Step::Introduce(Cause::Lacking) => {
            ("AuthorityMade", "made an authority: there was none that could sign".to_owned())
        }
        Step::Introduce(Cause::Due) => (
            "AuthorityMade",
            "made the next authority: the one that signs is half through its life".to_owned(),
        ),
        Step::Promote => {
            let end = before.next.as_ref().map(|next| next.certificate().not_after())?;
            ("AuthorityPromoted", format!("the next authority signs from now on, until {end}"))
        }
        Step::Retire(gone) => {
            ("AuthorityRetired", format!("{} previous authorities are no longer published", gone.len()))
        }
        Step::Adopt(strays) => {
            let many = strays.len();
            ("AuthorityAdopted", format!("{many} authorities that the Secret had lost stay published"))
        }
        Step::Demote => {
            ("AuthorityDemoted", "the authority was not published yet: it signs after it is".to_owned())
        }
        Step::Publish | Step::Settle(_) | Step::Linger(_) | Step::Rest => return None,
    };
    Some(Event { reason, message })
}

fn jitter() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's keys are random; that is all the randomness this needs.
    u16::try_from(RandomState::new().hash_one(()) % 101).unwrap_or_default()
}
