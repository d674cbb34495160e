//! The entries of the validating door: one for each distinct selector of the policies that are to enforce.
//!
//! ```text
//! bell: watches, new settings, a timer ─► read both configurations ─► plan ─┬► what stands, and why the rest does not
//!                                                                           └► leader: one write ─► read again
//! ```
//!
//! An entry fails closed, so it is added only while this replica itself is ready to answer. Whoever changes or removes one
//! finds it again as it was. An entry that no policy needs any more stays for some time: a leader whose settings are old for
//! a moment must not open what another one has closed. A policy that is opened for some time keeps its entry, for the door
//! knows that it is open: closing it needs no write.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as Page;
use strum::VariantArray as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

pub use self::plan::{EntryState, Issuer, Names, Report};
use self::plan::{Look, Needed, common};
use super::leader::Leading;
use crate::cluster::{
    Cluster, ClusterError, Entry, Event, EventReason, EventRecorder, ObjectRef, Registered, Severity,
    Validators, Webhook, Written,
};
use crate::domain::error_chain::error_chain;
use crate::domain::policy::SelectorId;
use crate::domain::settings::Settings;

/// The longest time between two rounds: the watches may miss a change.
const LOOK: Duration = Duration::from_secs(30);

/// The time until the next round while an entry is missing or no longer needed, and after a round that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// How often it is looked whether there are new settings.
const NEWS: Duration = Duration::from_millis(500);

/// How long an entry stays that no policy needs any more: longer than a replica leads after it last heard of its Lease.
const LINGER: Duration = Duration::from_secs(12);

/// The metrics of the entries. A clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    entries: Family<[(&'static str, &'static str); 1], Gauge>,
    restored: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_validating_entries",
            "How many entries of the validating webhook the policies need, by whether they stand",
            metrics.entries.clone(),
        );
        page.register(
            "landfall_validating_entry_restores",
            "How often this replica wrote the entries again because something else had changed or removed them",
            metrics.restored.clone(),
        );
        metrics.show(&Report::default());
        metrics
    }

    fn show(&self, report: &Report) {
        for state in EntryState::VARIANTS {
            let many = report.entries.values().filter(|one| *one == state).count();
            let gauge = self.entries.get_or_create(&[("state", (*state).into())]);
            gauge.set(i64::try_from(many).unwrap_or(i64::MAX));
        }
    }
}

/// Keeps the entries, or only looks at them while another replica leads.
pub struct EntryKeeper {
    names: Names,
    webhook: Webhook,
    validators: Validators,
    settings: Arc<ArcSwap<Settings>>,
    leading: Leading,
    /// Whether this replica is ready to answer.
    is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    events: EventRecorder,
    metrics: Metrics,
}

/// What this replica remembers from round to round.
#[derive(Debug, Default)]
struct Memory {
    /// The entries that no policy needs, and since when.
    unneeded: BTreeMap<SelectorId, Instant>,
    /// What was written or seen as it should be.
    good: Option<Vec<Entry>>,
    /// Whether the last round wrote. What it wrote was not seen since.
    wrote: bool,
    /// Whether what the last round wrote did not stand in this one.
    undone: bool,
    /// When the next round should begin.
    expected: Option<Instant>,
}

impl EntryKeeper {
    /// For this replica, which writes whenever it is `leading`.
    pub fn new(
        cluster: &Cluster,
        names: Names,
        settings: Arc<ArcSwap<Settings>>,
        leading: Leading,
        is_ready: impl Fn() -> bool + Send + Sync + 'static,
        events: EventRecorder,
        metrics: Metrics,
    ) -> Self {
        Self {
            webhook: cluster.webhook(&names.webhook),
            validators: cluster.validators(&names.webhook),
            is_ready: Box::new(is_ready),
            names,
            settings,
            leading,
            events,
            metrics,
        }
    }

    /// Keeps them until `leaving`, and tells how they stand.
    pub async fn run(self, report: &watch::Sender<Report>, leaving: impl Future<Output = ()>) {
        let bell = Notify::new();
        let (validators, webhook) = (self.validators.changes(), self.webhook.changes());
        tokio::select! {
            () = validators.ring(&bell) => {}
            () = webhook.ring(&bell) => {}
            () = self.keep(report, &bell) => {}
            () = leaving => {}
        }
    }

    async fn keep(&self, report: &watch::Sender<Report>, bell: &Notify) {
        let (mut memory, mut leading) = (Memory::default(), self.leading.clone());
        loop {
            let (leads, settings) = (leading.now(), self.settings.load_full());
            let pause = match self.round(report, &mut memory, leads, &settings).await {
                Ok(pause) => pause,
                Err(error) => {
                    let trouble = format!("they cannot be looked after: {}", error_chain(&error));
                    report.send_if_modified(|report| {
                        let changed = report.trouble.as_ref() != Some(&trouble);
                        report.trouble = Some(trouble);
                        changed
                    });
                    AGAIN
                }
            };
            memory.expected = Some(Instant::now() + pause);
            if memory.undone {
                // Whoever changes what we write rings the bell, too.
                tokio::time::sleep(pause).await;
                continue;
            }
            let _ = timeout(pause, async {
                tokio::select! {
                    () = bell.notified() => {}
                    () = leading.changed() => {}
                    () = self.news(&settings) => {}
                }
            })
            .await;
        }
    }

