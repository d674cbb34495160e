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

use super::leader::Leading;
use crate::cluster::{
    Cluster, ClusterError, Common, Entry, Event, EventReason, EventRecorder, Filled, ObjectRef, Registered,
    Severity, Validators, Webhook, Written,
};
use crate::domain::error_chain::error_chain;
use crate::domain::name::PolicyName;
use crate::domain::policy::{Enforcement, SYSTEM_NAMESPACES, Selector, SelectorId};
use crate::domain::settings::Settings;

/// The most entries: an API server keeps so many clients of webhooks, and makes each call with a new one where there are
/// more (`cacheSize` in its `webhook/client.go`).
const MOST: usize = 200;

/// The longest time between two rounds: the watches may miss a change.
const LOOK: Duration = Duration::from_secs(30);

/// The time until the next round while an entry is missing or no longer needed, and after a round that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// How often it is looked whether there are new settings.
const NEWS: Duration = Duration::from_millis(500);

/// How long an entry stays that no policy needs any more: longer than a replica leads after it last heard of its Lease.
const LINGER: Duration = Duration::from_secs(12);

/// The API server waits at least so long for an answer: a replica that has died costs one such wait.
const SHORTEST: Duration = Duration::from_secs(5);
/// And at most so long: all webhooks of a request share 34 s.
const LONGEST: Duration = Duration::from_secs(10);
/// How much longer it waits than the door takes.
const WAY_BACK: Duration = Duration::from_secs(1);

/// The names of the objects that entries need. The chart renders all of them.
#[derive(Debug, Clone)]
pub struct Names {
    /// Our namespace.
    pub namespace: String,
    /// The Service that the API server calls.
    pub service: String,
    /// The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration.
    pub webhook: String,
    /// Whose authorities the entries have.
    pub issuer: Issuer,
}

/// Whose authorities the entries have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuer {
    /// Our own: `controllers/certificates.rs` keeps them beside the entries.
    Us,
    /// Others': those of the other door's entry.
    Others,
}

/// How the entry for one selector stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
pub enum EntryState {
    /// As it should.
    Standing,
    /// It is missing, or not as it should be; the leader writes it as soon as it can.
    Missing,
    /// There is none, because there would be too many.
    Refused,
}

/// How the entries stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The state of each entry that a policy needs.
    pub entries: BTreeMap<SelectorId, EntryState>,
    /// The policies without an entry, and why; empty if all entries stand.
    pub trouble: Option<String>,
}

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
        // The bundle first: an entry is never written with one that is newer than what was read of the entries.
        let other = match self.names.issuer {
            Issuer::Us => Vec::new(),
            Issuer::Others => self.webhook.read().await?.bundles.into_values().next().unwrap_or_default(),
        };
        let Some(registered) = self.validators.read().await? else {
            let missing = ClusterError::Missing { what: self.validators.to_string() };
            if needed.selectors.is_empty() {
                self.tell(report, Report::default());
                return Ok(LOOK);
            }
            return Err(missing);
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
        let plan = look.plan();
        let is_good = plan.entries == registered.entries;
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
            return Ok(Duration::ZERO);
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
        memory.good = Some(plan.entries);
        // Read again at once: the write has changed something.
        Ok(Duration::ZERO)
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

/// The selectors of the policies that are to enforce.
#[derive(Debug, Default)]
struct Needed<'a> {
    selectors: BTreeMap<SelectorId, (&'a Selector, Vec<&'a PolicyName>)>,
    /// In the order of the policies.
    order: Vec<SelectorId>,
}

impl<'a> Needed<'a> {
    fn of(settings: &'a Settings) -> Self {
        let mut needed = Self::default();
        // Whether it is open now does not matter.
        for policy in settings.policies.iter().filter(|policy| policy.enforcement == Enforcement::Enforce) {
            let id = policy.selector.id();
            let (_, policies) = needed.selectors.entry(id).or_insert_with(|| {
                needed.order.push(id);
                (&policy.selector, Vec::new())
            });
            policies.push(&policy.name);
        }
        needed
    }
}

/// What all entries have in common.
fn common(names: &Names, settings: &Settings) -> Common {
    // A registry inside the cluster must start without us. The chart keeps the same namespaces out of the other door.
    let of_registries = settings.registries.values().filter_map(|registry| {
        let mut labels = registry.url.host_str()?.split('.').skip(1);
        let namespace = labels.next()?;
        (labels.next()? == "svc").then(|| namespace.to_owned())
    });
    let excluded = settings.exclude.namespaces.iter().map(|namespace| namespace.to_string());
    let system = SYSTEM_NAMESPACES.map(str::to_owned).into_iter().chain([names.namespace.clone()]);
    let kept_out: BTreeSet<String> = system.chain(excluded).chain(of_registries).collect();
    let needs = settings.budget.request + WAY_BACK;
    // The API takes whole seconds.
    let timeout = Duration::from_secs(needs.as_secs() + u64::from(needs.subsec_nanos() > 0));
    Common {
        namespace: names.namespace.clone(),
        service: names.service.clone(),
        timeout: timeout.clamp(SHORTEST, LONGEST),
        kept_out: kept_out.into_iter().collect(),
    }
}

