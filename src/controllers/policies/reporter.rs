//! What is said of the policies: each replica writes what it has in force into one ConfigMap, and the leader writes the
//! status of every object from that.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::status::{Facts, Fleet, Name, is_shown, mark, news, status};
use super::{Held, TICK};
use crate::cluster::{
    Cluster, ClusterError, Event, EventRecorder, LandingPolicyStatus, Namespaces, PolicyObject,
    PolicyObjects, Replicas, Written,
};
use crate::config::watch::Handle;
use crate::controllers::entries::Report;
use crate::controllers::leader::Leading;
use crate::domain::error_chain::error_chain;
use crate::domain::name::PolicyName;
use crate::domain::policy::{Enforcement, Policy, SelectorId};
use crate::domain::settings::Settings;

/// How often the leader asks what the replicas hold, while not everything is in force everywhere.
const SOON: Duration = Duration::from_secs(2);

/// The same when everything is, and how often a replica looks whether its key is still there.
const LATER: Duration = Duration::from_secs(20);

/// How long a status that could not be written is not written again.
const AGAIN: Duration = Duration::from_secs(5);

/// The names that the reporter needs.
#[derive(Debug, Clone)]
pub struct ReporterNames {
    /// Our namespace.
    pub namespace: String,
    /// The name of our Service. The ConfigMap is called `<release>-replicas`.
    pub release: String,
    /// The name of our Pod.
    pub pod: String,
}

/// Says how the policies stand.
pub struct Reporter {
    names: ReporterNames,
    objects: PolicyObjects,
    replicas: Replicas,
    entries: watch::Receiver<Report>,
    namespaces: Namespaces,
    leading: Leading,
    events: EventRecorder,
    held: watch::Receiver<Arc<[Held]>>,
    /// What the doors read, and what the file alone says.
    settings: Arc<ArcSwap<Settings>>,
    file: Handle,
    clock: fn() -> Timestamp,
}

/// What a reporter remembers from round to round.
#[derive(Default)]
struct Memory {
    /// What this replica has written, and when it was last seen to be there.
    own: Option<(String, Instant)>,
    /// What was asked last, and when.
    asked: Option<(Result<Fleet, String>, Instant)>,
    /// Whether anything was not yet as it should be.
    unsettled: bool,
    /// What we have written last of each object.
    written: HashMap<PolicyName, Wrote>,
}

/// A status that we have written, or have tried to write.
struct Wrote {
    /// The version of the object that it was written to.
    version: String,
    /// `None`: it was not written.
    status: Option<LandingPolicyStatus>,
    /// It is not written again before this moment, but for a newer version that nobody else has written to.
    again: Instant,
}

impl Wrote {
    /// Whether this object waits: it is not yet seen what we wrote, or somebody else writes another status, as the leader of
    /// a second release does. Two that answer each other at once would never end.
    fn waits(&self, object: &PolicyObject) -> bool {
        let is_undone = || self.status.as_ref().is_some_and(|status| !is_shown(&object.status, status));
        (self.version == object.version || is_undone()) && Instant::now() < self.again
    }
}

