//! What has changed from one drill to the next: lessons learnt, and what was done about them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drill::{Forecast, Prospect, Workload};

/// The difference of two drills.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// The older drill.
    pub old: Stamp,
    /// The newer one.
    pub new_drill: Stamp,
    /// Deficiencies of the older one whose workloads would start now.
    pub mended: Vec<Deficiency>,
    /// Those whose workloads are not there any more.
    pub gone: Vec<Deficiency>,
    /// Those that were not there before.
    pub new: Vec<Deficiency>,
    /// Those that stand in both, as they are now.
    pub still: Vec<Deficiency>,
    /// What makes the two hard to compare.
    pub notes: Vec<String>,
}

/// Which drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// When it was made.
    pub at: String,
    /// The site.
    pub site: String,
    /// The registries that were taken to be lost.
    pub lost: Vec<String>,
    /// How many workloads were looked at.
    pub total: usize,
    /// How many of them would start.
    pub start: usize,
}

/// A workload that would not start, or of which that could not be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deficiency {
    /// `Deployment shop/web`.
    pub workload: String,
    /// What hinders it, each in one word.
    pub obstacles: Vec<String>,
    /// In words: its worst image.
    pub why: String,
}

impl Stamp {
    fn of(forecast: &Forecast) -> Self {
        let Forecast { at, site, lost, total, start, .. } = forecast;
        Self { at: at.clone(), site: site.clone(), lost: lost.clone(), total: *total, start: *start }
    }
}

/// Compares two drills.
#[must_use]
pub fn changes(old: &Forecast, new: &Forecast) -> Changes {
    let by_name = |forecast| -> BTreeMap<(&str, &str, &str), &Workload> {
        let all: &Forecast = forecast;
        all.workloads.iter().map(|one| ((&*one.namespace, &*one.kind, &*one.name), one)).collect()
    };
    let (before, now) = (by_name(old), by_name(new));
    let lacks = |one: &&Workload| one.prospect != Prospect::Starts;
    let (mut mended, mut gone) = (Vec::new(), Vec::new());
    for (name, one) in before.iter().filter(|(_, one)| lacks(one)) {
        match now.get(name) {
            Some(then) if !lacks(then) => mended.push(deficiency(one)),
            Some(_) => {}
            None => gone.push(deficiency(one)),
        }
    }
    let (still, fresh): (Vec<_>, Vec<_>) =
        now.iter().filter(|(_, one)| lacks(one)).partition(|(name, _)| before.get(*name).is_some_and(lacks));
    let told = |these: Vec<(&_, &&Workload)>| these.into_iter().map(|(_, one)| deficiency(one)).collect();
    let mut notes = Vec::new();
    if old.site != new.site {
        notes.push(format!("they are of different sites: {} and {}", old.site, new.site));
    }
    if old.lost != new.lost {
        notes.push(format!(
            "different registries were lost: {} and {}",
            old.lost.join(", "),
            new.lost.join(", ")
        ));
    }
    if old.at > new.at {
        notes.push("the older one was made later: the files may be the wrong way round".to_owned());
    }
    Changes {
        old: Stamp::of(old),
        new_drill: Stamp::of(new),
        mended,
        gone,
        new: told(fresh),
        still: told(still),
        notes,
    }
}

fn deficiency(one: &Workload) -> Deficiency {
    let hindered = || one.images.iter().filter(|image| image.prospect != Prospect::Starts);
    let mut obstacles: Vec<String> =
        hindered().filter_map(|image| Some(image.obstacle?.to_string())).collect();
    obstacles.sort();
    obstacles.dedup();
    let worst = hindered().min_by_key(|image| image.obstacle);
    Deficiency {
        workload: format!("{} {}/{}", one.kind, one.namespace, one.name),
        obstacles,
        why: worst.map(|image| format!("{}: {}", image.image, image.why)).unwrap_or_default(),
    }
}
