//! The objects of the resource LandingPolicy: a watch of all of them, and the writes of their status.
//!
//! They are read as JSON: whether an object means something is judged by `config::policy`, and an object that cannot be
//! understood must be seen, too.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures::TryStreamExt;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::discovery::ApiResource;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::landing_policy::{LandingPolicy, LandingPolicyStatus};
use super::{Cluster, ClusterError, ObjectRef, Written, call, write};
use crate::domain::error_chain::error_chain;
use crate::domain::name::PolicyName;

/// The field manager of the leader's part of a status.
const STATUS_MANAGER: &str = "landfall-status";

/// The field manager of the numbers of denied Pods, which every replica writes.
const DENIED_MANAGER: &str = "landfall-denied";

/// How many objects can be in force. Of more, the oldest are.
pub const MOST_POLICIES: usize = 1_000;

/// How often in a row the resource must be unknown to the API server, until policies that are known are taken to be gone.
const GONE: u32 = 3;

/// One object, as the API server holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyObject {
    /// Its name.
    pub name: PolicyName,
    /// Which object of that name.
    pub uid: String,
    /// Which text of the object: it grows with every change of it.
    pub generation: i64,
    /// The version of the whole object, which changes with its status, too.
    pub version: String,
    /// When it was created, in RFC 3339: earlier ones sort first.
    pub created: String,
    /// Its kind, its name and its `spec`, as JSON.
    pub text: String,
    /// Its status; empty where it cannot be read.
    pub status: LandingPolicyStatus,
}

impl PolicyObject {
    /// Sorts the oldest first.
    fn by_age(&self) -> (&str, &PolicyName) {
        (&self.created, &self.name)
    }
}

/// Whether the objects are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sight {
    /// They were not listed yet.
    #[default]
    Nothing,
    /// All of them are known, and changes arrive.
    All,
    /// The API server does not know the resource: there are none.
    NoKind,
    /// The watch failed, for this reason; what was known before is kept.
    Stale(String),
}

/// What is known of the objects.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether they were listed at least once.
    pub listed: Listed,
    /// How far they can be trusted.
    pub sight: Sight,
    /// The objects, oldest first.
    pub objects: Vec<Arc<PolicyObject>>,
}

/// Whether a list of the objects has arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listed {
    /// None yet.
    #[default]
    Never,
    /// At least one.
    Once,
}

/// How many objects are looked at: twice as many as can be in force, so that the rest can be told why it is not.
const MOST: usize = 2 * MOST_POLICIES;

/// How many bytes the texts of all objects may have together.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// How many objects one answer lists: one may have a megabyte, and takes some times that while it is read.
const PAGE: u32 = 10;

/// The objects by name, within bounds.
#[derive(Default)]
struct Table {
    objects: BTreeMap<PolicyName, Arc<PolicyObject>>,
    bytes: usize,
}

