//! The condition `Namespaces`: whether the labels of namespaces are known.

use crate::cluster::{Known, Namespaces};
use crate::domain::error_chain::error_chain;
use crate::server::{Condition, ConditionName, Conditions};

/// Keeps the labels known for as long as it is polled, and shows how that goes. The condition never makes a replica
/// unready: unknown labels only make policies stricter, and an API server that is down is down for every replica.
pub(super) async fn keep(namespaces: Namespaces, conditions: Conditions) {
    let show = |condition| conditions.set(ConditionName::Namespaces, condition);
    if !namespaces.is_watched() {
        show(Condition::degraded(
            "there is no API server to ask: a policy applies wherever the name of the namespace does not rule it out",
        ));
        return std::future::pending().await;
    }
    namespaces
        .watch(|known| {
            show(match known {
                Known::All => Condition::good("watched"),
                Known::Stale(error) => Condition::degraded(format!(
                    "labels may be old, and a namespace that is not known is taken to have any label: {}",
                    error_chain(&error)
                )),
            });
        })
        .await;
}
