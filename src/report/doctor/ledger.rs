//! Checks what the ledger needs: the resource, the right to read replication rules, and nodes that can pull what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::registry::Registry as Page;
use tokio::time::Instant;

use super::Line;
use crate::cluster::{Cluster, FailedPull};
use crate::domain::case::{Case, Exemption, PodContext, Pull};
use crate::domain::name::RegistryName;
use crate::domain::place::PlaceIx;
use crate::domain::policy::Regime;
use crate::domain::replication::keepers;
use crate::domain::settings::{HealingMode, Settings};
use crate::domain::verdict::Ruling;
use crate::evidence::{Answers, Asked, Asking, Observatory, Replication, Share};
use crate::harbor::Refusal;
use crate::ledger::Record;

/// The most time for the rules of one registry.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many images that nodes could not pull are looked at.
const LOOKED_AT: usize = 5;

/// Which replication rules are watched. That a right is absent is no mistake, but it should be known.
pub(super) async fn rules(settings: &Settings) -> Vec<Line> {
    let Some(observatory) = observatory(settings).await else { return Vec::new() };
    let mut lines = Vec::new();
    for keeper in keepers(settings) {
        let found = observatory.replication(&keeper, settings, Instant::now() + PATIENCE).await;
        // A registry that does not answer is told of, too.
        let Ok(Replication::Read { rules, lacking }) = found else { continue };
        let about = format!("rules {keeper}");
        if !lacking.is_empty() {
            let rights: Vec<String> = lacking.iter().map(ToString::to_string).collect();
            let said = format!(
                "not watched, because the robot lacks {} (a system robot can have it): a rule that does not run is not told",
                rights.join(", ")
            );
            lines.push(Line::ok(about, said));
        } else if !rules.is_empty() {
            lines.push(Line::ok(about, format!("{} that fill this site are watched", rules.len())));
        }
        lines.extend(healers(&observatory, settings, &keeper).await);
    }
    observatory.close().await;
    lines
}

/// Whether the healing robot of a registry may do what the mode needs: asked without changing anything.
async fn healers(observatory: &Observatory, settings: &Settings, keeper: &RegistryName) -> Option<Line> {
    if settings.healing.mode != HealingMode::Replicate {
        return None;
    }
    let about = format!("healing {keeper}");
    match observatory.healing_rules(keeper).await {
        Asked::Done(rules) => {
            Some(Line::ok(about, format!("its robot reads {} replication rules", rules.len())))
        }
        Asked::NoCredentials => None,
        Asked::Refused(Refusal::Unauthorized) => Some(Line::wrong(
            about,
            "the registry rejects the healing credentials",
            "renew the robot, or put its name and secret right",
        )),
        Asked::Refused(_) => Some(Line::wrong(
            about,
            "its robot may not read replication rules, so none is executed that this registry keeps",
            "give it, as a system robot, `replication-policy:list`, `replication:create`, `replication:list` and `replication:read`",
        )),
        Asked::Unknown(_) => None,
    }
}

/// What is wrong with the clients is told beside the registries.
async fn observatory(settings: &Settings) -> Option<Observatory> {
    let copy = settings.clone();
    tokio::task::spawn_blocking(move || Observatory::new(&copy, &mut Page::default())).await.ok()
}

/// The resource, the number of gaps, and what nodes say of pulls.
pub(super) async fn check(cluster: &Cluster, settings: Option<&Settings>) -> Vec<Line> {
    let gaps = match cluster.gaps().list().await {
        Ok(Some(gaps)) => {
            let records = gaps.iter().filter_map(|gap| gap.record.as_ref());
            let open: Vec<_> = records.filter(|record| record.is_open()).collect();
            match open.len() {
                0 => Line::ok("gaps", "none is open"),
                number => Line::ok("gaps", format!("{number} open{}: see `landfall gaps`", healing(&open))),
            }
        }
        Ok(None) => Line::wrong(
            "gaps",
            "the cluster does not know the resource ReplicationGap, so nothing is recorded",
            "`kubectl apply --server-side -f manifests/crds.yaml`, or `crds.create: Auto` of the chart",
        ),
        Err(error) => Line::skipped_by_error("gaps", &error),
    };
    let Some(settings) = settings else { return vec![gaps] };
    let pulls = match cluster.failed_pulls().recent().await {
        Ok(recent) => pulls(recent, settings).await,
        Err(error) => Line::skipped_by_error("pulls", &error),
    };
    vec![gaps, pulls]
}

/// What was tried about open gaps, and what came of it.
fn healing(open: &[&Record]) -> String {
    let under_way = open.iter().filter(|record| record.under_way().is_some()).count();
    let given_up = open.iter().filter(|record| record.has_given_up()).count();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in open.iter().filter_map(|record| record.action.as_ref()?.outcome) {
        *outcomes.entry(outcome.to_string()).or_default() += 1;
    }
    let mut said: Vec<String> = Vec::new();
    if under_way > 0 {
        said.push(format!("{under_way} being healed"));
    }
    if given_up > 0 {
        said.push(format!("{given_up} given up after five attempts"));
    }
    said.extend(outcomes.iter().map(|(outcome, number)| format!("{number} {outcome}")));
    if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) }
}

/// What kubelets have said in the last hour of copies at this site that their registry serves: the node has a reason of its own.
async fn pulls(recent: Vec<FailedPull>, settings: &Settings) -> Line {
    let Some(observatory) = observatory(settings).await else {
        return Line::skipped("pulls", "the registries cannot be asked");
    };
    let here = recent.into_iter().filter_map(|failed| Some((copy_here(&failed.image, settings)?, failed)));
    let mut unexplained = None;
    for (case, failed) in here.take(LOOKED_AT) {
        let deadline = Instant::now() + PATIENCE;
        let asking = Asking { share: Share::Mutating, namespace: "", deadline, answers: Answers::New };
        let verdict = observatory.judge(&case, asking).await.verdict;
        if matches!(verdict.ruling, Ruling::Local { place: PlaceIx(0), .. }) {
            unexplained = Some(failed);
            break;
        }
    }
    observatory.close().await;
    match unexplained {
        None => Line::ok("pulls", "no kubelet complains of a copy that its registry at this site serves"),
        Some(FailedPull { image, message, .. }) => Line::wrong(
            "pulls",
            format!("nodes cannot pull `{image}`, which its registry serves: {message}"),
            "check on the node: the authority of containerd or CRI-O for that host, its name and route; and the pull secret of the Pod",
        ),
    }
}

/// The Case with the local replica that the image names as its first Place; `None` where it names none.
fn copy_here(image: &str, settings: &Settings) -> Option<Case> {
    let context = PodContext {
        regime: Regime::of_defaults(settings.defaults.clone()).into(),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now: jiff::Timestamp::now(),
    };
    settings.case_for(image, Pull::Registry, &context).at_named_replica()
}
