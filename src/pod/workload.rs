//! Objects that make Pods, by their templates: what stands in a page of a list of the API server, and in a manifest.
//!
//! Only the fields that Landfall reads are kept, borrowed from the text, as of a [`Pod`].

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{Object, list_or_empty, object_or_default, text};
use super::owner::Owners;
use super::surface::Pod;

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a, T: Deserialize<'de>"))]
pub struct Page<'a, T> {
    #[serde(default, borrow)]
    metadata: ListMeta<'a>,
    /// Its objects.
    #[serde(default = "Vec::new", deserialize_with = "some")]
    pub items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
struct ListMeta<'a> {
    #[serde(default, borrow, rename = "continue")]
    next: Option<Cow<'a, str>>,
}

/// An object of which only the metadata counts.
#[derive(Debug, Deserialize)]
pub struct Named<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: WorkloadMeta<'a>,
}

/// An object with a template of Pods. `T` is what is read of the template.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a, T: Deserialize<'de>"))]
pub struct Workload<'a, T = Pod<'a>> {
    /// Its metadata.
    #[serde(borrow, default, deserialize_with = "object_or_default")]
    pub metadata: WorkloadMeta<'a>,
    #[serde(default = "none")]
    spec: Option<WorkloadSpec<T>>,
    #[serde(borrow, default, deserialize_with = "object_or_default")]
    status: Status<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    conditions: Option<Vec<Condition<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition<'a> {
    #[serde(borrow, rename = "type", deserialize_with = "text")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "text")]
    status: Option<Cow<'a, str>>,
}

/// The metadata of an object that makes Pods.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadMeta<'a> {
    /// Its namespace; absent in many manifests.
    #[serde(borrow, deserialize_with = "text")]
    pub namespace: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// Which object of that name.
    #[serde(borrow, deserialize_with = "text")]
    pub uid: Option<Cow<'a, str>>,
    /// Who made it: what another object owns has the template of that one.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub owner_references: Owners<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
struct WorkloadSpec<T> {
    #[serde(default = "none")]
    template: Option<T>,
    #[serde(default = "none")]
    job_template: Option<JobTemplate<T>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct JobTemplate<T> {
    #[serde(default = "none")]
    spec: Option<JobSpec<T>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct JobSpec<T> {
    #[serde(default = "none")]
    template: Option<T>,
}

/// Serde's own default asks for a default of what is inside.
fn none<T>() -> Option<T> {
    None
}

impl<T> Page<'_, T> {
    /// The token of the next page, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        self.metadata.next.as_deref().filter(|next| !next.is_empty()).map(str::to_owned)
    }
}

impl WorkloadMeta<'_> {
    /// Its namespace; empty where none stands there.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// Its name; empty where none stands there.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

impl<T> Workload<'_, T> {
    /// The template of its Pods; of a CronJob that of its Jobs.
    #[must_use]
    pub fn template(&self) -> Option<&T> {
        let spec = self.spec.as_ref()?;
        let of_job = || spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref();
        spec.template.as_ref().or_else(of_job)
    }

    /// Whether it is a Job that has ended: it makes no Pod any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let ends = |condition: &Condition<'_>| {
            matches!(condition.kind.as_deref(), Some("Complete" | "Failed"))
                && condition.status.as_deref() == Some("True")
        };
        self.status.conditions.iter().flatten().any(ends)
    }
}

fn some<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What counts of a Pod or a template, as JSON: the other fields and names are gone, so that Pods of one template are one text.
/// It is read as a [`Pod`]; the indices of its lists are those of the original.
///
/// ```
/// use landfall::facade::pod::workload::essence;
///
/// let pod = r#"{"metadata": {"name": "web-1", "labels": {}}, "spec": {"nodeName": "n1",
///     "containers": [{"name": "web", "image": "nginx:1.27", "resources": {}}]}, "status": {}}"#;
/// assert_eq!(essence(pod)?, r#"{"metadata":{},"spec":{"containers":[{"name":"web","image":"nginx:1.27"}]}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// It is no Pod: a field of the wrong type.
pub fn essence(pod: &str) -> serde_json::Result<String> {
    // As strictly as at the door.
    let Object(_) = serde_json::from_str::<Object<Pod<'_>>>(pod)?;
    let Object(essence) = serde_json::from_str::<Object<Essence<'_>>>(pod)?;
    serde_json::to_string(&essence.unwrap_or_default())
}

