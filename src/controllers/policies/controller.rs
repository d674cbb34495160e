//! Keeps what is in force in step with the objects and the file.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::metrics::PolicyMetrics;
use super::reading::Reader;
use super::{Held, Reading, TICK};
use crate::cluster::{Listed, MOST_POLICIES, PolicyObject, PolicyObjects, Seen, Sight};
use crate::config::watch::Handle;
use crate::controllers::settings::Policies;
use crate::domain::name::PolicyName;
use crate::domain::policy::Rules;

/// How the policies from objects stand, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// They were not listed yet: this replica must not judge anybody.
    Unlisted(String),
    /// All are in force as they are written.
    Good(String),
    /// One is not, or changes do not arrive.
    Degraded(String),
}

/// Keeps the policies from objects.
pub struct PolicyController {
    objects: PolicyObjects,
    file: Handle,
    own_namespace: Box<str>,
    metrics: PolicyMetrics,
    clock: fn() -> Timestamp,
    held: HashMap<PolicyName, Held>,
    /// The defaults that they were read with.
    defaults: Arc<Rules>,
    /// What the doors get.
    policies: watch::Sender<Policies>,
    /// The same with all that a status says.
    shown: watch::Sender<Arc<[Held]>>,
}

impl PolicyController {
    /// With no policy in force. `own_namespace` is ours, whose Pods are left alone.
    pub fn new(
        objects: PolicyObjects,
        file: Handle,
        own_namespace: impl Into<Box<str>>,
        metrics: PolicyMetrics,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            objects,
            defaults: file.snapshot().settings.defaults.clone(),
            file,
            own_namespace: own_namespace.into(),
            metrics,
            clock,
            held: HashMap::new(),
            policies: watch::Sender::default(),
            shown: watch::Sender::new(Arc::default()),
        }
    }

    /// The policies, for the settings.
    pub fn policies(&self) -> watch::Receiver<Policies> {
        self.policies.subscribe()
    }

    /// The objects and what is in force because of them, oldest first.
    pub fn held(&self) -> watch::Receiver<Arc<[Held]>> {
        self.shown.subscribe()
    }

    /// Keeps them for as long as it is polled, and shows how that goes.
    pub async fn run(self, show: impl Fn(Standing)) {
        let (seen, objects) = (watch::Sender::default(), self.objects.clone());
        let keeping = self.keep(seen.subscribe(), show);
        tokio::select! {
            () = objects.watch(&seen) => {}
            () = keeping => {}
        }
    }

    async fn keep(mut self, mut seen: watch::Receiver<Seen>, show: impl Fn(Standing)) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = seen.changed() => {}
            }
            let now_seen = seen.borrow_and_update().clone();
            show(self.round(&now_seen));
        }
    }

    /// Brings into force what the objects and the file say now.
    fn round(&mut self, seen: &Seen) -> Standing {
        if seen.listed == Listed::Never {
            return standing(seen, &[]);
        }
        let settings = self.file.snapshot().settings.clone();
        let reader = Reader {
            defaults: &settings.defaults,
            excluded: &settings.exclude.namespaces,
            own_namespace: &self.own_namespace,
            now: (self.clock)(),
        };
        // The defaults are a part of every policy that leaves something out.
        let is_new = *self.defaults != *settings.defaults;
        self.defaults = settings.defaults.clone();
        let mut before = std::mem::take(&mut self.held);
        let read = |(n, object): (usize, &Arc<PolicyObject>)| {
            let before = before.remove(&object.name).filter(|held| held.object.uid == object.uid);
            if n >= MOST_POLICIES { Held::too_many(object) } else { reader.read(object, before, is_new) }
        };
        let held: Arc<[Held]> = seen.objects.iter().enumerate().map(read).collect();
        self.held = held.iter().map(|held| (held.object.name.clone(), held.clone())).collect();
        let policies: Policies = held.iter().filter_map(|held| held.policy.clone()).collect();
        // An equal list would make new settings, and forget every verdict.
        self.policies.send_if_modified(|sent| {
            let is_same =
                sent.len() == policies.len() && sent.iter().zip(&*policies).all(|(a, b)| Arc::ptr_eq(a, b));
            if !is_same {
                *sent = policies;
            }
            !is_same
        });
        self.metrics.show(&held, &settings.policies, reader.now);
        let standing = standing(seen, &held);
        self.shown.send_if_modified(|shown| {
            let is_same = shown.len() == held.len() && shown.iter().zip(&*held).all(|(a, b)| a.is_same(b));
            if !is_same {
                *shown = held;
            }
            !is_same
        });
        standing
    }
}

fn standing(seen: &Seen, held: &[Held]) -> Standing {
    let refused: Vec<&str> = held
        .iter()
        .filter(|held| !matches!(held.reading, Reading::Accepted(_)))
        .map(|held| held.object.name.as_str())
        .collect();
    let mut said = format!("{} from objects", held.len());
    if !refused.is_empty() {
        let shown = refused.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        said += &format!("; {} not in force as written: {shown}", refused.len());
        if refused.len() > 5 {
            said += ", …";
        }
    }
    match (&seen.sight, seen.listed) {
        (Sight::Nothing, _) => Standing::Unlisted("the LandingPolicies are not listed yet".to_owned()),
        (Sight::Stale(why), Listed::Never) => {
            Standing::Unlisted(format!("the LandingPolicies cannot be listed: {why}"))
        }
        (Sight::Stale(why), Listed::Once) => {
            Standing::Degraded(format!("{said}; changes do not arrive: {why}"))
        }
        (Sight::NoKind, _) => Standing::Good(
            "the cluster does not know the resource LandingPolicy: the file alone counts".to_owned(),
        ),
        (Sight::All, _) if refused.is_empty() => Standing::Good(said),
        (Sight::All, _) => Standing::Degraded(said),
    }
}
