//! The records of the stage's ledger: what the doors have recorded so far, and how each image that is still lacking stands now.

use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;

use crate::domain::gap::GapKey;
use crate::ledger::{Book, Recheck, Record, Recorder};
use crate::server::GapsOf;

/// Folds what was recorded, and looks at each image again that is still lacking.
pub(super) async fn entries(ledger: &Book, recorder: &Recorder, recheck: &Recheck) -> Vec<(GapKey, Record)> {
    ledger.fold(recorder);
    for (key, record) in ledger.entries().iter().filter(|(_, record)| record.is_open()) {
        let standing = recheck(key, record).await;
        ledger.stands(key, &standing, None, Timestamp::now());
    }
    ledger.entries()
}

/// The same, for the status page.
pub(super) fn gaps_of(ledger: &Book, recorder: &Recorder, recheck: &Recheck) -> GapsOf {
    let (ledger, recorder, recheck) = (ledger.clone(), recorder.clone(), recheck.clone());
    Arc::new(move || {
        let (ledger, recorder, recheck) = (ledger.clone(), recorder.clone(), recheck.clone());
        async move { Ok(entries(&ledger, &recorder, &recheck).await) }.boxed()
    })
}
