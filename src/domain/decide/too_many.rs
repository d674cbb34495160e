//! The judgement on an image of a Pod with more images than are judged.

use jiff::Timestamp;

use crate::domain::finding::{About, Action, Finding, FindingKind};
use crate::domain::policy::{PolicyView, Regime};

/// Returns the finding for an image of a Pod with more images than are judged. No registry is asked for it. The Pod is
/// denied where the action is `Block`, and otherwise admitted as it is.
#[must_use]
pub fn too_many(regime: &Regime, primary_name: &str, now: Timestamp) -> Finding {
    let kind = FindingKind::TooMany;
    let views = regime.views(primary_name, now);
    let action = views.iter().filter_map(|view| view.on(kind)).max().unwrap_or(Action::Accept);
    let asks = |view: &&PolicyView<'_>| view.on(kind) == Some(action);
    let policies = views.iter().filter(asks).filter_map(|view| view.policy.cloned()).collect();
    Finding {
        kind,
        about: About::Image,
        place: None,
        digest: None,
        detail: Default::default(),
        action,
        policies,
    }
}
