//! What RBAC cannot say, a ValidatingAdmissionPolicy of the chart does: Landfall's account writes `caBundle` and nothing else,
//! the account of `helm test` creates no Pod, and whom the chart names alone may change the labels that decide whose Pods come.

use std::path::Path;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::chart::{BUNDLE, OTHER_BUNDLE};
use crate::plane::{Plane, plane, until};

/// Whoever applies a policy that guards labels holds this: such a policy is for all namespaces.
pub static GUARD: Mutex<()> = Mutex::const_new(());

/// One template of the chart, for a release in a namespace.
pub fn rendered(plane: &Plane, release: &str, namespace: &str, template: &str, set: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let chart = root.join("helm/landfall").display().to_string();
    let config = format!("config={}", root.join("manifests/landfall.yaml").display());
    let values = format!("image.repository=landfall,credentials.fra=fra,credentials.ams=ams{set}");
    let template = format!("templates/{template}");
    let arguments = [
        "template",
        release,
        &chart,
        "-n",
        namespace,
        "-s",
        &template,
        "--set-file",
        &config,
        "--set",
        &values,
    ];
    let output = plane.helm(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The policies that the chart renders by default.
pub fn guards(plane: &Plane, release: &str, namespace: &str) -> String {
    rendered(plane, release, namespace, "guards.yaml", "")
}

/// Somebody's kubectl.
struct As<'a>(&'a Plane, Vec<String>);

impl As<'_> {
    /// What the API server says against it; nothing if it does as it is told.
    fn tries(&self, arguments: &[&str]) -> Result<(), String> {
        let own: Vec<_> = self.1.iter().map(String::as_str).collect();
        let output = self.0.kubectl(&[arguments, &own].concat());
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }

    /// It is a policy that refuses this, and not RBAC.
    fn is_held(&self, policy: &str, arguments: &[&str]) {
        let said = self.tries(arguments).err().unwrap_or_default();
        assert!(said.contains(&format!("ValidatingAdmissionPolicy '{policy}'")), "{arguments:?}: {said}");
    }
}

/// The account of this name in the namespace of this name. RBAC lets it do everything: the policies alone are judged.
fn account<'a>(plane: &'a Plane, namespace: &str, name: &str) -> As<'a> {
    let subject = format!("--serviceaccount={namespace}:{name}");
    plane.told(&[
        "create",
        "clusterrolebinding",
        &format!("{name}-all"),
        "--clusterrole=cluster-admin",
        &subject,
    ]);
    As(plane, vec![format!("--as=system:serviceaccount:{namespace}:{name}")])
}

/// The API server knows of no mistake in the expressions of a policy.
fn is_well_typed(plane: &Plane, policy: &str) {
    let status = until("its types are checked", || {
        let found = plane.told(&["get", "validatingadmissionpolicy", policy, "-o", "json"]);
        let status = serde_json::from_str::<Value>(&found).unwrap()["status"].take();
        status["observedGeneration"].is_i64().then_some(status)
    });
    assert_eq!(status["typeChecking"]["expressionWarnings"], Value::Null, "{status:#}");
}

