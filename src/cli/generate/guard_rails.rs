//! `landfall generate guard-rails`: what the API server itself can hold, whether Landfall runs or not.

use std::io::Write;

use crate::domain::api_group::MODE;

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall generate guard-rails --namespace-label tier=regulated --observe | kubectl apply -f -
  landfall generate guard-rails --namespace-label tier=regulated --label-editor platform-admins > guard-rails.yaml";

/// Print ValidatingAdmissionPolicies beside Landfall's own doors: in the namespaces of your enforcing policies, images carry a digest,
/// and the labels by which these policies select are changed by a few only.
///
/// The chart has guards of its own: of Landfall's webhook configurations, of its annotation (`guard.objects`) and of labels
/// (`guard.namespaceLabels`). With the chart you need no --label-editor.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A label of the namespaces in which your policies enforce. May be given several times: then all of them are needed.
    #[arg(long = "namespace-label", value_name = "KEY=VALUE", required = true, value_parser = super::super::sources::label)]
    labels: Vec<(String, String)>,
    /// A group whose members may change these labels of namespaces, and `landfall.dev/mode`. May be given several times. Without it,
    /// labels are not guarded.
    #[arg(long = "label-editor", value_name = "GROUP")]
    editors: Vec<String>,
    /// Warn and write into the audit log, instead of denying.
    #[arg(long)]
    observe: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let Args { labels, editors, observe } = args;
    let actions = if *observe { "[Warn, Audit]" } else { "[Deny]" };
    let selected: serde_json::Map<_, _> =
        labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let selected = serde_json::to_string(&selected)?;
    write!(out, "{}", digests(&selected, actions))?;
    if !editors.is_empty() {
        let mut keys: Vec<&str> = vec![MODE];
        keys.extend(labels.iter().map(|(key, _)| key.as_str()).filter(|key| *key != MODE));
        write!(out, "---\n{}", namespace_labels(&serde_json::to_string(&keys)?, &cel(editors)?, actions))?;
    }
    Ok(())
}

/// A list as CEL has it: its strings are those of JSON.
fn cel(list: &[String]) -> anyhow::Result<String> {
    Ok(serde_json::to_string(list)?)
}

fn digests(selected: &str, actions: &str) -> String {
    format!(
        r#"# A Pod's images carry a digest. Landfall writes it where a policy enforces; this holds where Landfall is not asked: its
# webhook is gone, or somebody has changed the image afterwards. Images that no route covers, or that an exception or
# `exclude.images` leaves alone, get no digest from Landfall: whoever writes such a Pod must write the digest.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: landfall-guard-digests
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE, UPDATE]
        resources: [pods, pods/ephemeralcontainers]
  matchConditions:
    # A static Pod runs already: its mirror only shows it.
    - name: no-mirror
      expression: "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({{}}))"
  variables:
    - name: images
      expression: >-
        object.spec.containers.map(one, one.?image.orValue(''))
        + object.spec.?initContainers.orValue([]).map(one, one.?image.orValue(''))
        + object.spec.?ephemeralContainers.orValue([]).map(one, one.?image.orValue(''))
        + object.spec.?volumes.orValue([]).filter(one, has(one.image)).map(one, one.image.?reference.orValue(''))
    # Whoever changes a label of a Pod that runs is not asked for its images.
    - name: before
      expression: >-
        oldObject == null ? [] : oldObject.spec.containers.map(one, one.?image.orValue(''))
        + oldObject.spec.?initContainers.orValue([]).map(one, one.?image.orValue(''))
        + oldObject.spec.?ephemeralContainers.orValue([]).map(one, one.?image.orValue(''))
        + oldObject.spec.?volumes.orValue([]).filter(one, has(one.image)).map(one, one.image.?reference.orValue(''))
    - name: unpinned
      expression: >-
        variables.images.filter(image, !image.matches('@sha256:[0-9a-f]{{64}}$') && !(image in variables.before))
  validations:
    - expression: variables.unpinned.size() == 0
      messageExpression: >-
        'these images have no digest, so nobody has proved them: ' + variables.unpinned.join(', ')
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: landfall-guard-digests
spec:
  policyName: landfall-guard-digests
  validationActions: {actions}
  matchResources:
    namespaceSelector:
      matchLabels: {selected}
"#
    )
}

fn namespace_labels(keys: &str, editors: &str, actions: &str) -> String {
    format!(
        r#"# Which namespaces are Landfall's to judge, and which policy acts there, is said by labels that everyone who may edit a namespace
# may change. Only these groups may. (The chart's `guard.namespaceLabels` is the same: use one of them.)
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: landfall-guard-namespace-labels
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      # `status` and `finalize` too: the API server takes labels with them.
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [namespaces, namespaces/*]
  matchConditions:
    - name: others
      expression: >-
        !request.userInfo.?groups.orValue([]).exists(group, group in {editors})
  variables:
    - name: before
      expression: >-
        oldObject == null ? {{}} : dyn(oldObject.metadata).?labels.orValue({{}})
    - name: after
      expression: >-
        dyn(object.metadata).?labels.orValue({{}})
    - name: changed
      expression: >-
        {keys}.filter(key, variables.before[?key] != variables.after[?key])
  validations:
    - expression: variables.changed.size() == 0
      messageExpression: >-
        'only some groups may set, change or remove: ' + variables.changed.join(', ')
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: landfall-guard-namespace-labels
spec:
  policyName: landfall-guard-namespace-labels
  validationActions: {actions}
"#
    )
}
