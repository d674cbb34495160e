//! The condition `Entries`: whether every policy that is to enforce has its entry of the validating webhook.

use tokio::sync::watch;

use crate::controllers::entries::{EntryKeeper, Report};
use crate::server::{Condition, ConditionName, Conditions, Drain};

/// Keeps the entries until the drain begins, and tells how they stand. The condition never makes a replica unready: an
/// entry that is missing is no reason to answer less.
pub(super) async fn keep(
    keeper: Option<EntryKeeper>,
    told: watch::Sender<Report>,
    conditions: Conditions,
    drain: Drain,
) {
    let show = |condition| conditions.set(ConditionName::Entries, condition);
    let Some(keeper) = keeper else {
        show(Condition::good("not kept: no webhook is named, or there is no Lease"));
        return drain.begun().await;
    };
    let mut news = told.subscribe();
    let shown = async {
        while news.changed().await.is_ok() {
            show(condition(&news.borrow_and_update()));
        }
    };
    tokio::select! {
        () = keeper.run(&told, drain.begun()) => {}
        () = shown => {}
    }
}

fn condition(report: &Report) -> Condition {
    match &report.trouble {
        Some(trouble) => Condition::degraded(trouble),
        None if report.entries.is_empty() => Condition::good("no policy needs one"),
        None => Condition::good(format!("{} stand", report.entries.len())),
    }
}
