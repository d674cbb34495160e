//! The content of a registry and the state of its parts. Stories and tests change it between steps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::accounts::Account;
use super::content::{Content, Role};
use super::replication::{Execution, ReplicationRule};
use super::scan::{Report, Scan};
use super::tokens::{HarborTokens, PlainTokens};
use super::webhook::Hooks;
use crate::domain::digest::Digest;
use crate::domain::scan::Severity;

/// Everything a registry knows. A plain registry uses only repositories and storage.
pub struct Store {
    /// The system's scanner.
    pub scanner: ScannerState,
    /// PostgreSQL.
    pub database: Reachable,
    /// What Harbor knows of its configuration while the database is down.
    pub configuration: Configuration,
    /// The distribution registry behind Harbor's core.
    pub storage: Reachable,
    /// Harbor's job service, which runs scans.
    pub job_service: Reachable,
    /// How long a request with a wrong password takes: 1.5 s in a real Harbor, 0 here unless a test changes it.
    pub wrong_password_delay: Duration,
    /// CVEs that are ignored in all projects that use the system's list.
    pub allowlist: Allowlist,
    /// Where it looks up that it has a blob.
    pub descriptors: Descriptors,
    /// Whether `Range` is obeyed.
    pub ranges: Ranges,
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) projects: BTreeMap<String, Project>,
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) scans: HashMap<Digest, Scan>,
    pub(super) rules: Vec<ReplicationRule>,
    pub(super) hooks: Hooks,
    pub(super) harbor_tokens: HarborTokens,
    pub(super) plain_tokens: PlainTokens,
    next_id: u64,
}

/// A part of a Harbor that may be up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachable {
    /// It answers.
    Up,
    /// It refuses connections.
    Down,
}

/// Where a registry looks up that it has a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptors {
    /// In the storage.
    Storage,
    /// In a cache, as Harbor has one in Redis, which still knows an object that the storage has lost: `HEAD` answers 200, and
    /// `GET` announces the blob and ends before its first byte.
    Cache,
}

/// Whether a registry obeys `Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// It answers 206 with the part.
    Obeyed,
    /// It answers 200 with the whole blob.
    Ignored,
}

/// Harbor's configuration while its database is down. It is cached for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configuration {
    /// `systeminfo` is answered, to everybody as to a caller without credentials.
    Cached,
    /// `systeminfo` is answered 500.
    Expired,
}

/// The scanner as Harbor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScannerState {
    /// Registered and answering.
    Healthy,
    /// Registered, but it does not answer: overviews are absent, stored reports stay.
    Unhealthy,
    /// Registered, answering and disabled by an admin.
    Disabled,
    /// None registered.
    None,
}

/// A Harbor project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its number. Another project may have this number as its name.
    pub id: u64,
    /// Who may read.
    pub visibility: Visibility,
    /// `prevent_vul` and its severity: pulls are refused (412) from this severity on.
    pub prevent_vul: Option<Severity>,
    /// Whether only signed images can be pulled (412).
    pub signatures: Signatures,
    /// CVEs that are ignored here; `None`: the system's list applies.
    pub allowlist: Option<Allowlist>,
    /// The upstream of a proxy-cache project; `None`: an ordinary project.
    pub(super) upstream: Option<Upstream>,
}

/// CVEs that are ignored until a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowlist {
    /// `CVE-…`
    pub cves: Vec<String>,
    /// When it ends; `None`: never.
    pub expires_at: Option<Timestamp>,
}

impl Allowlist {
    /// The CVEs that are ignored now: none after it has expired.
    pub(super) fn forgiven(&self) -> &[String] {
        match self.expires_at {
            Some(end) if end <= Timestamp::now() => &[],
            _ => &self.cves,
        }
    }
}

/// Which signatures a project requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// Nothing.
    Optional,
    /// A cosign signature of exactly the artifact that is pulled: the signature of an index does not count for its children.
    Cosign,
}

