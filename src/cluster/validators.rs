//! Our own ValidatingWebhookConfiguration, by name: the entries by which Pods come to the validating door.
//!
//! The chart renders it without entries; whoever leads writes all of them at once. It is a merge patch, bound to the
//! version that was read, and no server-side apply: that could not take back a match condition that somebody added to an
//! entry, nor remove an entry of which somebody else owns a field.
//!
//! The certificate authorities stand in an annotation, too. So they are there before the first entry is, a new entry is
//! written with them under the version that they were read from, and no entry can be added with authorities that are
//! replaced at the same time.

use std::fmt;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::{Api, Patch};
use serde_json::json;

use super::registration::Registration;
use super::secret::manager;
use super::{Changes, Cluster, ClusterError, Written, call, write};
use crate::domain::api_group::api_group;
use crate::domain::policy::{LabelRequirement, LabelTest, Selector, SelectorId, VALIDATE};

/// The annotation with the certificate authorities (PEM) that every entry must have.
const BUNDLE: &str = concat!(api_group!(), "/ca-bundle");

/// By this annotation cert-manager is asked to fill the `caBundle` of every entry.
const INJECTED: &str = "cert-manager.io/inject-ca-from";

/// The port of our Service that leads to the validating door. The chart's Service has it.
const PORT: i32 = 8443;

/// A ValidatingWebhookConfiguration whose entries are all ours.
#[derive(Debug, Clone)]
pub struct Validators {
    api: Api<ValidatingWebhookConfiguration>,
    name: String,
}

/// What it said when it was read.
#[derive(Debug, Clone, Default)]
pub struct Registered {
    /// The version of the object.
    pub version: String,
    /// The authorities that every entry must have; empty where we do not issue our certificates.
    pub bundle: Vec<u8>,
    /// Who fills the `caBundle` of entries where we do not.
    pub filled: Filled,
    /// The entries, in their order. Entries of other names are no longer there after the next write.
    pub entries: Vec<Entry>,
}

/// Who fills the `caBundle` of entries where we do not issue our certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Filled {
    /// Nobody: an entry is written with the bundle of the other door's entry.
    #[default]
    ByUs,
    /// cert-manager: what it has written stays.
    ByCertManager,
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry(ValidatingWebhook);

/// What all entries have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The namespace of our Service.
    pub namespace: String,
    /// The name of our Service.
    pub service: String,
    /// How long the API server waits for an answer, in whole seconds.
    pub timeout: Duration,
    /// The namespaces whose Pods never come, whatever their labels are, in order.
    pub kept_out: Vec<String>,
}

impl Cluster {
    /// The ValidatingWebhookConfiguration of that name.
    pub fn validators(&self, name: &str) -> Validators {
        Validators { api: Api::all(self.client.clone()), name: name.to_owned() }
    }
}

impl Validators {
    /// What it says now; `None`: there is no such configuration.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn read(&self) -> Result<Option<Registered>, ClusterError> {
        let found = call(|| format!("read {self}"), self.api.get_opt(&self.name)).await?;
        Ok(found.map(Registered::of))
    }

    /// Writes these entries and no others. Nothing is written if the object has changed since it was `read`.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn write(&self, read: &Registered, entries: &[Entry]) -> Result<Written, ClusterError> {
        let webhooks: Vec<_> = entries.iter().map(|Entry(entry)| entry).collect();
        let merge = json!({"metadata": {"resourceVersion": read.version}, "webhooks": webhooks});
        let (params, merge) = (manager(), Patch::Merge(merge));
        write(|| format!("write the entries of {self}"), self.api.patch(&self.name, &params, &merge)).await
    }

    /// Sets the authorities, and with them the `caBundle` of every entry of ours. Nothing is written if the object has
    /// changed since it was `read`.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn publish(&self, read: &Registered, bundle: &str) -> Result<Written, ClusterError> {
        let ours = read.entries.iter().filter(|entry| entry.selector_id().is_some());
        let webhooks: Vec<_> = ours.map(|entry| entry.clone().with(bundle.as_bytes()).0).collect();
        let metadata = json!({"resourceVersion": read.version, "annotations": {BUNDLE: bundle}});
        let merge = json!({"metadata": metadata, "webhooks": webhooks});
        let (params, merge) = (manager(), Patch::Merge(merge));
        write(|| format!("publish the caBundle in {self}"), self.api.patch(&self.name, &params, &merge)).await
    }

    /// A watch that tells when it changes.
    pub fn changes(&self) -> Changes<ValidatingWebhookConfiguration> {
        Changes { api: Api::all(self.api.clone().into_client()), name: self.name.clone() }
    }
}

