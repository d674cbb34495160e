//! What this cluster needs: each different image once for each context in which it is judged, and who uses it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::cluster::{FailedPull, ObjectRef, WorkloadKind};
use crate::domain::case::{Case, Exemption, PodContext, Pull, Subject};
use crate::domain::image::{Reference, Tag};
use crate::domain::name::PullSecret;
use crate::domain::platform::PlatformPattern;
use crate::domain::policy::{Labels, Regime};
use crate::domain::settings::{Reports, Settings};
use crate::ledger::{Running, fits};
use crate::pod::plan::{self, Original};
use crate::pod::surface::{Metadata, MirrorMark, Mode};
use crate::pod::workload::{Named, Page, Workload};
use crate::pod::{Pod, platform};

/// The most different needs that are judged. What is beyond is counted.
const MOST: usize = 100_000;

/// The most namespaces and owners of one need that are kept; the number of Pods counts all.
const MOST_USERS: usize = 16;

/// How many more namespaces all needs together may have where there are reports, whose people want to read of each.
const MORE_NAMESPACES: usize = 100_000;

/// The longest image that is looked at: references of registries are shorter. The API server takes one of a megabyte.
const LONGEST_IMAGE: usize = 1024;

/// One image of a Pod, in one context.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Need {
    /// The image that a new Pod would be created with.
    written: Box<str>,
    /// What stands in the Pod, where Landfall changed it: the node pulls this when the same Pod starts again.
    standing: Option<Box<str>>,
    pull: Pull,
    exemption: Exemption,
    /// Index of the rules and of the platforms.
    regime: usize,
    platforms: usize,
}

/// Who uses an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Users {
    /// How many Pods; 0 where only a template names it.
    pub(super) pods: u32,
    /// The tag by which one of them names it.
    pub(super) tag: Option<Tag>,
    /// The first of their namespaces.
    pub(super) namespaces: BTreeSet<Box<str>>,
    /// The first of their owners.
    pub(super) owners: Vec<Arc<ObjectRef>>,
}

/// All needs of a cluster.
#[derive(Debug, Default)]
pub(super) struct Needs {
    table: HashMap<Need, Users>,
    regimes: Vec<Arc<Regime>>,
    platforms: Vec<Arc<[PlatformPattern]>>,
    /// The index of the rules of each namespace that was seen.
    namespaces: HashMap<Box<str>, usize>,
    /// The pull secrets of ours that Pods have.
    pub(super) carried: Arc<Carried>,
    /// How many more namespaces than the first of each need may be kept.
    room: usize,
    /// How many Pods were read.
    pub(super) pods: u64,
    /// How many images were left out because there were too many different ones.
    pub(super) left_out: u64,
    /// How many Pods and templates could not be read.
    pub(super) unreadable: u64,
}

/// Which namespaces have Pods with a pull secret that Landfall makes.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// When the list of Pods was begun.
    pub at: Timestamp,
    /// The namespaces, and the Secrets.
    pub by: HashSet<(Box<str>, PullSecret)>,
}

/// How namespaces are judged.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) settings: &'a Settings,
    pub(super) own_namespace: &'a str,
    pub(super) now: Timestamp,
}

impl Ground<'_> {
    /// As the doors leave them alone.
    fn leaves_alone(&self, namespace: &str) -> bool {
        self.settings.leaves_alone(namespace, Some(self.own_namespace))
    }
}

impl Needs {
    /// None yet: what runs is read from now on.
    pub(super) fn at(now: Timestamp, reports: Reports) -> Self {
        let room = match reports {
            Reports::Off => 0,
            Reports::OpenReports => MORE_NAMESPACES,
        };
        Self { carried: Arc::new(Carried { at: now, by: HashSet::new() }), room, ..Self::default() }
    }

    /// The namespaces of a page whose labels are not known yet.
    ///
    /// # Errors
    /// It is no page of a list.
    pub(super) fn strangers(
        &self,
        page: &str,
        ground: Ground<'_>,
    ) -> Result<HashSet<Box<str>>, serde_json::Error> {
        let page: Page<'_, Named<'_>> = serde_json::from_str(page)?;
        let names = page.items.iter().map(|item| item.metadata.namespace());
        let is_new = |name: &&str| !self.namespaces.contains_key(*name) && !ground.leaves_alone(name);
        Ok(names.filter(is_new).map(Box::from).collect())
    }

