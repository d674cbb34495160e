//! The entries as they should be, worked out from the settings and from what was read. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cluster::{Common, Entry, Filled, Registered};
use crate::domain::name::PolicyName;
use crate::domain::policy::{Enforcement, SYSTEM_NAMESPACES, Selector, SelectorId};
use crate::domain::settings::Settings;

/// The most entries: an API server keeps so many clients of webhooks, and makes each call with a new one where there are
/// more (`cacheSize` in its `webhook/client.go`).
pub(super) const MOST: usize = 200;

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

/// The selectors of the policies that are to enforce.
#[derive(Debug, Default)]
pub(super) struct Needed<'a> {
    pub(super) selectors: BTreeMap<SelectorId, (&'a Selector, Vec<&'a PolicyName>)>,
    /// In the order of the policies.
    order: Vec<SelectorId>,
}

impl<'a> Needed<'a> {
    pub(super) fn of(settings: &'a Settings) -> Self {
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
pub(super) fn common(names: &Names, settings: &Settings) -> Common {
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
pub(super) struct Look<'a> {
    pub(super) needed: &'a Needed<'a>,
    pub(super) registered: &'a Registered,
    pub(super) common: &'a Common,
    pub(super) issuer: Issuer,
    /// The bundle of the other door's entry, where others issue our certificate.
    pub(super) other: &'a [u8],
    /// Whether this replica is ready to answer.
    pub(super) ready: bool,
    /// The entries that may be removed.
    pub(super) over: &'a BTreeSet<SelectorId>,
}

/// The entries as they should be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    refused: BTreeSet<SelectorId>,
    /// Why entries that are needed are not among them, or do not stand.
    pub(super) reason: Option<&'static str>,
    /// Whether an entry is needed that cannot be written yet.
    pub(super) waits: bool,
}

impl Look<'_> {
    /// The entries that should stand now. An entry that stands is never given up for want of a bundle or of readiness.
    pub(super) fn plan(&self) -> Plan {
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
        // What nobody needs stays until it was not needed for long enough; who is not ready removes nothing.
        let stays = |id: SelectorId| !*ready || !over.contains(&id);
        let unneeded = registered.entries.iter().filter(|entry| {
            entry.selector_id().is_some_and(|id| !needed.selectors.contains_key(&id) && stays(id))
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
            // Somebody has emptied the other door's: what stands is better than nothing.
            (Issuer::Others, Filled::ByUs) if self.other.is_empty() => written.unwrap_or_default(),
            (Issuer::Others, Filled::ByUs) => self.other,
        }
    }
}

impl Report {
    /// None stands, for this reason.
    pub(super) fn of_none(needed: &Needed<'_>, trouble: String) -> Self {
        let entries = needed.selectors.keys().map(|id| (*id, EntryState::Missing)).collect();
        Self { entries, trouble: Some(trouble) }
    }
}

impl Plan {
    /// How the entries stand that were read.
    pub(super) fn report(&self, needed: &Needed<'_>, registered: &Registered) -> Report {
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
