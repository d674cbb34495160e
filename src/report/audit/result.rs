//! What an audit found, as data: `--output json` prints it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// The most workloads that are named of one row; the others are counted.
pub const MOST_USERS: usize = 100;

/// What was audited, and what was found.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// What was looked at.
    pub target: Target,
    /// The site whose copies count.
    pub site: String,
    /// When it was begun.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Whether everything that there is was read and judged. If not, `notes` say why.
    pub complete: bool,
    /// How many of each.
    pub summary: Summary,
    /// What was found, the worst first. What is here and proved is only counted.
    pub rows: Vec<Row>,
    /// The namespaces that Landfall leaves alone, and how many workloads and Pods of them were not looked at.
    pub left_alone: BTreeMap<String, usize>,
    /// Custom resources that were not looked into, by `kind.group`. Some make Pods.
    pub not_looked_into: BTreeMap<String, usize>,
    /// Documents of manifests that make no Pods, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// What a reader should know: what could not be read, what does not count.
    pub notes: Vec<String>,
    /// The images that are here, for formats that list what is good, too.
    #[serde(skip)]
    pub fine: Vec<Row>,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A cluster: all that runs and would run.
    Cluster {
        /// In this namespace alone; not given: in all.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
    /// Manifests.
    Manifests {
        /// The files and directories as they were named; `stdin`.
        paths: Vec<String>,
    },
}

/// How many of each. `images` is the sum of those behind it up to `notJudged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Workloads.
    pub workloads: usize,
    /// Pods that run.
    pub pods: u64,
    /// Different images; one that is judged under several rules counts once for each.
    pub images: usize,
    /// Images for which a new Pod would be denied.
    pub denied: usize,
    /// Images that are not here as they should be.
    pub missing: usize,
    /// Images of which it could not be learned whether they are here. That is not fine.
    pub unknown: usize,
    /// Images that are here, with a scan that is not as it should be.
    pub scan: usize,
    /// Images that are here, while Pods still run with the copy of another site.
    pub runs_elsewhere: usize,
    /// Images that are here, while another copy at this site is not as it should be.
    pub partly: usize,
    /// Images that are here, and will not be some day.
    pub risk: usize,
    /// Images that no Route covers.
    pub unrouted: usize,
    /// Images that are here.
    pub fine: usize,
    /// Images that Landfall does not handle: excluded, exempt, never pulled.
    pub kept: usize,
    /// Images that were not judged: the audit was interrupted.
    pub not_judged: usize,
    /// Of all of them, those of which something could not be learned.
    pub with_unknown: usize,
    /// Workloads and Pods that could not be understood, or were too many.
    pub left_out: u64,
}

/// How bad a row is, the worst first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum Class {
    /// A new Pod would be denied.
    Denied,
    /// It is not here as it should be.
    Missing,
    /// It could not be learned.
    Unknown,
    /// Its scan is not as it should be.
    Scan,
    /// It is here, and Pods still run from elsewhere.
    RunsElsewhere,
    /// It is here, but not at each Place of this site.
    Partly,
    /// It is here, and will not be some day.
    Risk,
    /// No Route covers it.
    Unrouted,
    /// It is here.
    Fine,
    /// Landfall does not handle it.
    Kept,
}

/// One image under one set of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// How bad it is.
    pub class: Class,
    /// The finding that decides, in one word of REASONS.md, or the name of a gap such as `Untagged`; `RunsElsewhere`.
    pub finding: String,
    /// What is wrong with the copy; not given: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<String>,
    /// What is wrong with its scan; not given: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<String>,
    /// All findings, each once.
    pub findings: Vec<String>,
    /// The image, as a new Pod would be created with it.
    pub image: String,
    /// Whether it is the image of running Pods only, as Landfall wrote it: nodes pull it when such a Pod starts again.
    pub standing: bool,
    /// The image's name at its primary, `host/repository`.
    pub name: String,
    /// Its digest, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The registry that the finding is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What is done about it for a new Pod: `Accept`, `Fallback` or `Block`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What was decided for a new Pod, in one word of REASONS.md.
    pub reason: String,
    /// The image that a new Pod gets; not given: it stays as written, or the Pod is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub becomes: Option<String>,
    /// The policies that say so; empty: the `defaults`.
    pub policies: Vec<String>,
    /// Details.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What can be done.
    pub advice: String,
    /// How many Pods run with it.
    pub pods: u32,
    /// Who uses it, at most 100.
    pub workloads: Vec<User>,
    /// How many more use it.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_workloads: usize,
    /// Whether something could not be learned.
    pub with_unknown: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A workload that uses an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// As in a manifest: `apps/v1`.
    pub api_version: String,
    /// As in a manifest: `Deployment`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The places of the image in the Pod: `containers/web`.
    pub slots: Vec<String>,
    /// How many Pods of it run with the image.
    pub pods: u32,
    /// What these Pods run with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Runs>,
    /// The file of the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The line of the image in it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// What Pods run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runs {
    /// The image that stands in them.
    pub image: String,
    /// The registry that it names; not given: no Route covers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Whether that registry is of this site.
    pub here: bool,
    /// How many Pods.
    pub pods: u32,
}

impl Class {
    /// Its name, as JSON has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What it means, as a heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Denied => "a new Pod would be denied",
            Self::Missing => "not here",
            Self::Unknown => "not known whether it is here",
            Self::Scan => "here, but its scan is not as it should be",
            Self::RunsElsewhere => "here, but Pods still run from elsewhere",
            Self::Partly => "here, but not at each registry of this site",
            Self::Risk => "here, but not for long",
            Self::Unrouted => "no route covers it",
            Self::Fine => "here",
            Self::Kept => "not handled",
        }
    }
}

impl Summary {
    /// Counts one image.
    pub(super) fn count(&mut self, class: Class, with_unknown: bool) {
        let field = match class {
            Class::Denied => &mut self.denied,
            Class::Missing => &mut self.missing,
            Class::Unknown => &mut self.unknown,
            Class::Scan => &mut self.scan,
            Class::RunsElsewhere => &mut self.runs_elsewhere,
            Class::Partly => &mut self.partly,
            Class::Risk => &mut self.risk,
            Class::Unrouted => &mut self.unrouted,
            Class::Fine => &mut self.fine,
            Class::Kept => &mut self.kept,
        };
        *field += 1;
        self.with_unknown += usize::from(with_unknown);
    }
}

impl User {
    /// Its name for people: `Deployment shop/web`.
    #[must_use]
    pub fn called(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// Whether a Pod of it runs from another site.
    #[must_use]
    pub fn runs_elsewhere(&self) -> bool {
        self.runs.iter().any(|runs| runs.registry.is_some() && !runs.here)
    }
}
