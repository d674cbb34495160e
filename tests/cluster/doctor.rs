//! Installed as README says, examined, and taken away again; and what `helm test` says of an installation in which somebody
//! has made a mistake.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall::facade::demo::world::World;
use landfall::facade::demo::world::authority::Authority;
use landfall::facade::demo::world::seed::{self, Demo};
use serde_json::json;

use crate::chart::rights_in;
use crate::node;
use crate::plane::{Apart, Plane, plane, until};
use crate::release::Release;
use crate::site;
use crate::webhook::WEB;

/// This machine is busy with other tests: what is slow here would do elsewhere.
const PATIENT: &str = "budget: {request: 4s, attempt: 4s}\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of code of this kind in a section of README.
fn blocks(section: &str, kind: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{kind}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// What a stranger has at hand before he begins: his configuration, README's with his registries in it, and the files that
/// the commands name.
fn lay_out(desk: &Path, demo: &Demo) {
    let config = blocks("Configure", "yaml").remove(0);
    let ca = "caFile: /etc/landfall/ca/ams.pem";
    let [fra, ams, edge] = [&demo.fra, &demo.ams, &demo.edge].map(|at| format!("url: \"{}\"", at.url()));
    let mut config = config.replace("url: \"https://harbor-core.harbor.svc\"", &ams) + PATIENT;
    for (host, url) in [("harbor.fra.example.com", fra), ("\"registry.edge:5000\"", edge)] {
        config = config.replace(&format!("{{host: {host}, "), &format!("{{host: {host}, {url}, {ca}, "));
    }
    assert_eq!(config.matches("https://198.18.").count(), 3, "{config}");
    let world = demo.world.ca_file().parent().unwrap().join("credentials");
    let read = |name: &str| fs::read_to_string(world.join(name)).unwrap();
    let login = STANDARD.encode(format!("{}:{}", read("edge/username"), read("edge/password")));
    for (file, text) in [
        ("landfall.yaml", config),
        ("fra.txt", read("fra/password")),
        ("ams.txt", read("ams/password")),
        ("config.json", json!({"auths": {"registry.edge:5000": {"auth": login}}}).to_string()),
        ("ams.pem", demo.world.authority().pem()),
    ] {
        fs::write(desk.join(file), text).unwrap();
    }
    std::os::unix::fs::symlink(root().join("helm"), desk.join("helm")).unwrap();
}

/// What the commands of a section say, as they stand there, but those that build and push an image: there is no engine here,
/// and the node runs this build.
fn follow(plane: &Plane, desk: &Path, section: &str) -> String {
    let blocks = blocks(section, "console").into_iter().filter(|block| !block.starts_with("docker "));
    blocks.map(|block| plane.shell(desk, &block)).collect()
}

/// Everything in the cluster that has our name.
fn ours(plane: &Plane) -> BTreeSet<String> {
    let kinds = plane.told(&["api-resources", "--verbs=list", "-o", "name"]);
    let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let row = "-o=custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";
    let all = plane.told(&["get", &kinds.join(","), "-A", row, "--no-headers"]);
    let rows = all.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.iter().any(|word| word.contains("landfall"))).map(|row| row.join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_readme_says_installs_landfall_and_takes_it_away() {
    let apart = Apart::start();
    let plane = apart.0;
    node::start(plane);
    let demo = seed::demo_in(World::at(plane.net.here().into()).unwrap()).await.unwrap();
    let desk = tempfile::tempdir().unwrap();
    lay_out(desk.path(), &demo);
    let before = ours(plane);
    let said = follow(plane, desk.path(), "Install");
    println!("{said}");
    assert!(said.contains(" 0 wrong, 0 skipped"), "{said}");
    let ashore = format!("`{WEB}` came back as `harbor.ams.example.com/production/shop/web:1.4.2@sha256:");
    assert!(said.contains(&ashore), "{said}");

    // From an administrator's machine, without the credentials: all but the registries.
    let (status, said) = elsewhere(plane, &desk.path().join("landfall.yaml"), &["--no-files"]);
    assert!(status == Some(2) && said.contains(" 0 wrong, 1 skipped"), "{status:?}: {said}");

    let pod = plane.told(&["run", "web", "--image", WEB, "-o", "jsonpath={.spec.containers[0].image}"]);
    assert!(pod.starts_with("harbor.ams.example.com/production/shop/web:1.4.2@sha256:"), "{pod}");

    // The configuration is the cluster's; what it was then is told also where no registry can be asked.
    let (status, said) = asked(plane, &["explain", "--pod", "default/web"]);
    assert!(status == Some(0) && said.contains("then        Local at ams"), "{status:?}: {said}");
    assert!(said.contains("registry `ams` cannot be asked from here"), "{said}");
    let (status, said) = asked(plane, &["explain", "--pod", "default/wob"]);
    assert!(status == Some(2) && said.contains("namespace `default` has no Pod `wob`"), "{status:?}: {said}");

    plane.shell(desk.path(), "helm uninstall landfall --namespace landfall");
    plane.told(&["delete", "pod", "web", "--now"]);
    plane.told(&["delete", "namespace", "landfall", "--wait=true"]);
    until("nothing is left", || (ours(plane) == before).then_some(()));
}

/// What `landfall doctor` says outside of the cluster: its exit status, and its lines.
fn elsewhere(plane: &Plane, config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let config = config.to_str().unwrap();
    asked(plane, &[&["doctor", "--config", config], more].concat())
}

/// What a command says on an administrator's machine.
fn asked(plane: &Plane, arguments: &[&str]) -> (Option<i32>, String) {
    let mut landfall = Command::new(env!("CARGO_BIN_EXE_landfall"));
    landfall.env_clear().env("KUBECONFIG", plane.kubeconfig_of_admin());
    let output = landfall.args(arguments).output().unwrap();
    let said = output.stdout.into_iter().chain(output.stderr).collect();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What `helm test` says: whether all is well, and why not.
fn examine(release: &Release) -> (bool, String) {
    // Of the Pod before this one.
    drop(fs::remove_file(release.plane.log(&format!("{}-doctor", release.name))));
    let tested = release.plane.helm(&["test", release.name, "--namespace", release.name, "--logs"]);
    let said = String::from_utf8(tested.stdout).unwrap();
    assert!(said.contains(" skipped\n"), "{said}{}", String::from_utf8_lossy(&tested.stderr));
    (tested.status.success(), said)
}

#[test]
fn the_examiner_may_do_what_it_must_and_no_more() {
    let plane = plane();
    plane.namespace("examiner");
    plane.namespace("examined");
    let chart = root().join("helm/landfall").display().to_string();
    let config = format!("config={}", root().join("manifests/landfall.yaml").display());
    let values =
        "image.repository=landfall,credentials.fra=fra,credentials.ams=ams,doctor.namespace=examined";
    let render = ["template", "examiner", &chart, "-n", "examiner", "--set-file", &config, "--set", values];
    let rendered = plane.helm(&[&render[..], &["-s", "templates/tests/doctor.yaml"]].concat());
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let rights: Vec<_> = rendered.split("---\n").filter(|object| !object.contains("kind: Pod\n")).collect();
    plane.apply(&rights.join("---\n"));
    let everywhere = [
        "mutatingwebhookconfigurations.admissionregistration.k8s.io [] [] [get list]",
        "validatingwebhookconfigurations.admissionregistration.k8s.io [] [examiner] [get]",
        "namespaces [] [examined] [get]",
        "replicationgaps.landfall.dev [] [] [list]",
        "events [] [] [list]",
    ];
    for (namespace, more) in [
        ("examiner", &["services [] [examiner] [get]", "endpointslices.discovery.k8s.io [] [] [list]"][..]),
        ("examined", &["pods [] [] [create]"]),
        ("default", &[]),
    ] {
        let expected: BTreeSet<_> = everywhere.iter().chain(more).map(|right| (*right).to_owned()).collect();
        let may = || rights_in(plane, namespace, "system:serviceaccount:examiner:examiner-doctor");
        let nobody = rights_in(plane, namespace, "system:serviceaccount:examiner:default");
        until("its rights are known", || (&may() - &nobody == expected).then_some(()));
    }
    let ours = "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding";
    plane.told(&["delete", ours, "examiner-doctor"]);
}

/// These words stand on the line of a thing that is wrong, and these on the one that says what to do.
fn finds(said: &str, about: &str, wrong: &str, todo: &str) {
    let lines: Vec<_> = said.lines().collect();
    let found = lines.windows(2).any(|pair| {
        let head = pair[0].strip_prefix("WRONG").map(str::trim_start);
        let head = head.and_then(|line| line.strip_prefix(about));
        head.is_some_and(|line| line.contains(wrong)) && pair[1].contains('→') && pair[1].contains(todo)
    });
    assert!(found, "{about}: expected `{wrong}` and `{todo}`:\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_ten_mistakes_is_found_and_what_to_do_is_said() {
    let plane = plane();
    let release = Release::prepare(plane, "doctored").await;
    let config = format!("config={}", plane.write_new(&(release.config() + PATIENT)).display());
    let set = format!("doctor.namespace=doctored-pods,doctor.image={WEB}");
    release.helm("install", &["--set-file", &config, "--set", &set]);
    release.until_in_force();
    let (well, said) = examine(&release);
    assert!(well && said.contains(" 0 wrong, 0 skipped"), "{said}");
    println!("{said}");
    // What is wrong, and that nothing else is.
    let sick = |wrong: &[(&str, &str, &str)]| {
        let (well, said) = examine(&release);
        println!("{said}");
        assert!(!well, "{said}");
        wrong.iter().for_each(|(about, words, todo)| finds(&said, about, words, todo));
        assert_eq!(said.matches("WRONG").count(), wrong.len(), "{said}");
    };
    let patch = |what: &[&str], patch: &serde_json::Value| {
        let patch = patch.to_string();
        plane.told(&[&["patch"], what, &["-n", release.name, "--type=merge", "-p", &patch]].concat());
    };
    let webhook = |operation: serde_json::Value| {
        let operation = json!([operation]).to_string();
        let what = ["patch", "mutatingwebhookconfiguration", release.name, "--type=json", "-p", &operation];
        plane.told(&what);
    };

    // Without an image, and with everything at hand that an administrator's machine may have.
    let config = site::configuration(&release.demo) + PATIENT;
    let config = release.demo.world.write("site.yaml", &config).unwrap();
    let names = ["--release=doctored", "--namespace=doctored", "--pods-in=doctored-pods"];
    let (status, said) = elsewhere(plane, &config, &names);
    let path =
        "answers Fallback (Missing) for a made-up image. This does not prove that a local copy is used";
    assert!(status == Some(0) && said.contains(path), "{status:?}: {said}");
    let hosts = "Pods of `doctored-pods` may use `harbor.ams.example.com`, `registry.edge:5000`: no admission plugin refuses them";
    assert!(said.contains(hosts), "{said}");
    // A policy that blocks answers for Landfall, too. Then it cannot be left out.
    plane.told(&["label", "namespace", &release.pods, "tier=regulated"]);
    let denied = "which denied a made-up image, as a policy requires in `doctored-pods`";
    let said = until("the policy is in force", || {
        let (status, said) = elsewhere(plane, &config, &names);
        (status == Some(2)).then_some(said)
    });
    assert!(
        said.contains(denied) && said.contains("a policy of Landfall enforces in `doctored-pods`"),
        "{said}"
    );
    plane.told(&["label", "namespace", &release.pods, "tier-"]);
    release.until_in_force();

    // A robot's secret was changed, and ours was not.
    let secret = release.get(&["secret", "landfall-ams"])["data"]["password"].clone();
    patch(&["secret", "landfall-ams"], &json!({"data": {"password": STANDARD.encode("yesterday's")}}));
    sick(&[("registry ams", "rejects our credentials", "check `/etc/landfall/credentials/ams/username`")]);
    patch(&["secret", "landfall-ams"], &json!({"data": {"password": secret}}));

    // A bundle that does not sign the registries. (Landfall itself goes on with the connections that it has.)
    let other = Authority::new("somebody else").unwrap().pem();
    patch(&["configmap", "registries"], &json!({"data": {"ca.pem": other}}));
    let unknown = |name| (name, "UnknownIssuer", "`/etc/landfall/ca/ca.pem` must hold the authority");
    sick(&[unknown("registry ams"), unknown("registry edge"), unknown("registry fra")]);
    patch(&["configmap", "registries"], &json!({"data": {"ca.pem": release.demo.world.authority().pem()}}));

    // A registry that is gone.
    release.demo.edge.down().await;
    sick(&[("registry edge", "cannot connect to 198.18.", "check `registries.edge.url`")]);
    release.demo.edge.up().await;

    // A configuration that nobody checked.
    let config = release.get(&["configmap", release.name])["data"]["landfall.yaml"].clone();
    let broken = config.as_str().unwrap().replacen("site: ams # ours", "site: nowhere", 1);
    patch(&["configmap", release.name], &json!({"data": {"landfall.yaml": broken}}));
    sick(&[("configuration", "/etc/landfall/config/landfall.yaml:1: site", "ams")]);
    patch(&["configmap", release.name], &json!({"data": {"landfall.yaml": config}}));

    // A namespace that is left alone.
    plane.told(&["label", "namespace", &release.pods, "landfall.dev/mode=Skip"]);
    let label = "`kubectl label namespace doctored-pods landfall.dev/mode-`";
    sick(&[(
        "pod",
        "are not sent to Landfall: the webhook's namespaceSelector requires landfall.dev/mode",
        label,
    )]);
    plane.told(&["label", "namespace", &release.pods, "landfall.dev/mode-"]);

    // A port that the Service does not have.
    let port = "/webhooks/0/clientConfig/service/port";
    webhook(json!({"op": "replace", "path": port, "value": 9443}));
    until("nobody is called", || (!release.probe().contains("harbor.ams")).then_some(()));
    let came_back = ("pod", "came back unchanged", "correct what is wrong above");
    sick(&[
        (
            "service",
            "calls port 9443 of Service `doctored`, which has [443, 8443, 8080]",
            "restore the webhook's port",
        ),
        came_back,
    ]);
    webhook(json!({"op": "replace", "path": port, "value": 443}));
    release.until_in_force();

    // Nobody may start while Landfall is away, and it is not waited for long enough.
    webhook(json!({"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}));
    webhook(json!({"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 2}));
    sick(&[
        ("webhook", "failurePolicy Fail", "restore it with `helm upgrade doctored …`"),
        ("webhook", "the API server waits 2s", "set `budget.request` to 1.5s at most"),
    ]);
    webhook(json!({"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}));
    webhook(json!({"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 5}));

    // Somebody else's authority stands in the caBundle, and Landfall may not put its own back.
    let binding = release.get(&["clusterrolebinding", release.name]);
    plane.told(&["delete", "clusterrolebinding", release.name]);
    let other = STANDARD.encode(Authority::new("somebody else").unwrap().pem());
    webhook(json!({"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": other}));
    until("nobody is called", || (!release.probe().contains("harbor.ams")).then_some(()));
    sick(&[
        ("certificate", "caBundle does not verify its certificate", "logs deployment/doctored"),
        came_back,
    ]);
    plane.apply(&binding.to_string());
    release.until_in_force();

    // Somebody refuses what Landfall writes.
    let name = json!({"name": "only-fra"});
    let policy = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": name, "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": release.pods}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            },
            "validations": [{"expression": "object.spec.containers.all(c, c.image.startsWith('harbor.fra.example.com/'))",
                "message": "images come from Frankfurt"}],
        }},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": name,
            "spec": {"policyName": "only-fra", "validationActions": ["Deny"]}},
    ]});
    plane.apply(&policy.to_string());
    let probe = ["run", "probe", "--image", WEB, "-n", &release.pods, "--dry-run=server"];
    until("it refuses", || (!plane.kubectl(&probe).status.success()).then_some(()));
    let refused = "ValidatingAdmissionPolicy 'only-fra' with binding 'only-fra' denied request: images come from Frankfurt";
    sick(&[
        ("pod", refused, "see `admission` for the hosts that are refused"),
        ("admission", refused, "let it allow `harbor.ams.example.com`"),
        ("admission", refused, "let it allow `registry.edge:5000`"),
    ]);
    plane.told(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "only-fra"]);
    until("it is gone", || plane.kubectl(&probe).status.success().then_some(()));

    // Nobody is there.
    plane.told(&["scale", "deployment", release.name, "--replicas=0", "-n", release.name]);
    until("nobody is called", || (!release.probe().contains("harbor.ams")).then_some(()));
    let (well, said) = examine(&release);
    assert!(!well, "{said}");
    finds(&said, "service", "no Pod is ready behind Service `doctored`", "kubectl -n doctored get pods");
    plane.told(&["scale", "deployment", release.name, "--replicas=3", "-n", release.name]);
    release.until_rolled_out();
    release.until_in_force();
    let (well, said) = examine(&release);
    assert!(well, "all is as it was:\n{said}");

    // The kill switch.
    plane.told(&["delete", "mutatingwebhookconfiguration", release.name]);
    sick(&[("webhook", "there is no MutatingWebhookConfiguration `doctored`", "`helm upgrade doctored …`")]);
}
