//! The Helm chart, and what is made from it, before a real API server: what is refused, what is admitted, what stays over
//! an upgrade and what is left after the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::plane::{Plane, plane, until};

/// A configuration that needs everything the chart can mount.
const CONFIG: &str = r#"site: ams # ours
registries:
  fra: {host: harbor.fra.example.com, site: fra, kind: harbor, credentials: {dir: /etc/landfall/credentials/fra}}
  ams: {host: harbor.ams.example.com, site: ams, kind: harbor, url: "https://harbor-core.doors-harbor.svc",
        caFile: /etc/landfall/ca/ams.pem, credentials: {dockerConfig: /etc/landfall/credentials/ams/.dockerconfigjson}}
routes:
  - name: production
    primary: {registry: fra, repositories: "production/**"}
    replicas: [{registry: ams, namespace: production, flatten: 1}]

exclude: {namespaces: [doors-excluded]}
"#;

/// What goes with it. No node is like that: here nobody runs.
const VALUES: &str = "{image: {repository: registry.example.com/landfall}, credentials: {fra: landfall-fra, ams: landfall-ams}, ca: {configMapName: bundles}, nodeSelector: {nowhere: exists}}";

/// A certificate authority, as far as the API server looks before it calls.
pub const BUNDLE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJkekNDQVIyZ0F3SUJBZ0lCQURBS0JnZ3Foa2pPUFFRREFqQWpNU0V3SHdZRFZRUUREQmhyTTNNdGMyVnkKZG1WeUxXTmhRREUyTURNMk1ESTRNVGN3SGhjTk1qQXhNREkxTURVeE16TTNXaGNOTXpBeE1ESXpNRFV4TXpNMwpXakFqTVNFd0h3WURWUVFEREJock0zTXRjMlZ5ZG1WeUxXTmhRREUyTURNMk1ESTRNVGN3V1RBVEJnY3Foa2pPClBRSUJCZ2dxaGtqT1BRTUJCd05DQUFSdQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg==";

/// Another: the API server does not look into it before it calls.
pub const OTHER_BUNDLE: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs helm on the chart: `before`, the chart, the values above, `after`.
fn helm(plane: &Plane, before: &[&str], after: &[&str]) -> Output {
    helm_on(plane, &root().join("helm/landfall"), before, after)
}

fn helm_on(plane: &Plane, chart: &Path, before: &[&str], after: &[&str]) -> Output {
    let chart = chart.display().to_string();
    let config = format!("config={}", plane.write_new(CONFIG).display());
    let values = plane.write_new(VALUES).display().to_string();
    let arguments = [before, &[&chart, "--set-file", &config, "-f", &values], after].concat();
    plane.helm(&arguments)
}

/// The chart as it was before the last commit that changed it; as it is, where nobody remembers.
fn earlier(plane: &Plane) -> PathBuf {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root()).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let changed = git(&["rev-list", "HEAD", "--", "helm/landfall"]);
    let Some(commit) = changed.lines().nth(1) else { return root().join("helm/landfall") };
    let folder = plane.write_new("").with_extension("chart");
    for path in git(&["ls-tree", "-r", "--name-only", commit, "helm/landfall"]).lines() {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, git(&["show", &format!("{commit}:{path}")])).unwrap();
    }
    folder.join("helm/landfall")
}

