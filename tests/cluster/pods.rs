//! Pods by everything that makes Pods: what is stored is what one would have written by hand, and nothing else of the
//! Pod is another than without the webhook.

use serde_json::{Value, json};

use crate::plane::{Plane, plane, until};
use crate::webhook::{API, Landfall, WEB};

/// Everything that makes a Pod, `@` its name.
fn workloads() -> Vec<(&'static str, String)> {
    let template = format!(
        "{{metadata: {{labels: {{app: '@'}}}}, spec: {{containers: [{{name: web, image: '{WEB}'}}, {{name: proxy, image: 'busybox:1.37'}}]}}}}"
    );
    let selector = "selector: {matchLabels: {app: '@'}}";
    let job = format!(
        "{{template: {{spec: {{restartPolicy: Never, containers: [{{name: web, image: '{WEB}'}}]}}}}}}"
    );
    vec![
        (
            "deployment",
            format!(
                "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: '@'}}, spec: {{replicas: 1, {selector}, template: {template}}}}}"
            ),
        ),
        (
            "statefulset",
            format!(
                "{{apiVersion: apps/v1, kind: StatefulSet, metadata: {{name: '@'}}, spec: {{serviceName: '@', {selector}, template: {template}}}}}"
            ),
        ),
        (
            "daemonset",
            format!(
                "{{apiVersion: apps/v1, kind: DaemonSet, metadata: {{name: '@'}}, spec: {{{selector}, template: {}}}}}",
                template.replace("spec: {", "spec: {nodeSelector: {kind: pier}, ")
            ),
        ),
        ("job", format!("{{apiVersion: batch/v1, kind: Job, metadata: {{name: '@'}}, spec: {job}}}")),
        (
            "cronjob",
            format!(
                "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: '@'}}, spec: {{schedule: '* * * * *', jobTemplate: {{spec: {job}}}}}}}"
            ),
        ),
        (
            "bare",
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: '@'}}, spec: {{containers: [{{name: web, image: '{WEB}'}}]}}}}"
            ),
        ),
        (
            "secrets",
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: '@'}}, spec: {{imagePullSecrets: [{{name: own}}], containers: [{{name: web, image: '{WEB}'}}]}}}}"
            ),
        ),
        (
            "sidecar",
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: '@'}}, spec: {{initContainers: [{{name: proxy, image: '{API}', restartPolicy: Always}}], containers: [{{name: web, image: '{WEB}'}}]}}}}"
            ),
        ),
        (
            "volume",
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: '@'}}, spec: {{volumes: [{{name: model, image: {{reference: '{API}'}}}}], containers: [{{name: web, image: '{WEB}'}}]}}}}"
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_every_maker_are_rewritten_and_nothing_else_of_them_changes() {
    let plane = plane();
    plane.namespace("makers");
    plane.namespace("makers-alone");
    // What a DaemonSet makes Pods for; there may be other nodes.
    plane.apply("{apiVersion: v1, kind: Node, metadata: {name: harbor-master, labels: {kind: pier}}}");
    let landfall = Landfall::serve(plane, "makers").await;
    let digests = [WEB, API].map(|image| (image, ashore(&landfall, image)));
    for (name, workload) in workloads() {
        for namespace in ["makers", "makers-alone"] {
            plane.create(namespace, &workload.replace('@', name));
        }
    }
    for (name, _) in workloads() {
        let (mut with, mut without) = (pod(plane, "makers", name), pod(plane, "makers-alone", name));
        let annotation = with["metadata"]["annotations"]["landfall.dev/images"].take();
        assert!(annotation.as_str().is_some_and(|text| text.contains("\"Local\"")), "{name}: {annotation}");
        // What one would have written by hand.
        for (image, ashore) in &digests {
            replace(&mut without, image, ashore);
        }
        let secrets = without["spec"]["imagePullSecrets"].as_array().cloned().unwrap_or_default();
        without["spec"]["imagePullSecrets"] =
            secrets.into_iter().chain([json!({"name": "harbor-ams-creds"})]).collect();
        for pod in [&mut with, &mut without] {
            forget_what_differs_between_any_two(pod);
        }
        let (with, without) = [with, without].map(|pod| serde_json::to_string_pretty(&pod).unwrap()).into();
        let differs: Vec<_> =
            with.lines().zip(without.lines()).filter(|(with, without)| with != without).collect();
        assert!(differs.is_empty() && with.len() == without.len(), "{name}: {differs:#?}\n{with}");
    }
}

