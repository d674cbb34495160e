//! What an answer about a manifest tells: its digest, its shape, its children. Pure.

use std::sync::Arc;

use http::StatusCode;
use oci_spec::image::{Descriptor, ImageIndex, MediaType, ToDockerV2S2};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::domain::digest::Digest;
use crate::domain::evidence::{Child, Children, Shape};
use crate::domain::image::Tag;
use crate::domain::platform::Platform;
use crate::domain::unknown::{Cause, Unknown};

use super::answer::{Answer, Sent};
use super::challenge::Challenge;
use super::json::{Keys, Object, exact, object};

/// Which manifest of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// The one that a tag points to.
    Tag(&'a Tag),
    /// This one.
    Digest(&'a Digest),
}

/// What a registry answers about one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// It exists.
    Found {
        /// Its digest: the wanted one, or for a tag the one that the registry names.
        digest: Digest,
        /// Whether it is an index or a plain manifest.
        shape: Shape,
    },
    /// It does not exist.
    NotFound,
    /// Answered 401. At Harbor a missing project, missing permissions and a database that is down look the same here. Only its API
    /// tells them apart.
    Unauthorized {
        /// How the registry wants us to authenticate. Empty at Harbor for a missing project.
        challenges: Vec<Challenge>,
        /// The kind of credentials that we had sent.
        sent: Sent,
    },
    /// Answered 412: it exists, but a policy of the registry forbids pulling it. With the registry's message.
    Refused(Arc<str>),
}

/// All four manifest types. If the manifest's own type is missing here, registries answer 404 though it exists, even by
/// digest. `*/*` does not help.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The most children of an index that are read.
const MAX_CHILDREN: usize = 1000;

/// The shape of a media type of OCI or its equivalent of Docker.
fn shape_of(media_type: &MediaType) -> Option<Shape> {
    let is = |oci: MediaType| {
        *media_type == oci || oci.to_docker_v2s2().is_ok_and(|docker| docker == media_type.as_ref())
    };
    let shapes = [(MediaType::ImageIndex, Shape::Index), (MediaType::ImageManifest, Shape::Manifest)];
    shapes.into_iter().find(|(oci, _)| is(oci.clone())).map(|(_, shape)| shape)
}

/// The shape by `Content-Type`. `None`: the header is missing.
pub(super) fn declared_shape(answer: &Answer) -> Result<Option<Shape>, Unknown> {
    let Some(kind) = answer.content_type() else { return Ok(None) };
    let undocumented = || Unknown::new(Cause::NotRegistry, format!("200 with a body of type `{kind}`"));
    shape_of(&kind.into()).map(Some).ok_or_else(undocumented)
}

/// Reads the answer to a HEAD. `None`: a GET must tell, because the digest or the type is missing, or a 412 has a message.
pub(super) fn by_headers(answer: &Answer, target: Target<'_>) -> Result<Option<Head>, Unknown> {
    match answer.status {
        StatusCode::OK => {}
        StatusCode::PRECONDITION_FAILED => return Ok(None),
        // Registries answer JSON. A text 404 comes from an ingress or a web server, and does not mean absence.
        StatusCode::NOT_FOUND if is_text(answer) => return Ok(None),
        _ => return common(answer).map(Some),
    }
    let shape = declared_shape(answer)?;
    let named = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
    let named: Option<Digest> = named.and_then(|digest| digest.parse().ok());
    let digest = match (target, named) {
        (Target::Digest(wanted), Some(named)) if wanted.algorithm() == named.algorithm() => {
            if *wanted != named {
                return Err(wrong_digest(wanted, &named));
            }
            Some(named)
        }
        // The header is missing or has another algorithm: the body must be hashed.
        (Target::Digest(_), _) | (Target::Tag(_), None) => None,
        (Target::Tag(_), Some(named)) => Some(named),
    };
    Ok(digest.zip(shape).map(|(digest, shape)| Head::Found { digest, shape }))
}

/// Reads the answer to a GET.
pub(super) fn by_body(answer: &Answer, target: Target<'_>) -> Result<Head, Unknown> {
    match answer.status {
        StatusCode::OK => {}
        StatusCode::PRECONDITION_FAILED => {
            let message = answer.message();
            let message = if message.is_empty() { answer.status.to_string() } else { message };
            return Ok(Head::Refused(message.into()));
        }
        _ => return common(answer),
    }
    let digest = match target {
        Target::Tag(_) => Digest::Sha256(Sha256::digest(&answer.body).into()),
        Target::Digest(wanted) => verified(wanted, &answer.body)?,
    };
    let shape = match declared_shape(answer)? {
        Some(shape) => shape,
        None => shape_in(&answer.body)?,
    };
    Ok(Head::Found { digest, shape })
}

