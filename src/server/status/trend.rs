//! How many images were served locally over the last hours: one point every five minutes, for a day.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::numbers::Numbers;

/// The time between two points.
pub(super) const EVERY: Duration = Duration::from_mins(5);
/// How many points are kept.
const MOST: usize = 288;
/// The reasons for which a Pod has its image from this site.
const HERE: [&str; 4] = ["Local", "AlreadyLocal", "Accepted", "Presumed"];
/// The reasons for which it has it from another site, or not at all.
const ELSEWHERE: [&str; 2] = ["Fallback", "Denied"];

/// The images that were judged in a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// The end of the period.
    pub(super) at: Timestamp,
    /// Those that Pods have from here.
    pub(super) here: f64,
    /// All of them.
    pub(super) all: f64,
}

/// The points. A clone shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Trend(Arc<Mutex<Points>>);

#[derive(Debug, Default)]
struct Points {
    points: VecDeque<Point>,
    /// The counters at the last point.
    last: (f64, f64),
}

impl Trend {
    /// Takes the counters as they are now.
    pub(super) fn take(&self, numbers: &Numbers, at: Timestamp) {
        let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (here, all) = counted(numbers);
        let point = Point { at, here: here - points.last.0, all: all - points.last.1 };
        points.last = (here, all);
        if points.points.len() >= MOST {
            points.points.pop_front();
        }
        points.points.push_back(point);
    }

    /// All points, the oldest first, and last what has been counted since.
    pub(super) fn points(&self, numbers: &Numbers, now: Timestamp) -> Vec<Point> {
        let points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (here, all) = counted(numbers);
        let since = Point { at: now, here: here - points.last.0, all: all - points.last.1 };
        points.points.iter().copied().chain([since]).collect()
    }
}

/// The images that Pods have from here, and all that a Route covers.
fn counted(numbers: &Numbers) -> (f64, f64) {
    let of = |reasons: &[&str]| {
        let each = reasons.iter().map(|reason| numbers.sum("landfall_images_total", &[("reason", reason)]));
        each.sum::<f64>()
    };
    let here = of(&HERE);
    (here, here + of(&ELSEWHERE))
}