/// What a program says; it must not complain.
fn told(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn get(plane: &Plane, arguments: &[&str]) -> Value {
    serde_json::from_str(&plane.told(&[&["get", "-o", "json"], arguments].concat())).unwrap()
}

/// A namespace that takes no Pod but a restricted one, and says so of templates.
fn restricted(plane: &Plane, namespace: &str) {
    plane.namespace(namespace);
    let level = |mode: &str| format!("pod-security.kubernetes.io/{mode}=restricted");
    plane.told(&["label", "namespace", namespace, &level("enforce"), &level("warn")]);
}

#[test]
fn what_cannot_be_right_is_refused_with_a_word_that_helps() {
    let plane = plane();
    let render = ["template", "landfall"];
    told(helm(plane, &["lint", "--strict"], &[]));
    let file = |text: &str| plane.write_new(text).display().to_string();
    let broken = format!("config={}", file("site: ["));
    let edge = "{site: ams, registries: {edge: {credentials: {dir: /etc/landfall/credentials/edge}}}}";
    let lonely = format!("config={}", file(edge));
    let nobodys =
        "{site: ams, registries: {ecr: {credentials: {provider: {command: /etc/landfall/providers/ecr}}}}}";
    let nobodys = format!("config={}", file(nobodys));
    let norway = format!("config={}", file("{site: ams, registries: {}, exclude: {namespaces: [no]}}"));
    let as_map =
        file("config: {site: ams, registries: {ams: {host: ams.example.com, site: ams, kind: harbour}}}");
    for (wrong, words) in [
        (vec!["--set", "replica=2"], "additional properties 'replica' not allowed"),
        (
            vec!["--set", "networkPolicy.apiserver=10.0.0.0/8"],
            "additional properties 'apiserver' not allowed",
        ),
        (vec!["--set", "replicas=many"], "at '/replicas': got string, want integer"),
        (vec!["--set", "certificates.mode=Own"], "at '/certificates/mode': value must be 'SelfManaged'"),
        (vec!["--set", "image.digest=latest"], "at '/image/digest'"),
        (vec!["--set", "image.repository="], "say where Landfall's image lies"),
        (vec!["--set", "credentials=null"], "missing property 'credentials'"),
        (
            vec!["--set-file", &lonely],
            "config: registries.edge.credentials.dir is /etc/landfall/credentials/edge, but",
        ),
        (
            vec!["--set-file", &nobodys],
            "config: registries.ecr.credentials.provider.command is /etc/landfall/providers/ecr, but credentialProviders has no `name: ecr`",
        ),
        (
            vec!["--set-json", r#"credentialProviders=[{"name": "ecr", "image": "ecr", "path": "ecr"}]"#],
            "at '/credentialProviders/0/path'",
        ),
        // The authority of the cluster signs the kubelets' certificates, too.
        (vec!["--set", "clientCA.secretName=api-server"], "clientCA.names: whom"),
        (vec!["--set", "clientCA.configMapName=api-server"], "clientCA.names: whom"),
        (vec!["--set", "clientCA.names={kube-apiserver}"], "clientCA.names: whose signature?"),
        (vec!["--set", "hostNetwork.listen=8443"], "at '/hostNetwork/listen'"),
        (vec!["--set", "dnsPolicy=Cluster"], "at '/dnsPolicy'"),
        (
            vec!["--set", "hostNetwork.enabled=true,hostNetwork.listen=0.0.0.0:8080"],
            "hostNetwork: listen, validateListen and adminListen need three different ports",
        ),
        (
            vec!["--set", "hostNetwork.enabled=true,networkPolicy.apiServer={10.0.0.0/8}"],
            "no NetworkPolicy applies to Pods in the network of their node",
        ),
        (
            vec!["--set", "hostNetwork.enabled=true,serviceMonitor.create=Always"],
            "Prometheus cannot reach a loopback address",
        ),
        (
            vec!["--set", "hostNetwork.enabled=true,metrics.rules.enabled=true"],
            "metrics.rules.enabled: Prometheus cannot reach a loopback address",
        ),
        (
            vec!["--set", "metrics.rules.enabled=true,metrics.rules.leaveOut={LandfallGaps}"],
            "there is no alert LandfallGaps. These are: LandfallAbsent,",
        ),
        (vec!["--set", "metrics.rules.runbookURL=RUNBOOKS.md"], "at '/metrics/rules/runbookURL'"),
        (vec!["--set", "ca.configMapName="], "config: registries.ams.caFile is /etc/landfall/ca/ams.pem"),
        (
            vec!["--set", "certificates.mode=Provided,certificates.provided.caBundle=YQ=="],
            "certificates.provided.secretName",
        ),
        (
            vec!["--set", "certificates.mode=Provided,certificates.provided.secretName=tls"],
            "certificates.provided.caBundle",
        ),
        (vec!["--set-file", &broken], "config: this is no YAML"),
        (vec!["--set-file", &norway], "one of them is false; put it in quotes"),
        (vec!["--set-file", "config=/dev/null"], "at '/config'"),
    ] {
        let output = helm(plane, &render, &wrong);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{wrong:?}: {said}");
    }
    let chart = root().join("helm/landfall").display().to_string();
    let as_map = ["template", "landfall", &chart, "--set", "image.repository=x", "-f", &as_map];
    let said = String::from_utf8(plane.helm(&as_map).stderr).unwrap();
    assert!(said.contains("at '/config/registries/ams/kind': value must be 'harbor'"), "{said}");
    let none = &as_map[..5];
    let said = String::from_utf8(plane.helm(none).stderr).unwrap();
    assert!(said.contains("--set-file config=landfall.yaml"), "{said}");
    let said = String::from_utf8(plane.helm(&[none, &["--set", "config=5"]].concat()).stderr).unwrap();
    assert!(said.contains("at '/config': got number, want string"), "{said}");
}

#[test]
fn the_api_server_takes_what_is_rendered_in_every_mode_and_with_every_preset() {
    let plane = plane();
    restricted(plane, "modes");
    plane.define_others();
    let provided =
        format!("certificates={{mode: Provided, provided: {{secretName: tls, caBundle: {BUNDLE}}}}}");
    let provided = plane.write_new(&provided.replacen('=', ": ", 1)).display().to_string();
    let all = plane
        .write_new(
            "certificates: {mode: CertManager, certManager: {issuerRef: {kind: ClusterIssuer, name: platform}}}
image: {digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000', pullSecrets: [own]}
clientCA: {secretName: api-server, names: [kube-apiserver]}
env: [{name: HTTPS_PROXY, value: 'http://proxy.example.com:3128'}]
tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]
affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}}
podLabels: {team: platform}
credentialProviders: [{name: ecr, image: 'registry.example.com/ecr:v1', path: /ecr-credential-provider}]
serviceAccount: {annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/landfall'}}
podAnnotations: {note: none}
networkPolicy: {apiServer: [10.0.0.0/8, 'fd00::/8'], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]}
serviceMonitor: {labels: {release: prometheus}}
metrics: {rules: {enabled: true, labels: {release: prometheus}, runbookURL: 'https://example.com/RUNBOOKS'}, dashboard: {enabled: true}}
namespaces: {selection: OptIn, matchExpressions: [{key: tier, operator: NotIn, values: [storage]}]}
guard: {namespaceLabels: {groups: [platform], users: ['system:serviceaccount:argocd:argocd-application-controller'], more: [tier]}}
log: {filter: 'info,landfall=debug', format: text}
dnsPolicy: None
dnsConfig: {nameservers: [192.0.2.53], searches: [example.com], options: [{name: ndots, value: '2'}, {name: edns0}]}
hostAliases: [{ip: 192.0.2.10, hostnames: [harbor.ams.example.com]}]
",
        )
        .display()
        .to_string();
    let page = fs::read_to_string(root().join("helm/landfall/README.md")).unwrap();
    let metrics = passage(&page, "## Who may read the metrics", "```yaml\n", "```");
    let metrics = plane.write_new(metrics).display().to_string();
    let presets = fs::read_dir(root().join("helm/landfall/presets")).unwrap();
    let presets: Vec<_> = presets.map(|entry| entry.unwrap().path().display().to_string()).collect();
    assert!(presets.len() >= 6, "{presets:?}");
    let mut ways = vec![
        vec![],
        vec!["--set", "certificates.mode=CertManager"],
        vec!["-f", &provided],
        vec!["-f", &all],
        vec!["-f", &metrics],
    ];
    ways.extend(presets.iter().map(|preset| vec!["-f", preset.as_str()]));
    for way in ways {
        // A Pod of a test is not taken without its account, not even as a dry run: see `doctor.rs`.
        let always =
            ["-n", "modes", "--skip-tests", "--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"];
        let after = [&always[..], &way[..]].concat();
        let rendered = told(helm(plane, &["template", "modes"], &after));
        assert!(rendered.contains("kind: ServiceMonitor"), "{way:?}");
        // The admin port is closed but to whom the values name.
        let opened = rendered.contains("- ports: [{protocol: TCP, port: admin}]");
        assert_eq!(opened, way.contains(&&*metrics), "{way:?}");
        // `kubectl apply` warns of a definition that was made in another way, as the plane's was.
        let apart = [&after[..], &["--set", "crds.create=Never"]].concat();
        let apart = told(helm(plane, &["template", "modes"], &apart));
        for (server_side, rendered) in [("--server-side=true", &rendered), ("--server-side=false", &apart)] {
            let file = plane.write_new(rendered).display().to_string();
            let taken =
                plane.kubectl(&["apply", "--dry-run=server", "--validate=strict", server_side, "-f", &file]);
            let said = String::from_utf8_lossy(&taken.stderr);
            // A warning would be of a Pod that the namespace refuses, or of a field that nobody knows.
            assert!(taken.status.success() && said.is_empty(), "{way:?} {server_side}: {said}");
        }
    }
}

