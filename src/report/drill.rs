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
mod keys;
mod node;
mod pod;
pub mod recovery;
mod since;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::domain::gap::GapKey;
use crate::domain::name::RegistryName;
use crate::domain::policy::Labels;
use crate::domain::registry::{Registry, Service};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::Record;

pub use keys::{Held, Keys, ManifestKeys};
use node::{Node, Pull, Pulled};
pub use recovery::{Bandwidth, Recovery};
pub use text::text;

/// How many workloads are judged, and how many images asked for, at once.
const AT_ONCE: usize = 16;

/// An object that makes Pods, or a Pod that nobody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `Deployment`, `CronJob`, `Pod` …
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its Pods are created from, as JSON: its template, or the Pods as they stand.
    pub pods: Vec<String>,
}

/// What would start again.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// What this is, and what it is not.
    pub method: String,
    /// When it was made.
    pub at: String,
    /// The version of Landfall.
    pub version: String,
    /// The site whose workloads are meant.
    pub site: String,
    /// The registries that are taken to be lost, by their names in the configuration.
    pub lost: Vec<String>,
    /// How many workloads were looked at.
    pub total: usize,
    /// How many of them would start.
    pub start: usize,
    /// How many would not.
    pub fail: usize,
    /// Of how many it could not be told. They do not count as starts.
    pub unknown: usize,
    /// The workloads, the worst first.
    pub workloads: Vec<Workload>,
    /// How long a node would pull, and what would be lost.
    pub recovery: Recovery,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// What was not looked at.
    pub not_covered: Vec<String>,
    /// What a reader should know beside that.
    pub notes: Vec<String>,
}

/// What becomes of something.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Prospect {
    /// It would not start.
    Fails,
    /// It could not be told.
    Unknown,
    /// It would start.
    Starts,
}

/// A workload.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it would start.
    pub prospect: Prospect,
    /// Its images.
    pub images: Vec<Image>,
}

/// An image of a workload.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Where it stands: `containers/web`.
    pub slot: String,
    /// The image as the workload writes it.
    pub image: String,
    /// The image that the Pod would get. Not given: as written, or the Pod is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub becomes: Option<String>,
    /// What Landfall would decide, in one word of REASONS.md. Not given: it leaves the namespace alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether a new node could pull it.
    pub prospect: Prospect,
    /// What hinders it, in one word. Not given: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    /// What hinders it, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub todo: String,
    /// Since when it is known to be lacking, as the ReplicationGaps say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What should be known of it though it would start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What hinders a start.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::Display,
)]
pub enum Obstacle {
    /// A policy denies the Pod.
    Denied,
    /// The image lies at a lost registry alone.
    RegistryLost,
    /// The registry does not have the manifest.
    Missing,
    /// The registry lacks a manifest that the index lists.
    ChildMissing,
    /// The index lists nothing for the platforms of the Pod.
    NoPlatform,
    /// The registry has lost a layer.
    LayerMissing,
    /// The registry has lost the config.
    ConfigMissing,
    /// The proxy cache does not hold it, and its upstream is lost.
    NotCached,
    /// The registry refuses the pull, though the credentials are right.
    Refused,
    /// The credentials of the Pod do not allow the pull.
    NoPermission,
    /// A pull secret cannot be read by the kubelet, which then pulls nothing for the Pod.
    MalformedSecret,
    /// It is no image reference.
    NoReference,
    /// `imagePullPolicy: Never`, and a new node has nothing.
    NeverPulled,
    /// The registry could not be asked, or did not tell.
    NotTold,
}

impl Obstacle {
    fn prospect(self) -> Prospect {
        if self == Self::NotTold { Prospect::Unknown } else { Prospect::Fails }
    }

    fn todo(self) -> &'static str {
        match self {
            Self::Denied => {
                "correct what the policy asks for, or grant an exception for the time of the outage"
            }
            Self::RegistryLost => {
                "give the image a Route with a replica here, or copy it with `landfall copy`"
            }
            Self::Missing | Self::ChildMissing | Self::LayerMissing | Self::ConfigMissing => {
                "run the replication rule again, or `landfall copy`"
            }
            Self::NotCached => {
                "pull it once through the proxy cache while its upstream is there, or replicate it"
            }
            Self::NoPlatform => {
                "push an index that lists the platforms of the nodes, or name them in a nodeSelector"
            }
            Self::Refused => "see which policy of the registry's project refuses it, and correct that there",
            Self::NoPermission => {
                "give the namespace a pull secret that allows it, and name it in the Pod or its ServiceAccount"
            }
            Self::MalformedSecret => {
                "write the Secret again, as `kubectl create secret docker-registry` does"
            }
            Self::NoReference => "correct the image",
            Self::NeverPulled => "load the image into each new node, or use another imagePullPolicy",
            Self::NotTold => "see why the registry did not answer, and run the drill again",
        }
    }
}

/// What is asked, and about what.
pub struct Drill<'a> {
    /// The settings as they would be then: see [`without`].
    pub settings: &'a Settings,
    /// What the registries are asked by, made with these settings.
    pub observatory: &'a Observatory,
    /// The registries that are taken to be lost.
    pub lost: &'a BTreeSet<RegistryName>,
    /// The Secrets and ServiceAccounts.
    pub keys: &'a Keys,
    /// The labels of each namespace. One that is not here is known by its name alone.
    pub labels: &'a BTreeMap<String, Labels>,
    /// The namespace of Landfall itself, whose Pods it leaves alone.
    pub own_namespace: Option<&'a str>,
    /// The open gaps, where they could be read.
    pub gaps: &'a [(GapKey, Record)],
    /// The time of the drill.
    pub now: Timestamp,
}

/// The settings with these registries drained, as they are judged while they are lost.
///
/// # Errors
/// One of the names is not configured: the message names those that are.
pub fn without(settings: &Settings, lost: &BTreeSet<RegistryName>) -> Result<Settings, String> {
    let mut registries = settings.registries.clone();
    for name in lost {
        let Some(registry) = registries.get_mut(name) else {
            let known: Vec<&str> = settings.registries.keys().map(RegistryName::as_str).collect();
            return Err(format!("`{name}` is no registry of the configuration; it has {}", known.join(", ")));
        };
        *registry = Registry { service: Service::Drained, ..(**registry).clone() }.into();
    }
    Ok(Settings { registries, ..settings.clone() })
}

impl Drill<'_> {
    /// Judges all of them, and asks what nodes would ask. `told` is called after each image that was asked for, with how many
    /// there are.
    pub async fn forecast(
        &self,
        subjects: &[Subject],
        bandwidth: Bandwidth,
        told: impl Fn(usize, usize),
    ) -> Forecast {
        let node = Node::new(self);
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
const ASSUMPTIONS: [&str; 5] = [
    "every Pod is created again, and every node is new: it holds no image, whatever imagePullPolicy says",
    "Landfall runs, and has just started: what it remembers of lost registries from before does not count",
    "nodes have no credentials of their own, and no mirrors",
    "nodes reach the registries that do not count as lost, by the hosts that images name; here they are asked at the `url` of the configuration",
    "what is there now is there then: garbage collection and retention do not run in between",
];

/// What no drill looks at.
const NOT_COVERED: [&str; 3] = [
    "static Pods, which no webhook sees; operators that make Pods from other objects than the usual ones; debugging containers",
    "volumes, configuration, capacity, and everything else that a Pod needs beside its images",
    "signatures that nodes or other webhooks verify",
];
