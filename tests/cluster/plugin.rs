//! `kubectl landfall` under a real kubectl, and what `landfall generate` makes for a cluster before a real API server.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::plane::{Apart, until};

/// A folder with the names by which kubectl calls a plug-in.
fn installed(folder: &Path) {
    for name in ["kubectl-landfall", "kubectl_complete-landfall"] {
        symlink(env!("CARGO_BIN_EXE_landfall"), folder.join(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_it_and_completes_it() {
    let apart = Apart::start();
    let plane = apart.0;
    let folder = tempfile::tempdir().unwrap();
    installed(folder.path());
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/landfall.yaml");
    let run = |line: &str| plane.shell(folder.path(), &format!("export PATH=\"$PWD:$PATH\"\n{line}"));

    let said = run("kubectl plugin list");
    assert!(said.contains("/kubectl-landfall") && !said.contains("warning"), "{said}");
    let said = run(&format!("kubectl landfall check --no-files {example}"));
    assert!(said.contains("1 file checked: 0 errors, 0 warnings"), "{said}");
    let said = run("kubectl landfall gaps --help");
    assert!(
        said.contains("Usage: kubectl landfall gaps [OPTIONS]")
            && said.contains("\n  kubectl landfall gaps -"),
        "{said}"
    );
    let said = run("kubectl landfall gaps --nonsense || true");
    assert!(said.contains("Usage: kubectl landfall gaps"), "{said}");

    // kubectl asks the second program, and passes on what it says.
    let said = run("kubectl __complete landfall ga");
    assert!(said.contains("gaps\tList the open gaps of a cluster") && said.contains("\n:4\n"), "{said}");
    let said = run("kubectl __complete landfall gaps --output ''");
    assert!(said.contains("json\t") && said.contains("text\t"), "{said}");

    // The cluster of KUBECONFIG, of a flag, of a home directory; and a context that is not there.
    let asked = "no gaps\n";
    let said = run("kubectl landfall gaps || true");
    assert!(said.contains(asked), "{said}");
    let context = run("kubectl config current-context");
    let flags = "unset KUBECONFIG; export HOME=$PWD; mkdir -p .kube";
    let admin = plane.kubeconfig_of_admin();
    let line = format!("{flags}; kubectl landfall gaps --kubeconfig {} || true", admin.display());
    let said = run(&line);
    assert!(said.contains(asked), "{said}");
    let line = format!(
        "{flags}; cp {} .kube/config; kubectl landfall gaps --context {} || true",
        admin.display(),
        context.trim()
    );
    let said = run(&line);
    assert!(said.contains(asked), "{said}");
    let said = run("kubectl landfall gaps --context nowhere || true");
    assert!(said.contains("→ `kubectl config get-contexts` lists what there is"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_generated_is_taken_by_the_api_server_and_holds() {
    let apart = Apart::start();
    let plane = apart.0;
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| plane.shell(folder.path(), line);

    run("landfall generate crd | kubectl apply --server-side -f -
         kubectl wait --for condition=Established crd/landingpolicies.landfall.dev");
    for options in [
        "--name everything --observe",
        "--name regulated --namespace-label tier=regulated --block-missing --require-scan 168h --max-severity Medium --block-unrouted --contact '#security: \"all\"'",
    ] {
        let said = run(&format!(
            "landfall generate policy {options} > policy.yaml
             landfall check policy.yaml
             kubectl apply --dry-run=server -f policy.yaml"
        ));
        assert!(said.contains("1 file checked: 0 errors, 0 warnings"), "{options}: {said}");
        assert!(said.contains("created (server dry run)"), "{options}: {said}");
    }

    run("landfall generate guard-rails --namespace-label tier=regulated --label-editor platform > rails.yaml
         kubectl apply --dry-run=server -f rails.yaml
         kubectl create namespace bank
         kubectl create serviceaccount -n bank default 2>/dev/null || true
         kubectl label namespace bank tier=regulated
         kubectl run old -n bank --image registry.example.com/old:1
         kubectl apply -f rails.yaml");
    let types = run("kubectl get validatingadmissionpolicies -o json | grep -c expressionWarnings || true");
    assert_eq!(types.trim(), "0");
    // The API server takes a moment to learn of it.
    let denied = |line: &str, words: &str| {
        until(words, || run(&format!("{line} 2>&1 || true")).contains(words).then_some(()));
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    denied(
        "kubectl run web -n bank --image registry.example.com/web:1 --dry-run=server",
        "these images have no digest, so nobody has proved them: registry.example.com/web:1",
    );
    let said = run(&format!("kubectl run web -n bank --image registry.example.com/web:1@{digest}"));
    assert!(said.contains("pod/web created"), "{said}");
    denied("kubectl set image -n bank pod/web web=registry.example.com/web:2", "registry.example.com/web:2");
    // A Pod from before is not locked up, nor is another namespace.
    run("kubectl label -n bank pod/old colour=red");
    run("kubectl run web -n default --image registry.example.com/web:1 --dry-run=server");
    fs::write(
        folder.path().join("volume.yaml"),
        format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "data", "namespace": "bank"}}, "spec": {{
               "containers": [{{"name": "main", "image": "registry.example.com/web@{digest}"}}],
               "volumes": [{{"name": "data", "image": {{"reference": "registry.example.com/data:1"}}}}]}}}}"#
        ),
    )
    .unwrap();
    denied("kubectl create -f volume.yaml --dry-run=server", "registry.example.com/data:1");

    // The administrator is not of the group.
    denied("kubectl label namespace bank tier-", "only some groups may set, change or remove: tier");
    denied("kubectl label namespace default landfall.dev/mode=Skip", "landfall.dev/mode");
    run("kubectl label namespace bank colour=red");
    run("kubectl label namespace bank tier- --as=ann --as-group=platform --as-group=system:masters");
}