/// Reads the statuses that mean the same for HEAD and GET.
pub(super) fn common(answer: &Answer) -> Result<Head, Unknown> {
    match answer.status {
        StatusCode::NOT_FOUND if is_text(answer) && answer.message().is_empty() => {
            let kind = answer.content_type().unwrap_or_default();
            let detail = format!("404 with a body of type `{kind}`: this is not how a registry answers");
            Err(Unknown::new(Cause::NotRegistry, detail))
        }
        StatusCode::NOT_FOUND => Ok(Head::NotFound),
        StatusCode::UNAUTHORIZED => {
            Ok(Head::Unauthorized { challenges: answer.challenges.clone(), sent: answer.sent })
        }
        _ => Err(answer.unexpected()),
    }
}

pub(super) fn is_text(answer: &Answer) -> bool {
    answer.content_type().is_some_and(|kind| kind.split('/').next() == Some("text"))
}

fn wrong_digest(wanted: &Digest, got: &Digest) -> Unknown {
    Unknown::new(Cause::WrongDigest, format!("asked for {wanted}, but the answer is {got}"))
}

/// The digest of a body, by the algorithm of the wanted one.
///
/// # Errors
/// It is not the wanted digest.
pub(super) fn verified(wanted: &Digest, body: &[u8]) -> Result<Digest, Unknown> {
    let got = match wanted {
        Digest::Sha256(_) => Digest::Sha256(Sha256::digest(body).into()),
        Digest::Sha384(_) => Digest::Sha384(Sha384::digest(body).into()),
        Digest::Sha512(_) => Digest::Sha512(Sha512::digest(body).into()),
    };
    if got == *wanted { Ok(got) } else { Err(wrong_digest(wanted, &got)) }
}

/// The keys of an index or a manifest as far as containerd reads them (`validateMediaType` and `Children` of its `images`).
pub(super) static KEYS: Keys = Keys(&[
    ("schemaVersion", None),
    ("mediaType", None),
    ("artifactType", None),
    ("manifests", Some(&DESCRIPTOR)),
    ("config", Some(&DESCRIPTOR)),
    ("layers", Some(&DESCRIPTOR)),
    ("fsLayers", None),
    ("subject", Some(&DESCRIPTOR)),
    ("annotations", None),
]);
static DESCRIPTOR: Keys = Keys(&[
    ("mediaType", None),
    ("digest", None),
    ("size", None),
    ("urls", None),
    ("annotations", None),
    ("data", None),
    ("platform", Some(&PLATFORM)),
    ("artifactType", None),
]);
static PLATFORM: Keys = Keys(&[
    ("architecture", None),
    ("os", None),
    ("os.version", None),
    ("os.features", None),
    ("variant", None),
]);

/// The shape of a body: by its `mediaType`, else by its fields.
pub(super) fn shape_in(body: &[u8]) -> Result<Shape, Unknown> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Either {
        media_type: Option<MediaType>,
        manifests: Option<Vec<Object<Listed>>>,
        config: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only read to check that it is an object")]
    struct Listed {
        platform: Option<Object<IgnoredAny>>,
    }
    let odd = |what: &str| Unknown::new(Cause::NotRegistry, format!("200 with a body that is {what}"));
    let no_manifest = |error: serde_json::Error| odd(&format!("no manifest: {error}"));
    exact(body, &KEYS).map_err(no_manifest)?;
    let read: Either = object(body).map_err(no_manifest)?;
    match (read.media_type, read.manifests, read.config) {
        (Some(kind), ..) => shape_of(&kind).ok_or_else(|| odd(&format!("a `{kind}`"))),
        (None, Some(_), None) => Ok(Shape::Index),
        (None, None, Some(_)) => Ok(Shape::Manifest),
        (None, ..) => Err(odd("neither an index nor a manifest")),
    }
}

/// Reads the children of an index, from the answer to a GET by its digest.
pub(super) fn children(answer: &Answer, digest: &Digest) -> Result<Children, Unknown> {
    if answer.status != StatusCode::OK {
        return match common(answer)? {
            Head::NotFound => Ok(Children::Absent),
            _ => Err(answer.unexpected()),
        };
    }
    verified(digest, &answer.body)?;
    let shape = shape_in(&answer.body)?;
    if declared_shape(answer)?.is_some_and(|declared| declared != shape) {
        let detail = "`Content-Type` and body differ in whether this is an index";
        return Err(Unknown::new(Cause::NotRegistry, detail));
    }
    if shape == Shape::Manifest {
        return Ok(Children::Listed(Arc::default()));
    }
    let index = index(&answer.body)
        .map_err(|error| Unknown::new(Cause::NotRegistry, format!("the index cannot be read: {error}")))?;
    if index.manifests().len() > MAX_CHILDREN {
        let detail = format!("the index lists {} manifests", index.manifests().len());
        return Err(Unknown::new(Cause::TooLarge, detail));
    }
    let children = index.manifests().iter().filter(|child| !attests(child)).map(child);
    children.collect::<Result<_, _>>().map(Children::Listed)
}