/// What the chart changes in the alerts: their links, the time of the sweep, and which there are.
#[test]
fn the_alerts_are_those_of_the_values() {
    let plane = plane();
    let alerts = |set: &str| {
        let only =
            ["--show-only", "templates/monitoring.yaml", "--set", "metrics.rules.enabled=true", "--set", set];
        let object: Value =
            serde_saphyr::from_str(&told(helm(plane, &["template", "alerts"], &only))).unwrap();
        object["spec"]["groups"][0]["rules"].as_array().unwrap().clone()
    };
    let all = alerts("replicas=3");
    let file = fs::read_to_string(root().join("helm/landfall/rules/landfall.yaml")).unwrap();
    assert_eq!(all.len(), file.matches("- alert: ").count());
    assert!(
        all.iter().all(|alert| alert["annotations"].get("runbook_url").is_none()),
        "a link without a page"
    );
    let overdue = |alerts: &[Value]| {
        let found = alerts.iter().find(|alert| alert["alert"] == "LandfallSweepOverdue");
        found.map(|alert| alert["expr"].as_str().unwrap().rsplit_once("> ").unwrap().1.to_owned())
    };
    for (every, expected) in
        [("15m", Some("3600")), ("1m", Some("3600")), ("6h", Some("86400")), ("0s", None)]
    {
        let found = overdue(&alerts(&format!("sweep.every={every}")));
        assert_eq!(found.as_deref(), expected, "{every}");
    }
    let linked = alerts("metrics.rules.runbookURL=https://example.com/r");
    assert_eq!(linked[0]["annotations"]["runbook_url"], "https://example.com/r#landfallabsent");
    let fewer = alerts("metrics.rules.leaveOut={LandfallAbsent,LandfallLoop}");
    assert_eq!(fewer.len(), all.len() - 2);
}