    /// Waits until the settings are no longer these, or until we are ready where we were not.
    async fn news(&self, settings: &Arc<Settings>) {
        let was_ready = (self.is_ready)();
        while Arc::ptr_eq(settings, &self.settings.load()) && (self.is_ready)() == was_ready {
            tokio::time::sleep(NEWS).await;
        }
    }

    /// Reads once and writes what is wrong. Returns the time until the next round.
    async fn round(
        &self,
        report: &watch::Sender<Report>,
        memory: &mut Memory,
        leads: bool,
        settings: &Settings,
    ) -> Result<Duration, ClusterError> {
        let needed = Needed::of(settings);
        let wrote = std::mem::take(&mut memory.wrote);
        memory.undone = false;
        // What stood before may stand no more.
        let read = self.read().await.inspect_err(|_| self.tell(report, Report::default()));
        let (other, Some(registered)) = read? else {
            let missing = ClusterError::Missing { what: self.validators.to_string() };
            if needed.selectors.is_empty() {
                self.tell(report, Report::default());
                return Ok(LOOK);
            }
            self.tell(report, Report::of_none(&needed, error_chain(&missing)));
            return Ok(AGAIN);
        };
        let now = Instant::now();
        memory.forget_after_a_gap(now, leads);
        let look = Look {
            needed: &needed,
            registered: &registered,
            common: &common(&self.names, settings),
            issuer: self.names.issuer,
            other: &other,
            ready: (self.is_ready)(),
            over: &memory.over(&needed, &registered, now),
        };
        let mut plan = look.plan();
        let is_good = plan.entries == registered.entries;
        memory.undone = !is_good && wrote && memory.good.as_ref() == Some(&plan.entries);
        if memory.undone {
            plan.reason = Some("something changes what the leader writes");
        }
        self.tell(report, plan.report(&needed, &registered));
        if !leads {
            return Ok(LOOK);
        }
        if is_good {
            memory.good = Some(plan.entries);
            let waits = !memory.unneeded.is_empty() || plan.waits;
            return Ok(if waits { AGAIN } else { LOOK });
        }
        let written = self.validators.write(&registered, &plan.entries).await?;
        tracing::info!(entries = plan.entries.len(), ?written, "wrote the entries of the validating webhook");
        if written == Written::Outdated {
            return Ok(AGAIN);
        }
        if memory.good.as_ref() == Some(&plan.entries) {
            self.metrics.restored.inc();
            self.events.record(Event {
                about: self.about(),
                severity: Severity::Warning,
                reason: EventReason::EntriesRestored,
                message: "somebody had changed or removed entries that policies need; they are as before"
                    .to_owned(),
            });
        }
        (memory.good, memory.wrote) = (Some(plan.entries), true);
        // Read again at once: the write has changed something. But whoever changes it back would make that a loop without a
        // pause: some platforms change every webhook configuration as it is written.
        Ok(if memory.undone { AGAIN } else { Duration::ZERO })
    }

    /// The authorities of the other door's entry, where they count, and the configuration of this one.
    async fn read(&self) -> Result<(Vec<u8>, Option<Registered>), ClusterError> {
        // The bundle first: an entry is never written with one that is newer than what was read of the entries.
        let other = match self.names.issuer {
            Issuer::Us => Vec::new(),
            Issuer::Others => self.webhook.read().await?.bundles.into_values().next().unwrap_or_default(),
        };
        Ok((other, self.validators.read().await?))
    }

    fn tell(&self, told: &watch::Sender<Report>, report: Report) {
        self.metrics.show(&report);
        told.send_if_modified(|before| {
            let changed = *before != report;
            *before = report;
            changed
        });
    }

    /// The object that events are about.
    fn about(&self) -> ObjectRef {
        ObjectRef {
            api_version: "admissionregistration.k8s.io/v1".into(),
            kind: "ValidatingWebhookConfiguration".into(),
            namespace: None,
            name: self.names.webhook.clone(),
            uid: None,
        }
    }
}

impl Memory {
    /// A process that was suspended has not seen what happened meanwhile, and one that does not lead decides nothing.
    fn forget_after_a_gap(&mut self, now: Instant, leads: bool) {
        if !leads || self.expected.is_some_and(|expected| now > expected + LINGER / 2) {
            self.unneeded.clear();
            self.good = None;
        }
    }

    /// The entries that were not needed for long enough to be removed.
    fn over(&mut self, needed: &Needed, registered: &Registered, now: Instant) -> BTreeSet<SelectorId> {
        let there = registered.entries.iter().filter_map(Entry::selector_id);
        let unneeded: BTreeSet<_> = there.filter(|id| !needed.selectors.contains_key(id)).collect();
        self.unneeded.retain(|id, _| unneeded.contains(id));
        for id in unneeded {
            self.unneeded.entry(id).or_insert(now);
        }
        let over = self.unneeded.iter().filter(|(_, since)| now.duration_since(**since) >= LINGER);
        over.map(|(id, _)| *id).collect()
    }
}