/// Parses an index. oci-spec refuses missing fields that Go's clients read as zero (a `platform` without `os`, a
/// descriptor without `size`). Nodes pull such an index, so missing fields are filled in as Go does.
fn index(body: &[u8]) -> Result<ImageIndex, serde_json::Error> {
    fn fill(object: &mut Map<String, Value>, name: &str, zero: impl Into<Value>) {
        let value = object.entry(name).or_insert(Value::Null);
        if value.is_null() {
            *value = zero.into();
        }
    }
    let refused = match serde_json::from_slice(body) {
        Ok(index) => return Ok(index),
        Err(refused) => refused,
    };
    let mut body: Value = serde_json::from_slice(body)?;
    let Some(index) = body.as_object_mut() else { return Err(refused) };
    fill(index, "schemaVersion", 2);
    fill(index, "manifests", Value::Array(vec![]));
    let children = index.get_mut("manifests").and_then(Value::as_array_mut).into_iter().flatten();
    for child in children.filter_map(Value::as_object_mut) {
        fill(child, "mediaType", "");
        fill(child, "size", 0);
        if let Some(platform) = child.get_mut("platform").and_then(Value::as_object_mut) {
            fill(platform, "os", "");
            fill(platform, "architecture", "");
        }
    }
    serde_json::from_value(body)
}

/// Is it an attestation of BuildKit, which is listed beside the images? Both its platform and its annotation must say so:
/// nodes look at neither the annotation nor the media type, so anything else may be what they start.
fn attests(child: &Descriptor) -> bool {
    let annotations = child.annotations().as_ref();
    let kind = annotations.and_then(|all| all.get("vnd.docker.reference.type"));
    let unknown = child.platform().as_ref().is_some_and(|platform| {
        platform.os().to_string() == "unknown" && platform.architecture().to_string() == "unknown"
    });
    unknown && kind.is_some_and(|kind| kind == "attestation-manifest")
}