/// Who may read a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody (over `/v2` after an anonymous token).
    Public,
    /// Only accounts with permission.
    Private,
}

/// The registry behind a proxy-cache project.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    pub url: String,
    pub client: reqwest::Client,
    pub user: String,
    pub password: String,
}

/// A repository.
#[derive(Debug, Clone, Default)]
pub(super) struct Repository {
    pub id: u64,
    pub artifacts: BTreeMap<Digest, Artifact>,
    pub tags: BTreeMap<String, Tag>,
    pub blobs: HashMap<Digest, Bytes>,
    /// Those of `blobs` whose objects the storage has lost.
    pub lost: HashSet<Digest>,
}

#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub id: u64,
    pub digest: Digest,
    pub pushed: Timestamp,
}

/// A manifest or index in a repository.
#[derive(Debug, Clone)]
pub(super) struct Artifact {
    pub id: u64,
    pub content: Arc<Content>,
    pub role: Role,
    pub pushed: Timestamp,
    pub stored: Stored,
    pub accessories: Vec<Accessory>,
}

/// What belongs to an artifact. Its own manifest is not served.
#[derive(Debug, Clone)]
pub(super) struct Accessory {
    pub id: u64,
    pub kind: String,
    pub digest: Digest,
}

impl Artifact {
    /// Whether it has an accessory of this type.
    pub fn has_accessory(&self, kind: &str) -> bool {
        self.accessories.iter().any(|accessory| accessory.kind == kind)
    }
}

/// Whether the manifest's file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Intact,
    Lost,
    /// A pull-through cache has not pulled it yet: it answers for the tag, and not for the digest.
    NotYetPulled,
}

impl Store {
    pub(super) fn harbor(account: Account) -> Self {
        let mut store = Self::plain();
        store.add_account(account);
        store
    }

    pub(super) fn plain() -> Self {
        Self {
            scanner: ScannerState::Healthy,
            database: Reachable::Up,
            configuration: Configuration::Cached,
            storage: Reachable::Up,
            job_service: Reachable::Up,
            wrong_password_delay: Duration::ZERO,
            allowlist: Allowlist::default(),
            descriptors: Descriptors::Storage,
            ranges: Ranges::Obeyed,
            accounts: BTreeMap::new(),
            projects: BTreeMap::new(),
            repositories: BTreeMap::new(),
            scans: HashMap::new(),
            rules: Vec::new(),
            hooks: Hooks { backoff: Duration::from_millis(50), ..Hooks::default() },
            harbor_tokens: HarborTokens::default(),
            plain_tokens: PlainTokens::default(),
            next_id: 0,
        }
    }

    /// Adds an account, or replaces the one of that name.
    pub fn add_account(&mut self, account: Account) {
        self.accounts.insert(account.name.clone(), account);
    }

    /// Removes an account.
    pub fn remove_account(&mut self, name: &str) {
        self.accounts.remove(name);
    }

    /// The project of this name. If there is none, a private one is made.
    pub fn project(&mut self, name: &str) -> &mut Project {
        let id = self.id();
        self.projects.entry(name.into()).or_insert(Project {
            id,
            visibility: Visibility::Private,
            prevent_vul: None,
            signatures: Signatures::Optional,
            allowlist: None,
            upstream: None,
        })
    }

    /// Removes a project and everything in it.
    pub fn remove_project(&mut self, name: &str) {
        self.projects.remove(name);
        self.repositories.retain(|repository, _| repository.split('/').next() != Some(name));
    }

    /// Pushes an image or index with everything that it references, and sets the tag. A missing project is made.
    pub fn push(&mut self, repository: &str, tag: &str, content: &Content) -> Digest {
        let digest = self.keep(repository, content);
        self.tag(repository, tag, &digest);
        self.hooks.tell("PUSH_ARTIFACT", repository, &digest.to_string(), Some(tag));
        digest
    }

