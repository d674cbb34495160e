//! What somebody should look at, the most urgent first: the page begins with it.

use super::snapshot::{Registry, Rule, Snapshot};
use crate::ledger::age;
use crate::report::gaps::Row;
use crate::server::conditions::{Condition, ConditionName, State};

/// How urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Pods do not start, or would not.
    Now,
    /// Somebody should look today.
    Soon,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attention {
    pub(super) urgency: Urgency,
    /// What it is.
    pub(super) what: String,
    /// What to do.
    pub(super) todo: &'static str,
    /// The section of the page with more about it.
    pub(super) section: &'static str,
}

/// What a snapshot asks somebody to look at.
pub(super) fn attention(snapshot: &Snapshot) -> Vec<Attention> {
    let conditions =
        snapshot.conditions.iter().filter_map(|(name, condition)| of_condition(*name, condition));
    let registries = snapshot.registries.iter().filter_map(of_registry);
    let rules = snapshot.rules.iter().filter_map(of_rule);
    let mut all: Vec<_> = conditions.chain(registries).chain(of_gaps(snapshot)).chain(rules).collect();
    all.sort_by_key(|one| one.urgency);
    all
}

fn of_condition(name: ConditionName, condition: &Condition) -> Option<Attention> {
    let (urgency, todo) = match condition.state {
        State::Good => return None,
        // Each registry is named by itself.
        State::Degraded if name == ConditionName::Registries => return None,
        State::Degraded => (Urgency::Soon, "all that it says stands below"),
        State::Unready => (Urgency::Now, "this replica gets no reviews until then"),
    };
    let first = condition.message.lines().next().unwrap_or_default();
    Some(Attention { urgency, what: format!("{name}: {first}"), todo, section: "replica" })
}

fn of_registry(registry: &Registry) -> Option<Attention> {
    if registry.is_good || registry.is_drained {
        return None;
    }
    let Registry { name, site, health, said, .. } = registry;
    let (urgency, whose) = if registry.local {
        (Urgency::Now, "ours".to_owned())
    } else {
        (Urgency::Soon, format!("of site {site}"))
    };
    let what = format!("Registry {name} ({whose}) is {health}: {said}");
    Some(Attention {
        urgency,
        what,
        todo: "landfall doctor says what is wrong with it",
        section: "registries",
    })
}

fn of_rule(rule: &Rule) -> Option<Attention> {
    let Rule { registry, rule, failed, .. } = rule;
    let what = format!("{failed} of the last executions of replication rule {rule} of {registry} failed");
    let one = Attention {
        urgency: Urgency::Soon,
        what,
        todo: "its log in Harbor says why",
        section: "replication",
    };
    (*failed > 0.0).then_some(one)
}

fn of_gaps(snapshot: &Snapshot) -> Vec<Attention> {
    let section = "gaps";
    let gaps = match &snapshot.gaps {
        Ok(gaps) => gaps,
        Err(why) => {
            let what = format!("The gaps are not known: {why}");
            return vec![Attention { urgency: Urgency::Soon, what, todo: "try: landfall gaps", section }];
        }
    };
    let chosen = |takes: fn(&Row) -> bool| gaps.iter().filter(|row| takes(row)).collect::<Vec<_>>();
    let gone = chosen(|row| row.presence.is_some());
    let scans = chosen(|row| row.presence.is_none() && row.scan.is_some());
    let given_up = chosen(|row| row.has_given_up);
    let of = |rows: &[&Row], urgency, how: &str, todo| {
        let since = rows.iter().map(|row| row.since).min()?;
        let what = format!(
            "{} {} {how} for up to {}{}",
            images(rows.len()),
            if rows.len() == 1 { "is" } else { "are" },
            age(snapshot.now.duration_since(since)),
            named(rows),
        );
        Some(Attention { urgency, what, todo, section })
    };
    let missing = of(
        &gone,
        Urgency::Now,
        "missing here, or cannot be pulled here,",
        "landfall copy --missing brings them; a replication rule that covers them keeps it so",
    );
    let unscanned = of(
        &scans,
        Urgency::Soon,
        "here, but not scanned here as required,",
        "start the scan in the local Harbor, or let Landfall do it (healing.mode: Scan)",
    );
    let left = of(
        &given_up,
        Urgency::Now,
        "given up by healing, open",
        "what each attempt ended with stands in its gap",
    );
    [missing, left, unscanned].into_iter().flatten().collect()
}

/// The worst three by their names.
fn named(rows: &[&Row]) -> String {
    let names: Vec<&str> = rows.iter().take(3).map(|row| row.called.as_str()).collect();
    let more = if rows.len() > names.len() { ", …" } else { "" };
    format!(": {}{more}", names.join(", "))
}

fn images(n: usize) -> String {
    if n == 1 { "1 image".to_owned() } else { format!("{n} images") }
}
