//! The forecast as data: what is printed as JSON, with a published schema.

use serde::{Deserialize, Serialize};

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
    /// What becomes of an image that it hinders.
    #[must_use]
    pub fn prospect(self) -> Prospect {
        if self == Self::NotTold { Prospect::Unknown } else { Prospect::Fails }
    }

    /// What to do about it.
    #[must_use]
    pub fn todo(self) -> &'static str {
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