    /// Pushes without a tag.
    pub fn push_untagged(&mut self, repository: &str, content: &Content) -> Digest {
        let digest = self.keep(repository, content);
        self.hooks.tell("PUSH_ARTIFACT", repository, &digest.to_string(), None);
        digest
    }

    /// Stores it. Of an index Harbor tells each child by itself.
    fn keep(&mut self, repository: &str, content: &Content) -> Digest {
        for child in &content.children {
            self.put(repository, child.content.digest, &child.content, child.role);
            self.push_untagged(repository, &child.content);
        }
        self.put(repository, content.digest, content, Role::Image);
        content.digest
    }

    /// Stores an image under a digest that its bytes do not have, and sets the tag if one is given.
    ///
    /// Recorded requests contain invented digests. `HEAD` answers them; the body of `GET` has another hash, so a client that
    /// reads it must refuse it.
    pub fn claim(&mut self, repository: &str, tag: Option<&str>, digest: Digest, content: &Content) {
        self.put(repository, digest, content, Role::Image);
        if let Some(tag) = tag {
            self.tag(repository, tag, &digest);
        }
    }

    /// Sets or moves a tag. The digest that it named before stays, without a tag.
    pub fn tag(&mut self, repository: &str, tag: &str, digest: &Digest) {
        let (id, pushed) = (self.id(), Timestamp::now());
        self.repository(repository).tags.insert(tag.into(), Tag { id, digest: *digest, pushed });
    }

    /// Removes a tag. The artifact stays.
    pub fn untag(&mut self, repository: &str, tag: &str) {
        self.repository(repository).tags.remove(tag);
    }

    /// Deletes an artifact and its tags.
    pub fn delete(&mut self, repository: &str, digest: &Digest) {
        let name = repository;
        let repository = self.repository(repository);
        repository.artifacts.remove(digest);
        let tag = repository.tags.iter().find(|(_, tag)| tag.digest == *digest).map(|(tag, _)| tag.clone());
        repository.tags.retain(|_, tag| tag.digest != *digest);
        self.hooks.tell("DELETE_ARTIFACT", name, &digest.to_string(), tag.as_deref());
    }

    /// Deletes a repository.
    pub fn delete_repository(&mut self, repository: &str) {
        self.repositories.remove(repository);
    }

    /// Removes the manifest's file from the storage: Harbor's database still has the artifact, `/v2` answers 404.
    pub fn lose(&mut self, repository: &str, digest: &Digest) {
        self.set_stored(repository, digest, Stored::Lost);
    }

    /// Removes the files of an image's config and layers. Manifest and database do not show it; only a pull fails.
    pub fn lose_layers(&mut self, repository: &str, digest: &Digest) {
        let repository = self.repository(repository);
        let Some(artifact) = repository.artifacts.get(digest) else { return };
        repository.lost.extend(artifact.content.blobs.iter().map(|blob| blob.digest));
    }

    /// The config and the layers of an image, the config first.
    #[must_use]
    pub fn layers(&self, repository: &str, digest: &Digest) -> Vec<Digest> {
        let artifact = self.repositories.get(repository).and_then(|found| found.artifacts.get(digest));
        let blobs = artifact.map(|artifact| artifact.content.blobs.as_slice()).unwrap_or_default();
        blobs.iter().map(|blob| blob.digest).collect()
    }

    /// Removes the file of one layer, or of a config. It is back after a push, or after
    /// [`restore_layer`](Self::restore_layer).
    pub fn lose_layer(&mut self, repository: &str, layer: &Digest) {
        self.repository(repository).lost.insert(*layer);
    }

    /// Puts the file of a layer back.
    pub fn restore_layer(&mut self, repository: &str, layer: &Digest) {
        self.repository(repository).lost.remove(layer);
    }

