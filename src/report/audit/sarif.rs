//! An audit as SARIF 2.1.0 (OASIS), which code hosts show beside the lines of a change. Only what they read is written.

use serde::Serialize;
use sha2::{Digest, Sha256};
use strum::VariantArray;

use super::result::{Audit, Class, Row, User};
use crate::domain::finding::FindingKind;
use crate::domain::gap::Risk;
use crate::domain::messages::advice;

/// The rule of images that are here while Pods run from elsewhere.
const RUNS_ELSEWHERE: &str = "RunsElsewhere";

/// A log with one run.
#[derive(Debug, Serialize)]
pub struct Sarif {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
    help: Message,
}

#[derive(Debug, Serialize)]
struct Message {
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    start_time_utc: String,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Debug, Serialize)]
struct Notification {
    level: &'static str,
    message: Message,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    partial_fingerprints: Fingerprints,
}

#[derive(Debug, Serialize)]
struct Fingerprints {
    #[serde(rename = "landfallAudit/v1")]
    landfall: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<Physical>,
    logical_locations: [Logical; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    region: Region,
}

#[derive(Debug, Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Logical {
    name: String,
    fully_qualified_name: String,
    kind: &'static str,
}

/// Returns the audit as a SARIF log: a rule for each finding, a result for each image of each workload. Of a manifest the result
/// has file and line, of an object in the cluster its name.
#[must_use]
pub fn sarif(audit: &Audit) -> Sarif {
    let rules = rules();
    let mut results = Vec::new();
    for row in &audit.rows {
        let Some(index) = rules.iter().position(|rule| rule.id == row.finding) else { continue };
        results.extend(row.workloads.iter().map(|user| finding(row, user, index)));
    }
    let level = if audit.complete { "note" } else { "warning" };
    let notification = |note: &String| Notification { level, message: Message { text: note.clone() } };
    let invocation = Invocation {
        execution_successful: audit.complete,
        start_time_utc: audit.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        tool_execution_notifications: audit.notes.iter().map(notification).collect(),
    };
    let driver = Driver { name: "landfall", semantic_version: env!("CARGO_PKG_VERSION"), rules };
    Sarif {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver },
            invocations: [invocation],
            column_kind: "unicodeCodePoints",
            results,
        }],
    }
}

fn rules() -> Vec<Rule> {
    let rule = |id: &'static str, short: String, help: &str| Rule {
        id,
        short_description: Message { text: short },
        help: Message { text: help.to_owned() },
    };
    let findings = FindingKind::VARIANTS.iter().map(|kind| {
        let short = format!("{kind}: what a policy does about it is set by `{}`", kind.key());
        rule(kind.as_str(), short, advice(*kind))
    });
    let risks = [Risk::AccessoryMissing, Risk::Untagged].into_iter().map(|risk| {
        let (short, help) = match risk {
            Risk::AccessoryMissing => (
                "a signature or another accessory is only at the primary",
                "replicate accessories, too: let the filters of the rule pass them",
            ),
            _ => (
                "no tag holds the copy: retention or garbage collection will remove it",
                "hold it with a tag, or replicate its tag again",
            ),
        };
        rule(risk.into(), short.to_owned(), help)
    });
    let elsewhere = rule(
        RUNS_ELSEWHERE,
        "the copy is here, and Pods still run with that of another site".to_owned(),
        "restart these Pods: new ones get the copy that is here",
    );
    findings.chain(risks).chain([elsewhere]).collect()
}

fn finding(row: &Row, user: &User, rule_index: usize) -> Finding {
    let Row { class, finding, place, action, detail, advice, image, .. } = row;
    let at = place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
    let action = action.as_ref().map(|action| format!(", {action}")).unwrap_or_default();
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let text = format!("{image}: {finding}{at}{action}: {}{detail}. What to do: {advice}", class.heading());
    let physical = user.path.as_ref().zip(user.line).map(|(path, line)| Physical {
        artifact_location: Artifact { uri: uri(path) },
        region: Region { start_line: line },
    });
    // The line may move, and the digest of a tag, too: the finding stays the same.
    let identity =
        [&**finding, image, &user.kind, &user.namespace, &user.name, place.as_deref().unwrap_or_default()];
    let identity = Sha256::digest(identity.join("\n").as_bytes());
    let level = match class {
        Class::Denied => "error",
        Class::Missing | Class::Unknown | Class::Scan => "warning",
        _ => "note",
    };
    Finding {
        rule_id: finding.clone(),
        rule_index,
        level,
        message: Message { text },
        locations: [Location {
            physical_location: physical,
            logical_locations: [Logical {
                name: user.name.clone(),
                fully_qualified_name: format!("{}/{}/{}", user.namespace, user.kind, user.name),
                kind: "resource",
            }],
        }],
        partial_fingerprints: Fingerprints { landfall: hex(&identity) },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path as a relative reference, or as a `file:` URI where it is absolute.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte))
            }
            byte => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}
