//! Copies an image: its blobs, its manifests, its tag, what refers to it; and looks at all of it again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::blob::Stream;
use super::failure::{Failure, Kind};
use super::pace::Pace;
use super::peer::{Held, Peer};
use super::referrers::{Keeper, beside, keep, listed};
use super::tell::{Blob, Event, Tell};
use super::tree::Tree;
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::domain::name::RegistryName;
use crate::domain::platform::PlatformPattern;
use crate::registry::{Layer, Raw, Target};

/// What refers to what refers to an image, and so on: so far it is followed.
const FAR: u8 = 3;

/// The most manifests of an image and all that refers to it. Whoever may push there can make more.
const MOST: usize = 2000;

/// How an image is copied.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of an index only these platforms; all of it if there is none.
    pub platforms: Vec<PlatformPattern>,
    /// Whether signatures and the like go along.
    pub referrers: Referrers,
    /// What happens to a tag of the target that names another digest.
    pub tags: Tags,
    /// Whether anything is written.
    pub run: Run,
    /// How many blobs are copied at once.
    pub parallel: usize,
}

/// Whether signatures and the like go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referrers {
    /// They do.
    Along,
    /// They do not.
    LeftOut,
}

/// What happens to a tag of the target that names another digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// It stays.
    Stay,
    /// It is moved.
    Move,
}

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It is.
    Real,
    /// Nothing is: only told.
    Dry,
}

/// What several copies share.
pub struct Shared {
    /// How fast.
    pub pace: Pace,
    /// Which repository of a target is known to have a blob.
    held: Mutex<HashMap<(RegistryName, Digest), Repository>>,
}

/// What became of a copy.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The digest that was copied, as soon as it was known.
    pub digest: Option<Digest>,
    /// The tag that names it at the target.
    pub tag: Option<Tag>,
    /// How many manifests are at the target, indexes and referrers included.
    pub manifests: usize,
    /// How many blobs were there already.
    pub there: usize,
    /// How many were mounted.
    pub mounted: usize,
    /// How many were streamed.
    pub copied: usize,
    /// How many of these the target had lost.
    pub repaired: usize,
    /// How many would be streamed.
    pub lacking: usize,
    /// How many layers were left out, because nodes fetch them from elsewhere.
    pub foreign: usize,
    /// What could not be copied.
    pub failures: Vec<Failure>,
    #[serde(skip)]
    placed: Placed,
}

/// What must be at the target in the end.
#[derive(Debug, Default)]
struct Placed {
    manifests: Vec<Digest>,
    blobs: BTreeMap<Digest, Layer>,
}

/// Copies from one repository to another.
pub struct Copier<'a> {
    /// Where it is read.
    pub source: Peer<'a>,
    /// Where it is written.
    pub target: Peer<'a>,
    /// How.
    pub options: &'a Options,
    /// What it shares with other copies.
    pub shared: &'a Shared,
    /// Whom it tells.
    pub tell: Tell<'a>,
}

/// By which name a manifest is pushed.
enum Name<'a> {
    Digest,
    Tag(&'a Tag),
    Anchor,
}

impl Shared {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, held: Mutex::default() }
    }
}

