//! The images of an index that a node may start.

use super::Judge;
use super::assess::Copy;
use super::assessment::Assessment;
use crate::domain::digest::Digest;
use crate::domain::evidence::{Children, Observation, Presence, Query, Shape, Wanted};
use crate::domain::finding::{About, FindingKind};
use crate::domain::place::PlaceIx;
use crate::domain::unknown::Cause;

/// The most children of one copy whose presence and scan are asked. Real indexes have about a dozen platforms; an index
/// made by hand must not cause a thousand questions for one Pod.
const MOST_CHILDREN: usize = 64;

/// How deep indexes are followed: the copy itself, and two levels of indexes inside. No builder makes more than one.
const LEVELS: usize = 3;

impl Judge<'_> {
    /// The digests whose scan counts: the manifest itself, or the children of an index that the Pod may need. These
    /// children must be present too. A child that is an index itself is followed, because nodes do so.
    ///
    /// The questions that are open come with the digests that are known so far, so that their scans are asked at the same
    /// time as their presence.
    pub(super) fn children(
        &self,
        ix: PlaceIx,
        copy: &Copy,
        to: &mut Assessment,
    ) -> (Vec<Query>, Vec<Digest>) {
        if copy.shape == Shape::Manifest {
            return (Vec::new(), vec![copy.digest]);
        }
        let nothing = || (Vec::new(), Vec::new());
        let mut lookup = self.lookup();
        let (mut concerned, mut indexes, mut count) = (Vec::new(), vec![copy.digest], 0);
        for _ in 0..LEVELS {
            let mut inside = Vec::new();
            for index in std::mem::take(&mut indexes) {
                let mut found = |kind, detail: &str| to.find(self, kind, About::Copy, Some(index), detail);
                let listed = match lookup.get(Query::Children(ix, index)) {
                    None => continue,
                    Some(Observation::Children(Children::Listed(listed))) => listed,
                    Some(Observation::Children(Children::Unknown(unknown))) => {
                        found(unknown.cause.finding(), &unknown.detail);
                        return nothing();
                    }
                    Some(_) => {
                        found(FindingKind::Missing, "the index is gone");
                        return nothing();
                    }
                };
                let needed = self.routed.needed(listed);
                let judged = match (needed.is_empty(), listed.is_empty()) {
                    (false, _) => needed.clone(),
                    (true, false) => listed.iter().map(|child| child.digest).collect(),
                    (true, true) => vec![index],
                };
                count += judged.len();
                if count > MOST_CHILDREN {
                    let detail = format!(
                        "its index lists {count} images for these platforms; no more than {MOST_CHILDREN} are checked"
                    );
                    found(Cause::TooLarge.finding(), &detail);
                    return nothing();
                }
                for digest in judged {
                    let present = needed
                        .contains(&digest)
                        .then(|| lookup.get(Query::Presence(ix, Wanted::Digest(digest))));
                    match present.flatten() {
                        Some(Observation::Presence(Presence::Present { shape: Shape::Index, .. })) => {
                            inside.push(digest);
                        }
                        Some(Observation::Presence(presence)) => self.find_child(digest, presence, to),
                        _ => {}
                    }
                    if !inside.contains(&digest) && !concerned.contains(&digest) {
                        concerned.push(digest);
                    }
                }
            }
            indexes = inside;
        }
        if let Some(index) = indexes.first() {
            let detail = format!("its indexes are nested more than {LEVELS} deep");
            to.find(self, Cause::TooLarge.finding(), About::Copy, Some(*index), detail);
            return nothing();
        }
        (lookup.lacks, concerned)
    }

    /// Adds the finding about a child that cannot be pulled from here.
    fn find_child(&self, digest: Digest, presence: &Presence, to: &mut Assessment) {
        let mut found = |kind, detail: &str| to.find(self, kind, About::Copy, Some(digest), detail);
        match presence {
            Presence::Present { .. } => {}
            Presence::ProxyCache { .. } => found(FindingKind::ProxyCache, "a child comes from a proxy cache"),
            Presence::Absent => {
                found(FindingKind::ChildMissing, "a child that the Pod may need is missing");
            }
            Presence::Refused(message) => found(FindingKind::Refused, message),
            Presence::LayerMissing { layer, .. } => {
                found(FindingKind::LayerMissing, &format!("layer {layer} of a child is lost"));
            }
            Presence::PullFailed { .. } => {
                found(FindingKind::PullFailed, "nodes could not pull a child from there");
            }
            Presence::Unknown(unknown) => found(unknown.cause.finding(), &unknown.detail),
        }
    }
}
