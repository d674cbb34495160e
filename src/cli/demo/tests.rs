//! A story that ends in an unexpected way must be visible to people and to scripts: here a world is sabotaged.

use super::*;
use crate::demo::world::seed;

/// The acts of the first stories, before a world in which one of them cannot end as told.
async fn sabotaged(output: Output) -> (Performance, String) {
    let stage = Stage::build().await.unwrap();
    stage.demo.ams.store().delete_repository(seed::MULTI_ARCH.repository);
    let acts = script().into_iter().take(1).collect();
    let mut out = Vec::new();
    let performance = perform(&stage, acts, output, &mut out).await.unwrap();
    stage.close().await;
    (performance, String::from_utf8(out).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_that_ends_otherwise_than_told_is_shown_and_fails() {
    let (performance, text) = sabotaged(Output::Text).await;
    assert_eq!(exit(&performance), ExitCode::FAILURE);
    let text = anstream::adapter::strip_str(&text).to_string();
    assert!(text.contains("✗ An image for several platforms"), "{text}");
    assert!(text.contains("otherwise than told: containers/api, reason: told Local, was Fallback"), "{text}");
    assert!(text.contains("otherwise:\n   ✗ index\n"), "{text}");
    assert!(!text.contains("all as told"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_reads_of_it_too() {
    let (_, text) = sabotaged(Output::Json).await;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["summary"]["otherwise"][0], "index");
    let told = &report["acts"][0]["stories"][1];
    assert_eq!((&told["story"], &told["as_told"]), (&"index".into(), &false.into()));
    assert_eq!(told["actual"]["images"][0]["findings"][0]["finding"], "Missing");
}

#[test]
fn nothing_told_is_no_success() {
    assert_eq!(exit(&Performance::default()), ExitCode::FAILURE);
}
