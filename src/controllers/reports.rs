//! Reports for the people of each namespace: after a sweep, the leader writes what is not as it should be, in a form that other
//! tools read.
//!
//! A report is a view. The record is the ReplicationGap, with its age and its end; whoever may edit a namespace may change its
//! report, and nothing is read from it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use crate::cluster::{
    Cluster, ClusterError, Configuration, GapObjects, Limits, ObjectRef, Report, ReportResult,
    ReportSeverity, Status, Summary,
};
use crate::controllers::leader::Leading;
use crate::controllers::sweep::{Standing, Standings, Surveys};
use crate::domain::error_chain::error_chain;
use crate::domain::finding::FindingKind;
use crate::domain::name::Site;
use crate::domain::settings::{Reports, Settings};
use crate::domain::text::plain;
use crate::domain::verdict::Ruling;

/// How long a survey is left before it is reported, so that new gaps have their objects by then, and surveys that follow each
/// other are reported once.
const SETTLE: Duration = Duration::from_secs(10);

/// The pause after each write: 120 in a minute at most, whatever changes.
const PAUSE: Duration = Duration::from_millis(500);

/// The most results of one report: some 350 kB.
const MOST_RESULTS: usize = 500;

/// The most bytes of all results of a report together. etcd takes 1.5 MiB for an object.
const MOST_BYTES: usize = 700_000;

/// Since when each gap is open, by the name of its object.
type Since = HashMap<String, Timestamp>;

/// Writes the reports while this replica leads.
pub struct Reporter {
    cluster: Cluster,
    gaps: GapObjects,
    settings: Arc<ArcSwap<Settings>>,
    surveys: Surveys,
    leading: Leading,
}

/// What this leader knows of the reports.
#[derive(Default)]
struct Known {
    /// The namespaces that have one, and the hash of what it says; `None`: not listed, or no longer certain.
    written: Option<BTreeMap<Box<str>, Box<str>>>,
    /// What was said last of what does not work, so that it is said once.
    said: Option<String>,
}

impl Reporter {
    /// It writes nothing before [`run`](Self::run) is polled.
    pub fn new(
        cluster: &Cluster,
        settings: Arc<ArcSwap<Settings>>,
        surveys: Surveys,
        leading: Leading,
    ) -> Self {
        Self { cluster: cluster.clone(), gaps: cluster.gaps(), settings, surveys, leading }
    }

    /// Writes them for as long as it is polled.
    pub async fn run(self) {
        let mut leading = self.leading.clone();
        loop {
            if leading.now() {
                tokio::select! {
                    () = self.lead() => {}
                    () = leading.changed() => {}
                }
            } else {
                leading.changed().await;
            }
        }
    }

    async fn lead(&self) {
        let (mut known, mut surveys) = (Known::default(), self.surveys.clone());
        surveys.mark_changed();
        while surveys.changed().await.is_ok() {
            sleep(SETTLE).await;
            let survey = surveys.borrow_and_update().clone();
            let settings = self.settings.load_full();
            let standings = survey.as_ref().and_then(|survey| survey.standings.as_ref());
            let (Some(standings), Reports::OpenReports) = (standings, settings.reports) else { continue };
            match self.round(standings, &settings.site, &mut known).await {
                Ok(()) => known.said = None,
                Err(trouble) => {
                    if known.said.as_ref() != Some(&trouble) {
                        tracing::warn!(
                            reason = trouble,
                            "reports are not written; it is tried after the next sweep"
                        );
                    }
                    known.said = Some(trouble);
                }
            }
        }
        // Nobody sweeps.
        std::future::pending().await
    }

    /// Writes what has changed, and deletes what is no longer needed.
    async fn round(&self, standings: &Standings, site: &Site, known: &mut Known) -> Result<(), String> {
        let told = |error: ClusterError| error_chain(&error);
        let objects = self.cluster.reports(site);
        let listed = match known.written.take() {
            Some(written) => written,
            None => objects.list().await.map_err(told)?.ok_or(
                "the cluster has no definition of reports.openreports.io: install it, or set `reports: {mode: Off}`",
            )?,
        };
        let (since, mut written) = (self.since().await.map_err(told)?, listed);
        // One namespace that takes no report, because it is being deleted, keeps none of the others waiting.
        let mut refused = None;
        for (namespace, lacking) in by_namespace(standings) {
            let tally = standings.namespaces.get(namespace).copied().unwrap_or_default();
            let report = report(namespace, site, (tally.passed, tally.skipped), lacking, &since);
            let hash = hash(&report);
            if written.get(namespace) == Some(&hash) {
                continue;
            }
            match objects.write(namespace, &report, &hash).await {
                Ok(()) => drop(written.insert(namespace.into(), hash)),
                Err(error) if error.is_not_found() || error.is_forbidden() || error.is_invalid() => {
                    refused.get_or_insert(told(error));
                }
                Err(error) => return Err(told(error)),
            }
            sleep(PAUSE).await;
        }
        // What was refused may be all: what is listed next tells.
        if let Some(refused) = refused {
            return Err(refused);
        }
        if standings.whole {
            let needed: BTreeSet<&str> = by_namespace(standings).map(|(namespace, _)| namespace).collect();
            let gone: Vec<Box<str>> =
                written.keys().filter(|namespace| !needed.contains(&***namespace)).cloned().collect();
            for namespace in gone {
                objects.delete(&namespace).await.map_err(told)?;
                written.remove(&namespace);
                sleep(PAUSE).await;
            }
        }
        known.written = Some(written);
        Ok(())
    }

