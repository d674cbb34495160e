//! Everything that the page shows, as data of one moment.

use jiff::Timestamp;

use super::numbers::Numbers;
use super::sources::{Gaps, Status};
use super::trend::{Point, Trend};
use crate::admission::Judged;
use crate::domain::registry::Kind;
use crate::evidence::{Health, Report};
use crate::report::gaps::{Row, Selection, rows};
use crate::server::conditions::{Condition, ConditionName};

/// The promise of replication: after so many seconds an image should be here.
pub(super) const TARGET: f64 = 300.0;

/// The state of a replica, and what it knows.
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) site: String,
    pub(super) replica: String,
    pub(super) leads: bool,
    pub(super) conditions: Vec<(ConditionName, Condition)>,
    pub(super) registries: Vec<Registry>,
    pub(super) trend: Vec<Point>,
    /// The open gaps, the worst first, or why they are not known.
    pub(super) gaps: Result<Vec<Row>, String>,
    pub(super) judged: Vec<Judged>,
    pub(super) lag: Lag,
    pub(super) rules: Vec<Rule>,
    pub(super) sweep: Sweep,
}

/// One registry.
pub(super) struct Registry {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) site: String,
    pub(super) local: bool,
    pub(super) kind: &'static str,
    pub(super) health: String,
    pub(super) is_good: bool,
    pub(super) is_drained: bool,
    pub(super) said: String,
    pub(super) breaker: &'static str,
    /// How long the last probe took, in seconds.
    pub(super) probe: f64,
    /// Nine of ten requests took no longer, in seconds.
    pub(super) p90: Option<f64>,
    pub(super) requests: f64,
    pub(super) failed: f64,
}

/// How long replication took.
pub(super) struct Lag {
    pub(super) copies: f64,
    pub(super) in_time: f64,
    pub(super) p95: Option<f64>,
}

/// A replication rule of a Harbor.
pub(super) struct Rule {
    pub(super) registry: String,
    pub(super) rule: String,
    pub(super) succeeded: f64,
    pub(super) failed: f64,
    pub(super) last: Option<Timestamp>,
}

/// What the last sweep of this replica saw.
pub(super) struct Sweep {
    pub(super) ended: Option<Timestamp>,
    pub(super) pods: f64,
    pub(super) images: f64,
    pub(super) unknown: f64,
}

impl Snapshot {
    pub(super) fn of(status: &Status, trend: &Trend, gaps: &Gaps, now: Timestamp) -> Self {
        let numbers = Numbers::of(&status.metrics);
        let conditions = status.conditions.snapshot();
        let gaps = gaps.as_ref().as_ref().map_err(Clone::clone);
        Self {
            now,
            site: status.settings.load().site.to_string(),
            replica: status.replica.to_string(),
            leads: numbers.sum("landfall_leader", &[]) > 0.0,
            conditions: conditions.iter().map(|(name, one)| (*name, one.clone())).collect(),
            registries: registries(status, &numbers),
            trend: trend.points(&numbers, now),
            gaps: gaps.map(|gaps| rows(gaps, &Selection::default(), now)),
            judged: status.recent.newest(),
            lag: lag(&numbers),
            rules: rules(&numbers),
            sweep: sweep(&numbers),
        }
    }
}

fn registries(status: &Status, numbers: &Numbers) -> Vec<Registry> {
    let settings = status.settings.load();
    let of = |report: Report| {
        let known = settings.registries.get(&report.registry)?;
        let name = report.registry.as_str();
        let sum = |metric: &str| numbers.sum(metric, &[("registry", name)]);
        let ended = |outcome: &str| {
            numbers.sum("landfall_registry_requests_total", &[("registry", name), ("outcome", outcome)])
        };
        let requests = sum("landfall_registry_requests_total");
        let answered: f64 = ["Success", "Redirect", "NotFound"].map(ended).iter().sum();
        Some(Registry {
            host: known.host.to_string(),
            site: known.site.to_string(),
            local: known.site == settings.site,
            kind: match known.kind {
                Kind::Harbor => "Harbor",
                Kind::Distribution => "registry",
            },
            health: format!("{:?}", report.health),
            is_good: report.health.is_good(),
            is_drained: report.health == Health::Drained,
            said: report.said().into_owned(),
            breaker: match sum("landfall_registry_breaker") {
                open if open >= 2.0 => "open",
                half if half >= 1.0 => "half-open",
                _ => "closed",
            },
            probe: sum("landfall_registry_probe_duration_seconds"),
            p90: numbers.quantile("landfall_registry_request_duration_seconds", &[("registry", name)], 0.9),
            requests,
            failed: requests - answered,
            name: name.to_owned(),
        })
    };
    status.observatory.health().into_iter().filter_map(of).collect()
}

fn lag(numbers: &Numbers) -> Lag {
    let name = "landfall_replication_lag_seconds";
    let in_time = numbers.all("landfall_replication_lag_seconds_bucket").iter().filter(|(labels, _)| {
        labels.get("le").and_then(|le| le.parse::<f64>().ok()).is_some_and(|le| (le - TARGET).abs() < 0.5)
    });
    Lag {
        copies: numbers.sum("landfall_replication_lag_seconds_count", &[]),
        in_time: in_time.map(|(_, count)| count).sum(),
        p95: numbers.quantile(name, &[], 0.95),
    }
}

fn rules(numbers: &Numbers) -> Vec<Rule> {
    let (ran, runs) =
        ("landfall_replication_rule_last_run_timestamp_seconds", "landfall_replication_executions");
    let mut named: Vec<(String, String)> = numbers
        .all(ran)
        .iter()
        .chain(numbers.all(runs))
        .filter_map(|(labels, _)| Some((labels.get("registry")?.clone(), labels.get("rule")?.clone())))
        .collect();
    named.sort();
    named.dedup();
    let of = |(registry, rule): (String, String)| {
        let labels = [("registry", registry.as_str()), ("rule", rule.as_str())];
        let ended = |status| {
            let [one, other] = labels;
            numbers.sum(runs, &[one, other, ("status", status)])
        };
        let (succeeded, failed) = (ended("Succeed"), ended("Failed"));
        Rule { last: moment(numbers.sum(ran, &labels)), succeeded, failed, registry, rule }
    };
    named.into_iter().map(of).collect()
}

fn sweep(numbers: &Numbers) -> Sweep {
    let sum = |name| numbers.sum(name, &[]);
    Sweep {
        ended: moment(sum("landfall_sweep_ended_timestamp_seconds")),
        pods: sum("landfall_sweep_pods"),
        images: sum("landfall_sweep_images"),
        unknown: sum("landfall_sweep_images_unknown"),
    }
}

/// Seconds since 1970, as metrics tell them; 0 is never.
fn moment(seconds: f64) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and what is no time is none")]
    let whole = seconds as i64;
    (whole > 0).then(|| Timestamp::from_second(whole).ok()).flatten()
}