/// Helm replaces a list by the list of the next file; so presets write into maps.
#[test]
fn presets_are_combined_with_each_other_and_with_values_of_ones_own() {
    let plane = plane();
    let presets = fs::read_dir(root().join("helm/landfall/presets")).unwrap();
    let mut presets: Vec<_> = presets.map(|entry| entry.unwrap().path().display().to_string()).collect();
    let own = plane
        .write_new(
            "pods:
  matchExpressions: [{key: team, operator: Exists}]
  leaveAlone: {mine: {key: example.com/operator, operator: DoesNotExist}, nifikop: null}
namespaces: {matchExpressions: [{key: tier, operator: NotIn, values: [storage]}]}
",
        )
        .display()
        .to_string();
    presets.push(own);
    let mut all = Vec::new();
    // Nothing depends on which file comes first, but what takes away comes after what it takes away.
    for presets in [presets.clone(), {
        let own = presets.len() - 1;
        presets[..own].reverse();
        presets
    }] {
        let files: Vec<&str> = presets.iter().flat_map(|file| ["-f", file]).collect();
        let after = [&["--show-only", "templates/webhook.yaml"], &files[..]].concat();
        all.push(told(helm(plane, &["template", "combined"], &after)));
    }
    assert_eq!(all[0], all[1]);
    for condition in [
        "- key: team",
        "- key: example.com/operator",
        "- key: cnpg.io/podRole",
        "- key: kubevirt.io",
        "- key: olm.catalogSource",
        "- key: tier",
        "- argocd",
        "- flux-system",
    ] {
        assert!(all[0].contains(condition), "{condition}: {}", all[0]);
    }
    assert!(!all[0].contains("nifi_cr"), "{}", all[0]);
}

/// The Deployment and the test's Pod as they are rendered with these values, and all that is rendered.
fn pods_with(plane: &Plane, values: &str) -> (Value, Value, String) {
    let values = plane.write_new(values).display().to_string();
    let rendered =
        |only: &[&str]| told(helm(plane, &[&["template", "landfall"], only].concat(), &["-f", &values]));
    let pod = rendered(&["-s", "templates/tests/doctor.yaml"]);
    let pod = pod.rsplit("\n---\n").find(|object| object.contains("\nkind: Pod\n")).unwrap();
    let deployment = rendered(&["-s", "templates/deployment.yaml"]);
    let read = |text: &str| serde_saphyr::from_str(text).unwrap();
    (read(&deployment), read(pod), rendered(&["--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"]))
}

#[test]
fn in_the_nodes_network_the_admin_port_is_closed_to_others_and_names_are_found_as_in_a_pod() {
    let plane = plane();
    let host = |listen: &str, admin: &str| {
        format!("hostNetwork: {{enabled: true, listen: '{listen}', adminListen: '{admin}'}}")
    };
    for (values, ports, probed, opened) in [
        (host("0.0.0.0:9443", "127.0.0.1:9080"), (9443, 9080), Some("127.0.0.1"), false),
        (host("[::]:9443", "[::1]:9080"), (9443, 9080), Some("::1"), false),
        (host("192.0.2.1:9443", "0.0.0.0:9080"), (9443, 9080), None, true),
        ("hostNetwork: {enabled: true}".to_owned(), (8443, 8080), Some("127.0.0.1"), false),
    ] {
        let (deployment, doctor, all) = pods_with(plane, &values);
        let spec = &deployment["spec"]["template"]["spec"];
        for pod in [spec, &doctor["spec"]] {
            assert_eq!(
                (&pod["hostNetwork"], &pod["dnsPolicy"]),
                (&true.into(), &"ClusterFirstWithHostNet".into())
            );
        }
        let surge = &deployment["spec"]["strategy"]["rollingUpdate"];
        assert_eq!((&surge["maxSurge"], &surge["maxUnavailable"]), (&0.into(), &1.into()));
        let container = &spec["containers"][0];
        let open = |index: usize| container["ports"][index]["containerPort"].as_u64().unwrap();
        assert_eq!((open(0), open(2)), ports, "{values}");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["host"].as_str(), probed, "{values}: {probe}");
        }
        // Nothing seems to guard what it does not.
        assert!(!all.contains("kind: NetworkPolicy"), "{values}");
        for found in ["kind: ServiceMonitor", "{name: admin, protocol: TCP, port: 8080, targetPort: admin}"] {
            assert_eq!(all.contains(found), opened, "{values}: {found}");
        }
    }
    // Elsewhere nothing of it is there.
    let (deployment, _, all) = pods_with(plane, "{}");
    let spec = &deployment["spec"]["template"]["spec"];
    assert!(["hostNetwork", "dnsPolicy", "dnsConfig", "hostAliases"].iter().all(|key| spec[key].is_null()));
    assert!(all.contains("kind: NetworkPolicy"));
    // What is written wins.
    let own = "{hostNetwork: {enabled: true}, dnsPolicy: Default, dnsConfig: {options: [{name: ndots, value: '1'}]}}";
    let (deployment, doctor, _) = pods_with(plane, own);
    for pod in [&deployment["spec"]["template"]["spec"], &doctor["spec"]] {
        assert_eq!(
            (&pod["dnsPolicy"], &pod["dnsConfig"]["options"][0]["value"]),
            (&"Default".into(), &"1".into())
        );
    }
}

/// The text between `from` and `to`, after the heading.
fn passage<'a>(text: &'a str, heading: &str, from: &str, to: &str) -> &'a str {
    let (_, section) = text.split_once(heading).unwrap();
    let (_, rest) = section.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

