//! A bell that rings when one object, named, has changed. It is a reason to read the object, never what is read.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::Resource;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::sync::Notify;

/// A watch of the metadata of one object.
#[derive(Debug)]
pub struct Changes<K> {
    pub(super) api: Api<PartialObjectMeta<K>>,
    pub(super) name: String,
}

impl<K> Changes<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    PartialObjectMeta<K>: Resource,
{
    /// Rings at every change of the object for as long as it is polled; changes that fall together ring once. While the
    /// watch fails nothing rings, so its user must also read the object from time to time.
    pub async fn ring(&self, bell: &Notify) {
        let only = Config::default().fields(&format!("metadata.name={}", self.name));
        let mut events = pin!(watcher(self.api.clone(), only).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                // Part of a list: its end rings.
                Ok(Event::Init | Event::InitApply(_)) => {}
                Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => bell.notify_one(),
                Err(error) => tracing::debug!(%error, object.name = self.name, "cannot be watched"),
            }
        }
    }
}
