//! An explanation as text.

use std::fmt::{self, Write};

use super::{Answer, Applied, Copy, Explanation, Found, Then};

/// How wide the names of the first column are.
const NAMES: usize = 12;

/// Returns the explanation for people.
#[must_use]
pub fn text(one: &Explanation) -> String {
    let mut out = String::new();
    // A String takes everything.
    let _ = write(one, &mut out);
    out
}

fn write(one: &Explanation, out: &mut String) -> fmt::Result {
    let Explanation { image, slot, namespace, left_alone, then, route, name, platforms, .. } = one;
    line(out, "image", image)?;
    line(out, "in", &format!("{slot} of a Pod of namespace {namespace}"))?;
    if let Some(why) = left_alone {
        line(out, "left alone", &format!("{why}: no door judges its Pods. If one did:"))?;
    }
    if let Some(Then { was, is, why, findings, place }) = then {
        let at = place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        let found = if findings.is_empty() { String::new() } else { format!(", {}", findings.join(", ")) };
        line(out, "then", &format!("{why}{at}{found} (the Pod's annotation says so; anybody can write it)"))?;
        line(out, "", &format!("was {was}"))?;
        line(out, "", &format!("is  {is}"))?;
    }
    match route {
        Some(route) => line(out, "route", &format!("{route}: {name}"))?,
        None => line(out, "route", "none covers it")?,
    }
    if !platforms.is_empty() {
        line(out, "platforms", &platforms.join(", "))?;
    }
    list(out, "policies", one.policies.iter().map(policy))?;
    list(out, "copies", one.places.iter().map(copy))?;
    list(out, "asked", one.answers.iter().map(asked))?;
    list(out, "found", one.findings.iter().map(found))?;
    line(out, "verdict", &one.reason)?;
    if let Some(denied) = &one.denied {
        list(out, "denied", denied.lines().map(str::to_owned))?;
        return Ok(());
    }
    line(out, "becomes", one.becomes.as_deref().unwrap_or("what it is: nothing is changed"))?;
    if let Some(secret) = &one.pull_secret {
        line(out, "pull secret", secret)?;
    }
    if let Some(patch) = &one.patch {
        line(out, "patch", patch.get())?;
    }
    Ok(())
}

fn line(out: &mut String, name: &str, text: &str) -> fmt::Result {
    writeln!(out, "{name:<NAMES$}{text}")
}

/// Lines under one name; nothing where there are none.
fn list(out: &mut String, name: &str, lines: impl Iterator<Item = String>) -> fmt::Result {
    for (n, text) in lines.enumerate() {
        line(out, if n == 0 { name } else { "" }, &text)?;
    }
    Ok(())
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