#[test]
fn what_the_readme_installs_is_what_it_configures() {
    let plane = plane();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let config = plane.write_new(passage(&readme, "## Configure", "```yaml\n", "```")).display().to_string();
    let command = passage(&readme, "## Install", "\nhelm install ", "\n```").replace("\\\n", " ");
    let command = command.replace("=landfall.yaml", &format!("={config}"));
    let command = command.replace("helm/landfall", &root().join("helm/landfall").display().to_string());
    let arguments: Vec<_> = ["template"].into_iter().chain(command.split_whitespace()).collect();
    let rendered = told(plane.helm(&arguments));
    assert!(rendered.contains("secretName: landfall-edge"), "{rendered}");
}

#[test]
fn landfall_knows_every_argument_that_the_chart_gives_it() {
    let plane = plane();
    for mode in [
        "certificates.mode=SelfManaged",
        "certificates.mode=CertManager",
        "hostNetwork.enabled=true",
        "hostNetwork.enabled=true,hostNetwork.listen=[::]:8443,hostNetwork.adminListen=[::1]:8080",
    ] {
        let client = "clientCA.secretName=api-server,clientCA.names={kube-apiserver}";
        let only = ["-s", "templates/deployment.yaml", "--set", client, "--set", mode];
        let rendered = told(helm(plane, &["template", "landfall"], &only));
        let deployment: Value = serde_saphyr::from_str(&rendered).unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments =
            container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let mut landfall = Command::new(env!("CARGO_BIN_EXE_landfall"));
        landfall.args(arguments).env_clear();
        for variable in container["env"].as_array().unwrap() {
            landfall.env(variable["name"].as_str().unwrap(), "x");
        }
        // It has understood the command line when it looks for the first file. (`--help` would not tell what is lacking.)
        let said = String::from_utf8(landfall.output().unwrap().stderr).unwrap();
        assert!(said.starts_with("landfall: cannot use `/etc/landfall/client-ca/ca.crt`"), "{mode}: {said}");
    }
}

/// Everything of a namespace but what comes and goes by itself, and what of the cluster has the release's name.
fn inventory(plane: &Plane, namespace: &str) -> BTreeSet<String> {
    let kinds = |namespaced: &str| {
        let all = plane.told(&["api-resources", "--verbs=list", "-o", "name", namespaced]);
        let kinds: Vec<_> =
            all.lines().filter(|kind| *kind != "events" && *kind != "events.events.k8s.io").collect();
        kinds.join(",")
    };
    let (inside, outside) = (kinds("--namespaced=true"), kinds("--namespaced=false"));
    let inside = plane.told(&["get", &inside, "-n", namespace, "-o", "name", "--ignore-not-found"]);
    let outside = plane.told(&["get", &outside, "-o", "name", "--ignore-not-found"]);
    let ours = |name: &&str| {
        let name = name.rsplit('/').next().unwrap();
        name == namespace || name.starts_with(&format!("{namespace}-"))
    };
    let outside = outside.lines().filter(ours);
    inside.lines().chain(outside).map(str::to_owned).collect()
}

/// What Landfall itself writes, with its own rights: its authority, its Lease, its caBundle.
fn run_once(plane: &Plane, namespace: &str) {
    let account = format!("--as=system:serviceaccount:{namespace}:{namespace}");
    let secret = format!("{namespace}-ca");
    let name = ["-n", namespace, &account, "--field-manager=landfall"];
    plane.told(
        &[&["patch", "secret", &secret, "-p", "{\"data\": {\"ca.crt\": \"Y2E=\"}}"], &name[..]].concat(),
    );
    plane.told(
        &[
            &["patch", "lease", namespace, "-p", "{\"spec\": {\"holderIdentity\": \"landfall-0\"}}"],
            &name[..],
        ]
        .concat(),
    );
    let entry = format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {{name: {namespace}}},
webhooks: [{{name: mutate.landfall.dev, clientConfig: {{caBundle: {BUNDLE}}}}}]}}"
    );
    let file = plane.write_new(&entry).display().to_string();
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--validate=false",
        "--field-manager=landfall-ca-bundle",
    ];
    plane.told(&[&apply[..], &[&account, "-f", &file]].concat());
}

/// What it has written is there.
fn written(plane: &Plane, namespace: &str) {
    let secret = get(plane, &["secret", "-n", namespace, &format!("{namespace}-ca")]);
    assert_eq!(secret["data"]["ca.crt"], "Y2E=", "{secret:#}");
    let lease = get(plane, &["lease", "-n", namespace, namespace]);
    assert_eq!(lease["spec"]["holderIdentity"], "landfall-0", "{lease:#}");
    let webhook = get(plane, &["mutatingwebhookconfiguration", namespace]);
    assert_eq!(webhook["webhooks"][0]["clientConfig"]["caBundle"], BUNDLE, "{webhook:#}");
    assert_eq!(webhook["webhooks"].as_array().unwrap().len(), 1);
}

