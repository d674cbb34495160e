//! The condition `Inventory`: what a replica that starts knows from those that ran before.

use crate::controllers::inventory::{InventoryKeeper, Standing};
use crate::server::{Condition, ConditionName, Conditions};

/// Keeps the inventory for as long as it is polled. The condition makes a replica unready for 2 s at most.
pub(super) async fn keep(keeper: Option<InventoryKeeper>, conditions: Conditions) {
    let show = |condition| conditions.set(ConditionName::Inventory, condition);
    let Some(keeper) = keeper else {
        show(Condition::good("not kept: there is no API server, or --policies is not given"));
        return std::future::pending().await;
    };
    keeper
        .run(|standing| {
            show(match standing {
                Standing::Good(message) => Condition::good(message),
                Standing::Degraded(message) => Condition::degraded(message),
            });
        })
        .await;
}