impl Table {
    /// Of more than are looked at, the youngest are left out, whatever their names are: nobody puts one that is in force out
    /// of it by a new one.
    fn put(&mut self, object: PolicyObject) {
        self.bytes += object.text.len();
        if let Some(before) = self.objects.insert(object.name.clone(), Arc::new(object)) {
            self.bytes -= before.text.len();
        }
        while self.objects.len() > MOST || self.bytes > MOST_BYTES {
            let youngest = self.objects.values().max_by(|a, b| a.by_age().cmp(&b.by_age()));
            let Some(name) = youngest.map(|youngest| youngest.name.clone()) else { return };
            tracing::error!(policy = %name, "there are too many LandingPolicies: this one is not looked at");
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &PolicyName) {
        if let Some(before) = self.objects.remove(name) {
            self.bytes -= before.text.len();
        }
    }
}

impl Table {
    fn oldest_first(&self) -> Vec<Arc<PolicyObject>> {
        let mut objects: Vec<_> = self.objects.values().cloned().collect();
        objects.sort_by(|a, b| a.by_age().cmp(&b.by_age()));
        objects
    }
}

/// The objects of one cluster.
#[derive(Debug, Clone)]
pub struct PolicyObjects {
    api: Api<DynamicObject>,
    resource: ApiResource,
}

impl Cluster {
    /// The objects of the resource LandingPolicy.
    pub fn policies(&self) -> PolicyObjects {
        let resource = ApiResource::erase::<LandingPolicy>(&());
        PolicyObjects { api: Api::all_with(self.client.clone(), &resource), resource }
    }
}

impl PolicyObjects {
    /// Keeps `seen` for as long as it is polled. After a failure everything is listed again; what was known stays until then.
    pub async fn watch(&self, seen: &watch::Sender<Seen>) {
        let (mut pauses, mut unknown) = (DefaultBackoff::default(), 0);
        loop {
            let failure = self.follow(seen, &mut unknown).await;
            unknown = if is_unknown(&failure) { unknown + 1 } else { 0 };
            seen.send_modify(|seen| {
                if unknown > 0 && (seen.objects.is_empty() || unknown >= GONE) {
                    // With the definition, the API server deletes the objects.
                    (seen.listed, seen.sight) = (Listed::Once, Sight::NoKind);
                    seen.objects.clear();
                } else {
                    seen.sight = Sight::Stale(error_chain(&failure));
                }
            });
            sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// All of them now, the oldest first; `None` where the API server does not know the resource.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn list(&self) -> Result<Option<Vec<Arc<PolicyObject>>>, ClusterError> {
        let (mut table, mut page) = (Table::default(), ListParams::default().limit(PAGE));
        loop {
            let list = match call(|| "list the LandingPolicies".to_owned(), self.api.list(&page)).await {
                Ok(list) => list,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            list.items.iter().filter_map(|object| self.read(object)).for_each(|object| table.put(object));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(Some(table.oldest_first())),
            }
        }
    }

    /// Lists and watches until something fails.
    async fn follow(&self, seen: &watch::Sender<Seen>, unknown: &mut u32) -> ClusterError {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = pin!(watcher::watcher(self.api.clone(), config));
        let mut table = Table::default();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => {
                    table = Table::default();
                    continue;
                }
                Ok(Some(Event::InitApply(object))) => {
                    self.read(&object).into_iter().for_each(|object| table.put(object));
                    continue;
                }
                Ok(Some(Event::InitDone)) => *unknown = 0,
                Ok(Some(Event::Apply(object))) => {
                    self.read(&object).into_iter().for_each(|object| table.put(object))
                }
                Ok(Some(Event::Delete(object))) => {
                    table.remove(&PolicyName::new(object.metadata.name.unwrap_or_default()));
                }
                // The version that the watch starts from is too old: the watcher lists again by itself.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => continue,
                Err(error) => return ClusterError::watch("the LandingPolicies", error),
                Ok(None) => return ClusterError::Silent { what: "watch the LandingPolicies".to_owned() },
            }
            let objects = table.oldest_first();
            seen.send_replace(Seen { listed: Listed::Once, sight: Sight::All, objects });
        }
    }

    fn read(&self, object: &DynamicObject) -> Option<PolicyObject> {
        let meta = &object.metadata;
        let name = meta.name.as_deref()?;
        let ApiResource { api_version, kind, .. } = &self.resource;
        // An object without a `spec` is read as one whose `spec` is null.
        let spec = object.data.get("spec");
        let text = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let status = object.data.get("status").cloned().unwrap_or(Value::Null);
        Some(PolicyObject {
            name: PolicyName::new(name),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
            text: text.to_string(),
            status: serde_json::from_value(status).unwrap_or_default(),
        })
    }

