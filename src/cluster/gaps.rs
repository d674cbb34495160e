//! The objects of the resource ReplicationGap: found by name, written, deleted, counted, and watched.
//!
//! They are read as JSON: one object that cannot be understood must not hide the others.

use std::pin::pin;

use futures::TryStreamExt;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::discovery::ApiResource;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::replication_gap::{ReplicationGap, ReplicationGapSpec, ReplicationGapStatus};
use super::{Cluster, ClusterError, MANAGER, ObjectRef, Written, call, write};
use crate::domain::error_chain::error_chain;
use crate::domain::gap::{GapKey, GapSubject, Version};
use crate::domain::image::Tag;
use crate::domain::name::RegistryName;

/// How many objects one answer lists. One has a few kilobytes.
const PAGE: u32 = 100;

/// The most characters of a name that come from the image, or from the rule.
const CALLED: usize = 40;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapObject {
    /// Its name.
    pub name: String,
    /// Which object of that name.
    pub uid: String,
    /// The version of the object.
    pub version: String,
    /// What it is about.
    pub key: GapKey,
    /// Its status; `None` where it has none that can be understood.
    pub record: Option<ReplicationGapStatus>,
}

/// A change of the objects.
#[derive(Debug)]
pub enum GapChange {
    /// These are all.
    All(Vec<GapObject>),
    /// This one is new or changed.
    One(Box<GapObject>),
    /// The one of this name is gone.
    Gone(String),
    /// Changes do not arrive, for this reason. What is known may be old.
    Stale(String),
}

/// The objects of one cluster.
#[derive(Debug, Clone)]
pub struct GapObjects {
    api: Api<DynamicObject>,
    resource: ApiResource,
}

impl Cluster {
    /// The objects of the resource ReplicationGap.
    pub fn gaps(&self) -> GapObjects {
        let resource = ApiResource::erase::<ReplicationGap>(&());
        GapObjects { api: Api::all_with(self.client.clone(), &resource), resource }
    }
}

impl GapObject {
    /// The object, as Events name it.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            api_version: "landfall.dev/v1alpha1".into(),
            kind: "ReplicationGap".into(),
            namespace: None,
            name: self.name.clone(),
            uid: Some(self.uid.clone()),
        }
    }
}

impl GapObjects {
    /// The name of the object for this key.
    pub fn name_of(key: &GapKey) -> String {
        object_name(key)
    }

    /// How many there are; `None` where the API server does not know the resource.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn count(&self) -> Result<Option<usize>, ClusterError> {
        let one = ListParams::default().limit(1);
        match call(|| "count the ReplicationGaps".to_owned(), self.api.list_metadata(&one)).await {
            Ok(list) => {
                let more = list.metadata.remaining_item_count.unwrap_or_default();
                Ok(Some(list.items.len() + usize::try_from(more).unwrap_or_default()))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All of them; `None` where the API server does not know the resource.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn list(&self) -> Result<Option<Vec<GapObject>>, ClusterError> {
        let (mut found, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let list = match call(|| "list the ReplicationGaps".to_owned(), self.api.list(&page)).await {
                Ok(list) => list,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            found.extend(list.items.iter().filter_map(read));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(Some(found)),
            }
        }
    }

    /// What is recorded of each gap; `None` where the API server does not know the resource.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn records(&self) -> Result<Option<Vec<(GapKey, ReplicationGapStatus)>>, ClusterError> {
        let found = self.list().await?;
        Ok(found
            .map(|found| found.into_iter().filter_map(|object| Some((object.key, object.record?))).collect()))
    }

    /// The object for this key, if there is one.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn get(&self, key: &GapKey) -> Result<Option<GapObject>, ClusterError> {
        let name = object_name(key);
        let found = call(|| format!("read ReplicationGap `{name}`"), self.api.get_opt(&name)).await?;
        Ok(found.as_ref().and_then(read))
    }

