//! What runs in a cluster, and what its templates would make.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::sleep;

use super::collection::{Collection, Source, Workload};
use crate::cluster::{Cluster, ClusterError, ObjectRef, Owners, WorkloadKind};
use crate::domain::error_chain::error_chain;
use crate::domain::settings::Settings;
use crate::pod::Pod;
use crate::pod::owner::OwnerReference;
use crate::pod::surface::MirrorMark;
use crate::pod::workload::{self, Page, essence};

/// How often a list is begun anew because it changed too much while it was read.
const ATTEMPTS: u32 = 3;

/// The pause between two pages of a list.
const PAUSE: Duration = Duration::from_millis(20);

/// The most owners that are asked for one by one: those that no list told.
const MOST_ASKED: usize = 200;

/// Everything that has a template. The sweep of the leader does not read ReplicationControllers.
const TEMPLATES: [WorkloadKind; 7] = {
    let [a, b, c, d, e, f] = WorkloadKind::TEMPLATES;
    [a, b, c, d, e, f, WorkloadKind::ReplicationController]
};

/// Kind, namespace and name of an object.
type Name = (Box<str>, Box<str>, Box<str>);

/// What is known while lists are read.
struct Reading<'a> {
    settings: &'a Settings,
    own_namespace: &'a str,
    owners: Owners,
    /// The owners of ReplicaSets and Jobs.
    above: HashMap<Name, ObjectRef>,
    asked: usize,
    found: Collection,
}