#[test]
fn landfall_writes_the_ca_bundle_of_its_webhook_and_nothing_else() {
    let plane = plane();
    plane.namespace("bundle");
    // Of the namespaces that it selects there is none: nobody is called.
    let webhook = rendered(
        plane,
        "bundle",
        "bundle",
        "webhook.yaml",
        ",namespaces.matchExpressions[0].key=bundle,namespaces.matchExpressions[0].operator=Exists",
    );
    plane.create("bundle", &webhook);
    plane.apply(&guards(plane, "bundle", "bundle"));
    let landfall = account(plane, "bundle", "bundle");
    let what = ["mutatingwebhookconfiguration", "bundle"];
    let found = || -> Value {
        let mut found: Value =
            serde_json::from_str(&plane.told(&[&["get", "-o", "json"], &what[..]].concat())).unwrap();
        let metadata = found["metadata"].as_object_mut().unwrap();
        for changing in ["resourceVersion", "generation", "managedFields"] {
            metadata.remove(changing);
        }
        found
    };
    let patch = |operations: &Value| {
        let patch = operations.to_string();
        [&["patch"], &what[..], &["--type=json", "-p"]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .chain([patch])
            .collect::<Vec<_>>()
    };
    let before = found();
    let entry = &before["webhooks"][0];
    let set = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    let with = |path: &str, value: Value| set(&format!("/webhooks/0/{path}"), value);
    let secrets = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"], "scope": "*"});
    let mut another = entry.clone();
    another["name"] = json!("second.landfall.dev");
    let held = [
        ("rules", with("rules/-", secrets.clone())),
        ("other rules", with("rules", json!([secrets]))),
        ("failurePolicy", with("failurePolicy", json!("Fail"))),
        ("matchPolicy", with("matchPolicy", json!("Exact"))),
        ("reinvocationPolicy", with("reinvocationPolicy", json!("Never"))),
        ("sideEffects", with("sideEffects", json!("None"))),
        ("timeoutSeconds", with("timeoutSeconds", json!(30))),
        ("admissionReviewVersions", with("admissionReviewVersions", json!(["v1", "v1beta1"]))),
        ("a selector that selects all", with("namespaceSelector", json!({}))),
        ("an objectSelector", with("objectSelector", json!({"matchLabels": {"a": "b"}}))),
        ("no matchConditions", json!([{"op": "remove", "path": "/webhooks/0/matchConditions"}])),
        ("another condition", with("matchConditions/-", json!({"name": "none", "expression": "false"}))),
        ("another Service", with("clientConfig/service/name", json!("other"))),
        ("a Service elsewhere", with("clientConfig/service/namespace", json!("default"))),
        ("another path", with("clientConfig/service/path", json!("/other"))),
        ("another port", with("clientConfig/service/port", json!(8443))),
        ("a URL", with("clientConfig", json!({"url": "https://attacker.example.com", "caBundle": "Cg=="}))),
        ("another entry", set("/webhooks/-", another.clone())),
        ("another name", with("name", json!("other.landfall.dev"))),
        ("an entry less", json!([{"op": "remove", "path": "/webhooks/0"}])),
        ("no entries", json!([{"op": "remove", "path": "/webhooks"}])),
        // It would keep the kill switch from working.
        ("a finalizer", set("/metadata/finalizers", json!(["landfall.dev/stay"]))),
        // The garbage collector would delete it.
        (
            "an owner",
            set(
                "/metadata/ownerReferences",
                json!([{"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "1"}]),
            ),
        ),
        // cert-manager would overwrite the bundle.
        (
            "an annotation",
            set("/metadata/annotations", json!({"cert-manager.io/inject-ca-from": "default/own"})),
        ),
        ("no labels", json!([{"op": "remove", "path": "/metadata/labels"}])),
        (
            "a bundle and a rule",
            json!([
                {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Cg=="},
                {"op": "add", "path": "/webhooks/0/rules/-", "value": secrets},
            ]),
        ),
    ];
    let told = |operations: &Value| {
        let patch = patch(operations);
        landfall.tries(&patch.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // A new policy is in force when the API server has compiled it.
    until("the policy is in force", || {
        let harmless = with("timeoutSeconds", json!(6)).to_string();
        let trial = [&["patch"], &what[..], &["--type=json", "-p", &harmless, "--dry-run=server"]].concat();
        landfall.tries(&trial).is_err().then_some(())
    });
    for (what, operations) in &held {
        let said = told(operations).err().unwrap_or_default();
        assert!(said.contains("ValidatingAdmissionPolicy 'bundle-own-webhook'"), "{what}: {said}");
    }
    let own = "bundle-own-webhook";
    is_well_typed(plane, own);
    landfall.is_held(own, &[&["delete"], &what[..]].concat());
    landfall
        .is_held(own, &["delete", "mutatingwebhookconfiguration", "-l", "app.kubernetes.io/instance=bundle"]);
    let mut second = before.clone();
    second["metadata"] = json!({"name": "bundle-second"});
    let second = plane.write_new(&second.to_string()).display().to_string();
    landfall.is_held(own, &["create", "-f", &second]);
    landfall.is_held(own, &["apply", "--server-side", "-f", &second]);
    assert_eq!(found(), before, "nothing of it was written");

    // The bundle alone: set, changed, as Landfall does it, and taken away.
    let bundle = |bundle: &str| {
        let ours = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "bundle"},
            "webhooks": [{"name": entry["name"], "clientConfig": {"caBundle": bundle}}],
        });
        let file = plane.write_new(&ours.to_string()).display().to_string();
        let apply = [
            "apply",
            "--server-side",
            "--validate=false",
            "--force-conflicts",
            "--field-manager=landfall-ca-bundle",
        ];
        landfall.tries(&[&apply[..], &["-f", &file]].concat())
    };
    for pem in [BUNDLE, OTHER_BUNDLE] {
        assert_eq!(bundle(pem), Ok(()));
        assert_eq!(found()["webhooks"][0]["clientConfig"]["caBundle"], pem);
    }
    assert_eq!(told(&json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])), Ok(()));
    assert_eq!(found(), before);

    // Everybody else does as before.
    plane.told(&["annotate", what[0], what[1], "note=none"]);
    plane.told(&["delete", what[0], what[1]]);
    plane.told(&["delete", "clusterrolebinding", "bundle-all"]);
    plane.told(&["delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", own]);
}

#[test]
fn the_account_of_the_test_creates_pods_only_as_dry_runs() {
    let plane = plane();
    plane.namespace("dry");
    plane.namespace("dry-pods");
    let doctor = rendered(plane, "dry", "dry", "tests/doctor.yaml", ",doctor.namespace=dry-pods");
    let objects: Vec<_> = doctor.split("---\n").filter(|object| !object.contains("kind: Pod\n")).collect();
    plane.apply(&objects.join("---\n"));
    // With the rights that the chart gives it, and, to see what the policy alone does, with all of them.
    let doctor = As(plane, vec!["--as=system:serviceaccount:dry:dry-doctor".to_owned()]);
    let run = ["run", "web", "--image=web:1", "-n", "dry-pods"];
    let dry = [&run[..], &["--dry-run=server"]].concat();
    until("it has its right", || doctor.tries(&dry).is_ok().then_some(()));
    until("the policy is in force", || {
        let said = doctor.tries(&run);
        if said.is_ok() {
            plane.told(&["delete", "pod", "web", "-n", "dry-pods", "--now"]);
        }
        said.is_err().then_some(())
    });
    doctor.is_held("dry-doctor", &run);
    is_well_typed(plane, "dry-doctor");
    assert_eq!(plane.told(&["get", "pods", "-n", "dry-pods", "-o", "name"]), "");
    assert_eq!(doctor.tries(&dry), Ok(()));

    let doctor = account(plane, "dry", "dry-doctor");
    plane.told(&run);
    doctor.is_held("dry-doctor", &["label", "pod", "web", "-n", "dry-pods", "a=b"]);
    doctor.is_held("dry-doctor", &["delete", "pod", "web", "-n", "dry-pods"]);
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "web:1"}]}}).to_string();
    let ephemeral =
        ["patch", "pod", "web", "-n", "dry-pods", "--subresource=ephemeralcontainers", "-p", &debug];
    doctor.is_held("dry-doctor", &ephemeral);
    plane.told(&["delete", "pod", "web", "-n", "dry-pods", "--now"]);
    plane.told(&["delete", "clusterrolebinding", "dry-doctor-all"]);
    let ours = "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding";
    plane.told(&["delete", ours, "dry-doctor"]);
}

