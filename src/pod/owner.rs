//! Who made a Pod, as its `ownerReferences` say. Anybody can write them: they are good for advice, not for decisions.

use std::borrow::Cow;

use serde::Deserialize;

use super::json::{Kept, text};

/// One of a Pod's `ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// As in a manifest: `apps/v1`.
    #[serde(borrow, deserialize_with = "text")]
    pub api_version: Option<Cow<'a, str>>,
    /// As in a manifest: `ReplicaSet`.
    #[serde(borrow, deserialize_with = "text")]
    pub kind: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// Which object of that name.
    #[serde(borrow, deserialize_with = "text")]
    pub uid: Option<Cow<'a, str>>,
    /// Whether its controller made the Pod. A Pod has at most one such owner.
    controller: Option<bool>,
}

/// The owner that made the Pod: the one that says so, else the first.
#[derive(Debug, Default)]
pub struct Owners<'a>(Option<OwnerReference<'a>>);

/// Operators that delete Pods whose images are not what they wrote, and the preset of the chart for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Preset {
    /// CloudNativePG (cloudnative-pg #6344).
    Cnpg,
    /// KubeVirt migrates or evicts virtual machines with another launcher (its `workload-updater.go`).
    Kubevirt,
    /// NiFiKop (nifikop #541).
    Nifikop,
    /// Operator Lifecycle Manager: the Pods of catalogs (operator-lifecycle-manager #2986, #2004).
    Olm,
}

impl Preset {
    /// The name of the preset's file, without `.yaml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl<'a> Owners<'a> {
    /// The owner that made the Pod.
    #[must_use]
    pub fn first(&self) -> Option<&OwnerReference<'a>> {
        self.0.as_ref()
    }
}

impl OwnerReference<'_> {
    /// Whether it is of Kubernetes itself, whose controllers count Pods and never compare their images.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        matches!(self.group(), "" | "apps" | "batch")
    }

    /// The preset of the chart for Pods of this owner.
    #[must_use]
    pub fn preset(&self) -> Option<Preset> {
        match self.group() {
            "postgresql.cnpg.io" => Some(Preset::Cnpg),
            "kubevirt.io" => Some(Preset::Kubevirt),
            "nifi.konpyutaika.com" | "nifi.orange.com" => Some(Preset::Nifikop),
            "operators.coreos.com" => Some(Preset::Olm),
            _ => None,
        }
    }

    fn group(&self) -> &str {
        self.api_version.as_deref().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group)
    }
}

impl<'de> Kept<'de> for Owners<'de> {
    type Item = OwnerReference<'de>;

    fn add(&mut self, _index: usize, item: OwnerReference<'de>) {
        let is_better =
            |have: &OwnerReference<'_>| item.controller == Some(true) && have.controller != Some(true);
        if self.0.as_ref().is_none_or(is_better) {
            self.0 = Some(item);
        }
    }
}
