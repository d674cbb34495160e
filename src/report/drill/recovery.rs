//! How long a node would pull, and what would be lost: recovery time and recovery point.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::Drill;
use super::node::{Pull, Pulled};
use super::pod::Judged;
use crate::domain::digest::Digest;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKind, GapSubject};

/// The most artefacts of the recovery point that are listed.
const MOST: usize = 20;

/// Recovery time and recovery point.
#[derive(Debug, Default, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// The bytes that one node pulls that runs all workloads that would start: each different layer once.
    pub bytes: u64,
    /// How many different layers that are.
    pub layers: usize,
    /// The bytes a second that were given or measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Where they come from: `given` or `measured`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_is: Option<String>,
    /// How long that takes, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What lost primaries are known to have that no registry here has: the recovery point. At most 20, the longest lacking first.
    pub lacking: Vec<Lacking>,
    /// How many those are in all.
    pub lacking_total: usize,
    /// The longest time between a push to the primary and the push to the copy here that is known of, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_lag_seconds: Option<u64>,
    /// What could not be known.
    pub unknown: Vec<String>,
}

/// What would be lost.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lacking {
    /// The image.
    pub image: String,
    /// The registry that lacks it.
    pub registry: String,
    /// Since when that is known.
    pub since: String,
}

/// How fast a node pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bandwidth {
    /// So many bytes a second.
    Given(u64),
    /// It is measured, by reading some layers: at most 64 MiB, and for at most 10 s.
    Measured,
    /// It is not known.
    Unknown,
}

impl Recovery {
    /// Adds how fast a node pulls.
    pub fn at(&mut self, bytes_per_second: u64, bandwidth_is: &str) {
        self.bytes_per_second = Some(bytes_per_second);
        self.bandwidth_is = Some(bandwidth_is.to_owned());
        self.seconds = (bytes_per_second > 0).then(|| self.bytes.div_ceil(bytes_per_second));
    }
}

impl Drill<'_> {
    pub(super) fn recovery(&self, judged: &[Judged], pulled: &BTreeMap<&Pull, Pulled>) -> Recovery {
        let whole = judged.iter().filter(|one| one.pulls().count() == one.images.len());
        let mut by_platform: BTreeMap<&str, HashMap<Digest, u64>> = BTreeMap::new();
        for pull in whole.flat_map(Judged::pulls).collect::<BTreeSet<_>>() {
            let Some(Pulled::Whole { layers, .. }) = pulled.get(pull) else { continue };
            for (platform, layers) in layers {
                let known = by_platform.entry(platform).or_default();
                known.extend(layers.iter().map(|layer| (layer.digest, layer.size)));
            }
        }
        let any = by_platform.remove("").unwrap_or_default();
        let of = |more: HashMap<Digest, u64>| {
            let mut all = any.clone();
            all.extend(more);
            (all.values().fold(0, |sum: u64, size| sum.saturating_add(*size)), all.len())
        };
        let most = by_platform.into_values().chain([HashMap::new()]).map(of).max().unwrap_or_default();
        let open = || self.gaps.iter().filter(|(_, record)| record.is_open());
        let mut lacking: Vec<(jiff::Timestamp, Lacking)> = open()
            .filter(|(key, record)| {
                let missing = [
                    GapKind::Finding(FindingKind::Missing),
                    GapKind::Finding(FindingKind::Stale),
                    GapKind::Finding(FindingKind::ChildMissing),
                ];
                matches!(key.subject, GapSubject::Image { .. })
                    && !self.lost.contains(&key.registry)
                    && record.lacking(Axis::Presence).is_some_and(|kind| missing.contains(&kind))
            })
            .filter_map(|(key, record)| {
                let since = record.axis(Axis::Presence)?.since;
                let (image, registry) = (key.subject.to_string(), key.registry.to_string());
                Some((since, Lacking { image, registry, since: since.to_string() }))
            })
            .collect();
        lacking.sort_by(|(a, one), (b, other)| (a, &one.image).cmp(&(b, &other.image)));
        let lag = self.gaps.iter().filter_map(|(_, record)| u64::try_from(record.lag_seconds?).ok()).max();
        let mut unknown = vec![
            "artefacts of the primary that no workload names, and whose copy nobody has looked for"
                .to_owned(),
        ];
        if self.gaps.is_empty() {
            unknown.push("since when copies are lacking: no ReplicationGaps were read".to_owned());
        }
        Recovery {
            bytes: most.0,
            layers: most.1,
            lacking_total: lacking.len(),
            lacking: lacking.into_iter().take(MOST).map(|(_, one)| one).collect(),
            longest_lag_seconds: lag,
            unknown,
            ..Recovery::default()
        }
    }
}
