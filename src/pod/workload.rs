//! Objects that make Pods, by their templates: what stands in a page of a list of the API server, and in a manifest.
//!
//! Only the fields that Landfall reads are kept, borrowed from the text, as of a [`Pod`].

use std::borrow::Cow;

use serde::Deserialize;

use super::json::{list_or_empty, object_or_default, text};
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
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a, T: Deserialize<'de> + Default"))]
pub struct Workload<'a, T = Pod<'a>> {
    /// Its metadata.
    #[serde(borrow, deserialize_with = "object_or_default")]
    pub metadata: WorkloadMeta<'a>,
    spec: Option<WorkloadSpec<T>>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de> + Default"))]
struct WorkloadSpec<T> {
    template: Option<T>,
    job_template: Option<JobTemplate<T>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "T: Deserialize<'de> + Default"))]
struct JobTemplate<T> {
    spec: Option<JobSpec<T>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "T: Deserialize<'de> + Default"))]
struct JobSpec<T> {
    template: Option<T>,
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
}

fn some<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