    async fn since(&self) -> Result<Since, ClusterError> {
        let objects = self.gaps.list().await?.unwrap_or_default();
        let since = objects.into_iter().filter_map(|object| {
            let record = object.record?;
            let axes = [record.presence, record.scan].into_iter().flatten();
            let open = axes.filter(|axis| axis.finding.is_some()).map(|axis| axis.since);
            Some((object.name, open.min()?))
        });
        Ok(since.collect())
    }
}

/// The namespaces in which something is lacking, and what.
fn by_namespace(standings: &Standings) -> impl Iterator<Item = (&str, Vec<&Standing>)> {
    let mut all: BTreeMap<&str, Vec<&Standing>> = BTreeMap::new();
    for standing in &standings.lacking {
        for namespace in &standing.namespaces {
            all.entry(namespace).or_default().push(standing);
        }
    }
    all.into_iter()
}

/// What the report of one namespace says: the worst first, and of more than fit, the rest only in its summary.
fn report(
    namespace: &str,
    site: &Site,
    (pass, skip): (u32, u32),
    mut lacking: Vec<&Standing>,
    since: &Since,
) -> Report {
    let mut summary = Summary { pass, skip, ..Summary::default() };
    for standing in &lacking {
        match status(standing) {
            Status::Fail => summary.fail += 1,
            Status::Error => summary.error += 1,
            Status::Warn => summary.warn += 1,
        }
    }
    // Two of one image differ in their platforms, and so perhaps in the rest.
    lacking
        .sort_by_cached_key(|standing| (status(standing), standing.written.clone(), standing.finding.kind));
    let (mut results, mut bytes) = (Vec::new(), 0);
    for standing in lacking.into_iter().take(MOST_RESULTS) {
        let result = result(namespace, site, standing, since);
        bytes += serde_json::to_string(&result).map_or(MOST_BYTES, |text| text.len());
        if bytes > MOST_BYTES {
            break;
        }
        results.push(result);
    }
    let scope = ObjectRef {
        api_version: "v1".into(),
        kind: "Namespace".into(),
        namespace: None,
        name: namespace.to_owned(),
        uid: None,
    };
    let limits =
        Limits { max_results: MOST_RESULTS, status_filter: [Status::Fail, Status::Error, Status::Warn] };
    Report { source: "landfall", scope, configuration: Configuration { limits }, summary, results }
}

fn status(standing: &Standing) -> Status {
    match standing.ruling {
        Ruling::Deny => Status::Fail,
        _ if standing.finding.kind.is_unknown() => Status::Error,
        _ => Status::Warn,
    }
}

fn severity(standing: &Standing) -> ReportSeverity {
    // The detail of a finding begins with the severity that the scan found: `Critical, at most High is allowed`.
    let found = (standing.finding.kind == FindingKind::Vulnerable)
        .then(|| standing.finding.detail.split(',').next().unwrap_or_default());
    match (found, &standing.ruling) {
        (Some("Critical"), _) => ReportSeverity::Critical,
        (Some("High"), _) | (None, Ruling::Deny) => ReportSeverity::High,
        (Some("Medium"), _) | (None, Ruling::Fallback { .. }) => ReportSeverity::Medium,
        (Some(_), _) => ReportSeverity::Low,
        (None, _) if standing.finding.kind.is_unknown() => ReportSeverity::Medium,
        (None, _) => ReportSeverity::Low,
    }
}

fn result(namespace: &str, site: &Site, standing: &Standing, since: &Since) -> ReportResult {
    let Standing { written, finding, ruling, place, gap, owners, .. } = standing;
    let (image, detail) = (plain(written), plain(&finding.detail));
    let gap = gap.as_ref().map(GapObjects::name_of).filter(|name| since.contains_key(name));
    let open = gap.as_ref().and_then(|name| since.get(name)).copied();
    let follows = match ruling {
        Ruling::Deny => "a new Pod with it is denied",
        Ruling::Fallback { .. } => "a new Pod gets another site's copy",
        _ => "this site's copy is used all the same",
    };
    let at = place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let mut properties = BTreeMap::from([("image", image.to_string()), ("site", site.as_str().to_owned())]);
    properties.extend(finding.digest.map(|digest| ("digest", digest.to_string())));
    properties.extend(place.as_ref().map(|place| ("place", place.to_string())));
    properties.extend(open.map(|since| ("since", since.to_string())));
    properties.extend(gap.map(|gap| ("gap", gap)));
    let here = owners.iter().filter(|owner| owner.namespace.as_deref() == Some(namespace));
    ReportResult {
        policy: finding.policies.first().map_or_else(|| "defaults".to_owned(), |policy| policy.to_string()),
        rule: finding.kind.as_str(),
        category: category(finding.kind),
        severity: severity(standing),
        result: status(standing),
        scored: true,
        resources: here.map(|owner| (**owner).clone()).collect(),
        message: format!("{image}: {}{at}{detail}: {follows}", finding.kind),
        properties,
        timestamp: open.map(Into::into),
    }
}

fn category(kind: FindingKind) -> &'static str {
    use crate::domain::finding::PolicyKey::{
        OnMissing, OnStale, OnUnknown, OnUnproved, OnUnrouted, OnUnscannable, OnUnscanned, OnVulnerable,
    };
    match kind.key() {
        OnMissing | OnStale | OnUnproved => "Local copy",
        OnUnknown => "Registry",
        OnUnscanned | OnUnscannable | OnVulnerable => "Scan",
        OnUnrouted => "Route",
    }
}

fn hash(report: &Report) -> Box<str> {
    let text = serde_json::to_vec(report).unwrap_or_default();
    let hash = Sha256::digest(text);
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}
