//! The leader's part: it lists the Secrets, writes those with other credentials again, and sees to what is lacking, too many, or
//! somebody else's.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::maker::labels;
use super::metrics::{Count, PullSecretMetrics, Wrote};
use super::removal::Removal;
use super::sources::{InForce, Sources};
use super::wants::{Want, Wants};
use crate::cluster::{
    Cluster, ClusterError, Event, EventReason, EventRecorder, HeldBy, Made, Namespaces, ObjectRef,
    PullSecretObject, PullSecretObjects, Severity, Written,
};
use crate::controllers::leader::Leading;
use crate::controllers::sweep::{Carried, Surveys};
use crate::domain::error_chain::error_chain;
use crate::domain::name::{PullSecret, RegistryName};
use crate::domain::pull_secrets::{Content, Managed, Source};
use crate::domain::settings::Settings;

/// The time from one look to the next.
const EVERY: Duration = Duration::from_secs(30);

/// The same while credentials wait until they may be written, and how often files are looked at.
const SOON: Duration = Duration::from_secs(5);
const FILES: Duration = Duration::from_secs(2);

/// The pause between two writes of a rotation: each makes kubelets look at it.
const PACE: Duration = Duration::from_millis(50);

/// The pause after a rotation.
const NEXT: Duration = Duration::from_secs(1);

/// So many writes are made until it is looked again whether the registry is up.
const STEP: usize = 20;

/// So many sweeps must see no Pod with the name of one that is gone, until it is forgotten.
const SWEEPS: u8 = 3;

/// How it stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Good(String),
    /// Somebody should look.
    Degraded(String),
}

/// Keeps the Secrets while this replica leads.
pub struct Keeper {
    objects: PullSecretObjects,
    namespaces: Namespaces,
    settings: Arc<ArcSwap<Settings>>,
    own_namespace: Box<str>,
    sources: Sources,
    wants: Wants,
    surveys: Surveys,
    leading: Leading,
    events: EventRecorder,
    metrics: PullSecretMetrics,
    removal: Removal,
    /// Ours that were there in this term: one that is gone comes back where Pods have its name. With each the last sweep that
    /// has seen no such Pod since it is gone, and how many more may follow.
    had: HashMap<(Box<str>, PullSecret), (Timestamp, u8)>,
    /// Somebody else's that were told of in this term.
    told: HashSet<(Box<str>, PullSecret)>,
    /// Ours that could not be written in this term. They do not keep the others waiting.
    refused: HashSet<(Box<str>, PullSecret)>,
    /// The registry whose Secrets were written last in this term.
    rotated_last: Option<RegistryName>,
}

/// The Secrets of one registry.
struct Listed<'a> {
    managed: &'a Managed,
    ours: Vec<PullSecretObject>,
    /// Those of ours with other credentials than those in force.
    outdated: Vec<(PullSecretObject, Content)>,
    foreign: Vec<Box<str>>,
    /// Whether the registry has accepted everything that they would get.
    proved: bool,
    troubles: Vec<Box<str>>,
}

/// How a rotation ended.
enum Rotated {
    /// Nothing was to be written.
    Nothing,
    /// All of one registry are written.
    All,
    /// It waits: why.
    Waits(String),
}

