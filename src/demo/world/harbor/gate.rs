//! The 412: Harbor refuses to serve an image that it has (src/server/middleware/{contenttrust,vulnerable}).

use crate::demo::world::scan::{self, Cve};
use crate::demo::world::store::{Artifact, ScannerState, Signatures, Store};
use crate::domain::digest::Digest;
use crate::domain::scan::Severity;

/// Why a pull is refused, or `None` if it is not.
pub(super) fn refusal(
    store: &Store,
    repository: &str,
    digest: Digest,
    artifact: &Artifact,
) -> Option<String> {
    let project = store.projects.get(repository.split('/').next()?)?;
    if project.signatures == Signatures::Cosign && !artifact.has_accessory("signature.cosign") {
        return Some("The image is not signed by cosign.".into());
    }
    let threshold = project.prevent_vul?;
    let policy = format!(
        "cannot be pulled due to configured policy in 'Prevent images with vulnerability severity of \
         \"{threshold:?}\" or higher from running.' To continue with pull, please contact your project administrator"
    );
    let parts = store.scan_parts(digest, artifact);
    if parts.is_empty() {
        return None;
    }
    let Some(status) = scan::merged_status(&parts) else {
        // Without a scanner that answers, nothing counts as scannable, and an image without a report is served.
        let scannable = store.scanner == ScannerState::Healthy;
        return scannable.then(|| format!("current image without vulnerability scanning {policy} for help."));
    };
    if status != "Success" {
        return Some(format!(
            "current image with \"{status}\" status of vulnerability scanning {policy} for help."
        ));
    }
    if artifact.content.is_index() {
        return None;
    }
    let forgiven = project.allowlist.as_ref().unwrap_or(&store.allowlist).forgiven();
    let counted: Vec<&Cve> = parts
        .iter()
        .filter_map(|(_, scan)| scan.report())
        .flat_map(|report| &report.vulnerabilities)
        .filter(|cve| !forgiven.contains(&cve.id))
        .collect();
    let worst = counted.iter().map(|cve| cve.severity).max()?;
    if code(worst) < code(threshold) {
        return None;
    }
    let noun = if counted.len() == 1 { "vulnerability" } else { "vulnerabilities" };
    Some(format!(
        "current image with {} {noun} {policy} to exempt matched vulnerabilities through configuring the CVE allowlist.",
        counted.len()
    ))
}

/// Harbor's order of severities. `None` and `Unknown` are equal in it (src/pkg/scan/vuln/severity.go).
fn code(severity: Severity) -> u8 {
    match severity {
        Severity::None | Severity::Unknown => 0,
        Severity::Negligible => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}
