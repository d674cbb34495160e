//! The labels of namespaces, which policies select by: a watch of metadata alone, and a look where the watch is late.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::changes::{LASTS, OUTLASTS};
use super::{Cluster, ClusterError, about, call};
use crate::domain::policy::{Labels, NAMESPACE_NAME};

/// How long a review may wait for one namespace that the watch has not brought yet.
const LOOK: Duration = Duration::from_millis(500);

/// How many such looks are under way at most. Whoever can send us reviews can name namespaces that do not exist.
const LOOKS: usize = 8;

/// How long to wait before everything is listed anew.
const PAUSE: Duration = Duration::from_secs(2);

/// Namespaces per page of a list.
const PAGE: u32 = 500;

type Map = HashMap<Box<str>, Arc<Labels>>;

/// What is known of namespaces. A clone is a handle to the same.
///
/// *Unknown is never treated as absent*: a namespace that the watch does not know is asked for, and where that fails,
/// all that is known of it is its name ([`Labels::at_least`]): a policy that may select it does.
#[derive(Clone)]
pub struct Namespaces {
    api: Option<Api<Namespace>>,
    known: Arc<ArcSwap<Map>>,
    looks: Arc<Semaphore>,
}

/// How the watch stands.
#[derive(Debug)]
pub enum Known {
    /// All namespaces are known.
    All,
    /// What is known may be old, or nothing.
    Stale(ClusterError),
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").field("known", &self.known.load().len()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster's namespaces; none is known before [`Namespaces::watch`] is polled.
    pub fn namespaces(&self) -> Namespaces {
        Namespaces { api: Some(Api::all(self.client.clone())), ..Namespaces::nowhere() }
    }
}

impl Namespaces {
    /// Without a cluster: of each namespace its name is known.
    pub fn nowhere() -> Self {
        Self { api: None, known: Arc::default(), looks: Arc::new(Semaphore::new(LOOKS)) }
    }

    /// Is there a cluster to watch?
    pub fn are_watched(&self) -> bool {
        self.api.is_some()
    }

    /// The labels of a namespace. Ready at once for one that the watch has seen.
    pub fn labels(&self, name: &str) -> BoxFuture<'static, Arc<Labels>> {
        if let Some(labels) = self.known.load().get(name) {
            return Box::pin(std::future::ready(labels.clone()));
        }
        let (this, name) = (self.clone(), name.to_owned());
        Box::pin(async move {
            let looked = match this.look(&name).await {
                Some(found) => found,
                None => Labels::at_least([(NAMESPACE_NAME.to_owned(), name)]),
            };
            Arc::new(looked)
        })
    }

    /// Asks for one that is new. It is not remembered: the watch brings it, and what came later must not be undone.
    async fn look(&self, name: &str) -> Option<Labels> {
        let api = self.api.as_ref()?;
        let _one = self.looks.try_acquire().ok()?;
        match timeout(LOOK, api.get_metadata(name)).await {
            Ok(Ok(found)) => Some(labels(&found.metadata)),
            Ok(Err(error)) => {
                tracing::warn!(%error, pod.namespace = name, "the namespace's labels are unknown");
                None
            }
            Err(_) => {
                tracing::warn!(pod.namespace = name, "the namespace's labels are unknown: no answer");
                None
            }
        }
    }

    /// Keeps them known for as long as it is polled. Whatever fails, everything is listed anew: what a watch that broke
    /// has missed cannot be told.
    pub async fn watch(&self, mut show: impl FnMut(Known)) {
        let Some(api) = &self.api else { return };
        loop {
            let failed = match self.list(api).await {
                Ok(version) => {
                    show(Known::All);
                    self.follow(api, version).await
                }
                Err(error) => Some(error),
            };
            failed.map(Known::Stale).map(&mut show);
            tokio::time::sleep(about(PAUSE)).await;
        }
    }

    async fn list(&self, api: &Api<Namespace>) -> Result<String, ClusterError> {
        let mut page = ListParams::default().limit(PAGE);
        let mut all = Map::new();
        loop {
            let found = call(|| "list the namespaces".to_owned(), api.list_metadata(&page)).await?;
            all.extend(found.items.iter().filter_map(|one| entry(&one.metadata)));
            match found.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => {
                    self.known.store(Arc::new(all));
                    return Ok(found.metadata.resource_version.unwrap_or_default());
                }
            }
        }
    }

    /// Follows what happens after `version`. Ends without an error when that is too long ago by now.
    async fn follow(&self, api: &Api<Namespace>, mut version: String) -> Option<ClusterError> {
        let failed = |source| {
            let what = "watch the namespaces".to_owned();
            Some(ClusterError::Call { what, source: Box::new(source) })
        };
        let params = WatchParams::default().timeout(LASTS);
        loop {
            let mut events =
                match call(|| "watch the namespaces".to_owned(), api.watch_metadata(&params, &version)).await
                {
                    Ok(events) => events.boxed(),
                    Err(error) => return Some(error),
                };
            loop {
                // A connection that died in silence would never end.
                let Ok(Some(event)) = timeout(OUTLASTS, events.next()).await else { break };
                let meta = match event {
                    Ok(WatchEvent::Added(one) | WatchEvent::Modified(one)) => {
                        self.known.rcu(|all| {
                            let mut all = Map::clone(all);
                            all.extend(entry(&one.metadata));
                            all
                        });
                        one.metadata
                    }
                    Ok(WatchEvent::Deleted(one)) => {
                        let gone = one.metadata.name.as_deref().unwrap_or_default();
                        self.known.rcu(|all| {
                            let mut all = Map::clone(all);
                            all.remove(gone);
                            all
                        });
                        one.metadata
                    }
                    Ok(WatchEvent::Bookmark(mark)) => {
                        version = mark.metadata.resource_version;
                        continue;
                    }
                    Ok(WatchEvent::Error(status)) if status.code == 410 => return None,
                    Ok(WatchEvent::Error(status)) => return failed(kube::Error::Api(status)),
                    Err(error) => return failed(error),
                };
                version = meta.resource_version.unwrap_or(version);
            }
        }
    }
}

fn labels(meta: &ObjectMeta) -> Labels {
    meta.labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn entry(meta: &ObjectMeta) -> Option<(Box<str>, Arc<Labels>)> {
    Some((meta.name.as_deref()?.into(), Arc::new(labels(meta))))
}