/// Reads what runs and what would run in one namespace or in all. What the user may not read is noted. `own_namespace`: that
/// of Landfall, which it leaves alone.
///
/// # Errors
/// If the API server cannot be asked, or nothing may be read.
pub async fn live(
    cluster: &Cluster,
    settings: &Settings,
    own_namespace: &str,
    namespace: Option<&str>,
) -> Result<Collection, ClusterError> {
    let mut reading = Reading {
        settings,
        own_namespace,
        owners: cluster.owners(),
        above: HashMap::new(),
        asked: 0,
        found: Collection::default(),
    };
    let workloads = cluster.workloads();
    // Templates first: they tell whose the Pods are.
    let (mut refused, mut read_any) = (None, false);
    for kind in TEMPLATES.into_iter().chain([WorkloadKind::Pod]) {
        let (mut after, mut attempts): (Option<String>, _) = (None, 1);
        loop {
            let page = match workloads.page(kind, namespace, after.as_deref()).await {
                Ok(page) => page,
                Err(error) if error.is_status(410) && attempts < ATTEMPTS => {
                    (after, attempts) = (None, attempts + 1);
                    let name = kind.names().1;
                    reading.found.notes.push(format!(
                        "the list of {name}s changed while it was read: the numbers of Pods may be too high"
                    ));
                    continue;
                }
                Err(error) if error.is_forbidden() || error.is_not_found() => {
                    reading.found.partial = true;
                    let of =
                        namespace.map_or("all namespaces".to_owned(), |name| format!("namespace `{name}`"));
                    let name = kind.names().1;
                    reading.found.notes.push(if error.is_forbidden() {
                        format!("you lack the right to list the {name}s of {of}: they are not in this report")
                    } else {
                        format!("the {name}s of {of} are not in this report: {}", error_chain(&error))
                    });
                    refused = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            read_any = true;
            after = match kind {
                WorkloadKind::Pod => reading.pods(&page).await,
                kind => reading.templates(kind, &page),
            };
            if after.is_none() {
                break;
            }
            sleep(PAUSE).await;
        }
    }
    match refused {
        Some(error) if !read_any => Err(error),
        _ => Ok(reading.found),
    }
}

impl Reading<'_> {
    /// Takes a page of objects with templates. Returns the token of the next one.
    fn templates(&mut self, kind: WorkloadKind, page: &str) -> Option<String> {
        let page: Page<'_, &RawValue> = self.page(page)?;
        for item in &page.items {
            match serde_json::from_str::<workload::Workload<'_, &RawValue>>(item.get()) {
                Ok(object) => self.template(kind, &object),
                Err(_) => self.found.left_out += 1,
            }
        }
        page.next()
    }

    fn template(&mut self, kind: WorkloadKind, object: &workload::Workload<'_, &RawValue>) {
        let (metadata, (api_version, kind_name)) = (&object.metadata, kind.names());
        let (namespace, name) = (metadata.namespace(), metadata.name());
        if self.settings.leaves_alone(namespace, Some(self.own_namespace)) {
            return Collection::count(&mut self.found.left_alone, namespace);
        }
        if let Some(owner) = metadata.owner_references.first() {
            let is_between = matches!(kind, WorkloadKind::ReplicaSet | WorkloadKind::Job);
            if is_between && let Some(above) = named(owner, namespace) {
                self.above.insert((kind_name.into(), namespace.into(), name.into()), above);
            }
            // What a controller of Kubernetes made has the template of its owner; so have the many revisions of a Rollout. What
            // an operator made has one of its own, which nobody else shows.
            if is_between || owner.is_builtin() {
                return;
            }
        }
        if object.has_ended() {
            return;
        }
        let Some(Ok(template)) = object.template().map(|template| essence(template.get())) else {
            self.found.left_out += 1;
            return;
        };
        self.found.add(Workload {
            api_version: api_version.into(),
            kind: kind_name.into(),
            namespace: namespace.into(),
            name: name.into(),
            pods: 0,
            template: Some(template.into()),
            standing: Vec::new(),
            source: Source::Cluster,
        });
    }

    /// Takes a page of Pods. Returns the token of the next one.
    async fn pods(&mut self, page: &str) -> Option<String> {
        let page: Page<'_, &RawValue> = self.page(page)?;
        for item in &page.items {
            let pod = serde_json::from_str::<Pod<'_>>(item.get());
            let (Ok(pod), Ok(kept)) = (pod, essence(item.get())) else {
                self.found.left_out += 1;
                continue;
            };
            self.pod(&pod, kept).await;
        }
        page.next()
    }

    async fn pod(&mut self, pod: &Pod<'_>, kept: String) {
        let Some(metadata) = &pod.metadata else { return };
        // It ends, and another one has been created for it, or will be.
        if metadata.deletion_timestamp.is_some() {
            return;
        }
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        if self.settings.leaves_alone(namespace, Some(self.own_namespace)) {
            return Collection::count(&mut self.found.left_alone, namespace);
        }
        if metadata.annotations.as_ref().is_some_and(|annotations| annotations.mirror == MirrorMark::Present)
        {
            self.found.static_pods += 1;
            return;
        }
        let owner = match metadata.owner_references.first().and_then(|owner| named(owner, namespace)) {
            Some(owner) => self.top(owner).await,
            None => ObjectRef {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace: Some(namespace.to_owned()),
                name: metadata.name.as_deref().unwrap_or_default().to_owned(),
                uid: None,
            },
        };
        let workload = Workload {
            api_version: owner.api_version.into(),
            kind: owner.kind.into(),
            namespace: namespace.into(),
            name: owner.name.into(),
            pods: 0,
            template: None,
            standing: Vec::new(),
            source: Source::Cluster,
        };
        self.found.stand(workload, kept);
    }

    /// Who made what made a Pod.
    async fn top(&mut self, owner: ObjectRef) -> ObjectRef {
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        let key = (Box::from(&*owner.kind), Box::from(namespace), Box::from(&*owner.name));
        if let Some(above) = self.above.get(&key) {
            return above.clone();
        }
        if let Some(known) = self.owners.known(&owner) {
            return known;
        }
        // It stands in no list, or no list may be read.
        if self.asked >= MOST_ASKED {
            return owner;
        }
        self.asked += 1;
        self.owners.top(&owner).await
    }

    fn page<'p>(&mut self, page: &'p str) -> Option<Page<'p, &'p RawValue>> {
        let read = serde_json::from_str(page);
        if let Err(error) = &read {
            self.found.partial = true;
            self.found.notes.push(format!("a list of the API server cannot be read: {error}"));
        }
        read.ok()
    }
}

