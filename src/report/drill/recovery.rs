//! How long a node would pull, and what would be lost: recovery time and recovery point.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::forecast::{Lacking, Recovery};
use super::node::{Pull, Pulled};
use super::pod::Judged;
use super::scene::Drill;
use crate::domain::digest::Digest;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKind, GapSubject};

/// The most artefacts of the recovery point that are listed.
const MOST: usize = 20;

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