/// What kubectl does beside `create -f`: each makes one Pod, and shows it.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_same_however_a_pod_is_sent() {
    let plane = plane();
    plane.namespace("ways");
    let landfall = Landfall::serve(plane, "ways").await;
    let ashore = ashore(&landfall, WEB);
    let web = format!("spec: {{containers: [{{name: web, image: '{WEB}'}}]}}");
    let file =
        |name: &str| plane.write_new(&format!("{{apiVersion: v1, kind: Pod, metadata: {{{name}}}, {web}}}"));
    let (named, generated) = (file("name: sent"), file("generateName: sent-"));
    let (named, generated) = (named.to_str().unwrap(), generated.to_str().unwrap());
    for way in [
        vec!["create", "--dry-run=server", "-f", named],
        vec!["create", "-f", generated],
        vec!["apply", "--server-side", "--dry-run=server", "-f", named],
        vec!["apply", "--server-side", "-f", named],
    ] {
        let arguments: Vec<_> = way.iter().chain(&["-n", "ways", "-o", "json"]).copied().collect();
        let pod: Value = serde_json::from_str(&plane.told(&arguments)).unwrap();
        assert_eq!(pod["spec"]["containers"][0]["image"], ashore, "{way:?}");
    }
    // A debug container joins a Pod that carries the secret of our site already.
    plane.told(&[
        "debug",
        "sent",
        "-n",
        "ways",
        "--image",
        WEB,
        "--container",
        "look",
        "--profile",
        "general",
    ]);
    let pod: Value =
        serde_json::from_str(&plane.told(&["get", "pod", "sent", "-n", "ways", "-o", "json"])).unwrap();
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["image"], ashore);
    // What is there already is nobody's to change but its owner's.
    plane.told(&["label", "pod", "sent", "-n", "ways", "seen=yes"]);
    plane.told(&["set", "image", "pod/sent", "-n", "ways", &format!("web={API}")]);
    let pod: Value =
        serde_json::from_str(&plane.told(&["get", "pod", "sent", "-n", "ways", "-o", "json"])).unwrap();
    assert_eq!(pod["spec"]["containers"][0]["image"], API);
}

/// The ServiceAccount plugin has copied the account's secrets into the Pod before it comes to us, unless the Pod has some.
#[tokio::test(flavor = "multi_thread")]
async fn the_pull_secret_joins_those_of_the_account_or_of_the_pod() {
    let plane = plane();
    plane.namespace("secrets");
    let _landfall = Landfall::serve(plane, "secrets").await;
    let ours = "harbor-ams-creds";
    for (n, (account, own, stored)) in [
        (vec![], vec![], vec![ours]),
        (vec!["team"], vec![], vec!["team", ours]),
        (vec!["team"], vec!["own"], vec!["own", ours]),
        (vec![ours], vec![], vec![ours]),
        (vec!["team"], vec![ours, "own"], vec![ours, "own"]),
    ]
    .into_iter()
    .enumerate()
    {
        let list = |names: &[&str]| json!(names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>());
        let (name, account, own) = (format!("of-{n}"), list(&account), list(&own));
        plane.create("secrets", &format!("{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}}}, imagePullSecrets: {account}}}"));
        let spec = format!(
            "{{serviceAccountName: {name}, imagePullSecrets: {own}, containers: [{{name: web, image: '{WEB}'}}]}}"
        );
        plane.create(
            "secrets",
            &format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {spec}}}"),
        );
        assert_eq!(
            pod(plane, "secrets", &name)["spec"]["imagePullSecrets"],
            list(&stored),
            "{account} {own}"
        );
    }
}

/// The image as it is named on our site.
pub fn ashore(landfall: &Landfall<'_>, image: &str) -> String {
    let (path, tag) = image.strip_prefix("harbor.fra.example.com/").unwrap().split_once(':').unwrap();
    let digest = landfall.demo.ams.store().digest(path, tag).unwrap();
    format!("harbor.ams.example.com/{path}:{tag}@{digest}")
}

/// The Pod that came of a workload, when it is there.
fn pod(plane: &Plane, namespace: &str, name: &str) -> Value {
    until(name, || {
        let list = plane.told(&["get", "pods", "-n", namespace, "-o", "json"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        let mut pods = list["items"].as_array().unwrap().iter();
        pods.find(|pod| pod["metadata"]["name"].as_str().unwrap().starts_with(name)).cloned()
    })
}

fn replace(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text == from => *text = to.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, from, to)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, from, to)),
        _ => {}
    }
}

/// Names, times and identifiers that the API server and controllers make up anew for each Pod, and the node, which may
/// have been found by now.
fn forget_what_differs_between_any_two(pod: &mut Value) {
    let told = serde_json::to_string(&pod["spec"]["volumes"]).unwrap();
    let token = told.split('"').find(|text| text.starts_with("kube-api-access-")).map(str::to_owned);
    if let Some(token) = token {
        replace(pod, &token, "kube-api-access");
    }
    for owner in pod["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        owner["uid"].take();
        owner["name"].take();
    }
    let metadata = pod["metadata"].as_object_mut().unwrap();
    for made_up in
        ["uid", "name", "generateName", "namespace", "resourceVersion", "creationTimestamp", "managedFields"]
    {
        metadata.remove(made_up);
    }
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.retain(|key, _| !key.ends_with("uid") && !key.ends_with("job-name"));
    }
    metadata.retain(|key, value| !(key == "annotations" && only_ours(value)));
    pod["spec"].as_object_mut().unwrap().remove("nodeName");
    pod.as_object_mut().unwrap().remove("status");
}

/// Is there nothing left in these annotations but the hole where ours was?
fn only_ours(annotations: &mut Value) -> bool {
    let annotations = annotations.as_object_mut().unwrap();
    annotations.remove("landfall.dev/images");
    annotations.is_empty()
}
