//! Reports in the form that other tools read: `Report` of openreports.io/v1alpha1, one for each namespace.
//!
//! The fields are those of openreports/reports-api, `apis/openreports.io/v1alpha1/report_types.go`. The definition is not ours: where
//! nobody has installed it, there are no reports.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::discovery::ApiResource;
use serde::{Deserialize, Serialize};

use super::pages::Pages;
use super::{Cluster, ClusterError, MANAGER, ObjectRef, call};
use crate::domain::api_group::api_group;
use crate::domain::name::Site;

const API_VERSION: &str = "openreports.io/v1alpha1";
/// The annotation with the hash of what a report says.
const CONTENT: &str = concat!(api_group!(), "/content");

/// The reports of one site, in all namespaces.
#[derive(Clone)]
pub struct ReportObjects {
    client: kube::Client,
    pages: Pages,
    name: String,
}

impl std::fmt::Debug for ReportObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportObjects").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Who says it.
    pub source: &'static str,
    /// The namespace, as an object: results without `resources` are about it.
    pub scope: ObjectRef,
    /// What is left out.
    pub configuration: Configuration,
    /// How many images there are, those without a result included.
    pub summary: Summary,
    /// What is not as it should be.
    pub results: Vec<ReportResult>,
}

/// What a report leaves out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Configuration {
    /// The bounds.
    pub limits: Limits,
}

/// The bounds of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The most results.
    pub max_results: usize,
    /// Which ones it has.
    pub status_filter: [Status; 3],
}

/// How many images stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// This site's copy is used.
    pub pass: u32,
    /// A new Pod would be denied.
    pub fail: u32,
    /// Another copy would be used, or this site's in spite of a finding.
    pub warn: u32,
    /// It could not be learned.
    pub error: u32,
    /// Landfall leaves it alone.
    pub skip: u32,
}

/// How one image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A new Pod would be denied.
    Fail,
    /// It could not be learned.
    Error,
    /// Another copy would be used, or this site's in spite of a finding.
    Warn,
}

/// How urgent a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportSeverity {
    /// As the scan says.
    Critical,
    /// A new Pod would be denied.
    High,
    /// It comes from elsewhere.
    Medium,
    /// It is accepted.
    Low,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportResult {
    /// Our policy that asks for it, or `defaults`.
    pub policy: String,
    /// The finding.
    pub rule: &'static str,
    /// What kind of finding it is.
    pub category: &'static str,
    /// How urgent it is.
    pub severity: ReportSeverity,
    /// How the image stands.
    pub result: Status,
    /// Whether it counts: always.
    pub scored: bool,
    /// The owners of the Pods that use the image.
    pub resources: Vec<ObjectRef>,
    /// All of it as one sentence.
    pub message: String,
    /// More about it: `image`, `digest`, `place`, `site`, `since`, `gap`.
    pub properties: BTreeMap<&'static str, String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<ReportTime>,
}

/// A time as the API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReportTime {
    /// Since 1970.
    pub seconds: i64,
    /// Always 0.
    pub nanos: i32,
}

impl From<Timestamp> for ReportTime {
    fn from(time: Timestamp) -> Self {
        Self { seconds: time.as_second(), nanos: 0 }
    }
}

#[derive(Deserialize)]
struct Meta {
    namespace: Box<str>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Cluster {
    /// The reports of this site.
    pub fn reports(&self, site: &Site) -> ReportObjects {
        // The chart grants rights on this name: `landfall.config.facts`.
        let letter = |letter: char| match letter.to_ascii_lowercase() {
            letter if letter.is_ascii_alphanumeric() => letter,
            _ => '-',
        };
        let name = format!("landfall-{}", site.as_str().chars().map(letter).collect::<String>());
        ReportObjects { client: self.client.clone(), pages: Pages::new(self.client.clone()), name }
    }
}

impl ReportObjects {
    /// The namespaces that have a report, and the hash of what it says; `None` where the API server does not know the resource.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn list(&self) -> Result<Option<BTreeMap<Box<str>, Box<str>>>, ClusterError> {
        let what = || format!("list the Reports `{}` of all namespaces", self.name);
        let path = format!("/apis/{API_VERSION}/reports?fieldSelector=metadata.name%3D{}&", self.name);
        let (mut found, mut after) = (BTreeMap::new(), None);
        loop {
            let (page, next) = match self.pages.metadata(what, &path, after.as_deref()).await {
                Ok(page) => page,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            for Meta { namespace, mut annotations } in page {
                found.insert(namespace, annotations.remove(CONTENT).unwrap_or_default().into());
            }
            if next.is_none() {
                return Ok(Some(found));
            }
            after = next;
        }
    }

    /// Writes the report of a namespace, with the hash of what it says.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it. 404: there is no such namespace, or no such resource.
    pub async fn write(&self, namespace: &str, report: &Report, hash: &str) -> Result<(), ClusterError> {
        #[derive(Debug, Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Object<'a> {
            api_version: &'static str,
            kind: &'static str,
            metadata: serde_json::Value,
            #[serde(flatten)]
            report: &'a Report,
        }
        let metadata = serde_json::json!({
            "name": self.name,
            "labels": {"app.kubernetes.io/managed-by": MANAGER},
            "annotations": {CONTENT: hash},
        });
        let apply = Patch::Apply(Object { api_version: API_VERSION, kind: "Report", metadata, report });
        let what = || format!("write the Report `{}` of namespace `{namespace}`", self.name);
        let params = PatchParams::apply(MANAGER).force();
        call(what, self.api(namespace).patch(&self.name, &params, &apply)).await.map(drop)
    }

    /// Deletes the report of a namespace, if there is one.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn delete(&self, namespace: &str) -> Result<(), ClusterError> {
        let what = || format!("delete the Report `{}` of namespace `{namespace}`", self.name);
        match call(what, self.api(namespace).delete(&self.name, &DeleteParams::default())).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("openreports.io", "v1alpha1", "Report");
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk(&kind))
    }
}