impl Copier<'_> {
    /// Copies the image with this digest, or the one that the tag names now. The tag is resolved once: what becomes of it
    /// meanwhile changes nothing.
    pub async fn copy(&self, tag: Option<&Tag>, digest: Option<&Digest>) -> Outcome {
        let mut outcome = Outcome::default();
        let done = async {
            let (root, tag) = self.resolve(tag, digest).await?;
            outcome.digest = Some(root.digest);
            let name = tag.map_or(Name::Anchor, Name::Tag);
            self.image(root, name, 0, &mut HashSet::new(), &mut outcome).await?;
            if self.options.run == Run::Real { self.verify(&outcome.placed).await } else { Ok(()) }
        };
        if let Err(failure) = done.await {
            outcome.failures.push(failure);
        }
        outcome
    }

    /// The image, and the tag that the target is to have for it.
    async fn resolve<'t>(
        &self,
        tag: Option<&'t Tag>,
        digest: Option<&Digest>,
    ) -> Result<(Raw, Option<&'t Tag>), Failure> {
        let lacks = |what: String| self.source.failure(Kind::NotFound, format!("it does not have {what}"));
        let repository = &self.source.repository;
        match (digest, tag) {
            (Some(digest), tag) => {
                let raw = self.source.raw(Target::Digest(digest)).await?;
                let raw = raw.ok_or_else(|| lacks(format!("`{repository}@{digest}`")))?;
                let named = match tag {
                    Some(tag) if self.source.tagged(tag).await? == Some(*digest) => Some(tag),
                    _ => None,
                };
                Ok((raw, named))
            }
            (None, Some(tag)) => {
                let raw = self.source.raw(Target::Tag(tag)).await?;
                Ok((raw.ok_or_else(|| lacks(format!("`{repository}:{tag}`")))?, Some(tag)))
            }
            (None, None) => Err(lacks("an image without tag and digest".to_owned())),
        }
    }

    /// Copies one image, or what refers to one, and then what refers to it.
    async fn image(
        &self,
        root: Raw,
        name: Name<'_>,
        depth: u8,
        seen: &mut HashSet<Digest>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let tree = Tree::read(&self.source, root, &self.options.platforms).await?;
        let blobs = tree.blobs();
        let bytes = blobs.values().map(|layer| layer.size).sum();
        if let Some(digest) = tree.manifests.last().map(|manifest| manifest.digest) {
            let (manifests, blobs) = (tree.manifests.len(), blobs.len());
            (self.tell)(Event::Found { digest, manifests, blobs, bytes });
        }
        self.foreign(&tree, outcome);
        self.blobs(&blobs, outcome).await?;
        self.manifests(&tree, name, outcome).await?;
        outcome.placed.blobs.extend(blobs);
        if self.options.referrers == Referrers::LeftOut || depth == FAR {
            return Ok(());
        }
        for manifest in &tree.manifests {
            if seen.len() >= MOST {
                let detail = format!("more than {MOST} manifests refer to it, or to each other");
                return Err(self.source.failure(Kind::TooLarge, detail));
            }
            if seen.insert(manifest.digest) {
                self.along(&manifest.digest, depth, seen, outcome).await?;
            }
        }
        Ok(())
    }

    fn foreign(&self, tree: &Tree, outcome: &mut Outcome) {
        let foreign = tree.manifests.iter().map(|manifest| manifest.foreign).sum::<usize>();
        outcome.foreign += foreign;
        if foreign > 0 {
            let note = format!(
                "{foreign} layers are left out: nodes fetch them from where their publisher has them"
            );
            (self.tell)(Event::Note { note: &note });
        }
    }

    async fn blobs(&self, blobs: &BTreeMap<Digest, Layer>, outcome: &mut Outcome) -> Result<(), Failure> {
        let mut done = stream::iter(blobs.values())
            .map(|layer| async move { (layer, self.blob(layer).await) })
            .buffer_unordered(self.options.parallel.max(1));
        while let Some((layer, done)) = done.next().await {
            let done = done?;
            *match done {
                Blob::There => &mut outcome.there,
                Blob::Mounted => &mut outcome.mounted,
                Blob::Copied => &mut outcome.copied,
                Blob::Repaired => {
                    outcome.copied += 1;
                    &mut outcome.repaired
                }
                Blob::Lacking => &mut outcome.lacking,
            } += 1;
            (self.tell)(Event::Blob { digest: layer.digest, size: layer.size, done });
        }
        Ok(())
    }

    async fn blob(&self, layer: &Layer) -> Result<Blob, Failure> {
        let Self { source, target, shared, tell, .. } = self;
        let stream = Stream { source, target, pace: &shared.pace, tell: *tell };
        if self.options.run == Run::Dry {
            return Ok(if stream.serves(layer).await? { Blob::There } else { Blob::Lacking });
        }
        let key = (target.name().clone(), layer.digest);
        let other = self.known(&key).or_else(|| {
            // Both ends are of one registry.
            (source.name() == target.name()).then(|| source.repository.clone())
        });
        let done = stream.bring(layer, other.filter(|other| *other != target.repository).as_ref()).await?;
        let mut held = shared.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(key, target.repository.clone());
        Ok(done)
    }

    fn known(&self, key: &(RegistryName, Digest)) -> Option<Repository> {
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Pushes the manifests, children before their index, and the last one by its name.
    async fn manifests(&self, tree: &Tree, name: Name<'_>, outcome: &mut Outcome) -> Result<(), Failure> {
        let Some((root, children)) = tree.manifests.split_last() else { return Ok(()) };
        for child in children {
            self.manifest(child, &Name::Digest, outcome).await?;
        }
        match self.manifest(root, &name, outcome).await {
            Err(failure) if failure.kind == Kind::Refused && !tree.whole => {
                // Nothing names the children then, and garbage collection would take them.
                for child in children {
                    self.manifest(child, &Name::Anchor, outcome).await?;
                }
                outcome.failures.push(Failure { kind: Kind::PartialIndex, ..failure });
                Ok(())
            }
            done => done,
        }
    }

    async fn manifest(&self, raw: &Raw, name: &Name<'_>, outcome: &mut Outcome) -> Result<(), Failure> {
        let Raw { digest, media_type, bytes, .. } = raw;
        let tag = self.tag(digest, name, outcome).await?;
        let held = self.target.held(digest).await?;
        if let Held::Gated(why) = &held {
            let note = format!("{digest} is there, and its registry serves it to nobody now: {why}");
            (self.tell)(Event::Note { note: &note });
        }
        let tagged = match &tag {
            Some(tag) => held == Held::Present && self.target.tagged(tag).await? == Some(*digest),
            None => true,
        };
        let there = held != Held::Absent && tagged;
        if !there && self.options.run == Run::Real {
            let by = tag.as_ref().map_or_else(|| digest.to_string(), |tag| tag.as_str().to_owned());
            if let Some(answer) = self.target.put(&by, media_type, bytes.clone(), Some(digest)).await? {
                let what = format!("push of the manifest {digest} as `{by}`");
                return Err(self.target.refused(&what, &answer));
            }
        }
        (self.tell)(Event::Manifest { digest: *digest, tag: tag.as_ref().map(Tag::as_str), there });
        if !outcome.placed.manifests.contains(digest) {
            outcome.placed.manifests.push(*digest);
            outcome.manifests += 1;
        }
        if outcome.digest == Some(*digest) {
            outcome.tag = tag;
        }
        Ok(())
    }

    /// The tag that a manifest is pushed by. One that names something else stays, unless it may be moved; then an anchor holds
    /// the manifest, as where there is no tag.
    async fn tag(
        &self,
        digest: &Digest,
        name: &Name<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<Tag>, Failure> {
        // A registry gives what is pushed by tag a digest of SHA-256.
        if !matches!(digest, Digest::Sha256(_)) {
            return Ok(None);
        }
        let tag = match name {
            Name::Digest => return Ok(None),
            Name::Anchor => return Ok(Some(anchor(digest))),
            Name::Tag(tag) => *tag,
        };
        match self.target.tagged(tag).await {
            Ok(Some(other)) if other != *digest && self.options.tags == Tags::Stay => {
                let detail =
                    format!("`{}:{tag}` names {other} there, and {digest} here", self.target.repository);
                outcome.failures.push(self.target.failure(Kind::TagTaken, detail));
                Ok(Some(anchor(digest)))
            }
            Ok(_) => Ok(Some(tag.clone())),
            // A gate hides which digest the tag names, such as before a scan: it stays as it is.
            Err(failure) if failure.kind == Kind::Refused => {
                (self.tell)(Event::Note { note: &failure.to_string() });
                Ok(Some(anchor(digest)))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Copies what refers to a manifest.
    async fn along(
        &self,
        subject: &Digest,
        depth: u8,
        seen: &mut HashSet<Digest>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let (_, referrers) = listed(&self.source, subject).await?;
        for referrer in &referrers {
            let Some(raw) = self.source.raw(Target::Digest(&referrer.digest)).await? else {
                let detail =
                    format!("it lists {}, which refers to {subject}, and does not have it", referrer.digest);
                outcome.failures.push(self.source.failure(Kind::Incomplete, detail));
                continue;
            };
            Box::pin(self.image(raw, Name::Digest, depth + 1, seen, outcome)).await?;
        }
        if !referrers.is_empty() && self.options.run == Run::Real {
            let (keeper, there) = listed(&self.target, subject).await?;
            if keeper == Keeper::Tag {
                keep(&self.target, subject, &there, &referrers).await?;
            }
        }
        if depth == 0 {
            for (tag, raw) in beside(&self.source, subject).await? {
                Box::pin(self.image(raw, Name::Tag(&tag), depth + 1, seen, outcome)).await?;
            }
        }
        Ok(())
    }

    /// Looks at all of it at the target: manifests by the hash of what is served, blobs by their first byte.
    async fn verify(&self, placed: &Placed) -> Result<(), Failure> {
        let lost = |what: String| {
            self.target.failure(Kind::NotServed, format!("it has taken {what}, and does not serve it"))
        };
        let parallel = self.options.parallel.max(1);
        stream::iter(&placed.manifests)
            .map(|digest| async move {
                match self.target.raw(Target::Digest(digest)).await {
                    Ok(Some(_)) => Ok(()),
                    Ok(None) => Err(lost(format!("the manifest {digest}"))),
                    Err(failure) => match self.target.held(digest).await {
                        // Harbor serves what its policy forbids to nobody, and does have it.
                        Ok(Held::Gated(_)) => Ok(()),
                        _ => Err(failure),
                    },
                }
            })
            .buffer_unordered(parallel)
            .try_collect::<()>()
            .await?;
        let Self { source, target, shared, tell, .. } = self;
        let looks = Stream { source, target, pace: &shared.pace, tell: *tell };
        let looks = &looks;
        stream::iter(placed.blobs.values())
            .map(|layer| async move {
                let served = looks.serves(layer).await?;
                if served { Ok(()) } else { Err(lost(format!("the blob {}", layer.digest))) }
            })
            .buffer_unordered(parallel)
            .try_collect::<()>()
            .await?;
        let (manifests, blobs) = (placed.manifests.len(), placed.blobs.len());
        (self.tell)(Event::Verified { manifests, blobs });
        Ok(())
    }
}

/// The tag that holds what nobody else tags: `landfall-<12 hex>`.
fn anchor(digest: &Digest) -> Tag {
    let text = digest.to_string();
    let hex = text.split_once(':').and_then(|(_, hex)| hex.get(..12)).unwrap_or_default();
    Tag::new(format!("landfall-{hex}"))
}
