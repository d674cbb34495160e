//! Which namespaces need which registry's Secret, as the door tells it. Telling never waits: one short lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;

use super::metrics::PullSecretMetrics;
use crate::domain::name::RegistryName;

/// How long a namespace is not told again. A Secret that somebody has deleted comes back with the next Pod after that.
pub(super) const REMEMBERED: Duration = Duration::from_secs(300);

/// How many namespaces are remembered. More are told more often, and nothing else comes of it.
const MOST: usize = 20_000;

/// How many may wait to be made. What is beyond is told again by the next Pod, and found by the leader.
const QUEUE: usize = 4096;

/// A namespace whose Pods need the Secret of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Want {
    /// The namespace.
    pub namespace: Box<str>,
    /// The registry.
    pub registry: RegistryName,
}

/// By namespace: the registries, and when each was told.
type Told = HashMap<Box<str>, Vec<(RegistryName, Instant)>>;

/// Takes what is needed. A clone takes it into the same queues.
#[derive(Debug, Clone)]
pub struct Wants {
    told: Arc<Mutex<Told>>,
    queue: Sender<Want>,
    metrics: PullSecretMetrics,
}

impl Wants {
    /// With nothing told, and the other end of the queue.
    #[must_use]
    pub fn new(metrics: PullSecretMetrics) -> (Self, Receiver<Want>) {
        let (queue, wants) = mpsc::channel(QUEUE);
        (Self { told: Arc::default(), queue, metrics }, wants)
    }

    /// A Pod of this namespace was admitted with the Secret of this registry. Not for dry runs.
    pub fn tell(&self, namespace: &str, registry: &RegistryName) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registries) = told.get_mut(namespace) {
            registries.retain(|(_, at)| now.duration_since(*at) < REMEMBERED);
            if registries.iter().any(|(known, _)| known == registry) {
                return;
            }
        }
        let want = Want { namespace: namespace.into(), registry: registry.clone() };
        if self.queue.try_send(want).is_err() {
            self.metrics.dropped();
            return;
        }
        if told.len() >= MOST && !told.contains_key(namespace) {
            told.retain(|_, registries| {
                registries.iter().any(|(_, at)| now.duration_since(*at) < REMEMBERED)
            });
            if told.len() >= MOST {
                told.clear();
            }
        }
        told.entry(namespace.into()).or_default().push((registry.clone(), now));
    }

    /// Makes one whatever was told before: the leader has seen that it is not there.
    pub(super) fn insist(&self, want: Want) {
        if self.queue.try_send(want).is_err() {
            self.metrics.dropped();
        }
    }

    /// Forgets one that could not be made.
    pub(super) fn forget(&self, want: &Want) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registries) = told.get_mut(&want.namespace) {
            registries.retain(|(known, _)| *known != want.registry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(wants: &mut Receiver<Want>) -> Vec<String> {
        std::iter::from_fn(|| wants.try_recv().ok())
            .map(|Want { namespace, registry }| format!("{namespace} {registry}"))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_is_told_once_for_each_registry_until_it_is_forgotten() {
        let (wants, mut queue) = Wants::new(PullSecretMetrics::default());
        let [ams, fra] = ["ams", "fra"].map(RegistryName::new);
        for _ in 0..100 {
            wants.tell("shop", &ams);
            wants.tell("shop", &fra);
            wants.tell("web", &ams);
        }
        assert_eq!(drain(&mut queue), ["shop ams", "shop fra", "web ams"]);
        wants.forget(&Want { namespace: "shop".into(), registry: ams.clone() });
        wants.tell("shop", &ams);
        wants.tell("shop", &fra);
        assert_eq!(drain(&mut queue), ["shop ams"]);
        tokio::time::advance(REMEMBERED).await;
        wants.tell("shop", &fra);
        assert_eq!(
            drain(&mut queue),
            ["shop fra"],
            "after some minutes, so that one that was deleted comes back"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn many_namespaces_fill_neither_the_queue_nor_the_memory() {
        let (wants, mut queue) = Wants::new(PullSecretMetrics::default());
        let ams = RegistryName::new("ams");
        for n in 0..QUEUE * 2 {
            wants.tell(&format!("n{n}"), &ams);
        }
        assert_eq!(drain(&mut queue).len(), QUEUE);
        let last = format!("n{}", QUEUE * 2 - 1);
        wants.tell(&last, &ams);
        assert_eq!(drain(&mut queue), [format!("{last} ams")], "what found no room is told again");
        for n in 0..MOST * 2 {
            wants.tell(&format!("m{n}"), &ams);
            drain(&mut queue);
        }
        assert!(wants.told.lock().unwrap().len() <= MOST);
    }
}