    /// Creates the object for this key. If another replica has just created it, it is the same object.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn create(&self, key: &GapKey) -> Result<GapObject, ClusterError> {
        let name = object_name(key);
        let ApiResource { api_version, kind, .. } = &self.resource;
        let apply = Patch::Apply(json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name},
            "spec": ReplicationGapSpec::of(&key.subject, key.registry.as_str()),
        }));
        let what = || format!("create ReplicationGap `{name}`");
        let made = call(what, self.api.patch(&name, &PatchParams::apply(MANAGER).force(), &apply)).await?;
        let made = read(&made).filter(|made| made.key == *key);
        made.ok_or_else(|| ClusterError::Missing {
            what: format!("ReplicationGap `{name}` about {}", key.subject),
        })
    }

    /// Replaces the status. Nothing is written if the object has changed since it was read.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn write(
        &self,
        object: &GapObject,
        record: &ReplicationGapStatus,
    ) -> Result<Written, ClusterError> {
        let GapObject { name, uid, version, key, .. } = object;
        let ApiResource { api_version, kind, .. } = &self.resource;
        let whole = json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, "uid": uid, "resourceVersion": version},
            "spec": ReplicationGapSpec::of(&key.subject, key.registry.as_str()),
            "status": record,
        });
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let what = || format!("write the status of ReplicationGap `{name}`");
        write(what, self.api.replace_subresource("status", name, &params, &whole)).await
    }

    /// Deletes the object. Nothing is deleted if it has changed since it was read.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn delete(&self, object: &GapObject) -> Result<Written, ClusterError> {
        let only =
            Preconditions { uid: Some(object.uid.clone()), resource_version: Some(object.version.clone()) };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        let what = || format!("delete ReplicationGap `{}`", object.name);
        match write(what, self.api.delete(&object.name, &params)).await {
            Err(error) if error.is_not_found() => Ok(Written::Done),
            written => written,
        }
    }

    /// Shows all objects and every change for as long as it is polled. After a failure everything is listed again.
    pub async fn watch(&self, mut show: impl FnMut(GapChange)) {
        let mut pauses = DefaultBackoff::default();
        loop {
            let failure = self.follow(&mut show).await;
            show(GapChange::Stale(error_chain(&failure)));
            sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Lists and watches until something fails.
    async fn follow(&self, show: &mut impl FnMut(GapChange)) -> ClusterError {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = pin!(watcher::watcher(self.api.clone(), config));
        let mut listed = Vec::new();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => listed = Vec::new(),
                Ok(Some(Event::InitApply(object))) => listed.extend(read(&object)),
                Ok(Some(Event::InitDone)) => show(GapChange::All(std::mem::take(&mut listed))),
                Ok(Some(Event::Apply(object))) => {
                    read(&object).into_iter().for_each(|object| show(GapChange::One(Box::new(object))));
                }
                Ok(Some(Event::Delete(object))) => {
                    show(GapChange::Gone(object.metadata.name.unwrap_or_default()));
                }
                // The version that the watch starts from is too old: the watcher lists again by itself.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => {}
                Err(error) => return ClusterError::watch("the ReplicationGaps", error),
                Ok(None) => return ClusterError::Silent { what: "watch the ReplicationGaps".to_owned() },
            }
        }
    }
}

fn read(object: &DynamicObject) -> Option<GapObject> {
    let DynamicObject { metadata: ObjectMeta { name, uid, resource_version, .. }, data, .. } = object;
    let spec = serde_json::from_value(data.get("spec")?.clone()).ok()?;
    let status = data.get("status").cloned();
    Some(GapObject {
        name: name.clone()?,
        uid: uid.clone().unwrap_or_default(),
        version: resource_version.clone().unwrap_or_default(),
        key: key(spec)?,
        record: status.and_then(|status| serde_json::from_value(status).ok()),
    })
}

/// The key that [`ReplicationGapSpec::of`] wrote.
fn key(spec: ReplicationGapSpec) -> Option<GapKey> {
    let registry = RegistryName::new(spec.registry);
    let subject = match (spec.image, spec.rule) {
        (Some(image), _) => {
            let (name, version) = match image.rsplit_once('@') {
                Some((name, digest)) => (name, Version::Digest(digest.parse().ok()?)),
                None => {
                    let (name, tag) = image.rsplit_once(':')?;
                    (name, Version::Tag(Tag::new(tag)))
                }
            };
            GapSubject::Image { name: name.into(), version }
        }
        (None, Some(rule)) => GapSubject::Rule(rule.into()),
        (None, None) => return None,
    };
    Some(GapKey { subject, registry })
}

/// The name of the object for a key: what people recognise, and so much of a hash of the key that two never meet. Whoever names
/// images can try many: of six bytes he would find two that meet within seconds.
fn object_name(key: &GapKey) -> String {
    let called = match &key.subject {
        GapSubject::Image { name, .. } => name.rsplit('/').next().unwrap_or_default(),
        GapSubject::Rule(rule) => rule,
    };
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let called: String = called.chars().take(CALLED).map(letter).collect();
    let called = called.trim_matches('-');
    let hash = Sha256::digest(format!("{}\n{}", key.subject, key.registry));
    let hash: String = hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    if called.is_empty() { format!("gap-{hash}") } else { format!("{called}-{hash}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<GapKey> {
        let registry = RegistryName::new("ams");
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let image = |name: &str, version| GapKey::image(name, version, registry.clone());
        vec![
            image("harbor.fra.example.com/shop/web", Version::Digest(digest)),
            image("harbor.fra.example.com/shop/web", Version::Tag(Tag::new("1.4.2"))),
            image("localhost:5000/shop/web", Version::Tag(Tag::new("latest"))),
            image(&format!("fra.example.com/shop/{}", "a_.-".repeat(40)), Version::Digest(digest)),
            GapKey { subject: GapSubject::Rule("To Amsterdam: 1@2 (é)".into()), registry: registry.clone() },
            GapKey { subject: GapSubject::Rule("***".into()), registry },
        ]
    }

    #[test]
    fn a_name_is_a_dns_label_that_says_what_it_is_about() {
        let names: Vec<String> = keys().iter().map(object_name).collect();
        for name in &names {
            assert!(name.len() <= 61, "{name}");
            let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
            assert!(name.chars().all(good) && !name.starts_with('-') && !name.ends_with('-'), "{name}");
        }
        assert!(
            names[0].starts_with("web-")
                && names[4].starts_with("to-amsterdam")
                && names[5].starts_with("gap-")
        );
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn what_an_object_says_is_read_back_as_its_key() {
        for expected in keys() {
            let spec = ReplicationGapSpec::of(&expected.subject, expected.registry.as_str());
            assert_eq!(key(spec), Some(expected));
        }
    }
}