    /// Takes the labels of a namespace.
    pub(super) fn know(&mut self, namespace: &str, labels: &Labels, ground: Ground<'_>) {
        let regime = ground.settings.regime(labels, ground.now);
        let same = self.regimes.iter().position(|known| known.is_same(&regime));
        let index = same.unwrap_or_else(|| {
            self.regimes.push(regime.clone());
            self.regimes.len() - 1
        });
        self.namespaces.insert(namespace.into(), index);
    }

    /// Adds what a page needs. Returns the token of the next page, if there is one.
    ///
    /// # Errors
    /// It is no page of a list.
    pub(super) fn add(
        &mut self,
        kind: WorkloadKind,
        page: &str,
        ground: Ground<'_>,
    ) -> Result<Option<String>, serde_json::Error> {
        let next = match kind {
            WorkloadKind::Pod => {
                let page: Page<'_, Pod<'_>> = serde_json::from_str(page)?;
                for pod in &page.items {
                    self.pods += 1;
                    self.add_pod(pod, ground);
                }
                page.next()
            }
            _ => {
                let page: Page<'_, Workload<'_>> = serde_json::from_str(page)?;
                for workload in &page.items {
                    self.add_workload(kind, workload, ground);
                }
                page.next()
            }
        };
        Ok(next)
    }

    fn add_pod(&mut self, pod: &Pod<'_>, ground: Ground<'_>) {
        let Some(metadata) = &pod.metadata else { return };
        let mirrored = metadata.annotations.as_ref().is_some_and(|have| have.mirror == MirrorMark::Present);
        // A static Pod has its image from its node, and nobody asks us about it.
        if mirrored || metadata.deletion_timestamp.is_some() {
            return;
        }
        let (name, text) =
            (metadata.name.as_deref(), |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned));
        let namespace = namespace(Some(metadata));
        for managed in ground.settings.pull_secrets.iter().filter(|managed| pod.carries(&managed.secret)) {
            let carried = (namespace.into(), managed.secret.clone());
            Arc::make_mut(&mut self.carried).by.insert(carried);
        }
        let owner = metadata.owner_references.first().and_then(|owner| {
            Some(ObjectRef {
                api_version: text(&owner.api_version)?.into(),
                kind: text(&owner.kind)?.into(),
                namespace: Some(namespace.to_owned()),
                name: text(&owner.name)?,
                uid: text(&owner.uid),
            })
        });
        let itself = || ObjectRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: Some(namespace.to_owned()),
            name: name.unwrap_or_default().to_owned(),
            uid: None,
        };
        // Whoever creates Pods writes their owners.
        let owner = owner.filter(fits).unwrap_or_else(itself);
        self.add_images(pod, namespace, Arc::new(owner), 1, ground);
    }

    fn add_workload(&mut self, kind: WorkloadKind, workload: &Workload<'_>, ground: Ground<'_>) {
        let metadata = &workload.metadata;
        // What another object owns has the template of that one.
        if metadata.owner_references.first().is_some() {
            return;
        }
        let Some(template) = workload.template() else { return };
        let (api_version, kind) = kind.names();
        let owner = ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: Some(metadata.namespace().to_owned()),
            name: metadata.name().to_owned(),
            uid: metadata.uid.as_deref().filter(|uid| !uid.is_empty()).map(str::to_owned),
        };
        self.add_images(template, metadata.namespace(), Arc::new(owner), 0, ground);
    }

    fn add_images(
        &mut self,
        pod: &Pod<'_>,
        namespace: &str,
        owner: Arc<ObjectRef>,
        pods: u32,
        ground: Ground<'_>,
    ) {
        let Some(regime) = self.namespaces.get(namespace).copied() else {
            if !ground.leaves_alone(namespace) {
                self.unreadable += 1;
            }
            return;
        };
        let platforms = self.platforms(&ground.settings.platforms(&platform::demand(pod)));
        let exemption = match pod.mode() {
            Mode::Judge => Exemption::None,
            Mode::Skip => Exemption::Skip,
        };
        let Some(context) = self.context(regime, platforms, exemption, ground.now) else { return };
        let mut seen: HashSet<Need> = HashSet::new();
        for Original { slot, was } in plan::originals(pod, ground.settings, &context) {
            if slot.image.len() > LONGEST_IMAGE {
                continue;
            }
            let need = Need {
                written: was.as_deref().unwrap_or(slot.image).into(),
                standing: was.is_some().then(|| slot.image.into()),
                pull: slot.pull_policy.pull(),
                exemption,
                regime,
                platforms,
            };
            if seen.insert(need.clone()) {
                self.use_of(need, namespace, &owner, pods);
            }
        }
    }

    fn use_of(&mut self, need: Need, namespace: &str, owner: &Arc<ObjectRef>, pods: u32) {
        if self.table.len() >= MOST && !self.table.contains_key(&need) {
            self.left_out += 1;
            return;
        }
        let tag = Reference::parse(&need.written).ok().and_then(|reference| reference.owned_tag());
        let users = self.table.entry(need).or_default();
        users.pods = users.pods.saturating_add(pods);
        users.add(namespace, owner, &mut self.room);
        if users.tag.is_none() {
            users.tag = tag;
        }
    }

    /// Adds an image that a node could not pull, if no sweep has seen it yet.
    pub(super) fn note(&mut self, failed: &FailedPull, labels: &Labels, ground: Ground<'_>) {
        let FailedPull { image, namespace, pod, .. } = failed;
        let is_it = |need: &Need| *need.written == **image || need.standing.as_deref() == Some(image);
        if self.table.keys().any(is_it) || ground.leaves_alone(namespace) {
            return;
        }
        self.know(namespace, labels, ground);
        let regime = self.namespaces.get(&**namespace).copied().unwrap_or_default();
        let platforms = self.platforms(&ground.settings.platforms);
        let (pull, exemption) = (Pull::Registry, Exemption::None);
        let written = image.as_str().into();
        let need = Need { written, standing: None, pull, exemption, regime, platforms };
        let owner = ObjectRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: Some(namespace.clone()),
            name: pod.clone(),
            uid: None,
        };
        self.use_of(need, namespace, &Arc::new(owner), 1);
    }

    /// The index of these platforms.
    fn platforms(&mut self, patterns: &Arc<[PlatformPattern]>) -> usize {
        self.platforms.iter().position(|known| known == patterns).unwrap_or_else(|| {
            self.platforms.push(patterns.clone());
            self.platforms.len() - 1
        })
    }

    /// What images have in common.
    fn context(
        &self,
        regime: usize,
        platforms: usize,
        exemption: Exemption,
        now: Timestamp,
    ) -> Option<PodContext> {
        Some(PodContext {
            regime: self.regimes.get(regime)?.clone(),
            platforms: self.platforms.get(platforms)?.clone(),
            exemption,
            now,
        })
    }

    /// The Cases of a need: of the image as a new Pod would have it, and of what stands in the Pods.
    pub(super) fn cases(&self, need: &Need, settings: &Settings, now: Timestamp) -> Vec<Case> {
        let Some(context) = self.context(need.regime, need.platforms, need.exemption, now) else {
            return Vec::new();
        };
        let images = std::iter::once(&need.written).chain(&need.standing);
        let cases = images.map(|image| settings.case_for(image, need.pull, &context));
        cases.filter(|case| matches!(case.subject, Subject::Routed(_))).collect()
    }

    /// The Case of the image as a new Pod would have it, whether a Route covers it or not.
    pub(super) fn case(&self, need: &Need, settings: &Settings, now: Timestamp) -> Option<Case> {
        let context = self.context(need.regime, need.platforms, need.exemption, now)?;
        Some(settings.case_for(&need.written, need.pull, &context))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Need, &Users)> {
        self.table.iter()
    }

    /// How many different ones.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl From<Users> for Running {
    fn from(Users { pods, tag, namespaces, owners }: Users) -> Self {
        let owners = owners.iter().map(|owner| (**owner).clone()).collect();
        Self { pods, tag, namespaces, owners }
    }
}

