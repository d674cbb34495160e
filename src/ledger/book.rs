//! The ledger in memory: for the demo. What it keeps is changed by the same functions as the objects of a cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::record::{Record, Running, Standing, Swept, Tally, after, counted, fold};
use super::recorder::Recorder;
use crate::domain::gap::{Gap, GapKey};

/// Records by their keys. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<BTreeMap<GapKey, Record>>>);

impl Book {
    /// Folds what this recorder has taken.
    pub fn fold(&self, recorder: &Recorder) {
        for key in recorder.keys() {
            if let Some(tally) = recorder.take(&key) {
                self.put(&key, |record| Some(fold(record, &tally, &key)));
            }
        }
    }

    /// Notes what a look at the image has found.
    pub fn stands(&self, key: &GapKey, standing: &Standing, lag: Option<Duration>, at: Timestamp) {
        self.put(key, |record| after(record?, key, standing, lag, at));
    }

    /// Notes what a sweep has found.
    pub fn swept(&self, swept: &Swept) {
        for (Gap { key, .. }, Running { pods, .. }) in &swept.found {
            let of_key = |(n, (gap, _)): (usize, &(Gap, Running))| (gap.key == *key).then_some(n);
            let tally = Tally::of_sweep(
                swept,
                &swept.found.iter().enumerate().filter_map(of_key).collect::<Vec<_>>(),
            );
            self.put(key, |record| {
                let record = fold(record, &tally, key);
                Some(counted(&record, key, *pods).unwrap_or(record))
            });
        }
        if swept.complete {
            let found = |key: &GapKey| swept.found.iter().any(|(gap, _)| gap.key == *key);
            for (key, _) in self.entries().iter().filter(|(key, _)| !found(key)) {
                self.put(key, |record| counted(record?, key, 0));
            }
        }
    }

    /// All records.
    #[must_use]
    pub fn entries(&self) -> Vec<(GapKey, Record)> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().map(|(key, record)| (key.clone(), record.clone())).collect()
    }

    fn put(&self, key: &GapKey, change: impl FnOnce(Option<&Record>) -> Option<Record>) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = change(records.get(key)) {
            records.insert(key.clone(), record);
        }
    }
}