impl Reporter {
    /// For the objects that are `held`. `settings` is what the doors read; `file` the file alone.
    #[expect(
        clippy::too_many_arguments,
        reason = "the composition root knows all of them, and nobody else calls it"
    )]
    pub fn new(
        cluster: &Cluster,
        names: ReporterNames,
        namespaces: Namespaces,
        leading: Leading,
        events: EventRecorder,
        held: watch::Receiver<Arc<[Held]>>,
        entries: watch::Receiver<Report>,
        settings: Arc<ArcSwap<Settings>>,
        file: Handle,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            objects: cluster.policies(),
            replicas: cluster.replicas(&names.namespace, &names.release),
            entries,
            names,
            namespaces,
            leading,
            events,
            held,
            settings,
            file,
            clock,
        }
    }

    /// Says it for as long as it is polled.
    pub async fn run(mut self) {
        let mut memory = Memory::default();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = self.held.changed() => memory.asked = None,
            }
            let held = self.held.borrow_and_update().clone();
            if let Err(error) = self.tell_own(&held, &mut memory).await {
                memory.own = None;
                tracing::warn!(
                    error = error_chain(&error),
                    "this replica cannot say which policies it has in force"
                );
            }
            if self.leading.now() {
                self.tell_all(&held, &mut memory).await;
            } else {
                memory = Memory { own: memory.own, ..Memory::default() };
            }
        }
    }

    /// Writes what this replica has in force, if that is not there.
    async fn tell_own(&self, held: &[Held], memory: &mut Memory) -> Result<(), ClusterError> {
        let settings = self.settings.load();
        let own = own(held, &settings.policies);
        let is_fresh = |(written, seen): &(String, Instant)| *written == own && seen.elapsed() < LATER;
        if memory.own.as_ref().is_some_and(is_fresh) {
            return Ok(());
        }
        let pod = self.names.pod.as_str();
        if self.replicas.read().await?.get(pod) != Some(&own) {
            self.replicas.write(&BTreeMap::from([(pod, Some(own.as_str()))])).await?;
        }
        memory.own = Some((own, Instant::now()));
        Ok(())
    }

    /// Writes the status of every object that does not say yet how it stands.
    async fn tell_all(&self, held: &[Held], memory: &mut Memory) {
        let every = if memory.unsettled { SOON } else { LATER };
        if held.is_empty() {
            return;
        }
        if memory.asked.as_ref().is_none_or(|(_, since)| since.elapsed() >= every) {
            memory.asked = Some((self.ask().await, Instant::now()));
        }
        let Some((fleet, _)) = &memory.asked else { return };
        let entries = self.entries.borrow().clone();
        let file = self.file.snapshot().settings.clone();
        let mut selected: HashMap<SelectorId, Vec<Box<str>>> = HashMap::new();
        let (now, mut unsettled) = ((self.clock)(), false);
        for held in held {
            let selected: &[_] = match &held.policy {
                Some(policy) => selected
                    .entry(policy.selector.id())
                    .or_insert_with(|| self.namespaces.selected(&policy.selector)),
                None => &[],
            };
            let in_file = file.policies.iter().any(|policy| policy.name == held.object.name);
            let facts = Facts {
                replicas: fleet.as_ref().map_err(String::as_str),
                entries: &entries,
                name: if in_file { Name::InFile } else { Name::Own },
                selected,
                excluded: &file.exclude.namespaces,
                own_namespace: &self.names.namespace,
                now,
            };
            let status = status(held, &facts);
            let acts = held.policy.as_ref().is_some_and(|policy| policy.enforcement == Enforcement::Enforce);
            unsettled |=
                acts && status.conditions.iter().any(|one| one.kind == "Enforcing" && one.status != "True");
            self.show(held, status, &mut memory.written).await;
        }
        memory.written.retain(|name, _| held.iter().any(|held| held.object.name == *name));
        memory.unsettled = unsettled;
    }

    async fn show(&self, held: &Held, status: LandingPolicyStatus, written: &mut HashMap<PolicyName, Wrote>) {
        let object = &held.object;
        if is_shown(&object.status, &status) || written.get(&object.name).is_some_and(|one| one.waits(object))
        {
            return;
        }
        let (done, pause) = match self.objects.show(object, &status).await {
            Ok(Written::Done) => {
                for (reason, severity, message) in news(&object.status, &status) {
                    let about = self.objects.reference(object);
                    self.events.record(Event { about, severity, reason, message });
                }
                (Some(status), LATER)
            }
            // A newer object is on its way to us.
            Ok(Written::Outdated) => (None, LATER),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), policy = %object.name, "the status cannot be written");
                (None, AGAIN)
            }
        };
        let wrote = Wrote { version: object.version.clone(), status: done, again: Instant::now() + pause };
        written.insert(object.name.clone(), wrote);
    }

    /// Asks what the replicas hold, and removes the keys of Pods that are gone. An error is told as text.
    async fn ask(&self) -> Result<Fleet, String> {
        let said = |error: ClusterError| error_chain(&error);
        // The keys first: a Pod that has written is known to its Service a moment later at most.
        let written = self.replicas.read().await.map_err(said)?;
        let endpoints = self.replicas.endpoints().await.map_err(said)?;
        let gone: BTreeMap<&str, Option<&str>> =
            written.keys().filter(|pod| !endpoints.all.contains(*pod)).map(|pod| (&**pod, None)).collect();
        if !gone.is_empty() && !endpoints.all.is_empty() {
            self.replicas.write(&gone).await.map_err(said)?;
        }
        Ok(Fleet { written, endpoints })
    }
}

/// What this replica has in force, as it writes it: the doors read exactly these policies.
fn own(held: &[Held], in_force: &[Arc<Policy>]) -> String {
    let is_read = |policy: &Arc<Policy>| in_force.iter().any(|other| Arc::ptr_eq(other, policy));
    let accepted = held.iter().filter(|held| held.generation() == Some(held.object.generation));
    let marks =
        accepted.filter(|held| held.policy.as_ref().is_some_and(is_read)).map(|held| mark(&held.object));
    marks.collect::<Vec<_>>().join(" ")
}
