//! The forecast for people.

use super::{Forecast, Prospect};

/// The forecast as text.
#[must_use]
pub fn text(forecast: &Forecast, _width: Option<usize>) -> String {
    let _ = Prospect::Starts;
    format!("{} of {} workloads would start\n", forecast.start, forecast.total)
}
