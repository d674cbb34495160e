//! Checks what the ledger needs: the resource, the right to read replication rules, and nodes that can pull what is there.

use std::time::Duration;

use prometheus_client::registry::Registry as Page;
use tokio::time::Instant;

use super::Line;
use crate::cluster::{Cluster, FailedPull};
use crate::domain::case::{Case, Exemption, PodContext, Pull};
use crate::domain::place::PlaceIx;
use crate::domain::policy::Regime;
use crate::domain::replication::keepers;
use crate::domain::settings::Settings;
use crate::domain::verdict::Ruling;
use crate::evidence::{Answers, Asking, Observatory, Replication, Share};

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
    }
    observatory.close().await;
    lines
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
            let open = gaps.iter().filter(|gap| gap.record.as_ref().is_some_and(|record| record.is_open()));
            match open.count() {
                0 => Line::ok("gaps", "none is open"),
                open => Line::ok("gaps", format!("{open} open: see `landfall gaps`")),
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
