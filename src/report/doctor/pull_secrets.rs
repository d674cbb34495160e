//! Checks the credentials that Landfall puts into pull secrets: whether their files can be read, and their registry accepts them.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry as Page;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Line;
use crate::domain::settings::Settings;
use crate::evidence::{Observatory, Proof};

/// The most time for one registry.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn check(settings: &Settings) -> Vec<Line> {
    if settings.pull_secrets.is_empty() {
        return Vec::new();
    }
    let copy = settings.clone();
    let made = spawn_blocking(move || Arc::new(Observatory::new(&copy, &mut Page::default()))).await;
    // What is wrong with the clients is told beside the registries.
    let Ok(observatory) = made else { return Vec::new() };
    let mut lines = Vec::new();
    for managed in settings.pull_secrets.iter() {
        let about = format!("pull secret {}", managed.secret);
        for dir in managed.dirs() {
            let (asked, registry, folder) = (observatory.clone(), managed.registry.clone(), dir.to_owned());
            let source = spawn_blocking(move || asked.pull_source(&registry, &folder)).await;
            let Ok(source) = source else { continue };
            let (name, dir) = (&managed.registry.name, dir.display());
            if let Err(unknown) = source.content().await {
                let todo = format!("`{dir}` must hold the files `username` and `password`");
                lines.push(Line::wrong(&about, unknown.detail.to_string(), todo));
                continue;
            }
            lines.push(match source.prove(Instant::now() + PATIENCE).await {
                Proof::Accepted => Line::ok(&about, format!("{name} accepts the credentials in {dir}")),
                Proof::Rejected => Line::wrong(
                    &about,
                    format!("{name} rejects the credentials in {dir}, so no pull secret gets them"),
                    "they must be the robot's full name (`robot$…`) and its present secret, and the robot must be neither disabled nor expired",
                ),
                Proof::Unknown(unknown) => {
                    Line::skipped(&about, format!("{name} does not say whether it accepts the credentials in {dir}: {unknown}"))
                }
            });
        }
    }
    observatory.close().await;
    lines
}
