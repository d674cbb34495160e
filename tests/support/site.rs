//! A site: its configuration, its registries where they listen, and Pods that come to it.

use landfall::facade::demo::world::entry;
use landfall::facade::demo::world::seed::Demo;
use serde_json::{Value, json};

/// The configuration of a site, but for its registries.
const SITE: &str = r#"routes:
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
    let fra = entry(&demo.fra.registry("fra", "harbor.fra.example.com"), "pullSecret: harbor-fra-creds");
    let ams = entry(
        &demo.ams.registry("ams", "harbor.ams.example.com"),
        "pullSecret: harbor-ams-creds, aliases: [harbor.example.com]",
    );
    let edge = entry(&demo.edge.registry("ams", "registry.edge:5000"), "");
    let policies = policy("regulated", "regulated", "Enforce") + &policy("trial", "trial", "Observe");
    format!(
        "site: ams # ours\nnear: {{ams: [fra]}}\nregistries:\n  fra: {fra}\n  ams: {ams}\n  edge: {edge}\n{SITE}\
         policies:\n{policies}"
    )
}

/// Containers with these images, `c0`, `c1` …
pub fn containers(images: &[&str]) -> Vec<Value> {
    let container = |(n, image)| json!({"name": format!("c{n}"), "image": image});
    images.iter().enumerate().map(container).collect()
}

/// A review of a new Pod of `namespace` with these images, `c0`, `c1` …
pub fn review(namespace: &str, images: &[&str]) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "admin"}, "dryRun": false,
            "object": {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace},
                "spec": {"containers": containers(images)},
            },
        },
    })
}