impl fmt::Display for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValidatingWebhookConfiguration `{}`", self.name)
    }
}

impl Registered {
    fn of(found: ValidatingWebhookConfiguration) -> Self {
        let annotations = found.metadata.annotations.unwrap_or_default();
        Self {
            version: found.metadata.resource_version.unwrap_or_default(),
            filled: if annotations.contains_key(INJECTED) { Filled::ByCertManager } else { Filled::ByUs },
            bundle: annotations.get(BUNDLE).map(|bundle| bundle.clone().into_bytes()).unwrap_or_default(),
            entries: found.webhooks.unwrap_or_default().into_iter().map(Entry).collect(),
        }
    }

    /// Every bundle that a certificate of ours must be verified by: the annotation's, then those of the entries.
    pub fn bundles(&self) -> impl Iterator<Item = Vec<u8>> {
        let of_entries = self.entries.iter().filter(|entry| entry.selector_id().is_some());
        std::iter::once(self.bundle.clone()).chain(of_entries.map(|entry| entry.bundle().to_vec()))
    }

    /// The entry for this selector.
    pub fn entry(&self, id: SelectorId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.selector_id() == Some(id))
    }
}

/// The beginning and the end of an entry's name; between them is the id of its selector.
const NAME: (&str, &str) = ("validate-", concat!(".", api_group!()));

impl Entry {
    /// The name of the entry.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The selector that the entry is for, by its name; `None` if the entry is not ours.
    pub fn selector_id(&self) -> Option<SelectorId> {
        let (before, after) = NAME;
        self.0.name.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    }

    /// The authorities that the certificate is verified by; empty if there are none.
    pub fn bundle(&self) -> &[u8] {
        self.0.client_config.ca_bundle.as_ref().map_or(&[], |ByteString(bytes)| bytes)
    }

    /// What it says to the API server.
    pub fn registration(&self) -> Registration {
        Registration::of_validating(self.0.clone())
    }

    /// The same entry with these authorities.
    #[must_use]
    pub fn with(mut self, bundle: &[u8]) -> Self {
        self.0.client_config.ca_bundle = Some(ByteString(bundle.to_vec())).filter(|one| !one.0.is_empty());
        self
    }
}

impl Common {
    /// The entry for the namespaces that this selector selects, with these authorities. It states what the API server would
    /// fill in, so that it is equal to what is read.
    pub fn entry(&self, selector: &Selector, bundle: &[u8]) -> Entry {
        let (id, words) =
            (selector.id(), |words: &[&str]| Some(words.iter().map(|&word| word.into()).collect()));
        let rule = |operations: &[&str], resources: &[&str]| RuleWithOperations {
            api_groups: words(&[""]),
            api_versions: words(&["v1"]),
            operations: words(operations),
            resources: words(resources),
            scope: Some("Namespaced".to_owned()),
        };
        let (before, after) = NAME;
        let entry = ValidatingWebhook {
            name: format!("{before}{id}{after}"),
            admission_review_versions: vec!["v1".to_owned()],
            client_config: WebhookClientConfig {
                ca_bundle: None,
                service: Some(ServiceReference {
                    namespace: self.namespace.clone(),
                    name: self.service.clone(),
                    path: Some(format!("{VALIDATE}/{id}")),
                    port: Some(PORT),
                }),
                url: None,
            },
            // Nobody answers: the Pod is refused.
            failure_policy: Some("Fail".to_owned()),
            match_conditions: Some(self.conditions()),
            match_policy: Some("Equivalent".to_owned()),
            namespace_selector: Some(label_selector(selector)),
            object_selector: Some(LabelSelector::default()),
            rules: Some(vec![
                rule(&["CREATE", "UPDATE"], &["pods"]),
                rule(&["UPDATE"], &["pods/ephemeralcontainers"]),
            ]),
            side_effects: "NoneOnDryRun".to_owned(),
            timeout_seconds: i32::try_from(self.timeout.as_secs()).ok(),
        };
        Entry(entry).with(bundle)
    }

