//! `landfall explain` before the registries of the demo's world, over real TLS: what it says of each kind of image, at what
//! exit status, and that scripts get what people get.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::process::{Command, Output};

use landfall::facade::demo::world::seed::{Demo, demo};
use serde_json::Value;

#[path = "support/site.rs"]
#[expect(dead_code, reason = "no reviews come here")]
mod site;

/// The world, its configuration in a file, and `landfall explain` with these arguments.
struct Ground {
    world: Demo,
    file: std::path::PathBuf,
}

impl Ground {
    async fn lay() -> Self {
        let world = demo().await.unwrap();
        let file = world.world.write("site.yaml", &site::configuration(&world)).unwrap();
        Self { world, file }
    }

    async fn explain(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.arg("explain").args(arguments).args(["--offline", "--config"]).arg(&self.file);
        command.env_remove("KUBECONFIG");
        // The world answers on this runtime meanwhile.
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What is printed, and the exit status.
    async fn said(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let Output { status, stdout, stderr } = self.explain(arguments).await;
        let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (said, status.code())
    }
}

const SHOP: &str = "harbor.fra.example.com/production/shop";

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_image_is_explained() {
    let ground = Ground::lay().await;
    for (name, arguments, status) in [
        ("local", [&*format!("{SHOP}/web:1.4.2"), "-n", "shop"].as_slice(), 0),
        ("missing", &[&format!("{SHOP}/checkout:5.0.0"), "-n", "shop"], 0),
        ("denied", &[&format!("{SHOP}/checkout:5.0.0"), "-n", "bank", "--label", "tier=regulated"], 1),
        ("observed", &[&format!("{SHOP}/search:0.9.0"), "-n", "lab", "--label", "tier=trial"], 0),
        ("index", &[&format!("{SHOP}/api:2.0.0"), "--platform", "linux/arm64"], 0),
        ("not-routed", &["nginx:1.27"], 0),
        ("left-alone", &[&format!("{SHOP}/web:1.4.2"), "-n", "harbor"], 0),
        ("unparsable", &["https://x/y"], 0),
    ] {
        let (said, code) = ground.said(arguments).await;
        assert_eq!(code, Some(status), "{name}: {said}");
        insta::assert_snapshot!(name, said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_is_explained() {
    let ground = Ground::lay().await;
    ground.world.ams.down().await;
    let (said, code) = ground.said(&[&format!("{SHOP}/web:1.4.2"), "-n", "shop"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Unreachable at ams") && said.contains("verdict     Fallback"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_what_people_get() {
    let ground = Ground::lay().await;
    let image = format!("{SHOP}/web:1.4.2");
    let Output { stdout, .. } = ground.explain(&[&image, "-o", "json"]).await;
    let printed: Value = serde_json::from_slice(&stdout).unwrap();
    let one = &printed["images"][0];
    assert_eq!(one["reason"], "Local", "{printed}");
    assert!(
        one["becomes"]
            .as_str()
            .unwrap()
            .starts_with("harbor.ams.example.com/production/shop/web:1.4.2@sha256:")
    );
    // The patch is the door's own: it applies to a Pod with this image.
    let mut pod =
        serde_json::json!({"metadata": {}, "spec": {"containers": [{"name": "main", "image": image}]}});
    let patch: json_patch::Patch = serde_json::from_value(one["patch"].clone()).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    assert_eq!(pod["spec"]["containers"][0]["image"], one["becomes"]);
    assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], one["pullSecret"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said() {
    let ground = Ground::lay().await;
    for (arguments, expected) in [
        (&[][..], "<IMAGE|--pod <NAMESPACE/NAME>>"),
        (&["web", "--platform", "arm64"], "is no platform such as `linux/arm64`"),
        (&["web", "--label", "tier"], "is no label such as `tier=regulated`"),
        (&["--pod", "web"], "is no Pod such as"),
        (&["--pod", "shop/web"], "a Pod is read from a cluster"),
        (&["web", "--policy", "nowhere.yaml"], "cannot read `nowhere.yaml`"),
    ] {
        let (said, code) = ground.said(arguments).await;
        assert!(code == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
}
