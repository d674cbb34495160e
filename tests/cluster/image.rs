//! The root of the image (`.ci/image-root`), in which the node runs all Pods of Landfall: what a program in it needs of glibc, of
//! the node and of the bundle of public authorities.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::node;
use crate::plane::{Plane, plane, until};
use crate::release::Release;
use crate::sandbox::NODE;
use crate::webhook::WEB;

/// A search domain whose server fails, as one of a company's network does that forwards elsewhere.
const BROKEN: &str = "broken.example.com";

/// A DNS server with one zone, which knows one name, beside a broken one.
struct Dns {
    /// What it was asked: names with their final dot left out.
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Dns {
    /// Answers at `here:53` for as long as the test binary runs.
    fn start(here: Ipv4Addr, name: &'static str) -> Self {
        let socket = UdpSocket::bind((here, 53)).unwrap();
        let asked = Arc::<Mutex<BTreeSet<String>>>::default();
        let seen = asked.clone();
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut question) {
                let Some((asked, answer)) = answer(&question[..length], name, here) else { continue };
                seen.lock().unwrap().insert(asked);
                drop(socket.send_to(&answer, peer));
            }
        });
        Self { asked }
    }

    fn was_asked(&self, name: &str) -> bool {
        self.asked.lock().unwrap().contains(name)
    }
}

/// The name that a message asks for, and the answer (RFC 1035, 4.1): SERVFAIL in the broken domain, else the address of
/// `known`, or NXDOMAIN.
fn answer(question: &[u8], known: &str, address: Ipv4Addr) -> Option<(String, Vec<u8>)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    while let length @ 1.. = usize::from(*question.get(at)?) {
        labels.push(std::str::from_utf8(question.get(at + 1..at + 1 + length)?).ok()?);
        at += 1 + length;
    }
    let (name, end) = (labels.join("."), at + 5);
    let kind = question.get(at + 1..at + 3)?;
    let code = match () {
        () if name.ends_with(BROKEN) => 2,
        () if name == known => 0,
        () => 3,
    };
    // Other records than A (1) of a name that is there: no answer, and no error.
    let found = code == 0 && kind == [0, 1];
    let mut answer = question[..2].to_vec();
    // An answer, recursion asked for and available; one question.
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    if found {
        // The name of the question, A, IN, for 60 s, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some((name, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_where_a_search_domain_fails_and_the_root_is_the_images_own() {
    let plane = plane();
    let here = plane.net.here();
    let dns = Dns::start(here, "harbor.ams.example.com");
    let release = Release::prepare(plane, "named").await;
    // One registry is asked by a name that DNS knows, the other by one that only /etc/hosts does.
    let [ams, fra] = [&release.demo.ams, &release.demo.fra].map(|at| at.address());
    let config = release
        .config()
        .replace(&format!("https://{ams}"), &format!("https://harbor.ams.example.com:{}", ams.port()))
        .replace(&format!("https://{fra}"), &format!("https://harbor.fra.example.com:{}", fra.port()));
    let config = format!("--set-file=config={}", plane.write_new(&config).display());
    let network = json!({
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": [here], "searches": ["named.svc.cluster.local", BROKEN, "cluster.local"],
            "options": [{"name": "ndots", "value": "5"}],
        },
        "hostAliases": [{"ip": here, "hostnames": ["harbor.fra.example.com"]}],
    });
    let network = format!("--values={}", plane.write_new(&network.to_string()).display());
    release.helm("install", &[&config, &network]);
    release.until_in_force();
    let failed = format!("harbor.ams.example.com.{BROKEN}");
    assert!(dns.was_asked(&failed) && dns.was_asked("harbor.ams.example.com"));
    let (name, pod) = release.replicas().into_iter().next().unwrap();
    let (_, ready) = release.admin(&pod, "/readyz?verbose").await;
    for registry in ["ams", "fra"] {
        let line = ready.lines().find(|line| line.contains(registry)).unwrap_or_default();
        assert!(line.contains("answers and accepts our credentials"), "{registry}: {ready}");
    }

    let process = plane.containers.lock().unwrap()[&name];
    // The status page is for who forwards a port, and so comes from the loopback address of the Pod.
    assert_eq!(release.admin(&pod, "/").await.0, 403);
    let ask = r#"exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3; cat <&3"#;
    let asked =
        Command::new("nsenter").args(["-n", "-t", &process.to_string(), "bash", "-c", ask]).output().unwrap();
    let page = String::from_utf8(asked.stdout).unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("None is open."), "{page}");

    let of = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
    let status = of("status");
    for line in ["Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.lines().any(|one| one == line), "{line}: {status}");
    }
    let mounts = of("mountinfo");
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(root.split(' ').nth(5).unwrap().starts_with("ro,"), "{root}");
    // All that it has loaded is the image's.
    let maps = of("maps");
    let loaded: BTreeSet<_> = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).collect();
    let loaded: Vec<_> = loaded.into_iter().filter(|path| path.starts_with('/')).collect();
    assert!(loaded.iter().any(|path| path.ends_with("libc.so.6")), "{loaded:?}");
    assert!(loaded.iter().all(|path| !path.contains(NODE)), "{loaded:?}");
    let there = fs::read_dir(format!("/proc/{process}/root")).unwrap();
    let there: BTreeSet<_> = there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let here: BTreeSet<_> = [NODE, "LICENSE", "dev", "etc", "landfall", "lib", "lib64", "proc", "usr", "var"]
        .map(str::to_owned)
        .into();
    assert!(there.is_subset(&here), "{there:?}");
}

