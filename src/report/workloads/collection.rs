//! Workloads, and how they are collected: each object once, equal Pods of it once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::policy::Labels;

/// The most workloads that are kept. What is beyond is counted.
const MOST: usize = 100_000;

/// The most bytes of templates and Pods that are kept: whoever may create Pods may create many large ones.
const MOST_BYTES: usize = 256 << 20;

/// The most different Pods of one workload that are kept. During a rollout there are two.
const MOST_STANDING: usize = 16;

/// An object that makes Pods, or a Pod that nothing else makes.
#[derive(Debug, Clone)]
pub struct Workload {
    /// As in a manifest: `apps/v1`.
    pub api_version: Box<str>,
    /// As in a manifest: `Deployment`. That of the owner which people know, not of its ReplicaSet.
    pub kind: Box<str>,
    /// Its namespace; in a manifest without one, that in which it would be created.
    pub namespace: Box<str>,
    /// Its name; a manifest may have `generateName` instead, and a `-` then stands at its end.
    pub name: Box<str>,
    /// How many Pods of it run. 0: it is scaled down, waits for its hour, or is a manifest.
    pub pods: u32,
    /// What its new Pods are created from, as JSON `{"metadata":…,"spec":…}` that is read as a [`Pod`](crate::pod::Pod), with
    /// the fields that count ([`essence`](crate::pod::workload::essence)). `None`: nobody here knows the template, because a
    /// custom resource makes the Pods, or nothing does but who created them. See [`Self::to_create`].
    pub template: Option<Box<str>>,
    /// The Pods of it that run, each different one once.
    pub standing: Vec<Standing>,
    /// Where it was read.
    pub source: Source,
}

/// Pods of one workload that are equal in what counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The Pod as it stands, as [`Workload::template`]. Its annotation says what was written before Landfall changed it
    /// ([`originals`](crate::pod::plan::originals)).
    pub pod: Box<str>,
    /// How many there are.
    pub pods: u32,
}

/// Where a workload was read.
#[derive(Debug, Clone)]
pub enum Source {
    /// In the cluster.
    Cluster,
    /// In a manifest.
    File(Origin),
}

/// The place of a workload in a file.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file as it was named; `stdin`.
    pub path: Arc<str>,
    /// The line on which the object begins, from 1.
    pub line: usize,
    /// Where the template begins in the document, as a JSON pointer: `/spec/template`.
    pub(super) pointer: Box<str>,
    /// The lines of images and aliases in the document, by JSON pointer.
    pub(super) lines: Arc<HashMap<String, usize>>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Collection {
    /// The workloads, in the order of namespace, kind and name.
    workloads: BTreeMap<Key, Workload>,
    /// The labels of namespaces whose manifests were read: those may not exist in the cluster yet.
    pub namespaces: BTreeMap<Box<str>, Labels>,
    /// The namespaces that Landfall leaves alone, and how many workloads were left out for it.
    pub left_alone: BTreeMap<Box<str>, usize>,
    /// Objects that make no Pods, or documents that are none, by kind. Nobody needs to look at them.
    pub skipped: BTreeMap<Box<str>, usize>,
    /// The Secrets and ServiceAccounts among manifests.
    pub keys: Vec<serde_json::Value>,
    /// Custom resources that were not looked into, by `kind.group`. Some make Pods.
    pub custom: BTreeMap<Box<str>, usize>,
    /// What a reader should know, in sentences: what could not be read, what is not applied.
    pub notes: Vec<String>,
    /// Whether something that should be here could not be read. A note says what.
    pub partial: bool,
    /// How many Pods were read.
    pub pods: u64,
    /// How many Pods were left out that come with their node (static Pods): nobody asks Landfall about them.
    pub static_pods: u64,
    /// How many Pods and templates were left out because they could not be understood, or because there are too many.
    pub left_out: u64,
    bytes: usize,
}

type Key = (Box<str>, Box<str>, Box<str>, Box<str>);

impl Workload {
    /// What new Pods are created from: the template. Where nobody knows it, the Pods as they stand: what was written before
    /// Landfall changed them tells [`originals`](crate::pod::plan::originals).
    pub fn to_create(&self) -> impl Iterator<Item = &str> {
        let of_pods = self.standing.iter().filter(|_| self.template.is_none()).map(|standing| &*standing.pod);
        self.template.as_deref().into_iter().chain(of_pods)
    }
}

impl Origin {
    /// The line of an image, by its [pointer](crate::pod::Slot::pointer) in the Pod: `/spec/containers/0/image`.
    #[must_use]
    pub fn line_of(&self, pointer: &str) -> usize {
        let pointer = format!("{}{pointer}", self.pointer);
        let mut at = pointer.as_str();
        // Of what an alias stands for, the line of the alias is known.
        loop {
            if let Some(line) = self.lines.get(at) {
                return *line;
            }
            let Some((above, _)) = at.rsplit_once('/') else { return self.line };
            at = above;
        }
    }
}

impl Collection {
    /// The workloads, in the order of namespace, kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workloads.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty()
    }

    /// Whether everything was read that there is to read. A custom resource that nobody looked into counts as read: its Pods
    /// are.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.left_out == 0 && !self.partial
    }

    /// Adds a workload by its template.
    pub(super) fn add(&mut self, workload: Workload) {
        let size = workload.template.as_ref().map_or(0, |template| template.len());
        if !self.has_room(size) {
            return;
        }
        // The same object twice (in two lists, in two files): the last one counts, as with `kubectl apply`.
        self.workloads.insert(key(&workload), workload);
    }

    /// Adds a Pod that runs to its workload, which may be known already. `pod`: its essence.
    pub(super) fn stand(&mut self, owner: Workload, pod: String) {
        self.pods += 1;
        if !self.workloads.contains_key(&key(&owner)) && !self.has_room(0) {
            return;
        }
        let workload = match self.workloads.entry(key(&owner)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(owner),
        };
        workload.pods = workload.pods.saturating_add(1);
        if let Some(same) = workload.standing.iter_mut().find(|standing| *standing.pod == *pod) {
            same.pods = same.pods.saturating_add(1);
        } else if workload.standing.len() < MOST_STANDING && self.bytes + pod.len() <= MOST_BYTES {
            self.bytes += pod.len();
            workload.standing.push(Standing { pod: pod.into(), pods: 1 });
        } else {
            self.left_out += 1;
        }
    }

    /// Counts something by its name.
    pub(super) fn count(counts: &mut BTreeMap<Box<str>, usize>, name: &str) {
        // Names come from outside: few are kept.
        const MOST_NAMES: usize = 1_000;
        if counts.len() < MOST_NAMES || counts.contains_key(name) {
            *counts.entry(name.into()).or_default() += 1;
        } else {
            *counts.entry("others".into()).or_default() += 1;
        }
    }

    fn has_room(&mut self, size: usize) -> bool {
        let room = self.workloads.len() < MOST && self.bytes + size <= MOST_BYTES;
        if room {
            self.bytes += size;
        } else {
            self.left_out += 1;
        }
        room
    }
}

fn key(workload: &Workload) -> Key {
    let Workload { api_version, kind, namespace, name, .. } = workload;
    (namespace.clone(), kind.clone(), name.clone(), api_version.clone())
}
