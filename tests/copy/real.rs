//! A real registry: Debian's `docker-registry` (distribution 2.8). `skopeo` reads what arrived, where Debian has it.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::entry;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::wait::{PATIENCE, until};
use super::{Ground, IMAGE, SOURCE};

/// Says that a test did not run, past the capture of a passing test's output.
fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: copy {test}: {why}");
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

struct Registry {
    address: String,
    _process: Child,
}

impl Registry {
    async fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {:?}}}\n  cache: {{blobdescriptor: inmemory}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"{address}\"}}\n",
            folder.join("registry").display().to_string()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("the registry listens", || std::net::TcpStream::connect(&address).is_ok()).await;
        Self { address, _process: process }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_gets_the_same_bytes_and_a_lost_layer_back() {
    if !found("docker-registry") {
        return skipped("to a real registry", "no docker-registry here");
    }
    let mut ground = Ground::new().await;
    let folder = ground.world.ca_file().parent().unwrap().to_owned();
    let real = Registry::start(&folder).await;
    let text = format!(
        "site: ams\nregistries:\n  fra: {}\n  real: {{host: real.example.com, site: ams, kind: distribution, url: \"http://{}\"}}\nroutes:\n- name: all\n  primary: {{registry: fra, repositories: \"production/**\"}}\n  replicas: [{{registry: real}}]\n",
        entry(&ground.fra.registry("fra", "harbor.fra.example.com"), ""),
        real.address
    );
    ground.config = ground.world.write("real.yaml", &text).unwrap();
    let index = Content::index("web", Flavour::Docker, &["linux/amd64", "linux/arm64"]);
    let signature = Content::image("signature").referring_to(&index);
    let large = Content::image("large");
    let large = {
        let mut store = ground.fra.store();
        store.push(SOURCE, "1.4.2", &index);
        store.push_untagged(SOURCE, &signature);
        store.push_large(SOURCE, "2", large, 20_000_000)
    };
    let ended = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=real"]).await;
    assert_eq!((ended.good().count("manifests"), ended.count("copied")), (4, 6));
    ground.copy(&[&format!("{IMAGE}@{large}"), "--to=real"]).await.good();
    let again = ground.copy(&[&format!("{IMAGE}:1.4.2"), "--to=real"]).await;
    assert_eq!((again.good().count("copied"), again.count("there")), (0, 6));

    // Its storage loses a layer, and its cache still knows it.
    let manifest: Value = serde_json::from_str(&ground.fra.store().manifest(SOURCE, "2").unwrap()).unwrap();
    let layer = manifest["layers"][1]["digest"].as_str().unwrap().to_owned();
    let hex = &layer[7..];
    let data = folder.join(format!("registry/docker/registry/v2/blobs/sha256/{}/{hex}", &hex[..2]));
    std::fs::remove_dir_all(&data).unwrap();
    let repaired = ground.copy(&[&format!("{IMAGE}@{large}"), "--to=real"]).await;
    assert_eq!((repaired.good().count("copied"), repaired.count("there")), (1, 2), "{:#?}", repaired.lines);
    assert!(data.join("data").is_file());

    // It refuses an index without all children, and has no API of referrers: both are said, or kept by tag.
    let partial = Content::index("part", Flavour::Docker, &["linux/amd64", "linux/arm64"]);
    ground.fra.store().push(SOURCE, "3", &partial);
    let ended = ground.copy(&[&format!("{IMAGE}:3"), "--to=real", "--platform=linux/amd64"]).await;
    assert_eq!(ended.failures(), ["PartialIndex"], "{:#?}", ended.lines);

    if !found("skopeo") {
        return skipped("digests by skopeo", "no skopeo here");
    }
    for (reference, expected) in
        [("1.4.2".to_owned(), &index.bytes), (super::fallback(&index.digest), &signature.bytes)]
    {
        let image = format!("docker://{}/{SOURCE}:{reference}", real.address);
        let asked = Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &image]).output();
        let output = tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if reference == "1.4.2" {
            assert_eq!(output.stdout, *expected);
        } else {
            assert!(String::from_utf8_lossy(&output.stdout).contains(&signature.digest.to_string()));
        }
    }
}
