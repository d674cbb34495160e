//! The manifests of an image: its own, or an index and all that it lists, children before their index.

use std::collections::BTreeMap;

use super::failure::{Failure, Kind};
use super::peer::Peer;
use crate::domain::digest::Digest;
use crate::domain::evidence::Shape;
use crate::domain::platform::PlatformPattern;
use crate::registry::{Entry, Layer, Raw, Target};

/// The most bytes of all manifests together, which are held in memory.
const MANIFESTS: usize = 16 * 1024 * 1024;

/// The most of them.
const MOST: usize = 1000;

/// How deep indexes may be nested.
const DEPTH: u8 = 3;

/// An image as it is copied.
pub(super) struct Tree {
    /// The manifests, the image's own last.
    pub manifests: Vec<Raw>,
    /// Whether children of the index are left out.
    pub whole: bool,
}

impl Tree {
    /// Reads the manifests of an image; of an index for these platforms only, or for all if there is none.
    pub async fn read(source: &Peer<'_>, root: Raw, platforms: &[PlatformPattern]) -> Result<Self, Failure> {
        let mut tree = Self { manifests: Vec::new(), whole: true };
        let mut bytes = 0;
        tree.add(source, root, platforms, DEPTH, &mut bytes).await?;
        Ok(tree)
    }

    async fn add(
        &mut self,
        source: &Peer<'_>,
        raw: Raw,
        platforms: &[PlatformPattern],
        depth: u8,
        bytes: &mut usize,
    ) -> Result<(), Failure> {
        *bytes += raw.bytes.len();
        if *bytes > MANIFESTS || depth == 0 || self.manifests.len() >= MOST {
            let detail =
                "it has more than 1000 manifests, or 16 MiB of them, or indexes are nested too deeply"
                    .to_owned();
            return Err(source.failure(Kind::TooLarge, detail));
        }
        if raw.shape == Shape::Index {
            let wanted = chosen(&raw.manifests, platforms);
            self.whole &= wanted.len() == raw.manifests.len();
            if wanted.is_empty() && !raw.manifests.is_empty() {
                let detail = format!("the index {} has no image for these platforms", raw.digest);
                return Err(source.failure(Kind::NotFound, detail));
            }
            for digest in wanted {
                if self.manifests.iter().any(|manifest| manifest.digest == digest) {
                    continue;
                }
                let Some(child) = source.raw(Target::Digest(&digest)).await? else {
                    let detail = format!("it has the index {}, and not its child {digest}", raw.digest);
                    return Err(source.failure(Kind::Incomplete, detail));
                };
                // A nested index is for the platform already.
                Box::pin(self.add(source, child, &[], depth - 1, bytes)).await?;
            }
        }
        self.manifests.push(raw);
        Ok(())
    }

    /// The blobs of all manifests, each once.
    pub fn blobs(&self) -> BTreeMap<Digest, Layer> {
        let layers = self.manifests.iter().flat_map(|manifest| manifest.layers.iter());
        layers.map(|layer| (layer.digest, *layer)).collect()
    }
}

/// Those of the children that are for these platforms, with what attests them.
fn chosen(children: &[Entry], platforms: &[PlatformPattern]) -> Vec<Digest> {
    if platforms.is_empty() {
        return children.iter().map(|child| child.digest).collect();
    }
    let fits = |child: &&Entry| {
        let platform = child.platform.as_ref().filter(|_| child.attests.is_none());
        platform.is_some_and(|platform| platforms.iter().any(|wanted| wanted.matches(platform)))
    };
    let images: Vec<Digest> = children.iter().filter(fits).map(|child| child.digest).collect();
    let attests = |child: &&Entry| child.attests.is_some_and(|image| images.contains(&image));
    let attestations: Vec<Digest> = children.iter().filter(attests).map(|child| child.digest).collect();
    images.into_iter().chain(attestations).collect()
}