    /// Writes our part of the status: all but the numbers of denied Pods. Nothing is written if the object has changed since.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn show(
        &self,
        object: &PolicyObject,
        status: &LandingPolicyStatus,
    ) -> Result<Written, ClusterError> {
        let name = object.name.as_str();
        let ApiResource { api_version, kind, .. } = &self.resource;
        let apply = Patch::Apply(json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, "resourceVersion": object.version},
            "status": status,
        }));
        let params = PatchParams::apply(STATUS_MANAGER).force();
        let what = || format!("write the status of LandingPolicy `{name}`");
        write(what, self.api.patch_status(name, &params, &apply)).await
    }

    /// Adds to the number of Pods that this object has denied. It does nothing if the object is gone.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn add_denied(
        &self,
        object: &PolicyObject,
        more: u64,
        last: Timestamp,
    ) -> Result<Written, ClusterError> {
        let name = object.name.as_str();
        let found = call(|| format!("read LandingPolicy `{name}`"), self.api.get_opt(name)).await?;
        let found = found.and_then(|found| self.read(&found));
        let Some(found) = found.filter(|found| found.uid == object.uid) else { return Ok(Written::Done) };
        let denied = found.status.denied.unwrap_or_default().max(0);
        let merge = json!({
            "metadata": {"resourceVersion": found.version},
            "status": {
                "denied": denied.saturating_add(i64::try_from(more).unwrap_or(i64::MAX)),
                "lastDenied": later(found.status.last_denied.as_deref(), last),
            },
        });
        let params = PatchParams { field_manager: Some(DENIED_MANAGER.to_owned()), ..PatchParams::default() };
        let what = || format!("count the Pods that LandingPolicy `{name}` has denied");
        write(what, self.api.patch_status(name, &params, &Patch::Merge(merge))).await
    }

    /// The object, for events about it.
    pub fn reference(&self, object: &PolicyObject) -> ObjectRef {
        ObjectRef {
            api_version: self.resource.api_version.clone().into(),
            kind: self.resource.kind.clone().into(),
            namespace: None,
            name: object.name.to_string(),
            uid: Some(object.uid.clone()),
        }
    }
}

/// The later of two moments, in whole seconds.
fn later(before: Option<&str>, now: Timestamp) -> String {
    let before = before.and_then(|text| text.parse::<Timestamp>().ok());
    seconds(before.map_or(now, |before| before.max(now)))
}

/// A moment as Kubernetes writes it: in whole seconds.
pub fn seconds(moment: Timestamp) -> String {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment).to_string()
}

/// Whether the API server says that it does not know the resource.
fn is_unknown(failure: &ClusterError) -> bool {
    matches!(failure, ClusterError::Call { source, .. }
        if matches!(&**source, kube::Error::Api(status) if status.code == 404))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_puts_no_older_policy_out() {
        let object = |name: String, created: &str, bytes: usize| PolicyObject {
            uid: name.clone(),
            name: PolicyName::new(name),
            generation: 1,
            version: "1".to_owned(),
            created: created.to_owned(),
            text: "x".repeat(bytes),
            status: LandingPolicyStatus::default(),
        };
        let (old, new) = ("2026-11-21T00:00:00Z", "2026-11-27T00:00:00Z");
        // In the order of a list.
        let mut table = Table::default();
        (0..32).for_each(|n| table.put(object(format!("a{n}"), new, MOST_BYTES / 20)));
        table.put(object("regulated".to_owned(), old, 100));
        assert!(table.objects.contains_key(&PolicyName::new("regulated")) && table.bytes <= MOST_BYTES);
        // One grows beyond all bounds.
        table.put(object("a0".to_owned(), new, 2 * MOST_BYTES));
        let left: Vec<_> = table.objects.keys().map(PolicyName::as_str).collect();
        assert_eq!((left, table.bytes), (vec!["regulated"], 100));
        let mut table = Table::default();
        (0..MOST).for_each(|n| table.put(object(format!("a{n}"), new, 1)));
        table.put(object("regulated".to_owned(), old, 1));
        assert!(table.objects.contains_key(&PolicyName::new("regulated")));
        assert_eq!((table.objects.len(), table.bytes), (MOST, MOST));
    }
}