    /// Makes it what a pull-through cache offers and has not pulled yet (as ECR's does, aws/containers-roadmap #2837): a plain
    /// registry answers for its tags, but not for its digest, until a `GET` of a tag has pulled it.
    pub fn not_yet_pulled(&mut self, repository: &str, digest: &Digest) {
        self.set_stored(repository, digest, Stored::NotYetPulled);
    }

    /// Puts the removed file back.
    pub fn restore(&mut self, repository: &str, digest: &Digest) {
        self.set_stored(repository, digest, Stored::Intact);
    }

    /// Signs an artifact, as cosign would.
    pub fn sign(&mut self, repository: &str, digest: &Digest) {
        let signature = Content::image(&format!("signature of {digest}")).digest;
        self.attach(repository, digest, "signature.cosign", signature);
    }

    /// Adds an accessory of this type, as Harbor spells it, with this digest.
    pub fn attach(&mut self, repository: &str, subject: &Digest, kind: &str, digest: Digest) {
        let id = self.id();
        if let Some(artifact) = self.repository(repository).artifacts.get_mut(subject) {
            artifact.accessories.retain(|accessory| accessory.digest != digest);
            artifact.accessories.push(Accessory { id, kind: kind.into(), digest });
        }
    }

    /// Removes all accessories of an artifact.
    pub fn detach(&mut self, repository: &str, subject: &Digest) {
        if let Some(artifact) = self.repository(repository).artifacts.get_mut(subject) {
            artifact.accessories.clear();
        }
    }

    /// Changes when an artifact was pushed.
    pub fn set_pushed(&mut self, repository: &str, digest: &Digest, at: Timestamp) {
        if let Some(artifact) = self.repository(repository).artifacts.get_mut(digest) {
            artifact.pushed = at;
        }
    }

    /// Adds a replication rule, and returns its number.
    pub fn add_rule(&mut self, mut rule: ReplicationRule) -> u64 {
        rule.id = self.id();
        let id = rule.id;
        self.rules.push(rule);
        id
    }

    /// Removes all replication rules.
    pub fn remove_rules(&mut self) {
        self.rules.clear();
    }

    /// Adds an execution to a rule.
    pub fn execute(&mut self, rule: u64, mut execution: Execution) {
        execution.id = self.id();
        if let Some(rule) = self.rules.iter_mut().find(|one| one.id == rule) {
            rule.executions.push(execution);
        }
    }

    /// Sets the state of a scan in the whole Harbor: reports belong to a digest, not to a repository. For an index it sets that
    /// of all its images, as a scan of an index does; children can be set to other states afterwards.
    pub fn set_scan(&mut self, digest: &Digest, scan: Scan) {
        let parts = self
            .repositories
            .values()
            .find_map(|repository| repository.artifacts.get(digest))
            .map_or_else(|| vec![*digest], |artifact| images(*digest, &artifact.content));
        for part in parts {
            self.tell_of_scan(&part, &scan);
            self.scans.insert(part, scan.clone());
        }
    }

    /// A scan is told of each image by itself, never of an index, in each repository that has it.
    fn tell_of_scan(&self, image: &Digest, scan: &Scan) {
        let event = match scan.status() {
            Some("Success") => "SCANNING_COMPLETED",
            Some("Error") => "SCANNING_FAILED",
            _ => return,
        };
        for (name, repository) in &self.repositories {
            if repository.artifacts.contains_key(image) {
                let tag = repository.tags.iter().find(|(_, tag)| tag.digest == *image).map(|(tag, _)| tag);
                self.hooks.tell(event, name, &image.to_string(), tag.map(String::as_str));
            }
        }
    }