/// Runs `landfall doctor` in a Pod whose KUBECONFIG names no authority, so that the bundle of the system decides; what it says.
fn doctor_by_the_systems_bundle(plane: &Plane, name: &str, more: &Value) -> String {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "bundles"},
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "containers": [{
                "name": "doctor", "image": "registry.example.com/landfall",
                "args": ["doctor", "--config=/etc/landfall/site.yaml", "--no-files", "--release=nobody"],
                "env": [{"name": "KUBECONFIG", "value": "/etc/landfall/kubeconfig"}],
                "volumeMounts": [{"name": "files", "mountPath": "/etc/landfall"}],
            }],
            "volumes": [{"name": "files", "configMap": {"name": "files"}}],
        },
    });
    for (key, added) in more.as_object().unwrap() {
        let list = match key.as_str() {
            "volumes" => &mut pod["spec"]["volumes"],
            _ => &mut pod["spec"]["containers"][0][key],
        };
        list.as_array_mut().unwrap().push(added.clone());
    }
    plane.apply(&pod.to_string());
    let phase = ["get", "pod", name, "-n", "bundles", "-o", "jsonpath={.status.phase}"];
    until("the doctor has ended", || matches!(&*plane.told(&phase), "Succeeded" | "Failed").then_some(()));
    fs::read_to_string(plane.log(name)).unwrap()
}

#[test]
fn the_systems_bundle_is_read_from_where_the_image_has_it() {
    let plane = plane();
    node::start(plane);
    plane.namespace("bundles");
    let kubeconfig = fs::read_to_string(plane.kubeconfig_of_admin()).unwrap();
    let (before, rest) = kubeconfig.split_once(", certificate-authority-data: ").unwrap();
    let (authority, after) = rest.split_once('}').unwrap();
    let authority = STANDARD.decode(authority).unwrap();
    let files = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files", "namespace": "bundles"},
        "data": {"kubeconfig": format!("{before}}}{after}"), "site.yaml": "{site: ams, registries: {}, routes: []}"},
    });
    plane.apply(&files.to_string());
    let bundle = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bundle", "namespace": "bundles"},
        "data": {"ca-certificates.crt": String::from_utf8(authority).unwrap()},
    });
    plane.apply(&bundle.to_string());
    let said = doctor_by_the_systems_bundle(plane, "public", &json!({}));
    assert!(said.contains("UnknownIssuer"), "{said}");
    let mounted = json!({
        "volumes": {"name": "bundle", "configMap": {"name": "bundle"}},
        "volumeMounts": {"name": "bundle", "mountPath": "/etc/ssl/certs"},
    });
    let said = doctor_by_the_systems_bundle(plane, "own", &mounted);
    assert!(said.contains("MutatingWebhookConfiguration `nobody`"), "{said}");
}

#[test]
fn what_cannot_be_the_image_is_refused() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/image-root");
    for (program, most, words) in [
        (env!("CARGO_BIN_EXE_landfall"), "1000000", "bytes, more than 1000000"),
        // Static everywhere.
        ("/sbin/ldconfig", "45000000", "is not linked to glibc"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(&script).arg(program).arg(folder.path().join("root")).arg(most).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{program}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_nodes_network_the_api_server_is_answered_and_the_admin_port_is_not_open() {
    let plane = plane();
    let release = Release::prepare(plane, "hosted").await;
    // No level but `privileged` allows it.
    let level = "pod-security.kubernetes.io/enforce=privileged";
    plane.told(&["label", "--overwrite", "namespace", "hosted", level]);
    let ports = "hostNetwork.listen=0.0.0.0:9443,hostNetwork.validateListen=0.0.0.0:9444,hostNetwork.adminListen=127.0.0.1:9080";
    // `helm test` runs beside other tests on this machine.
    let config = plane.write_new(&(release.config() + "budget: {request: 4s, attempt: 4s}\n"));
    let config = format!("--set-file=config={}", config.display());
    let doctor = format!("doctor.namespace={},doctor.image={WEB}", release.pods);
    let more = ["hostNetwork.enabled=true", ports, "replicas=1", &doctor];
    let values: Vec<_> = more.iter().flat_map(|value| ["--set", value]).chain([&*config]).collect();
    release.helm("install", &values);
    release.until_in_force();
    let (_, pod) = release.replicas().into_iter().next().unwrap();
    let address: Ipv4Addr = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
    assert_eq!(pod["status"]["hostIP"].as_str(), pod["status"]["podIP"].as_str());
    assert!(TcpStream::connect((address, 9443)).is_ok());
    let refused = TcpStream::connect((address, 9080)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let tested = plane.helm(&["test", "hosted", "--namespace", "hosted", "--logs"]);
    let said = String::from_utf8(tested.stdout).unwrap();
    let copy = format!("`{WEB}` has a copy at this site: `ams`");
    assert!(tested.status.success() && said.contains(&copy), "{said}");
    // Where one node is all there is, the next revision needs the port of the one before.
    release.helm("upgrade", &[&values[..], &["--set", "podAnnotations.note=next"]].concat());
    release.until_in_force();
}
