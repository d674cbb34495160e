//! One line about the images of a Pod, for audit annotations and logs.

use crate::domain::decision::ImageDecision;
use crate::domain::name::RegistryName;
use crate::domain::verdict::Reason;

use super::slots::Slot;

/// The most images in one line.
const MOST: usize = 20;

/// Returns the reason for each image: `containers/web: Local at ams; containers/log: NotRouted`.
pub fn images<'a>(
    images: impl Iterator<Item = (&'a Slot<'a>, &'a ImageDecision)>,
    reason: impl Fn(&ImageDecision) -> Reason,
) -> String {
    list(images, |decision, line| {
        let reason = reason(decision);
        line.extend([": ", reason.as_str()]);
        at(decision.serving().filter(|_| reason != Reason::Observed), line);
    })
}

/// Returns the findings of each image: `containers/web: Missing at ams, Unscanned at edge`; empty where there are none.
pub fn findings<'a>(images: impl Iterator<Item = (&'a Slot<'a>, &'a ImageDecision)>) -> String {
    list(images.filter(|(_, decision)| !decision.findings.is_empty()), |decision, line| {
        for (n, finding) in decision.findings.iter().enumerate() {
            line.extend([if n == 0 { ": " } else { ", " }, finding.kind.as_str()]);
            at(decision.registry_of(finding), line);
        }
    })
}

fn at(registry: Option<&RegistryName>, line: &mut String) {
    if let Some(registry) = registry {
        line.extend([" at ", registry.as_str()]);
    }
}

fn list<'a>(
    mut images: impl Iterator<Item = (&'a Slot<'a>, &'a ImageDecision)>,
    write: impl Fn(&ImageDecision, &mut String),
) -> String {
    let mut line = String::new();
    for (slot, decision) in images.by_ref().take(MOST) {
        line.extend([if line.is_empty() { "" } else { "; " }, slot.field.as_str(), "/", slot.name]);
        write(decision, &mut line);
    }
    let more = images.count();
    if more > 0 {
        line.push_str(&format!("; {more} more"));
    }
    line
}
