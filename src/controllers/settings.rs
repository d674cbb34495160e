//! The settings in force, from two sources: the configuration file, and policies from objects in the cluster.
//!
//! ```text
//! file ─config::watch─► Snapshot ─┬─ new generation ─► Observatory::adopt
//!                                 ├─ compose ─► Settings ─► what the doors read
//! objects ─────────────► policies ┘
//! ```
//!
//! If both sources have a policy of the same name, that of the file applies.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::MissedTickBehavior;

use crate::config::watch::{Condition, Handle, Snapshot, Watch};
use crate::config::{self, Problem, Problems};
use crate::domain::error_chain::error_chain;
use crate::domain::policy::Policy;
use crate::domain::settings::Settings;
use crate::evidence::Observatory;

/// How often the file is read. It is a few kilobytes, and the kubelet takes up to a minute to bring a new one.
const EVERY: Duration = Duration::from_secs(2);

/// The policies from objects. Whoever sends them fills what they leave out from the `defaults` of the file, and sends
/// them again when the file changes.
pub type Policies = Arc<[Arc<Policy>]>;

/// How the settings stand, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// What both sources say is in force.
    Good(String),
    /// Something is not in force, or a registry cannot be asked.
    Degraded(String),
}

/// Keeps the settings in force.
pub struct SettingsController {
    watch: Watch,
    handle: Handle,
    policies: watch::Receiver<Policies>,
    observatory: Arc<Observatory>,
    metrics: config::Metrics,
    /// What the doors read.
    settings: Arc<ArcSwap<Settings>>,
    /// The snapshot and the policies that they are composed of.
    file: Arc<Snapshot>,
    objects: Policies,
    /// Why the newest snapshot is not in force.
    failure: Option<String>,
}

impl SettingsController {
    /// With the snapshot that the observatory was built from in force.
    pub fn new(
        watch: Watch,
        policies: watch::Receiver<Policies>,
        observatory: Arc<Observatory>,
        metrics: config::Metrics,
    ) -> Self {
        let handle = watch.handle();
        let (file, objects) = (handle.snapshot(), policies.borrow().clone());
        metrics.show(&handle);
        Self {
            settings: Arc::new(ArcSwap::new(compose(&file.settings, &objects))),
            watch,
            handle,
            policies,
            observatory,
            metrics,
            file,
            objects,
            failure: None,
        }
    }

    /// What the doors read.
    pub fn settings(&self) -> Arc<ArcSwap<Settings>> {
        self.settings.clone()
    }

    /// Brings every change into force for as long as it is polled, and shows how that goes.
    pub async fn run(mut self, show: impl Fn(Standing)) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.watch.poll().await;
                }
                Ok(()) = self.policies.changed() => {}
            }
            self.update().await;
            self.metrics.show(&self.handle);
            show(self.standing());
        }
    }

    /// Brings what the sources say now into force.
    async fn update(&mut self) {
        let snapshot = self.handle.snapshot();
        let is_new = snapshot.generation != self.file.generation;
        if is_new {
            self.adopt(&snapshot, |observatory, settings| observatory.adopt(settings)).await;
        } else if !self.observatory.problems().is_empty() {
            // The CA file that was missing may be there by now.
            self.adopt(&snapshot, |observatory, _| {
                observatory.retry_unusable();
            })
            .await;
        }
        let objects = self.policies.borrow_and_update().clone();
        let file = if self.failure.is_none() { snapshot } else { self.file.clone() };
        if file.generation == self.file.generation && Arc::ptr_eq(&objects, &self.objects) {
            return;
        }
        self.settings.store(compose(&file.settings, &objects));
        tracing::info!(
            settings.generation = file.generation,
            policies = objects.len(),
            "new settings are in force"
        );
        (self.file, self.objects) = (file, objects);
    }

    /// Tells the observatory first, so that it knows every registry that a door may ask about. It reads files, so it runs
    /// on a thread that may block.
    async fn adopt(
        &mut self,
        snapshot: &Arc<Snapshot>,
        adopt: impl FnOnce(&Observatory, &Settings) + Send + 'static,
    ) {
        let (observatory, next) = (self.observatory.clone(), snapshot.settings.clone());
        let adopted: Result<(), JoinError> = spawn_blocking(move || adopt(&observatory, &next)).await;
        self.failure = adopted.err().map(|error| {
            let generation = snapshot.generation;
            tracing::error!(%error, settings.generation = generation, "the settings cannot be brought into force");
            format!("generation {generation} cannot be brought into force: {error}")
        });
    }

    /// How the settings stand.
    pub fn standing(&self) -> Standing {
        let Snapshot { generation, loaded, .. } = &*self.file;
        let mut troubles: Vec<String> = self.failure.iter().cloned().collect();
        match &*self.handle.condition() {
            Condition::Refused { problems, since } => {
                troubles.push(format!("since {since} the file is refused: {}", first(problems)));
            }
            Condition::InForce(_) => {
                let problems = self.observatory.problems();
                let unusable: Vec<String> = problems
                    .iter()
                    .map(|problem| format!("{}: {}", problem.registry, error_chain(&problem.error)))
                    .collect();
                if !unusable.is_empty() {
                    troubles.push(format!("cannot be asked: {}", unusable.join("; ")));
                }
            }
        }
        let in_force = format!("generation {generation}, loaded at {loaded}");
        match troubles.as_slice() {
            [] => Standing::Good(in_force),
            troubles => Standing::Degraded(format!("{in_force}; {}", troubles.join("; "))),
        }
    }
}

/// One `Settings` of both sources. Without objects it is that of the file itself.
fn compose(file: &Arc<Settings>, objects: &[Arc<Policy>]) -> Arc<Settings> {
    if objects.is_empty() {
        return file.clone();
    }
    let taken: HashSet<_> = file.policies.iter().map(|policy| &policy.name).collect();
    let others = objects.iter().filter(|policy| !taken.contains(&policy.name));
    Arc::new(file.with_policies(file.policies.iter().chain(others).cloned().collect()))
}

/// The first error and the number of the others: a condition is one line, and `landfall check` lists them all.
fn first(problems: &Problems) -> String {
    let mut errors = problems.errors();
    let Some(Problem { line, path, message, .. }) = errors.next() else { return String::new() };
    let place = if *line > 0 { format!("line {line}: ") } else { String::new() };
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(" (and {more} more: see `landfall check`)"),
    };
    format!("{place}{path}{message}{more}")
}
