//! What runs, and what would run: lists of Pods, and of the objects whose templates make Pods, page by page.
//!
//! There is no watch of Pods: it would keep every Pod of the cluster in memory for a look every quarter of an hour.

use super::pages::{Of, Pages};
use super::{Cluster, ClusterError};

/// The kinds of objects that hold images of Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// Pods that have not ended.
    Pod,
    /// `apps/v1`.
    Deployment,
    /// `apps/v1`.
    StatefulSet,
    /// `apps/v1`.
    DaemonSet,
    /// `apps/v1`; most belong to a Deployment.
    ReplicaSet,
    /// `batch/v1`.
    CronJob,
    /// `batch/v1`; some wait suspended.
    Job,
    /// `v1`: what a Deployment replaced, and some still use.
    ReplicationController,
}

impl WorkloadKind {
    /// Those with a template that the sweep reads: the chart gives the right to do so.
    pub const TEMPLATES: [Self; 6] =
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::ReplicaSet, Self::CronJob, Self::Job];

    /// As in a manifest: `apps/v1` and `Deployment`.
    #[must_use]
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod => ("v1", "Pod"),
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::StatefulSet => ("apps/v1", "StatefulSet"),
            Self::DaemonSet => ("apps/v1", "DaemonSet"),
            Self::ReplicaSet => ("apps/v1", "ReplicaSet"),
            Self::CronJob => ("batch/v1", "CronJob"),
            Self::Job => ("batch/v1", "Job"),
            Self::ReplicationController => ("v1", "ReplicationController"),
        }
    }

    /// The path of its list in one namespace or in all, with the query that selects what counts.
    fn path(self, namespace: Option<&str>) -> String {
        let (group, resource, query) = match self {
            // A Pod that has ended needs its image no more.
            Self::Pod => {
                ("/api/v1", "pods", "fieldSelector=status.phase!%3DSucceeded,status.phase!%3DFailed&")
            }
            Self::Deployment => ("/apis/apps/v1", "deployments", ""),
            Self::StatefulSet => ("/apis/apps/v1", "statefulsets", ""),
            Self::DaemonSet => ("/apis/apps/v1", "daemonsets", ""),
            Self::ReplicaSet => ("/apis/apps/v1", "replicasets", ""),
            Self::CronJob => ("/apis/batch/v1", "cronjobs", ""),
            Self::Job => ("/apis/batch/v1", "jobs", ""),
            Self::ReplicationController => ("/api/v1", "replicationcontrollers", ""),
        };
        let within = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        format!("{group}{within}/{resource}?{query}")
    }
}

/// Lists of workloads.
#[derive(Clone)]
pub struct Workloads(Pages);

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workloads").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The workloads of all namespaces.
    pub fn workloads(&self) -> Workloads {
        Workloads(Pages::new(self.client.clone()))
    }
}

impl Workloads {
    /// One page of a list, as JSON: `{"metadata":{"continue":…},"items":[…]}`, of one namespace or of all. `after`: what
    /// `metadata.continue` of the page before said; `None` for the first.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it. 410: the list has changed too much since its first page.
    pub async fn page(
        &self,
        kind: WorkloadKind,
        namespace: Option<&str>,
        after: Option<&str>,
    ) -> Result<String, ClusterError> {
        let what = || match (kind.names().1, namespace) {
            (kind, Some(namespace)) => format!("list the {kind}s of namespace `{namespace}`"),
            (kind, None) => format!("list the {kind}s of all namespaces"),
        };
        self.0.page(what, &kind.path(namespace), Of::Everything, after).await
    }
}

impl ClusterError {
    /// Whether the API server answered with this status.
    #[must_use]
    pub fn is_status(&self, code: u16) -> bool {
        matches!(self, Self::Call { source, .. }
            if matches!(&**source, kube::Error::Api(status) if status.code == code))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    /// Whoever may create Pods may create large ones: etcd takes 1.5 MiB.
    #[tokio::test]
    async fn pages_of_large_objects_are_read_in_smaller_ones() {
        const PODS: usize = 40;
        let cluster = Cluster::answered_by(|head, _| async move {
            let query = head.uri.query().unwrap_or_default().to_owned();
            let of = |name: &str| {
                let part = query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
                part.and_then(|number| number.parse::<usize>().ok())
            };
            let (from, limit) = (of("continue").unwrap_or(0), of("limit").unwrap_or(PODS));
            let large = "x".repeat(1 << 20);
            let items: Vec<Value> = (from..PODS.min(from + limit))
                .map(|n| json!({"metadata": {"name": format!("p{n}")}, "x": large}))
                .collect();
            let next = if from + limit < PODS { (from + limit).to_string() } else { String::new() };
            (StatusCode::OK, json!({"metadata": {"continue": next}, "items": items}).to_string())
        });
        let workloads = cluster.workloads();
        let (mut after, mut seen) = (None, 0);
        loop {
            let page = workloads.page(WorkloadKind::Pod, None, after.as_deref()).await.unwrap();
            assert!(page.len() < 16 << 20, "{} MiB in one page", page.len() >> 20);
            let page: Value = serde_json::from_str(&page).unwrap();
            seen += page["items"].as_array().unwrap().len();
            after = page["metadata"]["continue"].as_str().filter(|next| !next.is_empty()).map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, PODS);
    }
}