impl Users {
    fn add(&mut self, namespace: &str, owner: &Arc<ObjectRef>, room: &mut usize) {
        if !self.namespaces.contains(namespace) {
            let is_one_of_the_first = self.namespaces.len() < MOST_USERS;
            if is_one_of_the_first || *room > 0 {
                *room -= usize::from(!is_one_of_the_first);
                self.namespaces.insert(namespace.into());
            }
        }
        if self.owners.len() < MOST_USERS && !self.owners.contains(owner) {
            self.owners.push(owner.clone());
        }
    }

    /// Adds the users of another need with the same Gap.
    pub(super) fn merge(&mut self, other: &Self) {
        self.pods = self.pods.saturating_add(other.pods);
        self.tag = self.tag.take().or_else(|| other.tag.clone());
        for namespace in &other.namespaces {
            if self.namespaces.len() < MOST_USERS {
                self.namespaces.insert(namespace.clone());
            }
        }
        for owner in &other.owners {
            if self.owners.len() < MOST_USERS && !self.owners.contains(owner) {
                self.owners.push(owner.clone());
            }
        }
    }
}

fn namespace<'m>(metadata: Option<&'m Metadata<'_>>) -> &'m str {
    metadata.and_then(|metadata| metadata.namespace.as_deref()).unwrap_or_default()
}
