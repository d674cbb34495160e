//! A site: its configuration, its registries where they listen, and Pods that come to it.

use landfall::demo::world::seed::Demo;
use landfall::domain::registry::CredentialSource;
use serde_json::{Value, json};

/// The configuration of a site, `FRA`, `AMS` and `EDGE` still to be filled in.
const SITE: &str = r#"
site: ams # ours
near: {ams: [fra]}
registries:
  fra:  {host: harbor.fra.example.com, site: fra, kind: harbor, pullSecret: harbor-fra-creds, FRA}
  ams:  {host: harbor.ams.example.com, site: ams, kind: harbor, pullSecret: harbor-ams-creds, AMS, aliases: [harbor.example.com]}
  edge: {host: "registry.edge:5000", site: ams, kind: distribution, EDGE}
routes:
  - name: production
    primary: {registry: fra, repositories: "production/**"}
    replicas:
      - {registry: ams, namespace: production, flatten: 1}
      - {registry: edge, namespace: "", tags: "v*", exclude: "production/scratch/**"}
platforms: [linux/amd64, linux/arm64]
defaults: {onUnscanned: Fallback, scan: {required: Auto, maxAge: 720h}}
exclude: {namespaces: [harbor], images: ["harbor.fra.example.com/platform/**"]}
"#;

/// A policy that blocks, for the namespaces of this tier.
fn policy(name: &str, tier: &str, enforcement: &str) -> String {
    format!(
        "  - apiVersion: landfall.dev/v1alpha1
    kind: LandingPolicy
    metadata: {{name: {name}}}
    spec:
      namespaceSelector: {{matchLabels: {{tier: {tier}}}}}
      enforcement: {enforcement}
      onMissing: Block
      onUnknown: Block
      onUnscanned: Block
      onVulnerable: Block
      onUnrouted: Block
      scan: {{required: Always, maxSeverity: Medium}}
"
    )
}

/// The configuration of the site, its registries where they listen now.
pub fn configuration(demo: &Demo) -> String {
    let mut text = SITE.to_owned();
    for (name, at) in [("FRA", &demo.fra), ("AMS", &demo.ams), ("EDGE", &demo.edge)] {
        let CredentialSource::Dir(folder) = at.registry("-", "-").credentials else { panic!("a folder") };
        let (ca, folder) = (demo.world.ca_file(), folder.display().to_string());
        let here = format!(
            "url: \"{}\", caFile: \"{}\", credentials: {{dir: \"{folder}\"}}",
            at.url(),
            ca.display()
        );
        text = text.replace(&format!(", {name}"), &format!(", {here}"));
    }
    let policies = policy("regulated", "regulated", "Enforce") + &policy("trial", "trial", "Observe");
    format!("{text}policies:\n{policies}")
}

/// A review of a new Pod of `namespace` with these images, `c0`, `c1` …
pub fn review(namespace: &str, images: &[&str]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
        .collect();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "admin"}, "dryRun": false,
            "object": {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace},
                "spec": {"containers": containers},
            },
        },
    })
}