fn child(child: &Descriptor) -> Result<Child, Unknown> {
    let digest = child.digest().to_string();
    let digest = digest
        .parse()
        .map_err(|error| Unknown::new(Cause::NotRegistry, format!("the index lists `{digest}`: {error}")))?;
    let stated = |platform: &Platform| !(platform.os.is_empty() && platform.architecture.is_empty());
    let platform = child.platform().as_ref().map(|platform| {
        let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
        Platform::normalised(&os, &architecture, platform.variant().as_deref())
    });
    let platform = platform.filter(stated);
    Ok(Child { digest, platform })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(fill: char, more: &str) -> String {
        let digest = fill.to_string().repeat(64);
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":1{more}}}"#
        )
    }

    /// Digest letters and platforms of the children that are read.
    fn read(descriptors: &[String]) -> Vec<(char, String)> {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptors.join(","));
        let index = index(text.as_bytes()).unwrap();
        let children = index.manifests().iter().filter(|child| !attests(child)).map(child);
        let children = children.map(|child| {
            let Child { digest, platform } = child.unwrap();
            let platform = platform.map_or_else(|| "-".into(), |platform| platform.to_string());
            (digest.to_string().chars().last().unwrap(), platform)
        });
        children.collect()
    }

    #[test]
    fn children_are_images_with_their_platforms() {
        let children = read(&[
            descriptor('a', r#","platform":{"os":"linux","architecture":"amd64"}"#),
            descriptor('b', r#","platform":{"os":"linux","architecture":"arm","variant":"v7"}"#),
            descriptor('c', r#","platform":{"os":"windows","architecture":"amd64","os.version":"10.0"}"#),
            descriptor('d', r#","platform":{"os":"unknown","architecture":"unknown"}"#),
        ]);
        let platforms =
            [('a', "linux/amd64"), ('b', "linux/arm/v7"), ('c', "windows/amd64"), ('d', "unknown/unknown")];
        assert_eq!(children, platforms.map(|(digest, platform)| (digest, platform.to_owned())));
    }

    #[derive(Deserialize)]
    struct Row {
        note: Box<str>,
        refused: bool,
        body: Box<str>,
        children: Vec<(Box<str>, Box<str>)>,
    }

    /// Nodes read a manifest with Go's decoder, so what we read is what that reads, or nothing.
    #[test]
    fn keys_are_read_as_a_node_reads_them_or_not_at_all() {
        let rows: Vec<Row> = serde_json::from_str(include_str!("../../tests/vectors/keys.json")).unwrap();
        assert!(rows.len() > 30);
        for Row { note, refused, body, children } in rows {
            let answer = Answer {
                status: StatusCode::OK,
                headers: http::HeaderMap::new(),
                body: body.as_bytes().to_vec().into(),
                challenges: vec![],
                sent: Sent::Nothing,
                by: super::super::answer::By::Registry,
            };
            let digest = Digest::Sha256(Sha256::digest(&answer.body).into());
            match (super::children(&answer, &digest), refused) {
                (Err(unknown), true) => assert_eq!(unknown.cause, Cause::NotRegistry, "{note}: {unknown:?}"),
                (Ok(Children::Listed(read)), false) => {
                    let of = |child: &Child| {
                        let platform =
                            child.platform.as_ref().map_or_else(|| "-".into(), ToString::to_string);
                        (child.digest.to_string().into(), platform.into())
                    };
                    assert_eq!(
                        read.iter().map(of).collect::<Vec<(Box<str>, Box<str>)>>(),
                        children,
                        "{note}"
                    );
                }
                (read, _) => panic!("{note}: {read:?}"),
            }
        }
    }

    /// What a node may start cannot be hidden from us by how an index lists it.
    #[test]
    fn only_what_is_an_attestation_is_left_out() {
        const ATTESTATION: &str = r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#;
        const UNKNOWN: &str = r#","platform":{"os":"unknown","architecture":"unknown"}"#;
        let amd64 = r#","platform":{"os":"linux","architecture":"amd64"}"#;
        let children = read(&[
            descriptor('0', &format!("{UNKNOWN}{ATTESTATION}")),
            descriptor('1', &format!("{amd64}{ATTESTATION}")),
            descriptor('2', ATTESTATION),
            descriptor('3', UNKNOWN),
            descriptor('4', &format!("{UNKNOWN}{}", ATTESTATION.replace("attestation-manifest", "image"))),
            descriptor('5', &amd64.replace("amd64", "x86_64")),
            descriptor('6', &amd64.replace("linux", "Linux").replace("amd64", "AMD64")),
            descriptor('7', &amd64.replace(r#""os":"linux","#, "")),
            descriptor('8', &amd64.replace("amd64", "aarch64")),
            descriptor('9', amd64).replace("image.manifest.v1", "something.else"),
            descriptor('a', "").replace("image.manifest.v1", "something.else"),
            descriptor('b', "").replace("image.manifest.v1", "image.index.v1"),
        ]);
        let platforms = [
            ('1', "linux/amd64"),
            ('2', "-"),
            ('3', "unknown/unknown"),
            ('4', "unknown/unknown"),
            ('5', "linux/amd64"),
            ('6', "linux/amd64"),
            ('7', "/amd64"),
            ('8', "linux/arm64"),
            ('9', "linux/amd64"),
            ('a', "-"),
            ('b', "-"),
        ];
        assert_eq!(children, platforms.map(|(digest, platform)| (digest, platform.to_owned())));
    }

    #[test]
    fn what_go_reads_as_zero_is_read() {
        let children = read(&[
            descriptor('a', r#","platform":{}"#),
            descriptor('b', r#","platform":{"architecture":"arm64"}"#),
            descriptor('c', r#","platform":null,"annotations":null"#),
            descriptor('d', "").replace(r#","size":1"#, ""),
            descriptor('e', r#","platform":{"os":"","architecture":""}"#),
        ]);
        let platforms = [('a', "-"), ('b', "/arm64"), ('c', "-"), ('d', "-"), ('e', "-")];
        assert_eq!(children, platforms.map(|(digest, platform)| (digest, platform.to_owned())));
        assert!(index(br#"{"manifests":null}"#).unwrap().manifests().is_empty());
        assert!(index(br#"{"manifests":7}"#).is_err());
        assert!(index(b"[]").is_err());
    }

    #[test]
    fn a_manifest_says_what_it_is() {
        for (body, shape) in [
            (r#"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#, Some(Shape::Index)),
            (r#"{"manifests":[]}"#, Some(Shape::Index)),
            (r#"{"config":{},"layers":[]}"#, Some(Shape::Manifest)),
            (r#"{"mediaType":"text/html"}"#, None),
            (r#"{"errors":[]}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(shape_in(body.as_bytes()).ok(), shape, "{body}");
        }
    }

    #[test]
    fn a_digest_is_verified_by_its_own_algorithm() {
        for (wanted, body) in [
            // FIPS 180-2's own examples.
            ("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "abc"),
            (
                "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
                "abc",
            ),
            (
                "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
                "abc",
            ),
        ] {
            let wanted = wanted.parse().unwrap();
            assert_eq!(verified(&wanted, body.as_bytes()), Ok(wanted));
            assert_eq!(verified(&wanted, b"abd").unwrap_err().cause, Cause::WrongDigest);
        }
    }
}
