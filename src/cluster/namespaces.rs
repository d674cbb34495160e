//! The labels of namespaces, which policies select by: a watch of their metadata, and a question for a namespace that
//! the watch has not brought yet.
//!
//! kube's `reflector` would keep the whole metadata of each namespace and turn labels into ours for every review. So
//! the watch is kube's and the table is our own: it holds the name and the labels, ready to be handed out.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Cluster, ClusterError};
use crate::domain::policy::{Labels, NAMESPACE_NAME, Selector};

/// How long a review may wait for the labels of one namespace that the watch has not brought yet.
const LOOK: Duration = Duration::from_millis(500);

/// How many such questions are open at most: who can send us reviews can name namespaces that do not exist.
const LOOKS: usize = 8;

type Metadata = PartialObjectMeta<Namespace>;
type Table = HashMap<Box<str>, Arc<Labels>>;

/// What is known of namespaces. A clone is a handle to the same table.
///
/// *Unknown is never treated as absent*: a namespace that is not in the table is asked for. Where that fails, only its
/// name is known ([`Labels::at_least`]), and every policy that may select it does.
#[derive(Clone)]
pub struct Namespaces {
    api: Option<Api<Metadata>>,
    table: Arc<RwLock<Table>>,
    looks: Arc<Semaphore>,
}

/// How far the table can be trusted.
#[derive(Debug)]
pub enum Known {
    /// All namespaces are in it, and changes arrive.
    All,
    /// The watch failed: the table may be old or empty.
    Stale(ClusterError),
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").field("watched", &self.is_watched()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The namespaces of the cluster. The table is empty until [`Namespaces::watch`] is polled.
    pub fn namespaces(&self) -> Namespaces {
        Namespaces { api: Some(Api::all(self.client.clone())), ..Namespaces::nowhere() }
    }
}

impl Namespaces {
    /// Without a cluster: only the name of each namespace is known.
    pub fn nowhere() -> Self {
        Self { api: None, table: Arc::default(), looks: Arc::new(Semaphore::new(LOOKS)) }
    }

    /// Whether there is a cluster to watch.
    pub fn is_watched(&self) -> bool {
        self.api.is_some()
    }

    /// The labels of a namespace; at once for one that is in the table.
    pub fn labels(&self, name: &str) -> BoxFuture<'static, Arc<Labels>> {
        if let Some(labels) = self.table.read().unwrap_or_else(PoisonError::into_inner).get(name) {
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

    /// The names of the namespaces in the table that this selector selects.
    pub fn selected(&self, selector: &Selector) -> Vec<Box<str>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| name.clone()).collect()
    }

    /// Asks for one namespace. The answer is not put into the table: the watch does that, and an answer that arrives
    /// late must not replace what the watch has brought since.
    async fn look(&self, name: &str) -> Option<Labels> {
        let api = self.api.as_ref()?;
        let _permit = self.looks.try_acquire().ok()?;
        match timeout(LOOK, api.get(name)).await {
            Ok(Ok(found)) => Some(labels(&found.metadata)),
            Ok(Err(error)) => {
                tracing::warn!(%error, pod.namespace = name, "the namespace's labels are unknown");
                None
            }
            Err(_) => {
                tracing::warn!(pod.namespace = name, "the namespace's labels are unknown: no answer in time");
                None
            }
        }
    }

    /// Keeps the table for as long as it is polled. After a failure everything is listed again: it is not
    /// known what a broken watch has missed, and only a complete list shows that watching works again.
    pub async fn watch(&self, mut show: impl FnMut(Known)) {
        let Some(api) = &self.api else { return };
        let mut pauses = DefaultBackoff::default();
        loop {
            let failure = self.follow(api, &mut show).await;
            show(Known::Stale(failure));
            sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Lists and watches until something fails.
    async fn follow(&self, api: &Api<Metadata>, show: &mut impl FnMut(Known)) -> ClusterError {
        let mut events = pin!(watcher::watcher(api.clone(), watcher::Config::default()));
        let mut listed = Table::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed.clear(),
                Ok(Some(Event::InitApply(one))) => listed.extend(entry(&one.metadata)),
                Ok(Some(Event::InitDone)) => {
                    self.change(|table| *table = std::mem::take(&mut listed));
                    show(Known::All);
                }
                Ok(Some(Event::Apply(one))) => self.change(|table| table.extend(entry(&one.metadata))),
                Ok(Some(Event::Delete(one))) => self.change(|table| {
                    table.remove(one.metadata.name.as_deref().unwrap_or_default());
                }),
                // The version that the watch starts from is too old: the watcher lists again by itself.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => {}
                Err(error) => return ClusterError::watch("the namespaces", error),
                Ok(None) => return ClusterError::Silent { what: "watch the namespaces".to_owned() },
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn labels(meta: &ObjectMeta) -> Labels {
    meta.labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn entry(meta: &ObjectMeta) -> Option<(Box<str>, Arc<Labels>)> {
    Some((meta.name.as_deref()?.into(), Arc::new(labels(meta))))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response, StatusCode};
    use kube::client::{Body, ClientBuilder};
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::cluster::pace::Pace;

    /// Watches an API server for a minute. Its one namespace has the label `lists`, the number of lists so far; it ends
    /// every watch at once with this status. Returns what was shown, the number of watches and the labels in the end.
    async fn a_minute(watch: StatusCode) -> (Vec<String>, usize, Arc<Labels>) {
        let counts = Arc::new(Mutex::new((0, 0)));
        let (server, watched) = (counts.clone(), Arc::clone(&counts));
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let (lists, watches) = &mut *server.lock().unwrap();
                let (status, body) = if is_watch {
                    *watches += 1;
                    (watch, String::new())
                } else {
                    *lists += 1;
                    let labels = json!({"lists": lists.to_string()});
                    let items =
                        json!([{"metadata": {"name": "a", "resourceVersion": "1", "labels": labels}}]);
                    let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                                      "metadata": {"resourceVersion": "1"}, "items": items});
                    (StatusCode::OK, list.to_string())
                };
                let answer = Response::builder().status(status).body(Body::from(body.into_bytes()));
                Ok::<_, kube::Error>(answer.unwrap())
            }
        });
        let client = ClientBuilder::new(service, "default").with_layer(&Pace).build();
        let namespaces = Cluster::of(client).namespaces();
        let mut shown = Vec::new();
        let end = Instant::now() + Duration::from_secs(59);
        let show = |known: Known| shown.push(format!("{known:?}").split('(').next().unwrap().to_owned());
        drop(tokio::time::timeout_at(end, namespaces.watch(show)).await);
        let watches = watched.lock().unwrap().1;
        (shown, watches, namespaces.labels("a").await)
    }

    fn lists(number: usize) -> Labels {
        [("lists".to_owned(), number.to_string())].into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_is_opened_again_after_a_pause() {
        let (shown, watches, labels) = a_minute(StatusCode::OK).await;
        assert_eq!((shown, watches), (vec!["All".to_owned()], 30), "one every 2 s");
        assert_eq!(*labels, lists(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_everything_is_listed_again() {
        let (shown, watches, labels) = a_minute(StatusCode::INTERNAL_SERVER_ERROR).await;
        assert!(shown.chunks(2).all(|two| *two == ["All", "Stale"][..two.len()]), "{shown:?}");
        assert!((3..10).contains(&watches), "with growing pauses: {watches}");
        assert_eq!(*labels, lists(watches));
    }
}
