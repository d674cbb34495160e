//! Facts of one artifact: when it was pushed, what keeps it, its accessories.

use std::borrow::Cow;

use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::facts::{Accessory, Facts, Held, MOST};
use crate::domain::image::Repository;
use crate::domain::text::plain;
use crate::domain::unknown::Unknown;
use crate::registry::{Object, object};

use super::answer::Malformed;
use super::api::{ApiAnswer, Artifact};
use super::client::{Gone, Harbor};
use super::overview::time;

#[derive(Deserialize)]
struct RawArtifact<'a> {
    #[serde(borrow)]
    digest: Option<Cow<'a, str>>,
    #[serde(borrow)]
    push_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tags: Option<Vec<Object<RawTag<'a>>>>,
    #[serde(borrow)]
    accessories: Option<Vec<Object<RawAccessory<'a>>>>,
}

#[derive(Deserialize)]
struct RawTag<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawAccessory<'a> {
    #[serde(borrow)]
    digest: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// Reads the answer of the artifact API with tags and accessories, asked by `digest`. Without tags it is held by nothing,
/// as far as this answer tells.
///
/// # Errors
/// [`Malformed`] if it is not the JSON of this artifact.
pub fn facts(body: &[u8], digest: &Digest) -> Result<Facts, Malformed> {
    let raw: RawArtifact<'_> = object(body).map_err(|source| Malformed::json("artifact", source))?;
    let Some(found) = raw.digest else {
        return Err(Malformed::Field { what: "artifact", field: "digest" });
    };
    if found != digest.to_string() {
        return Err(Malformed::OtherDigest { found: found.into() });
    }
    let tags = raw.tags.into_iter().flatten().filter_map(|Object(tag)| tag.name);
    let tags: Vec<Box<str>> = tags.take(MOST).map(|name| plain(&name).into()).collect();
    let accessory = |Object(raw): Object<RawAccessory<'_>>| {
        let digest = raw.digest?.parse().ok()?;
        Some(Accessory { kind: plain(&raw.kind.unwrap_or_default()).into(), digest })
    };
    Ok(Facts {
        pushed: raw.push_time.as_deref().and_then(time),
        held: if tags.is_empty() { Held::ByNothing } else { Held::Tags(tags) },
        accessories: raw.accessories.into_iter().flatten().filter_map(accessory).take(MOST).collect(),
    })
}

impl Harbor {
    /// What this Harbor says of an artifact; `None`: it has no such artifact. It asks a second time where the artifact has
    /// no tags: children of an index have none either, and are kept all the same.
    ///
    /// # Errors
    /// What could not be learned.
    pub async fn facts(
        &self,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Option<Facts>, Unknown> {
        let artifact = Artifact::new(repository, &digest.to_string())?;
        let found = match self.api.facts(&artifact, deadline).await? {
            ApiAnswer::Found(body) => facts(&body, digest)?,
            ApiAnswer::NotFound => return Ok(None),
            ApiAnswer::Forbidden => return self.forbidden(&artifact, deadline).await.map(|Gone| None),
            ApiAnswer::Unauthorized => return Err(self.unauthorized(deadline).await),
        };
        if found.held != Held::ByNothing {
            return Ok(Some(found));
        }
        let held = match self.api.top_level(&artifact, digest, deadline).await? {
            ApiAnswer::Found(body) if is_listed(&body)? => Held::ByNothing,
            ApiAnswer::Found(_) => Held::ByAnother,
            // The right `artifact:list` is missing.
            ApiAnswer::Forbidden | ApiAnswer::Unauthorized => Held::Untold,
            // It was deleted in between.
            ApiAnswer::NotFound => return Ok(None),
        };
        Ok(Some(Facts { held, ..found }))
    }
}

/// Whether a list of artifacts has any.
fn is_listed(body: &[u8]) -> Result<bool, Malformed> {
    let list: Option<Vec<Object<RawTag<'_>>>> =
        serde_json::from_slice(body).map_err(|source| Malformed::json("list of artifacts", source))?;
    Ok(list.is_some_and(|list| !list.is_empty()))
}

#[cfg(test)]
mod tests;