#[test]
fn an_upgrade_keeps_what_landfall_wrote_and_an_uninstall_leaves_nothing() {
    let plane = plane();
    // By the server, as Helm 4 does by default; and by the client, as Helm 3 does.
    for (namespace, server_side) in
        [("life-server", "--server-side=true"), ("life-client", "--server-side=false")]
    {
        restricted(plane, namespace);
        let before = inventory(plane, namespace);
        // Nobody opts in here: what others create meanwhile is none of its business.
        let common = ["-n", namespace, "--set", "namespaces.selection=OptIn", server_side];
        let notes = told(helm_on(plane, &earlier(plane), &["install", namespace], &common));
        assert!(notes.contains("kubectl label namespace NAME landfall.dev/mode=Rewrite"), "{notes}");
        let pods = ["pods", "-n", namespace, "-l", "app.kubernetes.io/name=landfall"];
        let pods = until("a restricted namespace has admitted its Pods", || {
            let pods = get(plane, &pods)["items"].as_array().unwrap().clone();
            (pods.len() == 3).then_some(pods)
        });
        assert!(pods.iter().all(|pod| pod["spec"]["priority"] == 2_000_000_000), "{pods:#?}");
        let config = get(plane, &["configmap", "-n", namespace, namespace]);
        assert_eq!(config["data"]["landfall.yaml"], CONFIG, "as it is");

        run_once(plane, namespace);
        written(plane, namespace);
        // The other tests of this plane are `system:masters`.
        let values =
            "replicas=4,drainSeconds=30,log.filter=warn,guard.namespaceLabels.groups={system:masters}";
        let values = [&common[..], &["--set", values]].concat();
        told(helm(plane, &["upgrade", namespace], &values));
        written(plane, namespace);
        let deployment = get(plane, &["deployment", "-n", namespace, namespace]);
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(
            (&deployment["spec"]["replicas"], &pod["terminationGracePeriodSeconds"]),
            (&4.into(), &70.into())
        );
        assert!(pod["containers"][0]["args"].as_array().unwrap().contains(&"--log=warn".into()), "{pod:#}");
        // As whoever keeps a cluster in step with a repository looks at it.
        let manifest = plane.helm(&["get", "manifest", namespace, "-n", namespace]);
        let manifest = plane.write_new(&told(manifest)).display().to_string();
        for apply in ["--server-side=true", "--server-side=false"] {
            let diff = ["diff", apply, "--field-manager=argocd-controller", "-f", &manifest];
            let differs = plane.kubectl(&diff);
            let what = String::from_utf8_lossy(&differs.stdout);
            assert!(differs.status.success(), "{apply}: {what}{}", String::from_utf8_lossy(&differs.stderr));
        }

        // Now the chart says what the caBundle is, which was Landfall's to say.
        let provided = plane.write_new(&format!(
            "certificates: {{mode: Provided, provided: {{secretName: tls, caBundle: {OTHER_BUNDLE}}}}}"
        ));
        let provided = [&common[..], &["-f", provided.to_str().unwrap()]].concat();
        let mut upgrade = helm(plane, &["upgrade", namespace], &provided);
        if server_side == "--server-side=true" {
            let said = String::from_utf8_lossy(&upgrade.stderr).into_owned();
            assert!(said.contains("conflict with \"landfall-ca-bundle\""), "{said}");
            upgrade = helm(plane, &["upgrade", namespace], &[&provided[..], &["--force-conflicts"]].concat());
        }
        told(upgrade);
        let webhook = get(plane, &["mutatingwebhookconfiguration", namespace]);
        assert_eq!(webhook["webhooks"][0]["clientConfig"]["caBundle"], OTHER_BUNDLE, "{webhook:#}");

        // The kill switch, and back.
        plane.told(&["delete", "mutatingwebhookconfiguration", namespace]);
        told(helm(plane, &["upgrade", namespace], &provided));
        plane.told(&["get", "mutatingwebhookconfiguration", namespace]);

        told(plane.helm(&["uninstall", namespace, "-n", namespace]));
        until("nothing is left", || (inventory(plane, namespace) == before).then_some(()));
    }
}

