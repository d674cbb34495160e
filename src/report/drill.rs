//! `landfall drill`: which workloads could start again on new nodes if some registries were lost.
//!
//! ```text
//! workload ─judge (lost registries drained)→ the images its Pod would get ─keys→ credentials ─node→ can they be pulled? ─→ Forecast
//! ```
//!
//! Nothing here decides about Pods: the judge is that of the doors. What is added is what a node does afterwards: it asks the
//! registry that the image names, with the credentials that the kubelet finds, for the manifest and every blob of it. It is a
//! forecast and no switchover; what was assumed stands in it. What could not be learned is never called a start.

mod bandwidth;
mod forecast;
mod image;
mod keys;
mod node;
mod pod;
mod recovery;
mod scene;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};

pub use forecast::{Bandwidth, Forecast, Image, Lacking, Obstacle, Prospect, Recovery, Subject, Workload};
pub use keys::{Keys, ManifestKeys};
use node::{Node, Pull, Pulled};
pub use scene::{Drill, without};
pub use text::{bytes, text};

/// How many workloads are judged, and how many images asked for, at once.
const AT_ONCE: usize = 16;

impl Drill<'_> {
    /// Judges all of them, and asks what nodes would ask. `told` is called after each image that was asked for, with how many
    /// there are.
    pub async fn forecast(
        &self,
        subjects: &[Subject],
        bandwidth: Bandwidth,
        told: impl Fn(usize, usize),
    ) -> Forecast {
        let node = Node::new(self.settings, self.observatory);
        let judged = stream::iter(subjects).map(|subject| self.judge(subject, &node));
        let judged: Vec<pod::Judged> = judged.buffered(AT_ONCE).collect().await;
        let pulls: BTreeSet<&Pull> = judged.iter().flat_map(|one| one.pulls()).collect();
        let all = pulls.len();
        let mut pulled: BTreeMap<&Pull, Pulled> = BTreeMap::new();
        let mut asked = stream::iter(pulls)
            .map(|pull| {
                let node = &node;
                async move { (pull, node.pull(pull).await) }
            })
            .buffer_unordered(AT_ONCE);
        while let Some((pull, found)) = asked.next().await {
            pulled.insert(pull, found);
            told(pulled.len(), all);
        }
        drop(asked);
        let mut recovery = self.recovery(&judged, &pulled);
        match bandwidth {
            Bandwidth::Given(rate) => recovery.at(rate, "given"),
            Bandwidth::Measured => {
                if let Some(rate) = bandwidth::measured(&node, &pulled).await {
                    recovery.at(rate, "measured");
                }
            }
            Bandwidth::Unknown => {}
        }
        let mut workloads: Vec<Workload> =
            judged.iter().zip(subjects).map(|(one, subject)| self.workload(subject, one, &pulled)).collect();
        let worst = |one: &Workload| one.images.iter().filter_map(|image| image.obstacle).min();
        workloads.sort_by_cached_key(|one| {
            let since = one.images.iter().filter_map(|image| image.since.clone()).min();
            let name = (one.namespace.clone(), one.kind.clone(), one.name.clone());
            (one.prospect, worst(one), since.is_none(), since, name)
        });
        let count = |prospect| workloads.iter().filter(|one| one.prospect == prospect).count();
        Forecast {
            method: "a forecast, not a switchover: every image was judged as at the doors, with the lost registries known to be down, and then asked for as a new node would".to_owned(),
            at: self.now.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            site: self.settings.site.to_string(),
            lost: self.lost.iter().map(ToString::to_string).collect(),
            total: workloads.len(),
            start: count(Prospect::Starts),
            fail: count(Prospect::Fails),
            unknown: count(Prospect::Unknown),
            workloads,
            recovery,
            assumptions: self.assumptions(&judged),
            not_covered: NOT_COVERED.map(str::to_owned).to_vec(),
            notes: Vec::new(),
        }
    }

    fn workload(&self, subject: &Subject, one: &pod::Judged, pulled: &BTreeMap<&Pull, Pulled>) -> Workload {
        let images: Vec<Image> = one.images.iter().map(|image| self.image(image, pulled)).collect();
        Workload {
            kind: subject.kind.clone(),
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
            prospect: images.iter().map(|image| image.prospect).min().unwrap_or(Prospect::Starts),
            images,
        }
    }

    fn assumptions(&self, judged: &[pod::Judged]) -> Vec<String> {
        let mut all: Vec<String> = ASSUMPTIONS.map(str::to_owned).to_vec();
        let assumed: BTreeSet<&str> =
            judged.iter().flat_map(|one| &one.assumed).map(String::as_str).collect();
        all.extend(assumed.into_iter().map(str::to_owned));
        all
    }
}

/// What every drill takes for granted.
const ASSUMPTIONS: [&str; 6] = [
    "every Pod is created again, and every node is new: it holds no image, whatever imagePullPolicy says",
    "Landfall runs, and has just started: what it remembers of lost registries from before does not count",
    "nodes have no credentials of their own, and no mirrors",
    "nodes reach the registries that do not count as lost, by the hosts that images name; here they are asked at the `url` of the configuration",
    "a node asks the registry about a pull secret that was written since it last pulled, though it holds the image: so does a new node",
    "what is there now is there then: garbage collection and retention do not run in between",
];

/// What no drill looks at.
const NOT_COVERED: [&str; 3] = [
    "static Pods, which no webhook sees; operators that make Pods from other objects than the usual ones; debugging containers",
    "volumes, configuration, capacity, and everything else that a Pod needs beside its images",
    "signatures that nodes or other webhooks verify",
];
