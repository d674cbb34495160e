//! Harbor's scan overview, stored report, scanner and project, and what the leader reads of artifacts and replication: `Success` is believed only where it stands there whole.
#![no_main]

use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::scan::ScanState;
use landfall::facade::harbor::fuzz::{
    Overview, executions, facts, overview, project, pushes, rules, scanner, stored, tasks,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let _scanner = scanner(body);
    let _project = project(body);
    let (_, _, _) = (executions(body), tasks(body), pushes(body));
    if let Ok(page) = rules(body) {
        assert!(page.rules.len() <= 100 && page.rules.iter().all(|rule| rule.name.chars().count() <= 300));
    }
    if let Ok(Some(report)) = stored(body) {
        assert!(report.items.iter().all(|(_, severity)| *severity <= report.severity));
        assert!(report.items.is_sorted_by(|(one, _), (other, _)| one < other));
    }
    let artifact: Option<Value> = serde_json::from_slice(body).ok();
    let named = artifact.as_ref().and_then(|artifact| artifact["digest"].as_str()?.parse::<Digest>().ok());
    let Some(digest) = named else { return };
    if let Ok(facts) = facts(body, &digest) {
        assert!(facts.accessories.len() <= 256);
    }
    let Ok(read) = overview(body, &digest) else { return };
    let artifact = artifact.unwrap_or_default();
    let summaries = artifact["scan_overview"].as_object();
    let Overview::State(ScanState::Done(report)) = read else { return };
    let whole = summaries.into_iter().flatten().any(|(_, summary)| {
        summary["scan_status"] == "Success"
            && summary["complete_percent"] == 100
            && (summary["severity"].is_null() || summary["severity"].is_string())
    });
    assert!(whole, "{report:?} of {artifact}");
});
