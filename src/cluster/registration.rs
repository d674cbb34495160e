//! Webhook configurations as the API server has them: whom it calls, for which Pods, and what it does without an answer.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhook,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::{Cluster, ClusterError, call};
use crate::domain::policy::{LabelRequirement, LabelTest, Selector};

/// One entry of a webhook configuration, with the API server's defaults filled in.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its name.
    pub name: String,
    /// The Service that is called; `None` if a URL is called.
    pub service: Option<Called>,
    /// The authorities (PEM) that the certificate is verified by; empty if there are none.
    pub bundle: Vec<u8>,
    /// `Ignore` or `Fail`: whether a Pod is admitted if nobody answers.
    pub failure_policy: String,
    /// `IfNeeded` or `Never`: whether it is called again after other webhooks have changed the Pod. A validating one never is.
    pub reinvocation: String,
    /// How long the API server waits for an answer.
    pub timeout: Duration,
    /// Whether it is called when a Pod is created.
    pub pods: bool,
    /// The namespaces it is called for.
    pub namespaces: Selector,
    /// The Pods it is called for.
    pub objects: Selector,
}

/// The Service that a webhook is called at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The namespace of the Service.
    pub namespace: String,
    /// The name of the Service.
    pub name: String,
    /// The path; empty if none is given.
    pub path: String,
    /// The port of the Service.
    pub port: u16,
}

impl Cluster {
    /// The entries of the MutatingWebhookConfiguration of that name.
    ///
    /// # Errors
    /// If the API server cannot be asked, or there is no such configuration.
    pub async fn registrations(&self, name: &str) -> Result<Vec<Registration>, ClusterError> {
        let what = || format!("MutatingWebhookConfiguration `{name}`");
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let found = call(|| format!("read {}", what()), api.get_opt(name)).await?;
        let found = found.ok_or_else(|| ClusterError::Missing { what: what() })?;
        Ok(found.webhooks.unwrap_or_default().into_iter().map(Registration::of).collect())
    }

    /// The MutatingWebhookConfigurations that are called when a Pod is created, in the order of the calls.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn mutators(&self) -> Result<Vec<String>, ClusterError> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let what = || "list MutatingWebhookConfigurations".to_owned();
        let concerned =
            call(what, api.list(&ListParams::default())).await?.items.into_iter().filter(|configuration| {
                configuration.webhooks.iter().flatten().any(|entry| creates_pods(entry.rules.as_deref()))
            });
        let mut names: Vec<String> = concerned.map(|configuration| configuration.name_any()).collect();
        // The API server calls them in the order of their names.
        names.sort();
        Ok(names)
    }
}

impl Registration {
    /// A validating entry: it has what a mutating one has, but for the reinvocation.
    pub(super) fn of_validating(entry: ValidatingWebhook) -> Self {
        let ValidatingWebhook {
            admission_review_versions,
            client_config,
            failure_policy,
            match_conditions,
            match_policy,
            name,
            namespace_selector,
            object_selector,
            rules,
            side_effects,
            timeout_seconds,
        } = entry;
        Self::of(MutatingWebhook {
            admission_review_versions,
            client_config,
            failure_policy,
            match_conditions,
            match_policy,
            name,
            namespace_selector,
            object_selector,
            reinvocation_policy: None,
            rules,
            side_effects,
            timeout_seconds,
        })
    }

    fn of(entry: MutatingWebhook) -> Self {
        let service = entry.client_config.service.map(|service| Called {
            namespace: service.namespace,
            name: service.name,
            path: service.path.unwrap_or_default(),
            port: service.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
        });
        let timeout = entry.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(10);
        Self {
            pods: creates_pods(entry.rules.as_deref()),
            name: entry.name,
            service,
            bundle: entry.client_config.ca_bundle.map(|ByteString(bytes)| bytes).unwrap_or_default(),
            failure_policy: entry.failure_policy.unwrap_or_else(|| "Fail".to_owned()),
            reinvocation: entry.reinvocation_policy.unwrap_or_else(|| "Never".to_owned()),
            timeout: Duration::from_secs(timeout),
            namespaces: selector(entry.namespace_selector),
            objects: selector(entry.object_selector),
        }
    }
}

fn creates_pods(rules: Option<&[RuleWithOperations]>) -> bool {
    let any = |words: Option<&Vec<String>>, wanted: &[&str]| {
        words.into_iter().flatten().any(|word| wanted.contains(&word.as_str()))
    };
    rules.into_iter().flatten().any(|rule| {
        any(rule.api_groups.as_ref(), &["", "*"])
            && any(rule.resources.as_ref(), &["pods", "*", "*/*"])
            && any(rule.operations.as_ref(), &["CREATE", "*"])
    })
}

/// A label selector as our own type. An unknown operator cannot occur: the API server refuses it.
fn selector(selector: Option<LabelSelector>) -> Selector {
    let LabelSelector { match_expressions, match_labels } = selector.unwrap_or_default();
    let labels = match_labels
        .into_iter()
        .flatten()
        .map(|(key, value)| LabelRequirement { key: key.into(), test: LabelTest::In(vec![value.into()]) });
    let expressions = match_expressions.into_iter().flatten().filter_map(|expression| {
        let values = || expression.values.iter().flatten().map(|value| value.as_str().into()).collect();
        let test = match expression.operator.as_str() {
            "In" => LabelTest::In(values()),
            "NotIn" => LabelTest::NotIn(values()),
            "Exists" => LabelTest::Exists,
            "DoesNotExist" => LabelTest::DoesNotExist,
            _ => return None,
        };
        Some(LabelRequirement { key: expression.key.clone().into(), test })
    });
    Selector::new(labels.chain(expressions).collect())
}
