//! `pullSecrets:`, and `pullCredentials` of registries.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::registries::{Pull, Registries};
use super::{Build, did_you_mean, raw};
use crate::config::decode::At;
use crate::config::scalar::FilePath;
use crate::config::tree::NodeId;
use crate::domain::name::{PullSecret, RegistryName};
use crate::domain::policy::Selector;
use crate::domain::pull_secrets::{Managed, PullSecrets};
use crate::domain::registry::CredentialSource;

impl Build<'_> {
    /// Everything is checked in both modes, so that the mode can be changed without a surprise.
    pub(super) fn pull_secrets(
        &mut self,
        pull_secrets: Option<At<raw::PullSecrets>>,
        registries: &Registries,
        pulls: Vec<Pull>,
    ) -> PullSecrets {
        let at = pull_secrets.as_ref().map(|at| at.node);
        let raw::PullSecrets { mode, per_namespace } = pull_secrets.map(|at| at.value).unwrap_or_default();
        let mut some: BTreeMap<RegistryName, Vec<(Selector, PathBuf)>> = BTreeMap::new();
        for entry in per_namespace.unwrap_or_default() {
            if let Some((registry, selector, dir)) = self.per_namespace(entry, registries) {
                some.entry(registry).or_default().push((selector, dir));
            }
        }
        let (mut managed, mut named): (Vec<Managed>, BTreeMap<PullSecret, NodeId>) = Default::default();
        let (mut shared, mut nameless) = (Vec::new(), false);
        for Pull { registry, node, secret_at, credentials } in pulls {
            let others = credentials.and_then(|credentials| self.pull_credentials(credentials));
            let some = some.remove(&registry).unwrap_or_default();
            let Some(known) = registries.get(&registry) else { continue };
            let secret = known.pull_secret.clone();
            if let Some((secret, at)) = secret.clone().zip(secret_at) {
                let first = *named.entry(secret.clone()).or_insert(at);
                if first != at {
                    shared.push((secret, first, at));
                }
            }
            if some.is_empty() && others.is_none() {
                continue;
            }
            let Some(secret) = secret else {
                let hint =
                    "write the name that the Secret gets in each namespace, as in `pullSecret: landfall-ams`";
                nameless = true;
                self.error(
                    node,
                    format!("`pullSecret` of `{registry}` is missing: there are credentials for it"),
                    hint.to_owned(),
                );
                continue;
            };
            let mut dirs = some.iter().map(|(_, dir)| dir).chain(&others);
            if let CredentialSource::Dir(own) = &known.credentials
                && dirs.any(|dir| dir == own)
            {
                let hint = "whoever may create Pods can read what they pull with: use an account that may pull, and nothing else";
                self.warn(
                    node,
                    format!("Pods get the credentials with which Landfall itself asks `{registry}`"),
                    hint.to_owned(),
                );
            }
            managed.push(Managed { registry: known.clone(), secret, some, others });
        }
        for (secret, first, at) in shared {
            if managed.iter().any(|one| one.secret == secret) {
                let line = self.tree.line(first);
                let hint = format!("it is first used on line {line}; give each registry a Secret of its own");
                self.error(
                    at,
                    format!("two registries have the pull secret `{secret}`, and Landfall makes it"),
                    hint,
                );
            }
        }
        if mode != Some(raw::PullSecretsMode::Managed) {
            return PullSecrets::default();
        }
        if let Some(at) = at
            && managed.is_empty()
            && !nameless
            && !self.tree.has_pruned(at)
        {
            let hint = "give a registry `pullCredentials: {dir: …}`, or write `mode: Unmanaged`".to_owned();
            self.error(at, "`mode` is `Managed`, but no registry has credentials for its pull secret", hint);
        }
        PullSecrets::new(managed)
    }

    fn per_namespace(
        &mut self,
        At { node, value }: At<raw::PerNamespace>,
        registries: &Registries,
    ) -> Option<(RegistryName, Selector, PathBuf)> {
        let raw::PerNamespace { registry, namespace_selector, credentials } = value;
        let registry = self.need(node, "registry", registry, "name one of the `registries`");
        let hint = "select the namespaces, as in `{matchLabels: {kubernetes.io/metadata.name: shop}}`";
        let selector = self.need(node, "namespaceSelector", namespace_selector, hint);
        let selector = selector.map(|At { node, value }| self.selector(node, value));
        let hint = "write where they are, as in `{dir: /etc/landfall/pull/shop}`";
        let credentials = self.need(node, "credentials", credentials, hint);
        let dir = credentials.and_then(|credentials| self.pull_credentials(credentials));
        let At { node, value: name } = registry?;
        let Some((registry, _)) = registries.iter().find(|(known, _)| known.as_str() == &*name.0) else {
            let known = registries.keys().map(RegistryName::as_str);
            self.error(node, format!("there is no registry `{}`", name.0), did_you_mean(&name.0, known));
            return None;
        };
        Some((registry.clone(), selector?, dir?))
    }

    fn pull_credentials(&mut self, At { node, value }: At<raw::PullCredentials>) -> Option<PathBuf> {
        let raw::PullCredentials { dir } = value;
        let hint = "write a folder that holds the files `username` and `password`";
        let At { node, value: FilePath(dir) } = self.need(node, "dir", dir, hint)?;
        for name in ["username", "password"] {
            self.file(node, &dir.join(name));
        }
        Some(dir)
    }
}
