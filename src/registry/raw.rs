//! Whole manifests, to be copied: their bytes as they are, and all that they name.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::evidence::Shape;
use crate::domain::image::Repository;
use crate::domain::platform::Platform;
use crate::domain::unknown::{Cause, Unknown};

use super::answer::{Answer, unauthorized};
use super::client::Client;
use super::json::{Object, object};
use super::layers::{Layer, foreign, layers};
use super::manifest::{Head, Target, common, declared_shape, shape_in, verified};

/// A manifest or an index.
#[derive(Debug, Clone)]
pub struct Raw {
    /// The hash of `bytes`.
    pub digest: Digest,
    /// What the registry sent.
    pub bytes: Bytes,
    /// What it is to be pushed as.
    pub media_type: Box<str>,
    /// Whether it is an index.
    pub shape: Shape,
    /// The config and the layers that the registry has to hold, each digest once.
    pub layers: Arc<[Layer]>,
    /// How many further layers nodes fetch from elsewhere.
    pub foreign: usize,
    /// The manifests that an index lists, attestations too.
    pub manifests: Vec<Entry>,
    /// What it says something about: a signature's image.
    pub subject: Option<Digest>,
    /// The type of an artifact.
    pub artifact_type: Option<Box<str>>,
}

/// A manifest as an index lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its digest.
    pub digest: Digest,
    /// Its platform; `None` where the index names none.
    pub platform: Option<Platform>,
    /// The image that it attests, where it is an attestation.
    pub attests: Option<Digest>,
}

impl Client {
    /// A manifest with its bytes. `None`: the registry does not have it.
    ///
    /// # Errors
    /// It could not be learned, or the bytes are not those of the digest.
    pub async fn raw(
        &self,
        repository: &Repository,
        target: Target<'_>,
        deadline: Instant,
    ) -> Result<Option<Raw>, Unknown> {
        let answer = self.manifest(Method::GET, repository, target, deadline).await?;
        raw(&answer, target)
    }
}

fn raw(answer: &Answer, target: Target<'_>) -> Result<Option<Raw>, Unknown> {
    if answer.status != StatusCode::OK {
        return match common(answer)? {
            Head::NotFound => Ok(None),
            Head::Unauthorized { challenges, sent } => Err(unauthorized(&challenges, sent)),
            Head::Found { .. } | Head::Refused(_) => Err(answer.unexpected()),
        };
    }
    let named =
        answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
    let digest = match target {
        Target::Tag(_) => match named {
            Some(named) => verified(&named, &answer.body)?,
            None => Digest::Sha256(Sha256::digest(&answer.body).into()),
        },
        Target::Digest(wanted) => verified(wanted, &answer.body)?,
    };
    let shape = shape_in(&answer.body)?;
    if declared_shape(answer)?.is_some_and(|declared| declared != shape) {
        let detail = "`Content-Type` and body differ in whether this is an index";
        return Err(Unknown::new(Cause::NotRegistry, detail));
    }
    let odd = |error: &dyn std::fmt::Display| {
        Unknown::new(Cause::NotRegistry, format!("the manifest {digest} cannot be read: {error}"))
    };
    let Body { media_type, artifact_type, manifests, subject } =
        object(&answer.body).map_err(|error| odd(&error))?;
    let usual = match shape {
        Shape::Index => "application/vnd.oci.image.index.v1+json",
        Shape::Manifest => "application/vnd.oci.image.manifest.v1+json",
    };
    let manifests = manifests.unwrap_or_default().into_iter().filter(|_| shape == Shape::Index);
    let named = |Object(one): Object<Named>| one.digest.parse::<Digest>().map_err(|error| odd(&error));
    Ok(Some(Raw {
        digest,
        bytes: answer.body.clone(),
        media_type: media_type.as_deref().or(answer.content_type()).unwrap_or(usual).into(),
        shape,
        layers: if shape == Shape::Index { Arc::default() } else { layers(&answer.body)? },
        foreign: if shape == Shape::Index { 0 } else { foreign(&answer.body) },
        manifests: manifests
            .map(|Object(one)| entry(one).map_err(|error| odd(&error)))
            .collect::<Result<_, _>>()?,
        subject: subject.map(named).transpose()?,
        artifact_type: artifact_type.map(Into::into),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<Vec<Object<Listed>>>,
    subject: Option<Object<Named>>,
}

#[derive(Deserialize)]
struct Named {
    digest: String,
}

#[derive(Deserialize)]
struct Listed {
    digest: String,
    platform: Option<Object<Words>>,
    annotations: Option<Object<Annotations>>,
}

#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "vnd.docker.reference.digest")]
    attests: Option<String>,
}

fn entry(
    Listed { digest, platform, annotations }: Listed,
) -> Result<Entry, crate::domain::digest::DigestError> {
    Ok(Entry {
        digest: digest.parse()?,
        platform: platform.map(|Object(Words { os, architecture, variant })| {
            Platform::normalised(&os, &architecture, variant.as_deref())
        }),
        attests: annotations.and_then(|Object(Annotations { attests })| attests?.parse().ok()),
    })
}

/// A referrer, as a list of them names it.
#[derive(Debug, Clone)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// Its descriptor.
    pub descriptor: Value,
}

/// What a list of referrers names: the body of an index. At most so many.
///
/// # Errors
/// It is no index.
pub fn referrers(body: &[u8], most: usize) -> Result<Vec<Referrer>, Unknown> {
    let odd = |what: String| {
        Unknown::new(Cause::NotRegistry, format!("the list of referrers cannot be read: {what}"))
    };
    let List { manifests } = object(body).map_err(|error| odd(error.to_string()))?;
    let listed = manifests.unwrap_or_default();
    if listed.len() > most {
        return Err(Unknown::new(Cause::TooLarge, format!("{} referrers are listed", listed.len())));
    }
    let referrer = |descriptor: Value| {
        let digest = descriptor.get("digest").and_then(Value::as_str).unwrap_or_default();
        let digest = digest.parse().map_err(|error| odd(format!("`{digest}`: {error}")))?;
        Ok(Referrer { digest, descriptor })
    };
    listed.into_iter().map(referrer).collect()
}

#[derive(Deserialize)]
struct List {
    manifests: Option<Vec<Value>>,
}
