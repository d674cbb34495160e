//! The inventory as plain data: what stands in its JSON document.
//!
//! Digests, registries and platforms stand in tables and are named by their number there, so that thousands of images stay
//! small. A number that the table does not have makes an answer malformed, nothing else.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;
use crate::domain::registry::{CredentialSource, Plugin, Registry};
use crate::domain::scan::Severity;

/// The version of the document that is written and understood here.
pub const VERSION: u32 = 1;

/// The most vulnerabilities of a list that is taken along.
pub const MOST_VULNERABILITIES: usize = 64;

/// What was proved of the images that a cluster needs. A field that is not known here is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The version of the document.
    pub version: u32,
    /// The site whose images these are.
    pub site: String,
    /// When it was written. Ages are counted back from here.
    pub written: Timestamp,
    /// When the sweep that named the images began.
    pub sweep: Timestamp,
    /// The registries that answered.
    pub registries: Vec<Answering>,
    /// The digests that the answers name.
    pub digests: Vec<Digest>,
    /// The platforms that the answers name: os, architecture, variant.
    pub platforms: Vec<(String, String, Option<String>)>,
    /// The repositories, in the order in which the sweep named them first.
    pub repositories: Vec<Held>,
    /// What was found to be broken, though its registry says that it is there.
    #[serde(default)]
    pub damage: Vec<Broken>,
    /// How many repositories found no room.
    #[serde(default)]
    pub left_out: usize,
}

/// A registry that answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answering {
    /// Its name in the configuration.
    pub name: String,
    /// The [`fingerprint`] of its configuration.
    pub fingerprint: String,
}

/// What one registry said of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// The number of the registry.
    pub at: u32,
    /// The repository there.
    pub repository: String,
    /// The answers.
    pub answers: Vec<Answer>,
}

/// An answer, and how many seconds before `written` it was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer(pub u32, pub Learned);

/// Two answers that differ in their age alone are the same content.
impl Hash for Answer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.hash(state);
    }
}

/// What was learned. Numbers are those of digests and platforms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Learned {
    /// The tag is here and has this digest.
    Tag(Box<str>, u32, Form),
    /// The digest is here.
    Digest(u32, Form),
    /// The index lists these digests, each with its platform.
    Children(u32, Vec<(u32, Option<u32>)>),
    /// How the scan of this digest stands.
    Scan(u32, Wide, Box<Scanned>),
    /// The tag means this digest here, at its primary.
    Meaning(Box<str>, u32),
}

/// What a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// Of one image.
    Image,
    /// An index.
    Index,
}

/// How much was asked of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wide {
    /// State and severity.
    Summary,
    /// Also the vulnerabilities.
    List,
}

/// How a scan stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scanned {
    /// Whether there is a scanner.
    pub scanner: HasScanner,
    /// The state.
    pub state: State,
    /// The finished scan that the state or a time before it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Finished>,
}

/// Whether there is a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HasScanner {
    Present,
    Absent,
    Hidden,
    Unknown,
}

/// The state of a scan that is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    Done,
    NotScanned,
    Unscannable,
    Rescan,
    Failed,
    ScannerDown,
    Hidden,
}

/// A finished scan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finished {
    /// Its severity.
    pub severity: Severity,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Its vulnerabilities, and those that the project permits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Listed>,
}

/// The vulnerabilities of a scan, and those that the project permits.
pub type Listed = (Vec<(Box<str>, Severity)>, Vec<Box<str>>);

/// An image that its registry says is there, and that cannot be pulled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Broken {
    /// The name of the registry in the configuration; it is among the registries of the inventory.
    pub registry: String,
    /// The repository there.
    pub repository: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The layer that is lost; `None`: the pull failed, and no layer explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// When it was seen.
    pub seen: Timestamp,
}

impl Inventory {
    /// Returns a number that changes with the content, not with times. It is comparable within one process.
    #[must_use]
    pub fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self { version, site, registries, digests, platforms, repositories, damage, .. } = self;
        (version, site, registries, digests, platforms, repositories, damage).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns how many answers it has.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.repositories.iter().map(|held| held.answers.len()).sum()
    }

    /// Leaves out all repositories but the first so many, and the digests that only they named.
    pub fn keep_first(&mut self, repositories: usize) {
        self.left_out += self.repositories.len().saturating_sub(repositories);
        self.repositories.truncate(repositories);
        // Digests stand in the order in which they were named first.
        let named =
            self.repositories.iter().flat_map(|held| &held.answers).flat_map(|answer| answer.1.digests());
        let last =
            named.max().map_or(0, |last| usize::try_from(last).unwrap_or(usize::MAX).saturating_add(1));
        self.digests.truncate(last);
    }
}

impl Learned {
    fn digests(&self) -> impl Iterator<Item = u32> {
        let (one, children): (u32, &[_]) = match self {
            Self::Children(index, children) => (*index, children),
            Self::Tag(_, digest, _)
            | Self::Digest(digest, _)
            | Self::Scan(digest, ..)
            | Self::Meaning(_, digest) => (*digest, &[]),
        };
        std::iter::once(one).chain(children.iter().map(|(child, _)| *child))
    }
}

/// A table that is being written: each value once.
#[derive(Debug)]
pub struct Table<T> {
    /// The values, by number.
    pub values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    /// The number of this value.
    pub fn number(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.numbers.insert(value.clone(), number);
        self.values.push(value.clone());
        number
    }
}

/// The fingerprint of a registry's configuration: another one means that its answers no longer count, as they do not after a
/// reload (`observatory.rs`). It covers where credentials come from and never a secret: values of a provider's environment
/// are left out, because a hash of a weak secret can be guessed.
pub fn fingerprint(registry: &Registry) -> String {
    use sha2::{Digest as _, Sha256};
    let Registry {
        name,
        host,
        aliases,
        url,
        realm,
        kind,
        site,
        credentials,
        ca_file,
        pull_secret,
        service,
        requests_per_hour,
        // Who heals there changes no answer.
        healing: _,
    } = registry;
    let credentials = match credentials {
        CredentialSource::Provider(plugin) => {
            let Plugin { command, args, env } = &**plugin;
            let names: Vec<_> = env.iter().map(|(name, _)| name).collect();
            format!("Provider({command:?} {args:?} {names:?})")
        }
        other => format!("{other:?}"),
    };
    let (url, realm) = (url.as_str(), realm.as_ref().map(url::Url::as_str));
    let all = format!(
        "{name:?} {host:?} {aliases:?} {url:?} {realm:?} {kind:?} {site:?} {credentials} {ca_file:?} {pull_secret:?} \
         {service:?} {requests_per_hour:?}"
    );
    // Half of it is enough to tell configurations apart; nobody gains by a collision.
    let hash = Sha256::digest(all.as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