    /// What needs no call. An error in one of these would refuse the Pod, so nothing is assumed about a Pod; and they cost
    /// little for a Pod with thousands of containers, because lists are compared as a whole.
    fn conditions(&self) -> Vec<MatchCondition> {
        let condition = |name: &str, expression: String| MatchCondition { name: name.to_owned(), expression };
        vec![
            condition("not-kept-out", format!("!(request.?namespace.orValue('') in {})", json!(self.kept_out))),
            // A mirror Pod is the kubelet's note of what runs already. Anyone can write its annotation: only from a node it
            // counts.
            condition(
                "no-mirror-pods",
                "!(request.userInfo.?username.orValue('').startsWith('system:node:') && \
                 'kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
                    .to_owned(),
            ),
            // Finalizers, labels and owners of a Pod that runs must change even while nobody answers. Of a container an
            // update may change the image and nothing else; volumes it may not change at all.
            condition(
                "an-image-changes",
                "request.operation != 'UPDATE' || ['containers', 'initContainers', 'ephemeralContainers', 'volumes']\
                 .exists(list, object.?spec[?list] != oldObject.?spec[?list])"
                    .to_owned(),
            ),
        ]
    }
}

/// The selector in the words of the API. One value of a label may stand in `matchLabels` or in `matchExpressions`; here it is
/// always the latter.
fn label_selector(selector: &Selector) -> LabelSelector {
    let requirement = |LabelRequirement { key, test }: &LabelRequirement| {
        let (operator, values) = match test {
            LabelTest::In(values) => ("In", Some(values)),
            LabelTest::NotIn(values) => ("NotIn", Some(values)),
            LabelTest::Exists => ("Exists", None),
            LabelTest::DoesNotExist => ("DoesNotExist", None),
        };
        LabelSelectorRequirement {
            key: key.to_string(),
            operator: operator.to_owned(),
            values: values.map(|values| values.iter().map(ToString::to_string).collect()),
        }
    };
    let expressions: Vec<_> = selector.requirements().iter().map(requirement).collect();
    LabelSelector { match_expressions: Some(expressions).filter(|some| !some.is_empty()), match_labels: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_named_by_its_selector_and_selects_nothing_narrower() {
        let common = Common {
            namespace: "landfall".into(),
            service: "landfall".into(),
            timeout: Duration::from_secs(5),
            kept_out: vec!["harbor".into(), "kube-system".into()],
        };
        let tier = LabelRequirement { key: "tier".into(), test: LabelTest::In(vec!["regulated".into()]) };
        let selector = Selector::new(vec![tier]);
        let entry = common.entry(&selector, b"one");
        assert_eq!((entry.selector_id(), entry.bundle()), (Some(selector.id()), &b"one"[..]));
        assert_eq!(entry.clone().with(b"two").bundle(), b"two");
        let text = serde_json::to_value(&entry.0).unwrap();
        let path = format!("{VALIDATE}/{}", selector.id());
        assert_eq!(text["clientConfig"]["service"]["path"], path.as_str());
        let expressions = json!([{"key": "tier", "operator": "In", "values": ["regulated"]}]);
        assert_eq!(text["namespaceSelector"], json!({"matchExpressions": expressions}));
        assert_eq!((&text["objectSelector"], &text["failurePolicy"]), (&json!({}), &json!("Fail")));
        let kept_out = &text["matchConditions"][0]["expression"];
        assert_eq!(kept_out, r#"!(request.?namespace.orValue('') in ["harbor","kube-system"])"#);
    }

    #[test]
    fn bundles_are_those_of_our_entries_and_the_one_beside_them() {
        let named =
            |name: &str| Entry(ValidatingWebhook { name: name.into(), ..ValidatingWebhook::default() });
        let ours = named("validate-00000000000000ab.landfall.dev").with(b"old");
        let entries = vec![ours.clone(), named("validate-00000000000000AB.landfall.dev"), named("other")];
        let registered = Registered { bundle: b"new".to_vec(), entries, ..Registered::default() };
        assert_eq!(registered.bundles().collect::<Vec<_>>(), [b"new".to_vec(), b"old".to_vec()]);
        assert_eq!(registered.entry(ours.selector_id().unwrap()), Some(&ours));
    }
}