#[derive(Default, Deserialize, Serialize)]
struct Essence<'a> {
    #[serde(borrow, default, deserialize_with = "object_or_default")]
    metadata: EssentialMeta<'a>,
    #[serde(borrow, default, deserialize_with = "object_or_default")]
    spec: EssentialSpec<'a>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct EssentialMeta<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    annotations: Option<EssentialAnnotations<'a>>,
}

/// The names are those in `surface`; serde takes only literals.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct EssentialAnnotations<'a> {
    #[serde(borrow, rename = "landfall.dev/images", skip_serializing_if = "Option::is_none")]
    images: Option<&'a RawValue>,
    #[serde(borrow, rename = "landfall.dev/mode", skip_serializing_if = "Option::is_none")]
    mode: Option<&'a RawValue>,
    #[serde(borrow, rename = "kubernetes.io/config.mirror", skip_serializing_if = "Option::is_none")]
    mirror: Option<&'a RawValue>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct EssentialSpec<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    containers: Option<Vec<Option<EssentialContainer<'a>>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    init_containers: Option<Vec<Option<EssentialContainer<'a>>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ephemeral_containers: Option<Vec<Option<EssentialContainer<'a>>>>,
    #[serde(borrow, skip_serializing_if = "has_no_image")]
    volumes: Option<Vec<Option<EssentialVolume<'a>>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    image_pull_secrets: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    node_selector: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    os: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    service_account_name: Option<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct EssentialContainer<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    image: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    image_pull_policy: Option<&'a RawValue>,
}

/// The name of a volume counts only where it has an image: that of a token is another one in each Pod.
#[derive(Deserialize)]
struct EssentialVolume<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    image: Option<&'a RawValue>,
}

impl Serialize for EssentialVolume<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(image) = self.image {
            if let Some(name) = self.name {
                map.serialize_entry("name", name)?;
            }
            map.serialize_entry("image", image)?;
        }
        map.end()
    }
}

fn has_no_image(volumes: &Option<Vec<Option<EssentialVolume<'_>>>>) -> bool {
    !volumes.iter().flatten().flatten().any(|volume| volume.image.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::surface::{IMAGES, MIRROR, MODE};

    /// Everything that the doors read of a Pod is kept: its slots, its annotations, its secrets, its platform.
    #[test]
    fn the_essence_is_the_same_pod_without_what_differs_from_copy_to_copy() {
        let of = |name: &str, token: &str| {
            serde_json::json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "uid": name, "namespace": "shop",
                    "annotations": {IMAGES: "{}", MODE: "Skip", MIRROR: "x", "other": name}},
                "spec": {
                    "nodeName": name, "serviceAccountName": "shop", "os": {"name": "linux"},
                    "nodeSelector": {"kubernetes.io/arch": "arm64"}, "imagePullSecrets": [{"name": "s"}],
                    "initContainers": [null, {"name": "init", "image": "init:1", "imagePullPolicy": "Never"}],
                    "containers": [{"name": "web", "image": "web:1", "env": [{"name": "POD", "value": name}]}],
                    "ephemeralContainers": null,
                    "volumes": [{"name": token, "projected": {}}, {"name": "model", "image": {"reference": "m:1"}}],
                },
                "status": {"podIP": name},
            })
            .to_string()
        };
        let (one, two) = (of("web-1", "token-a"), of("web-2", "token-b"));
        let kept = essence(&one).unwrap();
        assert_eq!(kept, essence(&two).unwrap());
        assert_eq!(essence(&kept).unwrap(), kept);
        let (before, after): (Pod<'_>, Pod<'_>) =
            (serde_json::from_str(&one).unwrap(), serde_json::from_str(&kept).unwrap());
        assert_eq!(before.slots().collect::<Vec<_>>(), after.slots().collect::<Vec<_>>());
        assert_eq!(before.slots().count(), 3);
        let spec = |pod: &Pod<'_>| {
            let Pod { metadata, spec } = pod;
            let annotations = metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
            let said = annotations.map(|said| (said.images.is_some(), said.mode, said.mirror));
            format!(
                "{said:?} {:?} {:?} {:?} {:?}",
                spec.image_pull_secrets, spec.node_selector, spec.os, spec.service_account_name
            )
        };
        assert_eq!(spec(&before), spec(&after));
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for wrong in [
            "[]",
            r#"{"spec": []}"#,
            r#"{"spec": {"containers": "web"}}"#,
            r#"{"spec": {"containers": [{"image": 1}]}}"#,
        ] {
            assert!(essence(wrong).is_err(), "{wrong}");
        }
    }
}
