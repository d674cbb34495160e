//! What is known of namespaces, as a condition.

use crate::cluster::{Known, Namespaces};
use crate::domain::error_chain::error_chain;
use crate::server::{Condition, ConditionName, Conditions};

/// Keeps the labels of namespaces known, and says how that goes. It never makes a replica unready: whatever is not known
/// makes policies stricter, and the API server may be gone for everybody.
pub(super) async fn keep(namespaces: Namespaces, conditions: Conditions) {
    let show = |condition| conditions.set(ConditionName::Namespaces, condition);
    if !namespaces.are_watched() {
        return show(Condition::degraded(
            "no API server is known to ask: policies apply wherever a namespace's name does not rule them out",
        ));
    }
    namespaces
        .watch(|known| {
            show(match known {
                Known::All => Condition::good("watched"),
                Known::Stale(error) => Condition::degraded(format!(
                    "what is known may be old, and a namespace that is not known has any label: {}",
                    error_chain(&error)
                )),
            });
        })
        .await;
}
