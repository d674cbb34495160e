//! The configuration that all stories share, written as a user would write it.

use jiff::{SignedDuration, Timestamp};

use super::world::seed::Demo;
use super::world::{Embedded, Permission, WorldError, entry};
use crate::domain::registry::CredentialSource;

/// The text of the file: three registries, the routes between them, and the policies of three namespaces.
///
/// Answers live for fractions of a second here, so that the story can go on when a registry goes down or comes back.
/// In operation they live for minutes.
///
/// # Errors
/// If the credentials of the robots that heal cannot be written.
pub(super) fn text(demo: &Demo, now: Timestamp) -> Result<String, WorldError> {
    let rules =
        [Permission::ReplicationPolicyList, Permission::ReplicationList, Permission::ReplicationCreate];
    let fra = entry(
        &demo.fra.registry("fra", "harbor.fra.example.com"),
        &format!("pullSecret: harbor-fra-creds, {}", healing(demo, &demo.fra, &rules)?),
    );
    let ams = entry(
        &demo.ams.registry("ams", "harbor.ams.example.com"),
        &format!(
            "pullSecret: harbor-ams-creds, aliases: [harbor.example.com], {}",
            healing(demo, &demo.ams, &[Permission::ScanCreate])?
        ),
    );
    let edge = entry(&demo.edge.registry("ams", "registry.edge:5000"), "pullSecret: edge-creds");
    // The exception must end, but not while somebody runs the demo.
    let until = now + SignedDuration::from_hours(60 * 24);
    Ok(format!(
        "site: ams\nnear: {{ams: [fra]}}\nregistries:\n  fra: {fra}\n  ams: {ams}\n  edge: {edge}\n{REST}"
    )
    .replace("{until}", &until.to_string())
    .replace("{soon}", &(now + SignedDuration::from_hours(4)).to_string()))
}

/// The key by which a robot of its own may heal there, with these rights alone.
fn healing(demo: &Demo, harbor: &Embedded, rights: &[Permission]) -> Result<String, WorldError> {
    Ok(match demo.world.robot(harbor, "heal", rights)? {
        CredentialSource::Dir(folder) => {
            format!("healing: {{credentials: {{dir: {:?}}}}}", folder.display().to_string())
        }
        _ => String::new(),
    })
}

const REST: &str = r#"routes:
  - name: production
    primary: {registry: fra, repositories: "production/**"}
    replicas: [{registry: ams, namespace: production, flatten: 1}]
  - name: moving              # tags that move: proved against Frankfurt before they are used
    primary: {registry: fra, repositories: "production/{fleet/**,shop/cart}"}
    replicas: [{registry: ams, namespace: production, flatten: 1}]
    tagProof: Required
  - name: trial               # judged and recorded only
    primary: {registry: fra, repositories: "production/trial/**"}
    replicas: [{registry: ams, namespace: production, flatten: 1}]
    rewrite: false
  - name: archive             # for nodes whose runtime refuses a tag beside a digest
    primary: {registry: fra, repositories: "production/archive/**"}
    replicas: [{registry: ams, namespace: production, flatten: 1}]
    pin: Digest
  - name: vendor              # through Amsterdam's proxy-cache project
    primary: {registry: fra, repositories: "production/vendor/**"}
    replicas: [{registry: ams, namespace: cache, flatten: 0, proxy: true}]
  - name: edge                # copied to the plain registry at the edge
    primary: {registry: fra, repositories: "production/edge/**"}
    replicas: [{registry: edge, namespace: ""}]
  - name: regulated
    primary: {registry: fra, repositories: "regulated/**"}
    replicas: [{registry: ams, namespace: regulated, flatten: 1}]
  - name: flattened           # two repositories become one in Amsterdam: a tag there must be proved
    primary: {registry: fra, repositories: "production/{crew,guests}/**"}
    replicas: [{registry: ams, namespace: lists, flatten: all}]
defaults: {onUnscanned: Fallback, scan: {required: Auto, maxSeverity: High, maxAge: 720h}}
exclude: {namespaces: [harbor], images: ["harbor.fra.example.com/platform/**"]}
cache: {present: 300ms, remember: 24h, tag: 300ms, absent: 150ms, scan: 300ms}
healing: {mode: Replicate, after: 0s}
budget: {request: 4500ms, attempt: 2s}    # a busy machine must not change a story's end
policies:
  - metadata: {name: regulated}
    spec:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: payments}}
      enforcement: Enforce
      onMissing: Block
      onStale: Block
      onUnknown: Block
      onUnscanned: Block
      onVulnerable: Block
      onUnrouted: Block
      scan: {required: Always, maxSeverity: Medium, maxAge: 168h}
      contact: container-security@example.com
  - metadata: {name: careful}
    spec:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: archive}}
      enforcement: Enforce
      onVulnerable: Block
      scan: {maxSeverity: Medium}
      exceptions:
        - {images: ["harbor.fra.example.com/production/legacy/**"], findings: [Vulnerable], until: "{until}", reason: "TICKET-7"}
  - metadata: {name: gate}    # it blocks something and leaves out onUnknown: what is unknown is blocked, too
    spec:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kiosk}}
      enforcement: Enforce
      onVulnerable: Block
      scan: {maxSeverity: Medium}
  - metadata: {name: tomorrow}
    spec:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab}}
      enforcement: Observe
      onMissing: Block
      warn: true
  - metadata: {name: stopped} # somebody opened it in an emergency: it only reports until then
    spec:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: emergency}}
      enforcement: Enforce
      onVulnerable: Block
      scan: {maxSeverity: Medium}
      breakGlass: {until: "{soon}", reason: "INC-4711: no time for a new image"}
"#;
