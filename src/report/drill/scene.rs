//! What a drill rests on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::keys::Keys;
use crate::domain::gap::GapKey;
use crate::domain::name::RegistryName;
use crate::domain::policy::Labels;
use crate::domain::registry::{Registry, Service};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::Record;

/// What is asked, and about what.
pub struct Drill<'a> {
    /// The settings as they would be then: see [`without`].
    pub settings: &'a Settings,
    /// What the registries are asked by, made with these settings.
    pub observatory: &'a Observatory,
    /// The registries that are taken to be lost.
    pub lost: &'a BTreeSet<RegistryName>,
    /// The Secrets and ServiceAccounts.
    pub keys: &'a Keys,
    /// The labels of each namespace. One that is not here is known by its name alone.
    pub labels: &'a BTreeMap<String, Labels>,
    /// The namespace of Landfall itself, whose Pods it leaves alone.
    pub own_namespace: Option<&'a str>,
    /// The open gaps, where they could be read.
    pub gaps: &'a [(GapKey, Record)],
    /// The time of the drill.
    pub now: Timestamp,
}

/// The settings with these registries drained, as they are judged while they are lost.
///
/// # Errors
/// One of the names is not configured: the message names those that are.
pub fn without(settings: &Settings, lost: &BTreeSet<RegistryName>) -> Result<Settings, String> {
    let mut registries = settings.registries.clone();
    for name in lost {
        let Some(registry) = registries.get_mut(name) else {
            let known: Vec<&str> = settings.registries.keys().map(RegistryName::as_str).collect();
            return Err(format!("`{name}` is no registry of the configuration; it has {}", known.join(", ")));
        };
        *registry = Registry { service: Service::Drained, ..(**registry).clone() }.into();
    }
    Ok(Settings { registries, ..settings.clone() })
}
