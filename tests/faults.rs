//! Every fault that a registry can show, over real sockets and TLS, judged by the real Observatory.
//!
//! [`table`] is the table: a fault in a line, with what must be found and what may be asked for it. Each line is judged
//! with every policy action that matters, with one local Place and with two (see [`row::Site`]); [`row`] says what must
//! come of that. Every case has its own world and its own runtime, so that time can be moved on in it.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "faults/door.rs"]
mod door;
#[path = "faults/ground.rs"]
mod ground;
#[path = "faults/model.rs"]
mod model;
#[path = "faults/row.rs"]
mod row;
#[path = "faults/sequences.rs"]
mod sequences;
#[path = "support/support.rs"]
#[expect(dead_code, reason = "no suite needs all of it")]
mod support;
#[path = "faults/table.rs"]
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use row::{Row, Trial};

/// So many cases at once: most of them wait for an answer that does not come.
const AT_ONCE: usize = 12;

#[test]
fn every_row_ends_as_the_table_says() {
    let trials = hold(&table::rows());
    assert!(trials > 700, "{trials} trials: the table lost its rows");
}

#[test]
fn what_is_remembered_counts_while_its_registry_is_slow() {
    hold(&table::remembered());
}

#[test]
fn a_broken_connection_is_tried_once_more() {
    hold(&table::broken());
}

/// Holds every trial of these rows, and says how many there were.
fn hold(rows: &[Row]) -> usize {
    let trials: Vec<Trial<'_>> = rows.iter().flat_map(|row| row.trials()).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(trial.hold())));
                    let problem = match ended {
                        Ok(Ok(())) => continue,
                        Ok(Err(problem)) => problem,
                        Err(_) => "it panicked".to_owned(),
                    };
                    wrong.lock().unwrap().push(format!("{trial}: {problem}"));
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {} trials:\n{}", wrong.len(), trials.len(), wrong.join("\n"));
    trials.len()
}
