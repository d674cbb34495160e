//! What several suites need, written once.
//!
//! A suite declares it with `#[path = "support/support.rs"] mod support;`. No suite needs all of it, so each of them
//! expects dead code there.

pub mod door;
pub mod metrics;
pub mod site;
pub mod wait;

use landfall::facade::domain::case::{Case, Exemption, PodContext, Pull};
use landfall::facade::domain::policy::Labels;
use landfall::facade::domain::settings::Settings;

/// The Case of an image in a namespace without labels, now.
pub fn case_for(settings: &Settings, image: &str) -> Case {
    let now = jiff::Timestamp::now();
    let context = PodContext {
        regime: settings.regime(&Labels::new(), now),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now,
    };
    settings.case_for(image, Pull::Registry, &context)
}
