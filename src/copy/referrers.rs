//! What refers to an image: by the API of OCI 1.1, by its fallback tag where the API is absent, and by cosign's tags.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::failure::Failure;
use super::peer::Peer;
use crate::domain::digest::Digest;
use crate::domain::image::Tag;
use crate::registry::{Endpoint, Raw, Referrer, Target, referrers};

/// The most referrers of one image that are copied.
const MOST: usize = 1000;

/// The most pages of their list: an empty one may name another for ever.
const PAGES: usize = 100;

/// What cosign puts beside an image: signatures, attestations, SBOMs.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Who keeps the list of what refers to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The registry, behind its API.
    Registry,
    /// Whoever pushes: an index under a tag.
    Tag,
}

/// What refers to a manifest here, and who keeps that list.
pub(super) async fn listed(peer: &Peer<'_>, subject: &Digest) -> Result<(Keeper, Vec<Referrer>), Failure> {
    let Peer { repository, .. } = peer;
    let what = format!("referrers of {subject}");
    let read = |body: &[u8]| referrers(body, MOST).map_err(|unknown| peer.unknown(&what, &unknown));
    let (mut path, mut found) = (format!("/v2/{repository}/referrers/{subject}"), Vec::new());
    for _ in 0..PAGES {
        let answer = peer.send(&what, Method::GET, &path, Endpoint::Repository(repository), None).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(peer.refused(&what, &answer)),
            // Registries that do not know the API have no such path, in many ways.
            _ => {
                let raw = peer.raw(Target::Tag(&fallback(subject))).await?;
                let found = raw.map(|raw| read(&raw.bytes)).transpose()?.unwrap_or_default();
                return Ok((Keeper::Tag, found));
            }
        }
        // Some answer any path with a page of their own, which is no list.
        found.extend(read(&answer.body)?);
        let next = answer.headers.get("link").and_then(|link| next(link.to_str().ok()?));
        match next {
            Some(next) if found.len() < MOST && next != path => path = next,
            _ => break,
        }
    }
    Ok((Keeper::Registry, found))
}

/// The path of the next page: `</v2/…>; rel="next"`.
fn next(link: &str) -> Option<String> {
    let (target, kind) = link.strip_prefix('<')?.split_once('>')?;
    let path = target.find("/v2/").and_then(|at| target.get(at..))?;
    kind.contains("next").then(|| path.to_owned())
}

/// What cosign has put beside a manifest, each with its tag.
pub(super) async fn beside(source: &Peer<'_>, subject: &Digest) -> Result<Vec<(Tag, Raw)>, Failure> {
    let mut found = Vec::new();
    for kind in COSIGN {
        let tag = Tag::new(format!("{}.{kind}", fallback(subject)));
        if source.tagged(&tag).await?.is_some()
            && let Some(raw) = source.raw(Target::Tag(&tag)).await?
        {
            found.push((tag, raw));
        }
    }
    Ok(found)
}

/// Writes these referrers into the list that the target has under a tag. What it lists already stays.
pub(super) async fn keep(
    target: &Peer<'_>,
    subject: &Digest,
    there: &[Referrer],
    added: &[Referrer],
) -> Result<(), Failure> {
    let new: Vec<&Referrer> =
        added.iter().filter(|one| there.iter().all(|other| other.digest != one.digest)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let all: Vec<&Value> = there.iter().chain(new).map(|referrer| &referrer.descriptor).collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
    let tag = fallback(subject);
    match target.put(tag.as_str(), INDEX, Bytes::from(index.to_string()), None).await? {
        None => Ok(()),
        Some(answer) => Err(target.refused("push of the list of referrers", &answer)),
    }
}

/// `sha256-<hex>`: of a longer digest the first 64 digits (distribution-spec, "Referrers Tag Schema").
fn fallback(subject: &Digest) -> Tag {
    let text = subject.to_string();
    let (algorithm, hex) = text.split_once(':').unwrap_or(("sha256", &text));
    Tag::new(format!("{algorithm}-{}", hex.get(..64).unwrap_or(hex)))
}