/// Whom it would send: how often it has called the webhook of this name, in vain.
fn calls(plane: &Plane, webhook: &str) -> u64 {
    let metrics = plane.told(&["get", "--raw", "/metrics"]);
    let name = format!("apiserver_admission_webhook_fail_open_count{{name=\"{webhook}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with(&name))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn the_api_server_itself_keeps_out_who_is_to_be_left_alone() {
    let plane = plane();
    // Its Service is not there, so every call fails at once, and is counted.
    let ours = ["kube-system", "kube-node-lease", "doors", "doors-harbor", "doors-excluded"];
    for namespace in ["doors", "doors-harbor", "doors-excluded", "doors-skip", "doors-plain", "doors-asked"] {
        plane.namespace(namespace);
    }
    // Others create Pods meanwhile.
    let everyone = [&ours[..], &["doors-skip", "doors-plain", "doors-asked"]].concat();
    for namespace in everyone {
        plane.told(&["label", "namespace", namespace, "doors=ours"]);
        let account = ["get", "serviceaccount", "default", "-n", namespace];
        until("the namespace has its account", || plane.kubectl(&account).status.success().then_some(()));
    }
    plane.told(&["label", "namespace", "doors-skip", "landfall.dev/mode=Skip"]);
    plane.told(&["label", "namespace", "doors-asked", "landfall.dev/mode=Rewrite"]);
    for (selection, others) in [
        ("OptOut", [("doors-skip", false), ("doors-plain", true), ("doors-asked", true)]),
        ("OptIn", [("doors-skip", false), ("doors-plain", false), ("doors-asked", true)]),
    ] {
        let name = format!("doors-{}", selection.to_lowercase());
        let only = plane.write_new("namespaces: {matchExpressions: [{key: doors, operator: Exists}]}");
        let selection = format!("namespaces.selection={selection}");
        let after = [
            "-n",
            "doors",
            "-s",
            "templates/webhook.yaml",
            "-f",
            only.to_str().unwrap(),
            "--set",
            &selection,
        ];
        let rendered = told(helm(plane, &["template", &name], &after));
        let webhook = format!("{name}.landfall.dev");
        plane.apply(&rendered.replace("name: mutate.landfall.dev", &format!("name: {webhook}")));
        let create = |namespace: &str, metadata: &str, who: &[&str]| {
            let pod = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: p{metadata}}}, spec: {{nodeName: node-1, containers: [{{name: c, image: 'web:1'}}]}}}}"
            );
            let file = plane.write_new(&pod).display().to_string();
            let before = calls(plane, &webhook);
            plane.told(&[&["create", "--dry-run=server", "-n", namespace, "-f", &file], who].concat());
            calls(plane, &webhook) > before
        };
        // A new configuration is in force when the API server's informer has seen it.
        until("the webhook is called", || create("doors-asked", "", &[]).then_some(()));
        for namespace in ours {
            assert!(!create(namespace, "", &[]), "{selection}: {namespace}");
        }
        for (namespace, called) in others {
            assert_eq!(create(namespace, "", &[]), called, "{selection}: {namespace}");
        }
        let node = ["--as=system:node:node-1", "--as-group=system:masters"];
        let mirror = ", annotations: {kubernetes.io/config.mirror: x}";
        assert!(!create("doors-asked", mirror, &node), "a mirror Pod");
        assert!(create("doors-asked", mirror, &[]), "who is no node does not get round it by an annotation");
        assert!(create("doors-asked", "", &node), "a node may create Pods that are none");
        plane.told(&["delete", "mutatingwebhookconfiguration", &name]);
    }
}