impl Keeper {
    /// It does nothing before [`run`](Self::run) is polled. What is lacking is told to `wants`.
    #[expect(
        clippy::too_many_arguments,
        reason = "the composition root knows all of them, and nobody else calls it"
    )]
    pub fn new(
        cluster: &Cluster,
        namespaces: Namespaces,
        settings: Arc<ArcSwap<Settings>>,
        own_namespace: impl Into<Box<str>>,
        (sources, wants): (Sources, Wants),
        surveys: Surveys,
        (leading, events): (Leading, EventRecorder),
        metrics: PullSecretMetrics,
    ) -> Self {
        Self {
            objects: cluster.pull_secrets(),
            namespaces,
            settings,
            own_namespace: own_namespace.into(),
            sources,
            wants,
            surveys,
            leading,
            events,
            metrics,
            removal: Removal::new(cluster.workloads()),
            had: HashMap::new(),
            told: HashSet::new(),
            refused: HashSet::new(),
            rotated_last: None,
        }
    }

    /// Keeps them for as long as it is polled, and shows how they stand.
    pub async fn run(mut self, show: impl Fn(Standing)) {
        let mut leading = self.leading.clone();
        loop {
            if leading.now() {
                tokio::select! {
                    () = self.lead(&show) => {}
                    () = leading.changed() => {}
                }
                self.metrics.count(std::iter::empty());
                self.removal.forget();
                self.had.clear();
                self.told.clear();
                self.refused.clear();
            } else {
                show(Standing::Good("the replica that leads keeps them".to_owned()));
                leading.changed().await;
            }
        }
    }

    async fn lead(&mut self, show: &impl Fn(Standing)) {
        loop {
            let settings = self.settings.load_full();
            let pause = if settings.pull_secrets.is_empty() {
                show(Standing::Good("Landfall makes none".to_owned()));
                self.metrics.count(std::iter::empty());
                EVERY
            } else {
                self.round(&settings, show).await
            };
            self.wait(Instant::now() + pause, &settings).await;
        }
    }

    /// Waits, but not where something has changed.
    async fn wait(&mut self, until: Instant, settings: &Arc<Settings>) {
        let (versions, read) = (self.versions(settings).await, self.read_at());
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = sleep(FILES) => {
                    if !Arc::ptr_eq(settings, &self.settings.load()) || versions != self.versions(settings).await {
                        return;
                    }
                }
                changed = self.surveys.changed() => match changed {
                    Ok(()) if self.read_at() != read => return,
                    Ok(()) => {}
                    // Nobody sweeps.
                    Err(_) => return sleep_until(until).await,
                },
            }
        }
    }

    fn carried(&self) -> Option<Arc<Carried>> {
        self.surveys.borrow().as_ref().map(|survey| survey.carried.clone())
    }

    fn read_at(&self) -> Option<Timestamp> {
        self.carried().map(|carried| carried.at)
    }

    /// The versions of all files.
    async fn versions(&self, settings: &Settings) -> Vec<u64> {
        let mut versions = Vec::new();
        for managed in settings.pull_secrets.iter() {
            for dir in managed.dirs() {
                versions.push(self.sources.version(&managed.registry, dir).await);
            }
        }
        versions
    }

    /// Looks at everything once. Returns how long to wait.
    async fn round(&mut self, settings: &Settings, show: &impl Fn(Standing)) -> Duration {
        self.sources.keep(|registry, dir| {
            settings.pull_secrets.of(registry).is_some_and(|managed| managed.dirs().any(|known| known == dir))
        });
        let (mut all, mut troubles): (Vec<Listed<'_>>, Vec<String>) = Default::default();
        for managed in settings.pull_secrets.iter() {
            match self.objects.list(&managed.secret).await {
                Ok(objects) => all.push(self.sort(managed, objects, settings).await),
                Err(error) => troubles.push(error_chain(&error)),
            }
        }
        let counts = all.iter().map(|listed| (&listed.managed.registry.name, listed.count()));
        self.metrics.count(counts);
        let carried = self.carried();
        for listed in &all {
            troubles.extend(listed.troubles.iter().map(|trouble| trouble.to_string()));
            self.see_to_lacking(listed, carried.as_deref(), settings);
            self.tell_foreign(listed, carried.as_deref());
            if let Some(carried) = &carried {
                let (wants, metrics) = (&self.wants, &self.metrics);
                self.removal
                    .look(listed.managed, &listed.ours, carried, (&self.objects, wants, metrics))
                    .await;
            }
        }
        let rotated = self.rotate(&all).await;
        if let Rotated::Waits(why) = &rotated {
            troubles.push(why.clone());
        }
        let secrets = all.iter().map(|listed| listed.ours.len()).sum::<usize>();
        let foreign = all.iter().map(|listed| listed.foreign.len()).sum::<usize>();
        troubles.dedup();
        show(match (troubles.is_empty(), foreign) {
            (false, _) => Standing::Degraded(troubles.join("; ")),
            (true, 0) => Standing::Good(format!("{secrets} are kept")),
            (true, _) => Standing::Good(format!(
                "{secrets} are kept; {foreign} of the same names are somebody else's and left alone"
            )),
        });
        match rotated {
            Rotated::All => NEXT,
            Rotated::Waits(_) => SOON,
            Rotated::Nothing if troubles.is_empty() => EVERY.mul_f64(0.9 + 0.2 * fastrand::f64()),
            Rotated::Nothing => SOON,
        }
    }

    /// What each Secret of a registry is.
    async fn sort<'a>(
        &mut self,
        managed: &'a Managed,
        objects: Vec<PullSecretObject>,
        settings: &Settings,
    ) -> Listed<'a> {
        let (ours, outdated, foreign, troubles) = Default::default();
        let mut listed = Listed { managed, ours, outdated, foreign, proved: true, troubles };
        let mut in_force: HashMap<PathBuf, InForce> = HashMap::new();
        for dir in managed.dirs() {
            let now = self.sources.in_force(&managed.registry, dir).await;
            listed.troubles.extend(now.trouble.clone());
            in_force.insert(dir.to_owned(), now);
        }
        for object in objects {
            let HeldBy::Landfall(hash) = &object.held_by else {
                listed.foreign.push(object.namespace);
                continue;
            };
            let labels = labels(&self.namespaces, managed, &object.namespace).await;
            if let Source::Dir(dir) = managed.source(&labels)
                && let Some(InForce { content: Some(content), proved, .. }) = in_force.get(dir)
                && content.hash() != &**hash
                // Elsewhere whoever may label a Secret would be given the credentials.
                && !settings.leaves_alone(&object.namespace, Some(&self.own_namespace))
            {
                listed.proved &= proved;
                listed.outdated.push((object.clone(), content.clone()));
            }
            self.had.insert((object.namespace.clone(), managed.secret.clone()), (Timestamp::MIN, SWEEPS));
            listed.ours.push(object);
        }
        listed
    }

    /// Has those made again that somebody has deleted while Pods have their name.
    fn see_to_lacking(&mut self, listed: &Listed<'_>, carried: Option<&Carried>, settings: &Settings) {
        let Managed { registry, secret, .. } = listed.managed;
        let there: HashSet<&str> = listed
            .ours
            .iter()
            .map(|one| &*one.namespace)
            .chain(listed.foreign.iter().map(|one| &**one))
            .collect();
        let wants = &self.wants;
        let own = &*self.own_namespace;
        self.had.retain(|(namespace, name), (last, left)| {
            if name != secret || there.contains(&**namespace) {
                return true;
            }
            let Some(carried) = carried else { return true };
            if settings.leaves_alone(namespace, Some(own)) {
                return false;
            }
            if carried.by.contains(&(namespace.clone(), secret.clone())) {
                // It is told once: it will be seen again when it is there.
                wants.insist(Want { namespace: namespace.clone(), registry: registry.name.clone() });
                return false;
            }
            // What was read last may have been read before the Pods came.
            if carried.at > *last {
                (*last, *left) = (carried.at, left.saturating_sub(1));
            }
            *left > 0
        });
    }

    /// Says once of each Secret that it is somebody else's, where Pods have its name.
    fn tell_foreign(&mut self, listed: &Listed<'_>, carried: Option<&Carried>) {
        let Managed { registry, secret, .. } = listed.managed;
        for namespace in &listed.foreign {
            let key = (namespace.clone(), secret.clone());
            if carried.is_none_or(|carried| !carried.by.contains(&key)) || !self.told.insert(key) {
                continue;
            }
            let message = format!(
                "Landfall leaves this Secret as it is, because somebody else has made it: it must let Pods pull from {}. To hand it to Landfall: kubectl label secret {secret} -n {namespace} app.kubernetes.io/managed-by=landfall landfall.dev/registry={} --overwrite",
                registry.host, registry.name
            );
            let about = ObjectRef {
                api_version: "v1".into(),
                kind: "Secret".into(),
                namespace: Some(namespace.to_string()),
                name: secret.to_string(),
                uid: None,
            };
            let (severity, reason) = (Severity::Normal, EventReason::PullSecretLeftAlone);
            self.events.record(Event { about, severity, reason, message });
        }
    }

    /// Writes the Secrets of one registry again: of one that is half done first.
    async fn rotate(&mut self, all: &[Listed<'_>]) -> Rotated {
        let refused = |listed: &Listed<'_>, one: &PullSecretObject| {
            self.refused.contains(&(one.namespace.clone(), listed.managed.secret.clone()))
        };
        let is_due =
            |listed: &&Listed<'_>| listed.outdated.iter().any(|(object, _)| !refused(listed, object));
        let due = all.iter().filter(is_due);
        // Whoever spoils one Secret again and again keeps no other registry waiting.
        let turn = |listed: &&Listed<'_>| {
            let is_whole = listed.outdated.len() == listed.ours.len();
            (self.rotated_last.as_ref() == Some(&listed.managed.registry.name), is_whole)
        };
        let Some(listed) = due.min_by_key(turn) else {
            return Rotated::Nothing;
        };
        let (registry, secret) = (&listed.managed.registry, &listed.managed.secret);
        let waits = |why: &str| {
            let (left, name) = (listed.outdated.len(), &registry.name);
            Rotated::Waits(format!("{left} pull secrets of {name} wait for new credentials: {why}"))
        };
        if !listed.proved {
            return waits("the registry has not accepted them yet");
        }
        tracing::info!(registry = %registry.name, secrets = listed.outdated.len(), "pull secrets get new credentials");
        for (n, (object, content)) in listed.outdated.iter().enumerate() {
            if n % STEP == 0 && !self.sources.is_up(registry) {
                return waits("the registry is not up");
            }
            let written = self.write(listed.managed, object, content).await;
            self.count(&registry.name, &written, Wrote::Updated);
            match written {
                Ok(_) => {}
                Err(error) if error.is_invalid() || error.is_forbidden() => {
                    tracing::warn!(
                        error = error_chain(&error),
                        namespace = &*object.namespace,
                        %secret,
                        "a pull secret keeps its old credentials"
                    );
                    self.refused.insert((object.namespace.clone(), secret.clone()));
                }
                Err(error) => return waits(&error_chain(&error)),
            }
            sleep(PACE).await;
        }
        self.rotated_last = Some(registry.name.clone());
        Rotated::All
    }

    /// Writes one again. Whoever may change Secrets in its namespace may have made it immutable, or have added what the API
    /// server takes from us no longer: then it is made anew, unless a new one would be refused, too. Somebody's rules for new
    /// Secrets must not cost a namespace the one that it has.
    async fn write(
        &self,
        Managed { registry, secret, .. }: &Managed,
        object: &PullSecretObject,
        content: &Content,
    ) -> Result<Written, ClusterError> {
        match self.objects.replace(secret, object, content).await {
            Err(error) if error.is_invalid() || error.is_forbidden() => {
                self.objects.would_create(&object.namespace, secret, &registry.name, content).await?;
                self.objects.delete(secret, object).await?;
                let made = self.objects.create(&object.namespace, secret, &registry.name, content).await?;
                Ok(if made == Made::Created { Written::Done } else { Written::Outdated })
            }
            written => written,
        }
    }

    fn count<E>(&self, registry: &RegistryName, written: &Result<Written, E>, done: Wrote) {
        self.metrics.wrote(
            registry,
            match written {
                Ok(Written::Done) => done,
                Ok(Written::Outdated) => Wrote::Outdated,
                Err(_) => Wrote::Failed,
            },
        );
    }
}

impl Listed<'_> {
    fn count(&self) -> Count {
        Count {
            current: self.ours.len() - self.outdated.len(),
            outdated: self.outdated.len(),
            foreign: self.foreign.len(),
        }
    }
}
