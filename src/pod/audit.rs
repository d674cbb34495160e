//! One line about the images of a Pod, for audit annotations and logs. The names of containers are escaped, so that no name
//! looks like another entry.

use std::collections::HashSet;

use crate::domain::decision::ImageDecision;
use crate::domain::finding::Finding;
use crate::domain::name::RegistryName;
use crate::domain::text::plain;
use crate::domain::verdict::Reason;

use super::slots::{Slot, push_name};

/// The most images in one line.
const MOST: usize = 20;
/// The most findings of one image whose details are written.
const MOST_DETAILS: usize = 8;

/// Returns the reason for each image, and the registry that serves it: `containers/web: Local at ams; containers/log:
/// NotRouted`.
pub fn images<'a>(
    images: impl Iterator<Item = (&'a Slot<'a>, (Reason, Option<&'a RegistryName>))>,
) -> String {
    list(images, |(reason, serving), line| {
        line.extend([": ", reason.as_str()]);
        at(serving.filter(|_| reason != Reason::Observed), line);
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

/// Returns what was seen of each denied image: `containers/web: Unreachable at ams (TLS with ams.example.com failed)`. It may
/// name internal hosts, so it is not for users.
pub fn details<'a>(images: impl Iterator<Item = (&'a Slot<'a>, &'a ImageDecision)>) -> String {
    fn said(decision: &ImageDecision) -> impl Iterator<Item = &Finding> {
        decision.blocking().filter(|finding| !finding.detail.is_empty())
    }
    let mut seen = HashSet::new();
    let denied = images.filter(|(slot, decision)| said(decision).next().is_some() && seen.insert(slot.image));
    list(denied, |decision, line| {
        for (n, finding) in said(decision).take(MOST_DETAILS).enumerate() {
            line.extend([if n == 0 { ": " } else { ", " }, finding.kind.as_str()]);
            at(decision.registry_of(finding), line);
            // A `;` would begin another entry.
            line.extend([" (", &plain(&finding.detail).replace(';', ","), ")"]);
        }
    })
}

fn at(registry: Option<&RegistryName>, line: &mut String) {
    if let Some(registry) = registry {
        line.extend([" at ", registry.as_str()]);
    }
}

fn list<'a, T>(
    mut images: impl Iterator<Item = (&'a Slot<'a>, T)>,
    write: impl Fn(T, &mut String),
) -> String {
    let mut line = String::new();
    for (slot, image) in images.by_ref().take(MOST) {
        line.extend([if line.is_empty() { "" } else { "; " }, slot.field.as_str(), "/"]);
        push_name(slot.name, &mut line);
        write(image, &mut line);
    }
    let more = images.count();
    if more > 0 {
        line.push_str(&format!("; {more} more"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::push_name;
    use crate::pod::Pod;

    #[test]
    fn no_name_looks_like_another_entry() {
        let long = "x".repeat(64);
        for (name, expected) in [
            ("web-1_a.B", "web-1_a.B"),
            ("web: Local at ams; containers/log", "web%3A%20Local%20at%20ams%3B%20containers%2Flog"),
            ("\u{202e}", "%E2%80%AE"),
            ("%3B", "%253B"),
            ("", ""),
            (&long, &format!("{}…", "x".repeat(63))),
        ] {
            let mut line = String::new();
            push_name(name, &mut line);
            assert_eq!(line, expected);
        }
        let body = r#"{"spec":{"volumes":[{"name":"a\nb","image":{"reference":"x"}}]}}"#;
        let pod: Pod<'_> = serde_json::from_str(body).unwrap();
        assert_eq!(pod.slots().next().unwrap().plain(), "volumes/a%0Ab");
    }
}
