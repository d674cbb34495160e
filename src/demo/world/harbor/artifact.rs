//! An artifact in the API.

use serde_json::{Map, Value, json};

use crate::demo::world::content::{attestation_annotations, parts};
use crate::demo::world::message::Ask;
use crate::demo::world::scan::{self, REPORT_V10, REPORT_V11, stamp};
use crate::demo::world::store::{Accessory, Artifact, Repository, ScannerState, Store};
use crate::domain::digest::Digest;

/// The artifact's JSON. It has `scan_overview` only if the query asks for it and Harbor would show it.
pub(super) fn render(store: &Store, ask: &Ask, name: &str, digest: Digest, artifact: &Artifact) -> Value {
    let repository = store.repositories.get(name);
    let project = name.split('/').next().and_then(|project| store.projects.get(project));
    let content = &artifact.content;
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
    put("accessories", accessories(ask, name, digest, artifact));
    put("labels", Value::Null);
    put("type", content.kind().into());
    // What its processor can show. The link to its vulnerabilities is missing, for no scanner can scan it.
    if content.kind() == "MODEL" || content.kind() == "CHART" {
        let link = format!("{}/additions/readme.md", ask.path);
        put("addition_links", json!({"readme.md": {"absolute": false, "href": link}}));
    }
    put("id", artifact.id.into());
    put("digest", json!(digest));
    put("manifest_media_type", content.media_type.into());
    put("media_type", content.config_type.unwrap_or(content.media_type).into());
    if let Some(config_type) = content.config_type {
        put("artifact_type", config_type.into());
    }
    put("project_id", project.map_or(0, |project| project.id).into());
    put("repository_id", repository.map_or(0, |repository| repository.id).into());
    put("repository_name", name.into());
    put("size", size(artifact).into());
    put("push_time", stamp(artifact.pushed).into());
    put("pull_time", "0001-01-01T00:00:00.000Z".into());
    put("references", references(repository, artifact));
    put("tags", tags(repository, digest, artifact));
    if let Some(overview) = overview(store, ask, digest, artifact) {
        put("scan_overview", overview);
    }
    Value::Object(fields)
}

/// The words for true in go-openapi; anything else is false, without an error.
fn asked(ask: &Ask, parameter: &str) -> bool {
    const TRUE: [&str; 10] = ["true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"];
    ask.parameter(parameter).is_some_and(|value| TRUE.contains(&value))
}

fn accessories(ask: &Ask, name: &str, digest: Digest, artifact: &Artifact) -> Value {
    if artifact.accessories.is_empty() || !asked(ask, "with_accessory") {
        return Value::Null;
    }
    let accessory = |accessory: &Accessory| {
        json!({
            "id": accessory.id, "artifact_id": accessory.id, "creation_time": stamp(artifact.pushed),
            "digest": accessory.digest, "size": 974, "subject_artifact_digest": digest,
            "subject_artifact_id": artifact.id, "subject_artifact_repo": name, "type": accessory.kind,
        })
    };
    artifact.accessories.iter().map(accessory).collect()
}

fn overview(store: &Store, ask: &Ask, digest: Digest, artifact: &Artifact) -> Option<Value> {
    let asked = asked(ask, "with_scan_overview");
    // With a scanner that does not answer, nothing can be scanned, and the overview is absent.
    let scannable = matches!(store.scanner, ScannerState::Healthy | ScannerState::Disabled);
    if !asked || !scannable || !accepts_report(ask) {
        return None;
    }
    scan::overview(&store.scan_parts(digest, artifact))
}

/// `X-Accept-Vulnerabilities`: split at commas, trimmed, compared exactly. If no type is known, it means the report 1.0,
/// which no current scanner makes (handler/util.go).
fn accepts_report(ask: &Ask) -> bool {
    let Some(header) = ask.header("x-accept-vulnerabilities").filter(|header| !header.is_empty()) else {
        return true;
    };
    let known: Vec<&str> =
        header.split(',').map(str::trim).filter(|one| [REPORT_V10, REPORT_V11].contains(one)).collect();
    known.contains(&REPORT_V11)
}

fn size(artifact: &Artifact) -> usize {
    let content = &artifact.content;
    let children = content.children.iter().map(|child| {
        child.content.bytes.len() + child.content.blobs.iter().map(|blob| blob.bytes.len()).sum::<usize>()
    });
    content.bytes.len()
        + content.blobs.iter().map(|blob| blob.bytes.len()).sum::<usize>()
        + children.sum::<usize>()
}

fn references(repository: Option<&Repository>, artifact: &Artifact) -> Value {
    if artifact.content.children.is_empty() {
        return Value::Null;
    }
    let described = artifact.content.children.first().map(|child| child.content.digest);
    let reference = |child: &crate::demo::world::content::Child| {
        let id = repository.and_then(|repository| repository.artifacts.get(&child.content.digest));
        let (os, architecture, variant) = parts(&child.platform);
        let mut platform = json!({"OsFeatures": null, "architecture": architecture, "os": os});
        if let (Some(variant), Some(fields)) = (variant, platform.as_object_mut()) {
            fields.insert("variant".into(), variant.into());
        }
        let mut reference = json!({
            "child_digest": child.content.digest, "child_id": id.map_or(0, |child| child.id),
            "parent_id": artifact.id, "platform": platform, "urls": null,
        });
        if let (true, Some(fields)) = (child.role.is_annotated(), reference.as_object_mut()) {
            fields.insert("annotations".into(), attestation_annotations(described));
        }
        reference
    };
    artifact.content.children.iter().map(reference).collect()
}

fn tags(repository: Option<&Repository>, digest: Digest, artifact: &Artifact) -> Value {
    let Some(repository) = repository else { return Value::Null };
    let tags: Vec<Value> = repository
        .tags
        .iter()
        .filter(|(_, tag)| tag.digest == digest)
        .map(|(name, tag)| {
            json!({
                "artifact_id": artifact.id, "id": tag.id, "immutable": false, "name": name,
                "pull_time": "0001-01-01T00:00:00.000Z", "push_time": stamp(tag.pushed),
                "repository_id": repository.id,
            })
        })
        .collect();
    if tags.is_empty() { Value::Null } else { tags.into() }
}
