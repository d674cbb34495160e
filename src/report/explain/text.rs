//! An explanation as text.

use crate::domain::text::hanging;

use super::{Answer, Applied, Copy, Explanation, Found, Then};

/// How wide the names of the first column are.
const NAMES: usize = 12;

/// Returns the explanation for people. With a `width` its lines are broken, where they have a space.
#[must_use]
pub fn text(one: &Explanation, width: Option<usize>) -> String {
    let mut page = Page { text: String::new(), width };
    write(one, &mut page);
    page.text
}

/// Returns one line: its name, and what it says.
#[must_use]
pub fn line(name: &str, text: &str, width: Option<usize>) -> String {
    hanging(&format!("{name:<NAMES$}{text}"), NAMES, width)
}

struct Page {
    text: String,
    width: Option<usize>,
}

impl Page {
    fn line(&mut self, name: &str, text: &str) {
        self.text += &line(name, text, self.width);
        self.text.push('\n');
    }

    /// Lines under one name; nothing where there are none.
    fn list(&mut self, name: &str, lines: impl Iterator<Item = String>) {
        for (n, text) in lines.enumerate() {
            self.line(if n == 0 { name } else { "" }, &text);
        }
    }
}

fn write(one: &Explanation, page: &mut Page) {
    let Explanation { image, slot, namespace, left_alone, then, route, name, platforms, .. } = one;
    page.line("image", image);
    page.line("in", &format!("{slot} of a Pod of namespace {namespace}"));
    if let Some(why) = left_alone {
        page.line("left alone", &format!("{why}: no door judges its Pods. If one did:"));
    }
    if let Some(Then { was, is, why, findings, place }) = then {
        let at = place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        let found = if findings.is_empty() { String::new() } else { format!(", {}", findings.join(", ")) };
        page.line("then", &format!("{why}{at}{found} (the Pod's annotation says so; anybody can write it)"));
        page.line("", &format!("was {was}"));
        page.line("", &format!("is  {is}"));
    }
    match route {
        Some(route) => page.line("route", &format!("{route}: {name}")),
        None => page.line("route", "none covers it"),
    }
    if !platforms.is_empty() {
        page.line("platforms", &platforms.join(", "));
    }
    page.list("policies", one.policies.iter().map(policy));
    page.list("copies", one.places.iter().map(copy));
    page.list("asked", one.answers.iter().map(asked));
    page.list("found", one.findings.iter().map(found));
    page.line("verdict", &one.reason);
    if let Some(denied) = &one.denied {
        page.list("denied", denied.lines().map(str::to_owned));
        return;
    }
    page.line("becomes", one.becomes.as_deref().unwrap_or("what it is: nothing is changed"));
    if let Some(secret) = &one.pull_secret {
        page.line("pull secret", secret);
    }
    if let Some(patch) = &one.patch {
        // It is there to be copied, so it stays whole.
        page.text += &format!("{:<NAMES$}{}\n", "patch", patch.get());
    }
}

fn policy(Applied { policy, enforcement, would }: &Applied) -> String {
    let would = would.as_ref().map(|would| format!(", alone it would say {would}")).unwrap_or_default();
    match policy.as_str() {
        "defaults" => "none enforces here: the defaults of the configuration count".to_owned(),
        name => format!("{name}: {enforcement}{would}"),
    }
}

fn copy(Copy { registry, repository, site, local, primary, state, findings }: &Copy) -> String {
    let role = if *primary { "primary" } else { "replica" };
    let here = if *local { "here" } else { site };
    let why = if findings.is_empty() { String::new() } else { format!(": {}", findings.join(", ")) };
    format!("{registry} ({role}, {here}) {repository}: {state}{why}")
}

fn asked(Answer { registry, question, answer, age_seconds }: &Answer) -> String {
    let age = if *age_seconds == 0 { String::new() } else { format!(" ({age_seconds} s ago)") };
    format!("{registry}: {question} {answer}{age}")
}

fn found(one: &Found) -> String {
    let Found { finding, registry, digest, detail, action, key, policies, advice } = one;
    let at = registry.as_ref().map(|registry| format!(" at {registry}")).unwrap_or_default();
    let of = digest.as_ref().map(|digest| format!(" of {digest}")).unwrap_or_default();
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let by = if policies.is_empty() { "the defaults".to_owned() } else { policies.join(", ") };
    format!("{finding}{at}{of}{detail}: {action}, by {key} of {by}; {advice}")
}
