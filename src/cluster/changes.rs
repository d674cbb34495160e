//! Event that one object has changed, by name: a reason to look, never what is seen.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, WatchParams};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::about;

/// How long to wait after a watch that failed or ended: the API server ends each after some minutes.
const PAUSE: Duration = Duration::from_secs(2);

/// How long one watch is asked to last, in seconds.
pub(super) const LASTS: u32 = 240;

/// After this long without a word a watch is over, whether the connection knows it or not.
pub(super) const OUTLASTS: Duration = Duration::from_secs(LASTS as u64 + 30);

/// A watch of one object.
#[derive(Debug)]
pub struct Changes<K> {
    pub(super) api: Api<K>,
    pub(super) name: String,
}

impl<K: Clone + DeserializeOwned + Debug> Changes<K> {
    /// Rings at every change of the object for as long as it is polled. Changes that fall together ring once; while
    /// nothing can be watched nothing rings, so that whoever waits looks now and then all the same.
    pub async fn ring(&self, bell: &Notify) {
        let only = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(LASTS);
        loop {
            match self.api.watch_metadata(&only, "0").await {
                Ok(events) => {
                    let mut events = events.boxed();
                    while let Ok(Ok(Some(_))) = timeout(OUTLASTS, events.try_next()).await {
                        bell.notify_one();
                    }
                }
                Err(error) => tracing::debug!(%error, object.name = self.name, "cannot be watched"),
            }
            tokio::time::sleep(about(PAUSE)).await;
        }
    }
}