#[test]
fn a_guarded_label_of_a_namespace_is_changed_by_those_alone_who_are_named() {
    let plane = plane();
    let _alone = GUARD.blocking_lock();
    plane.namespace("tenant");
    let rules = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "tenant"},
        "rules": [{"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": ["*"]}],
    });
    plane.apply(&rules.to_string());
    let bind = ["create", "clusterrolebinding", "tenant", "--clusterrole=tenant"];
    plane.told(&[&bind[..], &["--user=tenant", "--user=named", "--group=platform"]].concat());
    let tenant = As(plane, vec!["--as=tenant".to_owned()]);
    let (named, platform) = (["--as=named".to_owned()], ["--as=somebody", "--as-group=platform"]);
    let named = As(plane, named.into());
    let platform = As(plane, platform.map(str::to_owned).into());
    let label = |label: &'static str| ["label", "namespace", "tenant", "--overwrite", label];

    // By itself a label is no boundary.
    until("it has its right", || tenant.tries(&label("landfall.dev/mode=Skip")).is_ok().then_some(()));
    assert_eq!(tenant.tries(&label("landfall.dev/mode-")), Ok(()));

    // `system:masters`: the other tests of this plane.
    let values = "groups={platform,system:masters},guard.namespaceLabels.users={named},guard.namespaceLabels.more={tier}";
    let guards =
        rendered(plane, "tenant", "tenant", "guards.yaml", &format!(",guard.namespaceLabels.{values}"));
    plane.apply(&guards);
    let guard = "tenant-namespace-labels";
    is_well_typed(plane, guard);
    let dry = [&label("landfall.dev/mode=Skip")[..], &["--dry-run=server"]].concat();
    until("the policy is in force", || tenant.tries(&dry).is_err().then_some(()));
    let namespace = |name: &str, labels: Value| {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        plane.write_new(&namespace.to_string()).display().to_string()
    };
    let skip = json!({"metadata": {"labels": {"landfall.dev/mode": "Skip"}}}).to_string();
    let patch = ["patch", "namespace", "tenant", "-p", &skip];
    let mut now: Value =
        serde_json::from_str(&plane.told(&["get", "namespace", "tenant", "-o", "json"])).unwrap();
    now["metadata"]["labels"]["landfall.dev/mode"] = json!("Skip");
    // Whatever it is by then.
    now["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let now = plane.write_new(&now.to_string()).display().to_string();
    let cannot = || {
        tenant.is_held(guard, &patch);
        // Labels can be written with these, too.
        tenant.is_held(guard, &[&patch[..], &["--subresource=status"]].concat());
        tenant.is_held(guard, &["replace", "--raw", "/api/v1/namespaces/tenant/finalize", "-f", &now]);
        tenant.is_held(guard, &label("tier=regulated"));
        tenant.is_held(
            guard,
            &["create", "-f", &namespace("tenant-new", json!({"landfall.dev/mode": "Skip"}))],
        );
    };
    cannot();
    assert_eq!(named.tries(&label("landfall.dev/mode=Rewrite")), Ok(()));
    cannot();
    tenant.is_held(guard, &label("landfall.dev/mode-"));
    let said = tenant.tries(&label("landfall.dev/mode-")).unwrap_err();
    assert!(
        said.contains("guard.namespaceLabels of Landfall names")
            && said.contains("remove: landfall.dev/mode"),
        "{said}"
    );
    assert_eq!(platform.tries(&label("tier=regulated")), Ok(()));
    tenant.is_held(guard, &label("tier-"));

    // Whatever else is said of a namespace is not touched.
    assert_eq!(tenant.tries(&label("team=web")), Ok(()));
    assert_eq!(tenant.tries(&["annotate", "namespace", "tenant", "landfall.dev/mode=none"]), Ok(()));
    assert_eq!(tenant.tries(&["create", "-f", &namespace("tenant-new", json!({"team": "web"}))]), Ok(()));
    assert_eq!(tenant.tries(&["delete", "namespace", "tenant", "tenant-new", "--wait=true"]), Ok(()));
    let policies = "validatingadmissionpolicy,validatingadmissionpolicybinding";
    plane.told(&["delete", policies, guard, "tenant-own-webhook"]);
    plane.told(&["delete", "clusterrole,clusterrolebinding", "tenant"]);
}