/// What somebody may do in a namespace.
pub fn rights_in(plane: &Plane, namespace: &str, who: &str) -> BTreeSet<String> {
    let all = plane.told(&["auth", "can-i", "--list", "--no-headers", "-n", namespace, "--as", who]);
    all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What an account may do beyond what every account may.
fn rights(plane: &Plane, namespace: &str, account: &str) -> BTreeSet<String> {
    let list =
        |account: &str| rights_in(plane, namespace, &format!("system:serviceaccount:{namespace}:{account}"));
    &list(account) - &list("default")
}

#[test]
fn landfall_may_do_what_it_must_and_no_more() {
    let plane = plane();
    for namespace in ["rights", "rights-elsewhere", "rights-provided"] {
        plane.namespace(namespace);
    }
    let namespaces = "namespaces [] [] [get list watch]".to_owned();
    let grant = |namespace: &str, mode: &str| {
        let mode = format!("certificates.mode={mode}");
        let only = ["-n", namespace, "-s", "templates/rights.yaml", "--set", &mode];
        plane.apply(&told(helm(plane, &["template", namespace], &only)));
    };
    grant("rights", "SelfManaged");
    let configuration = |kind: &str, name: &str, verbs: &str| {
        format!("{kind}webhookconfigurations.admissionregistration.k8s.io [] [{name}] [{verbs}]")
    };
    let all = "get list watch update patch";
    let lease = |name: &str| {
        [
            format!("leases.coordination.k8s.io [] [{name}] [get update patch]"),
            "leases.coordination.k8s.io [] [] [create]".to_owned(),
        ]
    };
    let mut at_home = BTreeSet::from([namespaces.clone()]);
    at_home.extend(["mutating", "validating"].map(|kind| configuration(kind, "rights", all)));
    at_home.extend(lease("rights"));
    let events = "events.events.k8s.io [] [] [create patch]".to_owned();
    let of_policies = |name: &str| {
        let inventory =
            (0..8).map(|part| format!("configmaps [] [{name}-inventory-{part}] [get list watch patch]"));
        let others = [
            format!("configmaps [] [{name}-replicas] [get patch]"),
            "endpointslices.discovery.k8s.io [] [] [list]".to_owned(),
            "landingpolicies.landfall.dev [] [] [get list watch]".to_owned(),
            "landingpolicies.landfall.dev/status [] [] [patch]".to_owned(),
            "replicationgaps.landfall.dev [] [] [get list watch create patch delete]".to_owned(),
            "replicationgaps.landfall.dev/status [] [] [update]".to_owned(),
            "replicasets.apps [] [] [get]".to_owned(),
            "jobs.batch [] [] [get]".to_owned(),
            "pods [] [] [list]".to_owned(),
            "events [] [] [list watch]".to_owned(),
        ];
        inventory.chain(others).collect::<Vec<_>>()
    };
    at_home.extend(of_policies("rights"));
    at_home.extend(["secrets [] [rights-ca] [get list watch update patch]".to_owned(), events.clone()]);
    until("its rights are known", || (rights(plane, "rights", "rights") == at_home).then_some(()));
    // The same account, elsewhere.
    let who = "--as=system:serviceaccount:rights:rights";
    let elsewhere = plane.told(&["auth", "can-i", "--list", "--no-headers", "-n", "rights-elsewhere", who]);
    assert!(!elsewhere.contains("secrets") && !elsewhere.contains("leases"), "{elsewhere}");

    // Landfall may write a webhook configuration, and a policy says what of it (`rights.rs`).
    let policies = |set: &str| {
        let all = told(helm(plane, &["template", "rights"], &["-n", "rights", "--set", set]));
        let policies =
            all.split("\n---\n").filter(|object| object.contains("\nkind: ValidatingAdmissionPolicy"));
        let named = policies.map(|object| object.split_once("\n  name: ").unwrap().1.lines().next().unwrap());
        named.map(str::to_owned).collect::<Vec<_>>()
    };
    let doctor = "rights-doctor";
    for (set, expected) in [
        ("doctor.namespace=default", vec!["rights-own-webhook", "rights-own-webhook", doctor, doctor]),
        ("doctor.namespace=", vec!["rights-own-webhook", "rights-own-webhook"]),
        ("certificates.mode=CertManager", vec!["rights-own-webhook", "rights-own-webhook", doctor, doctor]),
        (
            "doctor.namespace=,guard.namespaceLabels.users={a}",
            vec![
                "rights-own-webhook",
                "rights-own-webhook",
                "rights-namespace-labels",
                "rights-namespace-labels",
            ],
        ),
        (
            "doctor.namespace=,guard.objects.enabled=true",
            ["rights-own-webhook", "rights-webhooks", "rights-annotation"].repeat(2),
        ),
    ] {
        let mut found = policies(set);
        found.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(found, expected, "{set}: a policy, and what puts it in force");
    }

    grant("rights-provided", "CertManager");
    let mut provided = BTreeSet::from([namespaces, events]);
    provided.extend(lease("rights-provided"));
    provided.extend(of_policies("rights-provided"));
    provided.insert(configuration("mutating", "rights-provided", "get list watch"));
    provided.insert(configuration("validating", "rights-provided", all));
    until("its rights are known", || {
        (rights(plane, "rights-provided", "rights-provided") == provided).then_some(())
    });
}

/// What `manifests/` takes from the chart: all but the configuration, which is a file there, and the definition of policies,
/// which must outlive `kubectl delete -k`.
fn install(plane: &Plane) -> String {
    let config = format!("config={}", root().join("manifests/landfall.yaml").display());
    let chart = root().join("helm/landfall").display().to_string();
    let render = ["template", "landfall", &chart, "-n", "landfall", "--set-file", &config];
    // Whoever applies has no `helm test`.
    let values = "image.repository=landfall,credentials.fra=landfall-fra,credentials.ams=landfall-ams,doctor.namespace=,crds.create=Never";
    let values = ["--set", values];
    let rendered = told(plane.helm(&[&render[..], &values].concat()));
    let documents: Vec<_> = rendered.split("---\n").map(str::trim).collect();
    let kept: Vec<_> = documents
        .into_iter()
        .filter(|text| !text.is_empty() && !text.contains("\n  landfall.yaml: "))
        .collect();
    format!(
        "# Made from helm/landfall: LANDFALL_GENERATE=1 cargo test --test cluster manifests\n{}\n",
        kept.join("\n---\n")
    )
}

#[test]
fn the_manifests_are_those_of_the_chart_and_can_be_applied_and_deleted() {
    let plane = plane();
    let (path, made) = (root().join("manifests/install.yaml"), install(plane));
    if std::env::var_os("LANDFALL_GENERATE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), made, "stale: see its first line");

    // On top of it, one condition more, for others create Pods meanwhile; and no node.
    let folder = plane.write_new("").with_extension("kustomize");
    fs::create_dir_all(folder.join("manifests")).unwrap();
    for file in fs::read_dir(root().join("manifests")).unwrap() {
        let file = file.unwrap();
        // `policies/` is for people to take from.
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), folder.join("manifests").join(file.file_name())).unwrap();
        }
    }
    fs::write(
        folder.join("kustomization.yaml"),
        "resources: [manifests]
patches:
  - target: {kind: MutatingWebhookConfiguration}
    patch: |
      - op: add
        path: /webhooks/0/namespaceSelector/matchLabels
        value: {landfall.dev/mode: Rewrite}
  - target: {kind: Deployment}
    patch: |
      - {op: add, path: /spec/template/spec/nodeSelector/nowhere, value: exists}
",
    )
    .unwrap();
    let folder = folder.display().to_string();
    for apply in ["--server-side=true", "--server-side=false"] {
        plane.told(&["apply", "-k", &folder, apply]);
        until("its Pods are admitted", || {
            let pods = get(plane, &["pods", "-n", "landfall"]);
            (pods["items"].as_array().unwrap().len() == 3).then_some(())
        });
        run_once(plane, "landfall");
        plane.told(&["diff", "-k", &folder, apply]);
        plane.told(&["apply", "-k", &folder, apply]);
        written(plane, "landfall");
        plane.told(&["delete", "-k", &folder, "--wait=true"]);
        let gone = plane.told(&[
            "get",
            "ns,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration,validatingadmissionpolicy,validatingadmissionpolicybinding",
            "-o",
            "name",
        ]);
        let ours = ["/landfall", "/landfall-own-webhook"];
        assert!(!gone.lines().any(|name| ours.iter().any(|ours| name.ends_with(ours))), "{gone}");
    }
}