/// Everything that the entries follow from.
struct Look<'a> {
    needed: &'a Needed<'a>,
    registered: &'a Registered,
    common: &'a Common,
    issuer: Issuer,
    /// The bundle of the other door's entry, where others issue our certificate.
    other: &'a [u8],
    /// Whether this replica is ready to answer.
    ready: bool,
    /// The entries that may be removed.
    over: &'a BTreeSet<SelectorId>,
}

/// The entries as they should be.
#[derive(Debug)]
struct Plan {
    entries: Vec<Entry>,
    refused: BTreeSet<SelectorId>,
    /// Why entries that are needed are not among them.
    reason: Option<&'static str>,
    /// Whether an entry is needed that cannot be written yet.
    waits: bool,
}

impl Look<'_> {
    /// The entries that should stand now. An entry that stands is never given up for want of a bundle or of readiness.
    fn plan(&self) -> Plan {
        let Self { needed, registered, common, ready, over, .. } = self;
        // Those that stand come first: what is closed must not be opened by a policy that is new.
        let stands = |id: &&SelectorId| registered.entry(**id).is_some();
        let (standing, others): (Vec<_>, Vec<_>) = needed.order.iter().partition(stands);
        let mut plan = Plan { entries: Vec::new(), refused: BTreeSet::new(), reason: None, waits: false };
        for (place, id) in standing.into_iter().chain(others).enumerate() {
            let Some((selector, _)) = needed.selectors.get(id) else { continue };
            let old = registered.entry(*id);
            let bundle = self.bundle(old);
            if place >= MOST {
                plan.refused.insert(*id);
            } else if old.is_some() {
                plan.entries.push(common.entry(selector, bundle));
            } else if bundle.is_empty() || !ready {
                plan.waits = true;
                plan.reason = Some(if bundle.is_empty() {
                    "the certificate authority is not published yet"
                } else {
                    "this replica is not ready to answer"
                });
            } else {
                plan.entries.push(common.entry(selector, bundle));
            }
        }
        let unneeded = registered.entries.iter().filter(|entry| {
            let id = entry.selector_id();
            id.is_some_and(|id| !needed.selectors.contains_key(&id) && !(*ready && over.contains(&id)))
        });
        plan.entries.extend(unneeded.cloned());
        plan.entries.sort_by(|one, other| one.name().cmp(other.name()));
        plan.entries.dedup_by(|one, other| one.name() == other.name());
        plan
    }

    /// The authorities of an entry; empty if they are not known yet.
    fn bundle<'b>(&'b self, old: Option<&'b Entry>) -> &'b [u8] {
        let written = old.map(Entry::bundle).filter(|bundle| !bundle.is_empty());
        match (self.issuer, self.registered.filled) {
            // What the rotation of authorities has published beside them, under the same version.
            (Issuer::Us, _) if self.registered.bundle.is_empty() => written.unwrap_or_default(),
            (Issuer::Us, _) => &self.registered.bundle,
            (Issuer::Others, Filled::ByCertManager) => written.unwrap_or(self.other),
            (Issuer::Others, Filled::ByUs) => self.other,
        }
    }
}

impl Plan {
    /// How the entries stand that were read.
    fn report(&self, needed: &Needed<'_>, registered: &Registered) -> Report {
        let state = |id: &SelectorId| {
            let wanted = self.entries.iter().find(|entry| entry.selector_id() == Some(*id));
            match wanted {
                _ if self.refused.contains(id) => EntryState::Refused,
                Some(wanted) if registered.entry(*id) == Some(wanted) && !wanted.bundle().is_empty() => {
                    EntryState::Standing
                }
                _ => EntryState::Missing,
            }
        };
        let entries: BTreeMap<_, _> = needed.selectors.keys().map(|id| (*id, state(id))).collect();
        let without = |state: EntryState| {
            let ids = entries.iter().filter(|(_, one)| **one == state).map(|(id, _)| id);
            let policies = ids.filter_map(|id| needed.selectors.get(id)).flat_map(|(_, policies)| policies);
            let names: Vec<_> = policies.map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        let (missing, refused) = (without(EntryState::Missing), without(EntryState::Refused));
        let mut trouble = Vec::new();
        if !missing.is_empty() {
            let reason = self.reason.unwrap_or("the leader writes it");
            trouble.push(format!("no entry, or a wrong one, for the policies {missing}: {reason}"));
        }
        if !refused.is_empty() {
            trouble.push(format!(
                "no entry for the policies {refused}: there are at most {MOST} different namespaceSelectors; let policies share one"
            ));
        }
        Report { entries, trouble: Some(trouble.join("; ")).filter(|trouble| !trouble.is_empty()) }
    }
}