    /// Starts "scan all", as Harbor's schedule does every night: each image that can be scanned is `Pending` until
    /// [`finish_scan_all`](Self::finish_scan_all).
    pub fn scan_all(&mut self) {
        let images: Vec<Digest> = self
            .repositories
            .values()
            .flat_map(|repository| &repository.artifacts)
            .filter(|(_, artifact)| artifact.role != Role::Attestation && artifact.content.kind() == "IMAGE")
            .filter(|(_, artifact)| !artifact.content.is_index())
            .map(|(digest, _)| *digest)
            .collect();
        for digest in images {
            let scan = self.scans.entry(digest).or_insert(Scan::NotScanned);
            *scan = match std::mem::replace(scan, Scan::Pending) {
                Scan::Success(report) | Scan::Rescan(report) => Scan::Rescan(report),
                _ => Scan::Pending,
            };
        }
    }

    /// Ends "scan all": every scan has found what the last one found, or nothing.
    pub fn finish_scan_all(&mut self) {
        let end_time = Timestamp::now();
        for scan in self.scans.values_mut() {
            match scan {
                Scan::Rescan(report) => *scan = Scan::Success(Report { end_time, ..report.clone() }),
                Scan::Pending => *scan = Scan::clean(),
                _ => {}
            }
        }
    }

    /// The digest that a tag names.
    #[must_use]
    pub fn digest(&self, repository: &str, tag: &str) -> Option<Digest> {
        Some(self.repositories.get(repository)?.tags.get(tag)?.digest)
    }

    /// An artifact by tag or digest.
    pub(super) fn find(&self, repository: &str, reference: &str) -> Option<(Digest, &Artifact)> {
        let repository = self.repositories.get(repository)?;
        let digest = match reference.parse() {
            Ok(digest) => digest,
            Err(_) => repository.tags.get(reference)?.digest,
        };
        Some((digest, repository.artifacts.get(&digest)?))
    }

    /// The images that the scan of a digest consists of: the image itself, or the images of an index. Empty if nothing can be
    /// scanned.
    pub(super) fn scan_parts<'a>(
        &'a self,
        digest: Digest,
        artifact: &'a Artifact,
    ) -> Vec<(Digest, &'a Scan)> {
        const NEVER: &Scan = &Scan::NotScanned;
        let scan = |digest| (digest, self.scans.get(&digest).unwrap_or(NEVER));
        match artifact.role {
            Role::Attestation => Vec::new(),
            // A scanner scans images only.
            Role::Image if artifact.content.kind() != "IMAGE" => Vec::new(),
            Role::Image | Role::Disguised => {
                images(digest, &artifact.content).into_iter().map(scan).collect()
            }
        }
    }

    fn put(&mut self, repository: &str, digest: Digest, content: &Content, role: Role) {
        let (id, pushed) = (self.id(), Timestamp::now());
        let repository = self.repository(repository);
        for blob in &content.blobs {
            repository.blobs.insert(blob.digest, blob.bytes.clone());
            repository.lost.remove(&blob.digest);
        }
        let content = Arc::new(content.clone());
        let (stored, accessories) = (Stored::Intact, Vec::new());
        let artifact = Artifact { id, content, role, pushed, stored, accessories };
        repository.artifacts.entry(digest).or_insert(artifact).stored = Stored::Intact;
    }

    fn set_stored(&mut self, repository: &str, digest: &Digest, stored: Stored) {
        if let Some(artifact) = self.repository(repository).artifacts.get_mut(digest) {
            artifact.stored = stored;
        }
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        if let Some((project, _)) = name.split_once('/') {
            self.project(project);
        }
        let id = self.id();
        self.repositories.entry(name.into()).or_insert_with(|| Repository { id, ..Repository::default() })
    }

    /// The number of a new webhook policy.
    pub(super) fn next_policy(&mut self) -> u64 {
        self.id()
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// The images of a manifest: itself, or those of an index, at any depth.
fn images(digest: Digest, content: &Content) -> Vec<Digest> {
    if !content.is_index() {
        return vec![digest];
    }
    let children = content.children.iter().filter(|child| child.role != Role::Attestation);
    children.flat_map(|child| images(child.content.digest, &child.content)).collect()
}
