//! Images made of real bytes: the same seed gives the same manifest, and its digest is the hash of what is served.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::domain::digest::Digest;

/// `application/vnd.oci.image.manifest.v1+json`
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.index.v1+json`
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// `application/vnd.docker.distribution.manifest.v2+json`
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// `application/vnd.docker.distribution.manifest.list.v2+json`
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The family of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// OCI.
    Oci,
    /// Docker, schema 2.
    Docker,
}

/// A manifest or index with everything that it references.
#[derive(Debug, Clone)]
pub struct Content {
    /// The manifest's media type.
    pub media_type: &'static str,
    /// The manifest as it is served.
    pub bytes: Bytes,
    /// The hash of `bytes`.
    pub digest: Digest,
    /// The media type of the config; `None` for an index.
    pub config_type: Option<&'static str>,
    /// Config and layers.
    pub blobs: Vec<Blob>,
    /// An index's children.
    pub children: Vec<Child>,
}

/// A config or layer.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The hash of `bytes`.
    pub digest: Digest,
    /// What is served.
    pub bytes: Bytes,
}

/// One entry of an index.
#[derive(Debug, Clone)]
pub struct Child {
    /// The child.
    pub content: Content,
    /// `os/architecture[/variant]`, as the index spells it; empty: the index names no platform.
    pub platform: Box<str>,
    /// Whether it is an image, or an attestation about one, and how the index shows it.
    pub role: Role,
}

/// What a child of an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An image that runs.
    Image,
    /// An image that runs, annotated as if it were an attestation. Runtimes and Harbor's scan do not read that annotation.
    Disguised,
    /// Build provenance, as BuildKit adds it: platform `unknown/unknown`, and nothing to scan.
    Attestation,
}

impl Role {
    /// Whether the index calls it an attestation.
    pub(super) fn is_annotated(self) -> bool {
        match self {
            Self::Image => false,
            Self::Disguised | Self::Attestation => true,
        }
    }
}

impl Content {
    /// An OCI image for `linux/amd64`.
    #[must_use]
    pub fn image(seed: &str) -> Self {
        image(seed, Flavour::Oci, "linux/amd64")
    }

    /// An OCI artifact that is no image, with this config: a model, a chart, files.
    #[must_use]
    pub fn artifact(seed: &str, config_type: &'static str) -> Self {
        let layer = "application/vnd.oci.image.layer.v1.tar";
        manifest(seed, (OCI_MANIFEST, config_type), "linux/amd64", layer)
    }

    /// Harbor's word for the type of the artifact, from its config.
    pub(super) fn kind(&self) -> &'static str {
        match self.config_type {
            None => "IMAGE",
            Some(config) if config.contains("image.config") || config.contains("container.image") => "IMAGE",
            Some(config) if config.contains("model") => "MODEL",
            Some(config) if config.contains("helm") => "CHART",
            Some(_) => "UNKNOWN",
        }
    }

    /// A Docker (schema 2) image for `linux/amd64`.
    #[must_use]
    pub fn docker_image(seed: &str) -> Self {
        image(seed, Flavour::Docker, "linux/amd64")
    }

    /// An index (or manifest list) with one image for each platform.
    #[must_use]
    pub fn index(seed: &str, flavour: Flavour, platforms: &[&str]) -> Self {
        let children = platforms
            .iter()
            .map(|platform| Child {
                content: image(&format!("{seed} {platform}"), flavour, platform),
                platform: (*platform).into(),
                role: Role::Image,
            })
            .collect();
        index(flavour, children)
    }

    /// An OCI index as BuildKit makes it: an image for each platform, then an attestation for the first.
    #[must_use]
    pub fn index_with_attestation(seed: &str, platforms: &[&str]) -> Self {
        let mut children = Self::index(seed, Flavour::Oci, platforms).children;
        children.push(Child {
            content: manifest(seed, Flavour::Oci.types(), "unknown/unknown", "application/vnd.in-toto+json"),
            platform: "unknown/unknown".into(),
            role: Role::Attestation,
        });
        index(Flavour::Oci, children)
    }

    /// An OCI index for `linux/arm64` that also lists an image for `linux/amd64`, with this spelling of its platform and in
    /// this role.
    #[must_use]
    pub fn index_hiding(seed: &str, (platform, role): (&str, Role)) -> Self {
        let mut children = Self::index(seed, Flavour::Oci, &["linux/arm64"]).children;
        let content = image(&format!("{seed}, hidden"), Flavour::Oci, "linux/amd64");
        children.push(Child { content, platform: platform.into(), role });
        index(Flavour::Oci, children)
    }

    /// An OCI index whose only child for each platform is another index. The specification permits that, but no runtime
    /// expects it.
    #[must_use]
    pub fn nested_index(seed: &str, platforms: &[&str]) -> Self {
        let inner = |platform: &&str| Child {
            content: Self::index(&format!("{seed}, inside"), Flavour::Oci, &[platform]),
            platform: (*platform).into(),
            role: Role::Image,
        };
        index(Flavour::Oci, platforms.iter().map(inner).collect())
    }

    /// The same, with one more layer. Images that have a layer in common name it by the same text.
    #[must_use]
    pub fn with_layer(mut self, text: &str) -> Self {
        let layer = blob(text.as_bytes().to_vec());
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        self.list(json!({"mediaType": kind, "digest": layer.digest, "size": layer.bytes.len()}));
        self.blobs.push(layer);
        self
    }

    /// The same, with one more layer that stays where its publisher has it, as those of Windows.
    #[must_use]
    pub fn with_foreign_layer(mut self, text: &str) -> Self {
        let layer = blob(text.as_bytes().to_vec());
        self.list(json!({
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": layer.digest, "size": layer.bytes.len(), "urls": ["https://mcr.example.com/layer"],
        }));
        self
    }

    /// The same, with one more layer of this size, whose bytes are elsewhere.
    pub(super) fn listing(mut self, layer: Digest, size: u64) -> Self {
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        self.list(json!({"mediaType": kind, "digest": layer, "size": size}));
        self
    }

    /// The same, saying that it refers to this manifest, as a signature does.
    #[must_use]
    pub fn referring_to(mut self, subject: &Self) -> Self {
        let Ok(mut manifest) = serde_json::from_slice::<Value>(&self.bytes) else { return self };
        if let Some(fields) = manifest.as_object_mut() {
            let described = json!({
                "mediaType": subject.media_type, "digest": subject.digest, "size": subject.bytes.len(),
            });
            fields.insert("subject".into(), described);
            fields.insert("artifactType".into(), "application/vnd.example.signature".into());
        }
        self.bytes = manifest.to_string().into();
        self.digest = sha256(&self.bytes);
        self
    }

    /// Adds a layer to the manifest.
    fn list(&mut self, layer: Value) {
        let Ok(mut manifest) = serde_json::from_slice::<Value>(&self.bytes) else { return };
        if let Some(layers) = manifest.get_mut("layers").and_then(Value::as_array_mut) {
            layers.push(layer);
        }
        self.bytes = manifest.to_string().into();
        self.digest = sha256(&self.bytes);
    }

    /// The same, with its manifest padded to at least this many bytes.
    #[must_use]
    pub fn padded(mut self, least: usize) -> Self {
        // White space at the end of JSON changes only the digest.
        let mut bytes = self.bytes.to_vec();
        bytes.resize(bytes.len().max(least), b' ');
        self.digest = sha256(&bytes);
        self.bytes = bytes.into();
        self
    }

    /// The same bytes, with a SHA-512 digest.
    #[must_use]
    pub fn named_by_sha512(mut self) -> Self {
        self.digest = Digest::Sha512(Sha512::digest(&self.bytes).into());
        self
    }

    /// Whether it is an index or a manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.config_type.is_none()
    }

    /// The child for this platform.
    #[must_use]
    pub fn child(&self, platform: &str) -> Option<&Content> {
        self.children.iter().find(|child| &*child.platform == platform).map(|child| &child.content)
    }
}

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::Sha256(Sha256::digest(bytes).into())
}

fn image(seed: &str, flavour: Flavour, platform: &str) -> Content {
    let layer = match flavour {
        Flavour::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
        Flavour::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
    };
    manifest(seed, flavour.types(), platform, layer)
}

impl Flavour {
    /// The media types of an image's manifest and config.
    fn types(self) -> (&'static str, &'static str) {
        match self {
            Self::Oci => (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"),
            Self::Docker => (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json"),
        }
    }
}

fn manifest(
    seed: &str,
    (media_type, config_type): (&'static str, &'static str),
    platform: &str,
    layer_type: &str,
) -> Content {
    let layer = blob(format!("layer of {seed}").into_bytes());
    let (os, architecture, variant) = parts(platform);
    let mut config = json!({
        "architecture": architecture, "os": os,
        "config": {"Labels": {"org.opencontainers.image.title": seed}},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest.to_string()]},
    });
    set_variant(&mut config, variant);
    let config = blob(config.to_string().into_bytes());
    let bytes = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": config.digest, "size": config.bytes.len()},
        "layers": [{"mediaType": layer_type, "digest": layer.digest, "size": layer.bytes.len()}],
    });
    content(media_type, &bytes, Some(config_type), vec![config, layer], vec![])
}

fn index(flavour: Flavour, children: Vec<Child>) -> Content {
    let media_type = match flavour {
        Flavour::Oci => OCI_INDEX,
        Flavour::Docker => DOCKER_LIST,
    };
    let described = children.first().map(|child| child.content.digest);
    let entry = |child: &Child| {
        let mut entry = json!({
            "mediaType": child.content.media_type,
            "digest": child.content.digest,
            "size": child.content.bytes.len(),
        });
        let Some(fields) = entry.as_object_mut() else { return entry };
        if !child.platform.is_empty() {
            let (os, architecture, variant) = parts(&child.platform);
            let mut platform = json!({"architecture": architecture, "os": os});
            set_variant(&mut platform, variant);
            fields.insert("platform".into(), platform);
        }
        if child.role.is_annotated() {
            fields.insert("annotations".into(), attestation_annotations(described));
        }
        entry
    };
    let manifests: Vec<Value> = children.iter().map(entry).collect();
    let bytes = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    content(media_type, &bytes, None, vec![], children)
}

/// The annotations that BuildKit gives an attestation; Harbor's API repeats them.
pub(super) fn attestation_annotations(described: Option<Digest>) -> Value {
    json!({
        "vnd.docker.reference.digest": described,
        "vnd.docker.reference.type": "attestation-manifest",
    })
}

fn content(
    media_type: &'static str,
    manifest: &Value,
    config_type: Option<&'static str>,
    blobs: Vec<Blob>,
    children: Vec<Child>,
) -> Content {
    let bytes = Bytes::from(manifest.to_string());
    Content { media_type, digest: sha256(&bytes), bytes, config_type, blobs, children }
}

fn blob(bytes: Vec<u8>) -> Blob {
    Blob { digest: sha256(&bytes), bytes: bytes.into() }
}

/// Splits `os/architecture[/variant]`.
pub(super) fn parts(platform: &str) -> (&str, &str, Option<&str>) {
    let (os, rest) = platform.split_once('/').unwrap_or((platform, ""));
    match rest.split_once('/') {
        Some((architecture, variant)) => (os, architecture, Some(variant)),
        None => (os, rest, None),
    }
}

fn set_variant(object: &mut Value, variant: Option<&str>) {
    if let (Some(variant), Some(fields)) = (variant, object.as_object_mut()) {
        fields.insert("variant".into(), variant.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_and_the_digest_is_theirs() {
        for content in [
            Content::image("a"),
            Content::docker_image("a"),
            Content::index("a", Flavour::Docker, &["linux/amd64", "linux/arm/v7"]),
            Content::index_with_attestation("a", &["linux/amd64"]),
        ] {
            assert_eq!(content.digest, sha256(&content.bytes));
            let manifest: Value = serde_json::from_slice(&content.bytes).unwrap();
            assert_eq!(manifest["mediaType"], content.media_type);
            for (entry, child) in
                manifest["manifests"].as_array().into_iter().flatten().zip(&content.children)
            {
                assert_eq!(entry["digest"], child.content.digest.to_string());
                assert_eq!(entry["size"], child.content.bytes.len());
            }
        }
        assert_eq!(Content::image("a").digest, Content::image("a").digest);
        assert_ne!(Content::image("a").digest, Content::image("b").digest);
        assert_eq!(Content::image("a").named_by_sha512().digest.algorithm(), "sha512");
    }
}