/// An entry as Landfall writes it, for a release and a namespace of this name.
fn entry(of: &str) -> Value {
    json!({
        "name": "validate-00000000000000ab.landfall.dev",
        "clientConfig": {"service": {"namespace": of, "name": of, "path": "/validate/00000000000000ab", "port": 8443}, "caBundle": BUNDLE},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"], "scope": "Namespaced"},
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"], "scope": "Namespaced"},
        ],
        // There is no such namespace: nobody is called.
        "namespaceSelector": {"matchExpressions": [{"key": "second", "operator": "Exists"}]},
        "failurePolicy": "Fail", "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
    })
}

#[test]
fn landfall_writes_entries_of_its_own_second_door_and_nothing_else() {
    let plane = plane();
    plane.namespace("second");
    let webhooks = rendered(plane, "second", "second", "webhook.yaml", "");
    plane.create("second", webhooks.split("---\n").find(|one| one.contains("kind: Validating")).unwrap());
    plane.apply(&guards(plane, "second", "second"));
    let landfall = account(plane, "second", "second");
    let what = ["validatingwebhookconfiguration", "second"];
    let merge = |patch: &Value| {
        let patch = patch.to_string();
        [&["patch"], &what[..], &["--type=merge", "-p", &patch]]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let told = |patch: &Value| {
        let patch = merge(patch);
        landfall.tries(&patch.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let good = entry("second");
    let with = |path: &str, value: Value| {
        let mut entry = good.clone();
        entry["name"] = json!("validate-00000000000000ef.landfall.dev");
        *entry.pointer_mut(path).unwrap() = value;
        json!({"webhooks": [good.clone(), entry]})
    };
    let held = [
        ("failurePolicy", with("/failurePolicy", json!("Ignore"))),
        ("another Service", with("/clientConfig/service/name", json!("other"))),
        ("a Service elsewhere", with("/clientConfig/service/namespace", json!("default"))),
        ("another path", with("/clientConfig/service/path", json!("/mutate"))),
        ("a URL", with("/clientConfig", json!({"url": "https://attacker.example.com/validate/"}))),
        ("all operations", with("/rules/0/operations", json!(["*"]))),
        ("DELETE", with("/rules/0/operations", json!(["CREATE", "DELETE"]))),
        ("Secrets", with("/rules/0/resources", json!(["pods", "secrets"]))),
        ("every resource", with("/rules/1/resources", json!(["*/*"]))),
        ("another group", with("/rules/0/apiGroups", json!(["apps"]))),
        ("every version", with("/rules/0/apiVersions", json!(["*"]))),
        ("labels", json!({"metadata": {"labels": {"a": "b"}}})),
        ("a finalizer", json!({"metadata": {"finalizers": ["landfall.dev/stay"]}})),
        (
            "another annotation",
            json!({"metadata": {"annotations": {"cert-manager.io/inject-ca-from": "default/own"}}}),
        ),
    ];
    until("the policy is in force", || {
        let trial = [merge(&held[0].1), vec!["--dry-run=server".to_owned()]].concat();
        landfall.tries(&trial.iter().map(String::as_str).collect::<Vec<_>>()).is_err().then_some(())
    });
    let own = "second-own-webhook";
    for (what, patch) in &held {
        let said = told(patch).err().unwrap_or_default();
        assert!(said.contains(&format!("ValidatingAdmissionPolicy '{own}'")), "{what}: {said}");
    }
    is_well_typed(plane, own);
    landfall.is_held(own, &[&["delete"], &what[..]].concat());

    // What Landfall does: its annotation, entries, others, and none.
    let bundle = json!({"metadata": {"annotations": {"landfall.dev/ca-bundle": "pem"}}});
    let mut other = good.clone();
    other["name"] = json!("validate-00000000000000cd.landfall.dev");
    for patch in
        [bundle, json!({"webhooks": [good]}), json!({"webhooks": [good, other]}), json!({"webhooks": []})]
    {
        assert_eq!(told(&patch), Ok(()), "{patch}");
    }
    // As many as there may be, each with the authorities of a rotation: one expression's cost is bounded.
    let many: Vec<_> = (0..200)
        .map(|number| {
            let mut one = good.clone();
            one["name"] = json!(format!("validate-{number:016x}.landfall.dev"));
            one["clientConfig"]["caBundle"] = json!(BUNDLE);
            one
        })
        .collect();
    let file = plane.write_new(&json!({"webhooks": many}).to_string()).display().to_string();
    let patch = [&["patch"], &what[..], &["--type=merge", "--patch-file", &file]].concat();
    assert_eq!(landfall.tries(&patch), Ok(()));
    plane.told(&[&["delete"], &what[..]].concat());
    plane.told(&["delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", own]);
    plane.told(&["delete", "clusterrolebinding", "second-all"]);
}

#[test]
fn while_landfall_is_away_its_objects_are_changed_by_those_alone_who_are_named() {
    let plane = plane();
    plane.namespace("objects");
    plane.namespace("objects-pods");
    let more = ",namespaces.matchExpressions[0].key=objects,namespaces.matchExpressions[0].operator=Exists";
    plane.create("objects", &rendered(plane, "objects", "objects", "webhook.yaml", more));
    let values = ",guard.objects.enabled=true,guard.objects.users={named}";
    plane.apply(&rendered(plane, "objects", "objects", "guards.yaml", values));
    // RBAC lets them do everything; they are no `system:masters`.
    let bind = ["create", "clusterrolebinding", "objects-all", "--clusterrole=cluster-admin"];
    plane.told(&[&bind[..], &["--user=somebody", "--user=named"]].concat());
    let [somebody, named] = ["somebody", "named"].map(|user| As(plane, vec![format!("--as={user}")]));
    let webhooks = "objects-webhooks";
    let note = ["annotate", "mutatingwebhookconfiguration", "objects", "--overwrite", "note=a"];
    let dry = [&note[..], &["--dry-run=server"]].concat();
    until("the policy is in force", || somebody.tries(&dry).is_err().then_some(()));
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        somebody.is_held(webhooks, &["annotate", kind, "objects", "note=b"]);
        somebody.is_held(webhooks, &["delete", kind, "objects"]);
        somebody.is_held(webhooks, &["patch", kind, "objects", "--type=merge", "-p", r#"{"webhooks": []}"#]);
        assert_eq!(named.tries(&["annotate", kind, "objects", "note=c"]), Ok(()));
        plane.told(&["annotate", kind, "objects", "note=d", "--overwrite"]);
    }
    is_well_typed(plane, webhooks);

    // The annotation of a Pod that exists.
    let annotation = "objects-annotation";
    let mark = r#"{"metadata": {"annotations": {"landfall.dev/images": "{}"}}}"#;
    plane.told(&["run", "web", "--image=web:1", "-n", "objects-pods"]);
    let patch = ["patch", "pod", "web", "-n", "objects-pods", "-p", mark];
    until("the policy is in force", || {
        named.tries(&[&patch[..], &["--dry-run=server"]].concat()).is_err().then_some(())
    });
    for who in [&somebody, &named] {
        who.is_held(annotation, &patch);
        who.is_held(annotation, &[&patch[..], &["--subresource=status"]].concat());
    }
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web", "namespace": "objects-pods",
        "annotations": {"landfall.dev/images": "{}"}}, "target": {"kind": "Node", "name": "node"}});
    let binding = plane.write_new(&binding.to_string()).display().to_string();
    let bind = ["create", "--raw", "/api/v1/namespaces/objects-pods/pods/web/binding", "-f", &binding];
    somebody.is_held(annotation, &bind);
    is_well_typed(plane, annotation);
    assert_eq!(somebody.tries(&["annotate", "pod", "web", "-n", "objects-pods", "note=a"]), Ok(()));
    assert_eq!(somebody.tries(&["label", "pod", "web", "-n", "objects-pods", "a=b"]), Ok(()));
    plane.told(&["delete", "pod", "web", "-n", "objects-pods", "--now"]);

    // The API server asks no policy about policies.
    let policies = "validatingadmissionpolicy,validatingadmissionpolicybinding";
    assert_eq!(somebody.tries(&["delete", policies, webhooks, annotation]), Ok(()));
    plane.told(&["delete", policies, "objects-own-webhook"]);
    plane.told(&["delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "objects"]);
    plane.told(&["delete", "clusterrolebinding", "objects-all"]);
}