/// The owner by its name. Whoever creates Pods writes their owners: one without a name is none.
fn named(owner: &OwnerReference<'_>, namespace: &str) -> Option<ObjectRef> {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| {
        text.as_deref().filter(|text| !text.is_empty() && text.len() <= 320).map(str::to_owned)
    };
    Some(ObjectRef {
        api_version: text(&owner.api_version)?.into(),
        kind: text(&owner.kind)?.into(),
        namespace: Some(namespace.to_owned()),
        name: text(&owner.name)?,
        uid: text(&owner.uid),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::settings::sample::settings;

    /// An API server with these lists, by the last part of their path; the others are forbidden. What was asked is written down.
    fn server(lists: Value) -> (Cluster, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let cluster = Cluster::answered_by(move |head, _| {
            log.lock().unwrap().push(head.uri.path().to_owned());
            let name = head.uri.path().rsplit('/').next().unwrap_or_default();
            let answer = match &lists[name] {
                Value::Null => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                                        "reason": "Forbidden", "message": format!("{name} is forbidden")});
                    (StatusCode::FORBIDDEN, status.to_string())
                }
                items => (StatusCode::OK, json!({"metadata": {}, "items": items}).to_string()),
            };
            async move { answer }
        });
        (cluster, asked)
    }

    fn owned(name: &str, owner: Value, spec: Value) -> Value {
        json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": [owner]}, "spec": spec})
    }

    fn by(kind: &str, name: &str) -> Value {
        let version = match kind {
            "Cluster" => "postgresql.cnpg.io/v1",
            "Job" | "CronJob" => "batch/v1",
            _ => "apps/v1",
        };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": name, "controller": true})
    }

    fn spec(image: &str) -> Value {
        json!({"containers": [{"name": "main", "image": image}], "nodeName": "n1"})
    }

    async fn read(cluster: &Cluster, namespace: Option<&str>) -> Result<Collection, ClusterError> {
        live(cluster, &settings(Duration::from_secs(1)), "landfall", namespace).await
    }

    #[tokio::test]
    async fn pods_stand_under_the_object_that_people_know_without_a_question_for_each() {
        let template = |image: &str| json!({"template": {"metadata": {}, "spec": spec(image)}});
        let job = json!({"jobTemplate": {"spec": template("backup:2")}});
        let of =
            |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        let mut over = of("migrate", template("migrate:1"));
        over["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        let mut fixed =
            owned("etcd-n1", json!({"apiVersion": "v1", "kind": "Node", "name": "n1"}), spec("etcd:3"));
        fixed["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        let mut system = of("proxy", spec("proxy:1"));
        system["metadata"]["namespace"] = json!("kube-system");
        let (cluster, asked) = server(json!({
            "deployments": [of("web", template("web:2"))],
            "statefulsets": [owned("metrics", by("Cluster", "x"), template("metrics:1"))],
            "daemonsets": [],
            "replicasets": [owned("web-1", by("Deployment", "web"), template("web:1")),
                            owned("web-2", by("Deployment", "web"), template("web:2"))],
            "cronjobs": [of("nightly", job)],
            "jobs": [owned("nightly-7", by("CronJob", "nightly"), template("backup:2")), over],
            "pods": [owned("web-1-a", by("ReplicaSet", "web-1"), spec("web:1")),
                     owned("web-2-a", by("ReplicaSet", "web-2"), spec("web:2")),
                     owned("web-2-b", by("ReplicaSet", "web-2"), spec("web:2")),
                     owned("nightly-7-a", by("Job", "nightly-7"), spec("backup:2")),
                     owned("db-1", by("Cluster", "db"), spec("postgres:16")),
                     of("debug", spec("busybox:1")), fixed, system],
        }));
        let found = read(&cluster, None).await.unwrap();
        let all: Vec<_> = found
            .iter()
            .map(|workload| {
                let standing: Vec<_> = workload.standing.iter().map(|one| one.pods).collect();
                let image =
                    workload.to_create().map(|pod| pod.split('"').nth(13).unwrap_or_default().to_owned());
                (
                    format!("{} {}/{}", workload.kind, workload.namespace, workload.name),
                    workload.pods,
                    image.collect::<Vec<_>>().join(" "),
                    standing,
                )
            })
            .collect();
        let of = |called: &str, pods, image: &str, standing: &[u32]| {
            (called.to_owned(), pods, image.to_owned(), standing.to_vec())
        };
        assert_eq!(
            all,
            [
                of("Cluster shop/db", 1, "postgres:16", &[1]),
                of("CronJob shop/nightly", 1, "backup:2", &[1]),
                of("Deployment shop/web", 3, "web:2", &[1, 2]),
                of("Pod shop/debug", 1, "busybox:1", &[1]),
                of("StatefulSet shop/metrics", 0, "metrics:1", &[]),
            ]
        );
        assert_eq!((found.pods, found.static_pods, found.left_alone.get("kube-system")), (6, 1, Some(&1)));
        let said = "you lack the right to list the ReplicationControllers of all namespaces: ";
        assert!(found.notes.len() == 1 && found.notes[0].starts_with(said), "{:?}", found.notes);
        assert_eq!(
            asked.lock().unwrap().len(),
            8,
            "a list for each kind, and no question for an owner: {asked:?}"
        );
    }

    #[tokio::test]
    async fn one_namespace_is_read_alone_and_nothing_to_read_is_an_error() {
        let (cluster, asked) = server(json!({"pods": []}));
        assert!(read(&cluster, Some("shop")).await.unwrap().is_empty());
        assert!(asked.lock().unwrap().contains(&"/apis/apps/v1/namespaces/shop/deployments".to_owned()));
        let (cluster, _) = server(json!({}));
        assert!(read(&cluster, Some("shop")).await.unwrap_err().is_forbidden());
    }
}
