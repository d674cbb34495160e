//! At which registries of ours something changed.

use crate::domain::name::RegistryName;
use crate::domain::replication::Remote;
use crate::domain::settings::Settings;
use crate::harbor::notification::{Change, Changed};

/// What changed, by the registry of the settings where it did. A Harbor that replicates speaks of the destination, by the name
/// of the source or of the copy.
pub(super) fn resolved(
    settings: &Settings,
    notifier: &RegistryName,
    changed: Changed,
) -> Vec<(RegistryName, Change)> {
    match changed {
        Changed::Here(changes) => changes.into_iter().map(|change| (notifier.clone(), change)).collect(),
        Changed::At(changes) => {
            changes.into_iter().filter(|(at, _)| settings.registries.contains_key(at)).collect()
        }
        Changed::There { endpoint, changes } => {
            let remote = Remote { name: "".into(), url: endpoint, kind: "".into() };
            let mut found = Vec::new();
            for registry in settings.registries.values().filter(|registry| remote.is(registry)) {
                for change in &changes {
                    found.push((registry.name.clone(), change.clone()));
                    let source = change.repository();
                    let routes = settings.routes.iter().filter(|route| {
                        route.primary.name == *notifier && route.repositories.matches(source.as_str())
                    });
                    let replicas = routes.flat_map(|route| &route.replicas);
                    for replica in replicas.filter(|replica| replica.registry.name == registry.name) {
                        if let Ok(copy) = replica.mapping.map(source.as_str()) {
                            found.push((registry.name.clone(), change.in_repository(copy)));
                        }
                    }
                }
            }
            found
        }
    }
}
